"""Models of accuracy that a search fits to what it has evaluated: sums over genes, and over pairs of genes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ridge:
    """``features @ coefficients + constant``."""

    coefficients: FloatArray
    constant: float

    @classmethod
    def fit(cls, features: Features, values: FloatArray, penalty: float = 1.0) -> Ridge:
        """Ridge regression of values[n] on features[n, f]; the constant is not penalised."""
        constant = float(values.mean())
        gram = (features.T @ features).astype(np.float64)
        gram[np.diag_indices_from(gram)] += penalty
        moments = (features.T @ (values - constant)).astype(np.float64)
        return cls(np.asarray(np.linalg.solve(gram, moments), np.float64), constant)

    def __call__(self, features: Features) -> FloatArray:
        """float64[n]."""
        result: FloatArray = features @ self.coefficients + self.constant
        return result


@dataclass(frozen=True, slots=True)
class PairRidge:
    """``constant + x @ linear + x @ pairs @ x``: ridge regression on genes and all their pairs.

    Fitted as kernel ridge regression with ``(x . x' + OFFSET)^2 / SCALE``, whose solution is written out in x: it costs
    cubically in the number of networks, but quadratically in that of genes.
    """

    constant: float
    linear: Features
    pairs: Features

    #: Weighs single genes against pairs; like the noise, flat around its value on OFA2's problem and on measured top-1.
    OFFSET = 60.0
    SCALE = 1000.0

    @classmethod
    def fit(cls, features: Features, values: FloatArray, noise: FloatArray | float = 0.03) -> PairRidge:
        """Fit values[n] of features[n, f]; ``noise`` (of each or all) is how little a value is to be trusted."""
        # scipy comes with pymoo; numpy solves no triangular systems, which makes it take twice the time.
        from scipy.linalg import LinAlgError, cho_factor, cho_solve

        mean = float(values.mean())
        kernel = _kernel(features, cls.OFFSET, cls.SCALE)
        kernel[np.diag_indices_from(kernel)] += noise
        try:
            # Single precision loses nothing that the noise term would not, in half the time.
            factor = cho_factor(kernel, lower=True, check_finite=False)
            dual = cho_solve(factor, (values - mean).astype(np.float32), check_finite=False)
        except LinAlgError:
            dual = np.linalg.solve(kernel.astype(np.float64), values - mean)
        dual = dual.astype(np.float64) / cls.SCALE
        x = features.astype(np.float64)
        constant = mean + cls.OFFSET**2 * float(dual.sum())
        linear, pairs = 2 * cls.OFFSET * dual @ x, (x * dual[:, None]).T @ x
        # A one-hot feature squared is itself: the diagonal joins the linear part, so that float32 sums stay small.
        linear, pairs = linear + np.diag(pairs), pairs - np.diag(np.diag(pairs))
        return cls(constant, linear.astype(np.float32), pairs.astype(np.float32))

    @classmethod
    def of_nothing(cls, features: int) -> PairRidge:
        """0 everywhere, of so many features."""
        return cls(0.0, np.zeros(features, np.float32), np.zeros((features, features), np.float32))

    def dump(self) -> dict[str, Any]:
        """Its coefficients by name."""
        return {"constant": self.constant, "linear": self.linear, "pairs": self.pairs}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> PairRidge:
        """Load what ``dump`` gave. Raises KeyError, TypeError or ValueError on anything else."""
        linear, pairs = (np.asarray(data[name], np.float32) for name in ("linear", "pairs"))
        if pairs.shape != (*linear.shape, *linear.shape):
            raise ValueError(f"{pairs.shape} pairs of {linear.shape} features")
        return cls(float(data["constant"]), linear, pairs)

    def __call__(self, features: Features) -> FloatArray:
        """float64[n]."""
        weighted = features @ self.pairs
        weighted += self.linear
        result: FloatArray = np.einsum("nf,nf->n", weighted, features).astype(np.float64) + self.constant
        return result


def _kernel(features: Features, offset: float, scale: float) -> Features:
    kernel: Features = features @ features.T
    kernel += np.float32(offset)
    np.square(kernel, out=kernel)
    kernel *= np.float32(1 / scale)
    return kernel

"""A Gaussian process over groups of features: a model of accuracy from tens to hundreds of networks that knows how far
to trust itself. What its values are used for is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Added to the diagonal, so that rounding never makes a covariance indefinite.
_JITTER = 1e-6
#: Standard deviation of the logarithm of each hyperparameter around its start, and how far it may go: e^2 is wide.
_PRIOR_SD, _PRIOR_REACH = 2.0, 6.0
#: Starts: of the variance of y, the part that depends on all groups together, each group's own part, and the noise.
_JOINT, _OWN, _NOISE = 1.0, 0.37, 0.01
#: Rows that are predicted at a time: covariances with hundreds of known networks stay in a core's cache. With 4096, the
#: same numbers took 1.5 times as long.
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """The prior of a Gaussian process over g groups of features.

    Attributes:
        logs: logarithms of joint, scale[g], own[g], own_scale[g] and noise (see ``GaussianProcess``).
        start: where their search began; the centre of their prior.
    """

    logs: FloatArray
    start: FloatArray


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """Covariance of two networks x and x' whose squared distances in g groups of features are d_1 ... d_g:

    ``joint * matern(sum_i d_i / scale_i) + sum_i own_i * exp(-d_i / own_scale_i)``, and ``noise`` on the diagonal, with
    ``matern(s) = (1 + sqrt(3 s)) exp(-sqrt(3 s))`` (Rasmussen and Williams 2006, eq. 4.17). The first part learns how
    groups act together, the others what each says alone.

    Attributes:
        groups: the features of the n networks it was fitted to, float64[n, f_i] each.
        believed: the hyperparameters.
        centre, spread: mean and standard deviation of the values, which the process sees standardised.
        factor: lower Cholesky factor of the covariance, float64[n, n].
        weights: covariance^-1 values, float64[n].
    """

    groups: tuple[FloatArray, ...]
    believed: Hyperparameters
    centre: float
    spread: float
    factor: FloatArray
    weights: FloatArray

    @classmethod
    def fit(
        cls,
        groups: Sequence[FloatArray],
        values: FloatArray,
        like: Hyperparameters | None = None,
        steps: int = 15,
    ) -> GaussianProcess:
        """Fit values[n] of features groups[i][n, f_i].

        ``steps`` of a search for the most likely hyperparameters, which starts from those of ``like`` where that is
        given; 0 keeps them.
        """
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        distances = [_squared_distances(group, group) for group in groups]
        start = like.start if like is not None else _start(distances)
        logs = like.logs if like is not None else start
        centre, spread = float(values.mean()), float(values.std()) or 1.0
        standardised = (values - centre) / spread
        if steps:
            bounds = np.stack([start - _PRIOR_REACH, start + _PRIOR_REACH], axis=1)
            found = minimize(
                _negative_log_posterior,
                logs,
                (distances, standardised, start),
                method="L-BFGS-B",
                jac=True,
                bounds=bounds,
                options={"maxiter": steps},
            )
            logs = found.x
        covariance = _covariance(distances, logs)
        covariance[np.diag_indices_from(covariance)] += np.exp(logs[-1]) + _JITTER
        factor = cho_factor(covariance, lower=True, check_finite=False)
        weights = cho_solve(factor, standardised, check_finite=False)
        return cls(tuple(groups), Hyperparameters(logs, start), centre, spread, factor[0], weights)

    @property
    def noise_std(self) -> float:
        """By how much equal networks are believed to differ, in the unit of the values."""
        return float(np.exp(0.5 * self.believed.logs[-1]) * self.spread)

    def predict(self, groups: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (without noise) of m networks, float64[m] each; groups[i] is float64[m, f_i]."""
        from scipy.linalg import solve_triangular

        means, variances = [], []
        g, logs = len(self.groups), self.believed.logs
        prior = float(np.exp(logs[0]) + np.exp(logs[1 + g : 1 + 2 * g]).sum())
        for start in range(0, len(groups[0]), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            distances = [_squared_distances(known, new[chunk]) for known, new in zip(self.groups, groups, strict=True)]
            covariance = _covariance(distances, logs)
            means.append(self.weights @ covariance)
            explained = solve_triangular(self.factor, covariance, lower=True, overwrite_b=True, check_finite=False)
            variances.append(np.maximum(prior - np.einsum("nm,nm->m", explained, explained), _JITTER))
        return (
            np.concatenate(means) * self.spread + self.centre,
            np.sqrt(np.concatenate(variances)) * self.spread,
        )


def _start(distances: Sequence[FloatArray]) -> FloatArray:
    """Scales begin at the mean squared distance of each group."""
    g = len(distances)
    scales = np.log([float(d.mean()) or 1.0 for d in distances])
    return np.concatenate([[np.log(_JOINT)], scales, np.full(g, np.log(_OWN)), scales, [np.log(_NOISE)]])


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """float64[n, m] of a[n, f] and b[m, f]."""
    distances: FloatArray = a @ (-2.0 * b.T)
    distances += np.einsum("nf,nf->n", a, a)[:, None]
    distances += np.einsum("mf,mf->m", b, b)[None]
    return np.maximum(distances, 0.0, out=distances)


def _covariance(distances: Sequence[FloatArray], logs: FloatArray) -> FloatArray:
    """Without noise, of the shape of the distances."""
    g = len(distances)
    scale, own, own_scale = np.exp(logs[1 : 1 + 3 * g].reshape(3, g))
    total: FloatArray = 3.0 / scale[0] * distances[0]
    for i in range(1, g):
        total += 3.0 / scale[i] * distances[i]
    root = np.sqrt(total, out=total)
    result: FloatArray = 1.0 + root
    result *= np.exp(logs[0])
    result *= np.exp(np.negative(root, out=root), out=root)
    for i in range(g):
        alone = distances[i] / -own_scale[i]
        result += np.multiply(own[i], np.exp(alone, out=alone), out=alone)
    return result


def _negative_log_posterior(
    logs: FloatArray, distances: Sequence[FloatArray], values: FloatArray, start: FloatArray
) -> tuple[float, FloatArray]:
    """Of the hyperparameters, up to a constant, and its gradient (Rasmussen and Williams 2006, eqs. 2.30 and 5.9)."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    g, n = len(distances), len(values)
    scale, own, own_scale = np.exp(logs[1 : 1 + 3 * g].reshape(3, g))
    root = np.sqrt(sum(3.0 / scale[i] * distances[i] for i in range(g)))
    decay = np.exp(logs[0] - root)
    alone = [own[i] * np.exp(distances[i] / -own_scale[i]) for i in range(g)]
    joint = (1.0 + root) * decay
    covariance = joint + sum(alone)
    noise = float(np.exp(logs[-1]))
    covariance[np.diag_indices(n)] += noise + _JITTER
    off = (logs - start) / _PRIOR_SD
    try:
        factor = cho_factor(covariance, lower=True, check_finite=False)
    except LinAlgError:
        return 1e10, np.zeros_like(logs)
    weights = cho_solve(factor, values, check_finite=False)
    value = 0.5 * values @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
    outer = cho_solve(factor, np.eye(n), overwrite_b=True, check_finite=False) - np.outer(weights, weights)
    pull = 1.5 * outer * decay
    gradient = 0.5 * np.array(
        [
            np.vdot(outer, joint),
            *(np.vdot(pull, distances[i]) / scale[i] for i in range(g)),
            *(np.vdot(outer, alone[i]) for i in range(g)),
            *(np.vdot(outer * alone[i], distances[i]) / own_scale[i] for i in range(g)),
            noise * np.trace(outer),
        ]
    )
    return float(value), gradient + off / _PRIOR_SD

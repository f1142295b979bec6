"""A small fully connected network with ReLU, computed in numpy in single precision. Training it lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.quantities import FloatArray

#: Rows at a time, so that activations of a few hundred units stay in the cache.
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class DenseNetwork:
    """Layers ``x @ weights[i] + biases[i]`` with ReLU between, one output.

    Attributes:
        weights: float32[in, out] of each layer.
        biases: float32[out] of each layer.
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    @property
    def inputs(self) -> int:
        """Number of features that the first layer reads."""
        return int(self.weights[0].shape[0])

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> DenseNetwork:
        """Layers from a torch ``Sequential``'s state: ``0.weight`` (out, in), ``0.bias``, ``2.weight``, ...

        Raises InputError if the arrays do not make such a network.
        """
        names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
        weights = tuple(np.ascontiguousarray(np.asarray(state[f"{n}.weight"], np.float32).T) for n in names)
        biases = tuple(np.asarray(state.get(f"{n}.bias", np.zeros(1)), np.float32) for n in names)
        fits = all(w.ndim == 2 and w.shape[1:] == b.shape for w, b in zip(weights, biases, strict=True))
        if not (weights and fits and len(state) == 2 * len(names)):
            raise InputError(
                f"The arrays {', '.join(list(state)[:6])} are not the layers of a fully connected network.",
                "Give the file of a fully connected accuracy network.",
            )
        if any(a.shape[1] != b.shape[0] for a, b in pairwise(weights)) or weights[-1].shape[1] != 1:
            raise InputError(
                "The layers of the network do not follow one another to a single output.", "Give another file."
            )
        if not all(np.isfinite(array).all() for array in (*weights, *biases)):
            raise InputError("The network has weights that are no finite numbers.", "Train it again, or give another.")
        return cls(weights, biases)

    def relaxed(self, features: Tensor) -> Tensor:
        """float32[n] of features float32[n, inputs], differentiable."""
        import torch

        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            features = (features @ torch.from_numpy(weight) + torch.from_numpy(bias)).relu()
        return (features @ torch.from_numpy(self.weights[-1]))[:, 0] + float(self.biases[-1][0])

    def __call__(self, genotypes: Genotypes, features: Callable[[Genotypes], NDArray[np.float32]]) -> FloatArray:
        """float64[n] of int8[n, v]; ``features`` turns a chunk of genotypes into float32[., inputs]."""
        result = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _CHUNK):
            x = features(genotypes[start : start + _CHUNK])
            for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
                x = x @ weight
                x += bias
                np.maximum(x, 0, out=x)
            result[start : start + _CHUNK] = (x @ self.weights[-1])[:, 0] + self.biases[-1][0]
        return result

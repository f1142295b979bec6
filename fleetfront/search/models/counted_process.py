"""Model counted accuracies by a Gaussian process, whose mean extends to probabilities of choices.

For spaces too large for a table and accuracies too few for networks that learn them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fleetfront.predictors.relaxed import by_look_up, soft_features
from fleetfront.search.models.features import NetworkFeatures, gene_kinds
from fleetfront.search.models.gaussian_process import GaussianProcess, Hyperparameters
from fleetfront.spaces.base import DescribesNetworks, Genotypes, RelaxesActivity, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: How far above the best known accuracy the logarithm's zero lies, as a share of what is known's reach.
_HEADROOM = 0.25
#: Steps of the search for hyperparameters.
_STEPS = 30


@dataclass(frozen=True, slots=True)
class ErrorProcess:
    """A process over the logarithm of how far networks stay behind ``top``: it tells good networks apart.

    Attributes:
        genotypes, accuracy: int8[n, v] and float64[n] that it was fitted to.
        top: an accuracy above all.
    """

    space: SearchSpace
    genotypes: Genotypes
    accuracy: FloatArray
    top: float
    process: GaussianProcess

    kind = "process"

    @classmethod
    def fit(
        cls, space: SearchSpace, genotypes: Genotypes, accuracy: FloatArray, top: float | None = None,
        like: Hyperparameters | None = None,
    ) -> ErrorProcess:  # fmt: skip
        """Fit accuracy float64[n] of n canonical networks; hyperparameters are those of ``like``, where it is given."""
        if top is None:
            top = float(accuracy.max()) + _HEADROOM * max(float(np.ptp(accuracy)), 0.1)
        groups = NetworkFeatures(space)(genotypes)
        process = GaussianProcess.fit(groups, -np.log(top - accuracy), like, steps=_STEPS if like is None else 0)
        return cls(space, genotypes, accuracy, top, process)

    def predict(self, genotypes: Genotypes) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, float64[n] each, the noise of a single answer included."""
        if not len(genotypes):
            return np.zeros(0), np.zeros(0)
        logs, deviation = self.process.predict(NetworkFeatures(self.space)(genotypes))
        error = np.exp(-logs)
        return self.top - error, error * np.hypot(deviation, self.process.noise_std)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Mean float32[n] of relaxed architectures float32[n, f]: by its features, where these extend to probabilities;
        MACs and parameters, and features of a space's own, by looking neighbours up."""
        space = self.space
        if isinstance(space, DescribesNetworks) or not isinstance(space, RelaxesActivity):
            return by_look_up(space, lambda rows: self.predict(rows)[0], choice_probabilities)
        genes = soft_features(space, choice_probabilities).double()
        counts = (space.macs, space.params)
        sizes = [by_look_up(space, lambda rows, of=of: _log(of(rows)), choice_probabilities) for of in counts]  # type: ignore[misc]
        kinds = torch.from_numpy(gene_kinds(space))
        logs = _mean(self.process, (genes, genes @ kinds, torch.stack(sizes, dim=1).double()))
        return (self.top - torch.exp(-logs)).float()

    def tensors(self) -> dict[str, Tensor]:
        """The networks and accuracies it was fitted to, and the hyperparameters found."""
        believed = self.process.believed
        arrays = {"genotypes": self.genotypes, "accuracy": self.accuracy, "top": np.array([self.top])}
        arrays |= {"logs": believed.logs, "start": believed.start}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], space: SearchSpace) -> ErrorProcess:
        """Read ``tensors`` back. Raises KeyError or ValueError on anything else."""
        names = ("genotypes", "accuracy", "top", "logs", "start")
        genotypes, accuracy, top, logs, start = (tensors[name].numpy() for name in names)
        groups = len(NetworkFeatures(space)(genotypes[:1])) if genotypes.shape[1:] == (len(space.choices),) else 0
        if genotypes.dtype != np.int8 or not groups or not len(genotypes) or accuracy.shape != (len(genotypes),):
            raise ValueError("the accuracies of the process have the wrong shape")
        if top.shape != (1,) or not logs.shape == start.shape == (2 + 3 * groups,) or accuracy.max() >= top[0]:
            raise ValueError("the process has the wrong hyperparameters")
        return cls.fit(space, genotypes, accuracy, float(top[0]), Hyperparameters(logs, start))


def _log(counts: FloatArray) -> FloatArray:
    result: FloatArray = np.log(np.maximum(counts, 1.0))
    return result


def _mean(process: GaussianProcess, groups: tuple[Tensor, ...]) -> Tensor:
    """The process's mean float64[m] through which gradients flow; see ``GaussianProcess`` for the covariance."""
    logs, g = process.believed.logs, len(groups)
    scale, own, own_scale = np.exp(logs[1 : 1 + 3 * g].reshape(3, g)).tolist()
    distances = []
    for new, known in zip(groups, process.groups, strict=True):
        at = torch.from_numpy(np.ascontiguousarray(known))
        squares = (new**2).sum(dim=1)[:, None] + (at**2).sum(dim=1)[None] - 2 * new @ at.T
        distances.append(squares.clamp(min=0.0))
    total = torch.stack([3.0 / scale[i] * d for i, d in enumerate(distances)]).sum(dim=0)
    # The root has no slope at 0.
    root = (total + 1e-12).sqrt()
    covariance = float(np.exp(logs[0])) * (1.0 + root) * torch.exp(-root)
    for i, d in enumerate(distances):
        covariance = covariance + own[i] * torch.exp(-d / own_scale[i])
    result: Tensor = covariance @ torch.from_numpy(process.weights) * process.spread + process.centre
    return result

"""Models of accuracy that are fitted to the accuracies a search has counted, for strategies that train.

A space that can be looked at whole gets a table of a Gaussian process's predictions, a large one the process itself, or
a small ensemble of networks over its genes where much is known. All extend to probabilities of choices, so that
gradients flow through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from fleetfront.predictors.relaxed import by_look_up, one_hot, soft_features
from fleetfront.predictors.table.networks import GenotypeIndex
from fleetfront.search.models.counted_process import ErrorProcess
from fleetfront.search.models.features import gene_kinds
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray
    from fleetfront.search.archive import Archive
    from fleetfront.search.problem import Problem

#: Networks that a process is fitted to at most, for a fit costs the cube of it, and how many may be known where one
#: serves: of 5,000 of OFA's, 700 tell more than an ensemble learns of all.
_FITTED, _FEW = 700, 20_000
#: Of these the share that is nearest to the fronts; the others are drawn. Those near the fronts alone know nothing of
#: bad choices: of 15,000 of OFA's, what 700 of them say of the fronts' neighbours is 1.5 deviations too good in the
#: median, what both halves say 0.1.
_NEAREST = 0.5
#: Members of the ensemble, units of its two layers, and networks of a step.
_MEMBERS, _UNITS, _BATCH = 4, 96, 256
_RATE, _DECAY = 3e-3, 1e-2
#: Members of an ensemble agree more than they are right.
_SPREAD_FACTOR = 1.5
#: Rows at a time.
_CHUNK = 8192


class CountedAccuracy(Protocol):
    """Accuracy as far as counted ones tell it; the higher the better."""

    @property
    def kind(self) -> str:
        """How files call it."""

    def predict(self, genotypes: Genotypes) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation, float64[n] each."""

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Mean float32[n] of relaxed architectures float32[n, f], differentiable."""

    def tensors(self) -> dict[str, Tensor]:
        """All that ``load_counted`` needs."""


@dataclass(frozen=True, slots=True)
class TabledAccuracy:
    """Predictions for every network of a small space.

    Attributes:
        genotypes: int8[n, v], canonical and distinct.
        mean, std: float64[n].
    """

    space: SearchSpace
    genotypes: Genotypes
    mean: FloatArray
    std: FloatArray
    index: GenotypeIndex

    kind = "table"

    def predict(self, genotypes: Genotypes) -> tuple[FloatArray, FloatArray]:
        """Looked up; what was not allowed in the search counts as the worst there is."""
        rows = self.index.find(genotypes)
        is_known = rows >= 0
        return np.where(is_known, self.mean[rows], self.mean.min()), np.where(is_known, self.std[rows], self.std.max())

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Looked up, with the slopes of the multilinear extension."""
        return by_look_up(self.space, lambda rows: self.predict(rows)[0], choice_probabilities)

    def tensors(self) -> dict[str, Tensor]:
        """Genotypes, means, deviations."""
        arrays = {"genotypes": self.genotypes, "mean": self.mean, "std": self.std}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True)
class AccuracyEnsemble:
    """Small networks over genes and the sums of genes that share their values, each fitted to other counted networks.

    Attributes:
        layers: weights and biases of all members: ``w0`` float32[m, f, u], ``b0`` float32[m, 1, u], ..., ``b2``.
        kinds: float32[f, k]: adds up genes that share their values.
        centre, spread: mean and standard deviation of features and of accuracies, which the members see standardised.
        error: what the members are off on networks that none was fitted to, in units of accuracy.
    """

    space: SearchSpace
    layers: Mapping[str, Tensor]
    kinds: Tensor
    centre: Tensor
    spread: Tensor
    level: tuple[float, float]
    error: float

    kind = "ensemble"

    def predict(self, genotypes: Genotypes) -> tuple[FloatArray, FloatArray]:
        """Mean of the members; their spread and the error that they had are the deviation."""
        means, spreads = [], []
        with torch.no_grad():
            for start in range(0, len(genotypes), _CHUNK):
                members = self._members(one_hot(self.space, genotypes[start : start + _CHUNK])).double().numpy()
                means.append(members.mean(axis=0))
                spreads.append(members.std(axis=0))
        mean, spread = (np.concatenate(one) if one else np.zeros(0) for one in (means, spreads))
        return mean, np.hypot(_SPREAD_FACTOR * spread, self.error)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Mean of the members."""
        return self._members(choice_probabilities).mean(dim=0)

    def _members(self, probabilities: Tensor) -> Tensor:
        features = (_features(self.space, self.kinds, probabilities) - self.centre) / self.spread
        return _forward(self.layers, features) * self.level[1] + self.level[0]

    def tensors(self) -> dict[str, Tensor]:
        """Weights and what features and accuracies are scaled by."""
        scalars = torch.tensor([*self.level, self.error], dtype=torch.float64)
        return {**self.layers, "centre": self.centre, "spread": self.spread, "level": scalars}


def load_counted(kind: str, tensors: Mapping[str, Tensor], space: SearchSpace) -> CountedAccuracy:
    """Load what ``tensors`` gave. Raises KeyError or ValueError on anything else."""
    if kind == TabledAccuracy.kind:
        genotypes, mean, std = (tensors[name].numpy() for name in ("genotypes", "mean", "std"))
        if genotypes.dtype != np.int8 or genotypes.shape != (len(mean), len(space.choices)) or mean.shape != std.shape:
            raise ValueError("the table of accuracies has the wrong shape")
        return TabledAccuracy(space, genotypes, mean, std, GenotypeIndex(space, genotypes))
    if kind == ErrorProcess.kind:
        return ErrorProcess.load(tensors, space)
    if kind != AccuracyEnsemble.kind:
        raise ValueError(f"accuracy of the kind {kind!r}")
    level = tensors["level"].tolist()
    layers = {name: tensors[name] for name in ("w0", "b0", "w1", "b1", "w2", "b2")}
    kinds = _kinds(space)
    width = sum(kinds.shape)
    if layers["w0"].shape[1] != width or len(level) != 3:
        raise ValueError(f"the ensemble reads {layers['w0'].shape[1]} features, the space has {width}")
    return AccuracyEnsemble(space, layers, kinds, tensors["centre"], tensors["spread"], (level[0], level[1]), level[2])


def fit_counted(problem: Problem, seed: int, steps: int) -> CountedAccuracy:
    """Fit the accuracies of a problem's archive; ``steps`` of an ensemble's training."""
    every, archive = problem.every(), problem.archive
    if every is None and len(archive) > _FEW:
        return fit_ensemble(problem.space, archive.genotypes, archive.accuracy, seed, steps)
    rows = np.argsort(-archive.accuracy if every is not None else _behind(archive), kind="stable")
    if len(rows) > _FITTED:
        near, rest = np.split(rows, [int(_NEAREST * _FITTED)])
        drawn = np.random.default_rng(seed).permutation(len(rest))[: _FITTED - len(near)]
        rows = np.concatenate([near, rest[np.sort(drawn)]])
    process = ErrorProcess.fit(problem.space, archive.genotypes[rows], archive.accuracy[rows])
    if every is None:
        return process
    mean, std = process.predict(every)
    at = archive.find(every)
    mean[at >= 0], std[at >= 0] = archive.accuracy[at[at >= 0]], archive.accuracy_std[at[at >= 0]]
    return TabledAccuracy(problem.space, every, mean, std, GenotypeIndex(problem.space, every))


def _behind(archive: Archive) -> FloatArray:
    """By how much each network is less accurate than the best of those that cost no more, on the target where that is
    least: float64[n]."""
    least = np.full(len(archive), np.inf)
    for cost in archive.cost.T:
        order = np.argsort(cost, kind="stable")
        best = np.maximum.accumulate(archive.accuracy[order])
        least[order] = np.minimum(least[order], best - archive.accuracy[order])
    return least


def fit_ensemble(
    space: SearchSpace, genotypes: Genotypes, accuracy: FloatArray, seed: int, steps: int
) -> AccuracyEnsemble:
    """Fit accuracy float64[n] of n distinct networks. A tenth of them tells the error and is not fitted to."""
    generator = torch.Generator().manual_seed(seed)
    kinds = _kinds(space)
    x = _features(space, kinds, one_hot(space, genotypes))
    level = (float(accuracy.mean()), max(float(accuracy.std()), 1e-6))
    order = torch.randperm(len(x), generator=generator)
    held = order[: len(x) // 10]
    fitted = order[len(x) // 10 :]
    centre, spread = x.mean(dim=0), x.std(dim=0, unbiased=False)
    spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    x = (x - centre) / spread
    y = torch.from_numpy((accuracy - level[0]) / level[1]).float()
    layers = _layers(x.shape[1], generator)
    _train(layers, x[fitted], y[fitted], steps, generator)
    with torch.no_grad():
        off = _forward(layers, x[held]).mean(dim=0) - y[held]
    error = float(off.square().mean().sqrt()) * level[1] if len(held) else level[1]
    return AccuracyEnsemble(space, {k: v.detach() for k, v in layers.items()}, kinds, centre, spread, level, error)


def _train(layers: dict[str, Tensor], x: Tensor, y: Tensor, steps: int, generator: torch.Generator) -> None:
    """Least squares by AdamW; each member weighs each network 0.5, and another 0.5 as often as it drew it."""
    for tensor in layers.values():
        tensor.requires_grad_()
    optimiser = torch.optim.AdamW(layers.values(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=max(steps, 1))
    drawn = torch.randint(0, len(x), (_MEMBERS, len(x)), generator=generator)
    weight = 0.5 + 0.5 * torch.zeros(_MEMBERS, len(x)).scatter_add_(1, drawn, torch.ones(drawn.shape))
    for _ in range(steps):
        rows = torch.randint(0, len(x), (min(_BATCH, len(x)),), generator=generator)
        loss = ((_forward(layers, x[rows]) - y[rows]).square() * weight[:, rows]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _kinds(space: SearchSpace) -> Tensor:
    return torch.from_numpy(gene_kinds(space)).float()


def _features(space: SearchSpace, kinds: Tensor, probabilities: Tensor) -> Tensor:
    """Genes as far as they are active, and the sums of genes that share their values: float[n, f + k]."""
    genes = soft_features(space, probabilities)
    return torch.cat([genes, genes @ kinds], dim=1)


def _layers(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    sizes = [(width, _UNITS, 2.0), (_UNITS, _UNITS, 2.0), (_UNITS, 1, 1.0)]
    layers = {}
    for i, (inputs, outputs, gain) in enumerate(sizes):
        layers[f"w{i}"] = torch.randn(_MEMBERS, inputs, outputs, generator=generator) * (gain / inputs) ** 0.5
        layers[f"b{i}"] = torch.zeros(_MEMBERS, 1, outputs)
    return layers


def _forward(layers: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """float[m, n] of standardised features float[n, f]."""
    silu = torch.nn.functional.silu
    hidden = silu(torch.matmul(x, layers["w0"]) + layers["b0"])
    hidden = silu(torch.matmul(hidden, layers["w1"]) + layers["b1"])
    return (torch.matmul(hidden, layers["w2"]) + layers["b2"])[..., 0]

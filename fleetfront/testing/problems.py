"""Make small search problems whose costs and accuracies are arithmetic, so that searches take milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import AccuracyModel, covers_all
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Tier
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.catalogue import load_space

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class SyntheticAccuracy:
    """Additive over active genes, with a bend so that it is not quite. An AccuracyModel that keeps what it was asked.

    Attributes:
        bend: height in percent of a sine over the additive part.
        asked: the bytes of every row that it was asked for, in order.
    """

    space: SearchSpace
    bend: float = 0.3
    source: str = "synthetic"
    tier: Tier = Tier.PREDICTED
    lowest: float = 50.0
    asked: list[bytes] = field(default_factory=list)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Between about 60 % and 60 % + number of genes, for n genotypes int8[n, v]."""
        self.asked.extend(map(bytes, genotypes))
        rng = np.random.default_rng(7)
        gain = [np.sort(rng.uniform(0, 1, len(values))) for values in self.space.choices]
        active = self.space.active(genotypes)
        total = np.zeros(len(genotypes))
        for gene, gains in enumerate(gain):
            total += np.where(active[:, gene], gains[genotypes[:, gene]], 0.0)
        return Estimate(60 + total + self.bend * np.sin(3 * total), np.full(len(genotypes), 0.1), self.tier)


class BlockSums:
    """The sum of ``values`` float64[|V|] over a network's blocks. A CostModel.

    ``relative_std`` is the standard deviation of a sum relative to it.
    """

    def __init__(
        self,
        space: SearchSpace,
        values: FloatArray,
        *,
        metric: Metric = LATENCY,
        tier: Tier = Tier.MEASURED,
        relative_std: float = 0.0,
    ) -> None:
        """Raises InputError unless there is one finite value for each block of the vocabulary."""
        if values.shape != (len(space.vocabulary),) or not np.all(np.isfinite(values)):
            raise InputError(
                f"{values.shape} values do not give the {len(space.vocabulary)} blocks of {space.name} a number each.",
                "Give one finite number for each block of the vocabulary.",
            )
        self.metric = metric
        self.tier = tier
        self._relative_std = relative_std
        self._space, self._values = space, values
        self._sum: Callable[[Genotypes], FloatArray] = block_sum(space, values)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Sums for n genotypes int8[n, v], in the metric's unit."""
        mean = self._sum(genotypes)
        return Estimate(mean, self._relative_std * np.abs(mean), self.tier)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Expected sums float32[n] of relaxed architectures float32[n, f]."""
        from fleetfront.predictors.relaxed import by_look_up, relaxed_sums

        sums = relaxed_sums(self._space, [self._values], choice_probabilities)
        return by_look_up(self._space, self._sum, choice_probabilities) if sums is None else sums[0]

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


def synthetic_latencies(space: SearchSpace, devices: int = 2, seed: int = 3) -> tuple[BlockSums, ...]:
    """A cost model in ms for each device: each has a price of its own for every block."""
    rng = np.random.default_rng(seed)
    size = len(space.vocabulary)
    return tuple(BlockSums(space, rng.uniform(0.2, 2.0, size), relative_std=0.02) for _ in range(devices))


def small_problem(
    space: SearchSpace | None = None,
    *,
    latencies: tuple[BlockSums, ...] = (),
    limits: tuple[float | None, ...] = (),
    accuracy: AccuracyModel | None = None,
    **options: Any,
) -> Problem:
    """A problem of ``space`` (``ofa-mbv3-mini`` by default) on two made-up devices; ``options`` go to ``Problem``."""
    chosen = space or load_space("ofa-mbv3-mini")
    models = latencies or synthetic_latencies(chosen)
    targets = tuple(
        ProblemTarget(f"device_{i}", model, f"device_{i}/litert/fp32/t1/b1", limits[i] if limits else None)
        for i, model in enumerate(models)
    )
    return Problem(chosen, targets, accuracy or SyntheticAccuracy(chosen), **options)

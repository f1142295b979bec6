"""A cost model that adds up one value a block, e.g. of a published lookup table. Nothing is calibrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.quantities import LATENCY, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


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
        self._sum: Callable[[Genotypes], FloatArray] = block_sum(space, values)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Sums for n genotypes int8[n, v], in the metric's unit."""
        mean = self._sum(genotypes)
        return Estimate(mean, self._relative_std * np.abs(mean), self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)

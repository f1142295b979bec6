"""From visits to numbers with an uncertainty: what was measured of a space's blocks, and how noisy it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.table.lookup import MeasuredBlock, Vocabulary
from fleetfront.profilers.reading.observations import Observations, summarise
from fleetfront.profilers.records import Role
from fleetfront.spaces.base import DescribesBlocks, Interpolable, SearchSpace
from fleetfront.spaces.outlines import outline_blocks

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Relative noise of a number where nothing was visited twice: between rounds on a busy machine it was 2 to 4 %.
NOISE_OF_ONE_VISIT = 0.03
#: So many blocks' worth of evidence the typical noise has against a block's own, which comes from two halves alone.
_TYPICAL_WEIGHT = 3.0


def vocabulary_of(space: SearchSpace) -> Vocabulary:
    """The blocks of a space, as filling a lookup table needs to know them.

    Blocks of a space that is not Interpolable are told apart by family, parameters and channels; those of one that does
    not describe them are described by the sizes of their weights and inputs.
    """
    blocks = space.vocabulary
    groups: NDArray[np.int32] | list[int]
    if isinstance(space, Interpolable):
        groups, side = space.interpolation_groups()
        pixels = np.asarray(side, np.float64) ** 2
    else:
        names: dict[tuple[object, ...], int] = {}
        groups = [
            names.setdefault((b.family, b.parameters, *(shape[0] for shape in b.inputs)), len(names)) for b in blocks
        ]
        pixels = np.array([float(sum(np.prod(shape[1:]) for shape in b.inputs)) for b in blocks])
    if isinstance(space, DescribesBlocks):
        features = np.asarray(space.block_features(blocks)[0], np.float64)
    else:
        weights = [float(sum(w.size for w in graph.weights.values())) for graph in outline_blocks(space, blocks)]
        features = np.stack([np.array(weights), pixels], axis=1)
    return Vocabulary(tuple(b.key for b in blocks), np.asarray(groups, np.intp), pixels, features)


def measured_blocks(observations: Observations, statistic: str) -> dict[str, MeasuredBlock]:
    """Milliseconds of every measured block, with the noise of that number.

    The noise of a block is what its halves say, drawn towards what the halves of all blocks say together.
    """
    visits = observations.visits.get(Role.BLOCK, {})
    variance = half_variances(visits, statistic)
    typical = typical_variance(variance)
    shrunk = (np.where(np.isnan(variance), typical, variance) + _TYPICAL_WEIGHT * typical) / (1 + _TYPICAL_WEIGHT)
    return {
        key: MeasuredBlock(summarise(ms, statistic), float(std))
        for (key, ms), std in zip(visits.items(), np.sqrt(shrunk), strict=True)
    }


def half_variances(visits_ms: Mapping[str, FloatArray], statistic: str) -> FloatArray:
    """Relative variance of ``summarise`` of each of k things, float64[k], NaN where it was visited once.

    Two interleaved halves of the visits have twice the variance of all of them, their difference four times.
    """
    result = np.full(len(visits_ms), np.nan)
    for index, visits in enumerate(visits_ms.values()):
        if visits.size >= 2:
            difference = np.log(summarise(visits[::2], statistic) / summarise(visits[1::2], statistic))
            result[index] = difference**2 / 4
    return result


def typical_variance(variances: FloatArray) -> float:
    """The mean of those that are known, less the most extreme twentieth; a default if none is."""
    known = np.sort(variances[~np.isnan(variances)])
    if not known.size:
        return NOISE_OF_ONE_VISIT**2
    return float(known[: max(1, int(np.ceil(0.95 * known.size)))].mean())

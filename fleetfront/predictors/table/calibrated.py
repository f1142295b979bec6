"""The cost model that fits are made of: block sums, calibrated on whole networks, corrected by XGBoost where that pays.

Making one from measurements is ``fitting``; its file is ``fit_files``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from fleetfront.predictors.base import covers_all
from fleetfront.predictors.table.calibration import Calibration
from fleetfront.predictors.table.intervals import TYPICAL_SPREAD, SittingSpread, moving_share
from fleetfront.predictors.table.lookup import Filled, LookupTable
from fleetfront.predictors.table.residual import residual_features
from fleetfront.predictors.trees import Trees
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.quantities import LATENCY, Clock, Estimate, FloatArray, NamedMetric, Tier
from fleetfront.spaces.base import Additive, DescribesBlocks, Genotypes, SearchSpace
from fleetfront.spaces.outlines import outline_blocks
from fleetfront.targets import Target, running_bytes_of

if TYPE_CHECKING:
    from torch import Tensor

#: Architectures at a time where each needs many numbers (block indices, features): those stay in the cache.
_CHUNK = 8192
#: Networks of which so much of a machine's wandering is felt are large: those beyond about 5 MiB of weights.
_LARGE = 0.725
#: Networks whose weights are counted to see whether a space's networks are alike, and what share of a machine's
#: wandering they may differ by to be.
_LOOKED_AT, _ALIKE = 64, 0.05


def block_sum(space: SearchSpace, values: FloatArray) -> Callable[[Genotypes], FloatArray]:
    """A function int8[n, v] -> float64[n] that sums per-block ``values`` float64[|V|] over each network."""
    if isinstance(space, Additive):
        return space.additive(values)
    padded = np.append(np.asarray(values, np.float64), 0.0)

    def gathered(genotypes: Genotypes) -> FloatArray:
        result = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _CHUNK):
            # The padding index -1 reads the appended zero.
            result[start : start + _CHUNK] = padded[space.block_indices(genotypes[start : start + _CHUNK])].sum(axis=1)
        return result

    return gathered


@dataclass(frozen=True, slots=True)
class FittedModel:
    """Everything a fit learned, without the space: plain data that a file holds.

    Attributes:
        statistic: how visits were summarised, e.g. ``minimum``.
        relative_std: half-width of the 90 % interval of a prediction within its sitting, divided by 1.645 and by the
            prediction.
        between_sittings: what other sittings add to that.
        others: what other programs did in its sitting; None where nobody tells.
        fitted_ns: when the sitting began, nanoseconds since 1970; 0 if nobody says.
        typical_fill_variance: mean over the calibration networks of the relative variance that their blocks' own
            uncertainty explains; part of ``relative_std`` already.
        environment: what the agent said of the device when it measured.
        is_preferred: of the clocks fitted together, the one to be used unless asked otherwise.
        created_with: version of fleetfront.
        store: the file whose measurements it was fitted to, from the workspace's folder if it lies there; empty if
            nobody says.
    """

    space: str
    target: Target
    clock: Clock
    statistic: str
    table: LookupTable
    calibration: Calibration
    residual: Trees | None
    relative_std: Annotated[float, Ge(0)]
    typical_fill_variance: Annotated[float, Ge(0)]
    environment: dict[str, Any]
    is_preferred: bool
    created_with: str
    # Older files are all of latency, and know of one sitting alone.
    metric: NamedMetric = LATENCY
    between_sittings: SittingSpread = TYPICAL_SPREAD
    fitted_ns: int = 0
    others: OtherPrograms | None = None
    store: str = ""

    @property
    def is_busy(self) -> bool:
        """True if its sitting was made beside other programs."""
        return self.others is not None and self.others.is_much

    @property
    def in_its_sitting(self) -> FittedModel:
        """The model of its own sitting, which is not centred on the mean of several."""
        return replace(self, between_sittings=replace(self.between_sittings, level=0.0))

    @property
    def description(self) -> str:
        """The model in words, e.g. ``lookup table, calibrated (3 terms, 20 networks)``."""
        text = "lookup table"
        if self.calibration.terms:
            text += f", calibrated ({self.calibration.terms} terms, {self.calibration.networks} networks)"
        return text + (", XGBoost on the residual" if self.residual is not None else "")


class CalibratedTable:
    """One metric, mostly latency in milliseconds, on one target under one clock. A CostModel."""

    tier: Tier = Tier.MEASURED

    def __init__(self, space: SearchSpace, model: FittedModel) -> None:
        """Raises InputError if the space has blocks that the model's table lacks."""
        self.space = space
        self.metric = model.metric
        self.model = model
        keys = tuple(block.key for block in space.vocabulary)
        table = model.table if model.table.keys == keys else model.table.reordered(keys)
        self._table = table
        params = block_params(space)
        calibration = model.calibration
        self._lookup = block_sum(space, table.ms)
        # One table carries a and c; the constant is added to the sum.
        self._calibrated = block_sum(space, calibration.a * table.ms + calibration.c * params)
        self._params = block_sum(space, params)
        sizes = self._weight_bytes(space.sample(_LOOKED_AT, np.random.default_rng(0)))
        #: Weights of the network in the middle.
        self.typical_bytes = float(np.median(sizes))
        self._largest_share = float(moving_share(sizes).max())
        # Most spaces lie on one side of the caches as a whole, and need not be counted network by network.
        self._alike_bytes = self.typical_bytes if np.ptp(moving_share(sizes)) < _ALIKE else None
        has_guesses = Filled.MODELLED in table.filled
        self._fill_variance = block_sum(space, (table.ms * table.relative_std) ** 2) if has_guesses else None

    @property
    def is_large(self) -> bool:
        """True if the space's typical network feels most of how a machine wanders between sittings."""
        return float(moving_share(np.array(self.typical_bytes))) >= _LARGE

    @property
    def has_large(self) -> bool:
        """True if the largest of some networks of the space does."""
        return self._largest_share >= _LARGE

    @property
    def unpromised(self) -> str:
        """Why nothing is promised of large networks in other sittings; empty where something is of all of the space.

        Of large networks one sitting alone tells too little: files deployed hours after five profiles, with intervals
        for the typical wandering, lay inside in 75 % of one profile's cases and 95 to 97 % of the others'; one more
        sitting took the least to 89 %. Small networks moved by half a percent.
        """
        return self._one_sitting if self.has_large else ""

    @property
    def _one_sitting(self) -> str:
        """The reason to promise nothing of large networks, of whatever size those of the space are."""
        model = self.model
        if model.metric != LATENCY or model.between_sittings.sittings:
            return ""
        # Imported numbers are of whatever sitting their source took.
        if model.clock is Clock.UNKNOWN:
            return ""
        again = f"fleetfront fit {model.target.options} --space {model.space} --recalibrate"
        return (
            "known from one sitting alone, which says too little of how large networks run in others; "
            f"{again}, ten minutes later or more, learns it in about ten seconds"
        )

    @property
    def target(self) -> Target:
        """The target that the latency belongs to."""
        return self.model.target

    @property
    def clock(self) -> Clock:
        """Which clock the latency would be read from."""
        return self.model.clock

    def lookup_ms(self, genotypes: Genotypes) -> FloatArray:
        """The uncalibrated sums of blocks, float64[n]."""
        return self._lookup(genotypes)

    def block_values(self) -> FloatArray:
        """float64[|V|]: ms of each block of the vocabulary alone, uncalibrated."""
        return self._table.ms

    def block_origins(self) -> tuple[str, ...]:
        """``measured``, ``interpolated`` or ``modelled`` for each block of the vocabulary."""
        return tuple(origin.value for origin in self._table.filled)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds of n genotypes int8[n, v] in the mean of the sittings that the model knows, with their std in
        any sitting and within one.

        mean +- 1.645 std is a 90 % interval.
        """
        calibration, model = self.model.calibration, self.model
        mean = self._calibrated(genotypes)
        mean += calibration.b
        np.maximum(mean, calibration.floor_ms, out=mean)
        if model.residual is not None:
            for start in range(0, len(mean), _CHUNK):
                rows = genotypes[start : start + _CHUNK]
                features = residual_features(self.space, rows, self._lookup(rows))
                mean[start : start + _CHUNK] *= np.exp(model.residual.predict(features))
        # Other metrics do not depend on the mood of a machine.
        weights = self._moving_bytes(genotypes) if model.metric == LATENCY else None
        if weights is not None:
            mean *= model.between_sittings.at_level(weights)
        within = mean * model.relative_std
        if self._fill_variance is not None:
            beyond = self._fill_variance(genotypes) / self._lookup(genotypes) ** 2 - model.typical_fill_variance
            within = mean * np.sqrt(model.relative_std**2 + np.maximum(beyond, 0.0))
        std = within
        if weights is not None:
            std = model.between_sittings.widen(mean, within, weights, model.is_busy)
        unpromised = self._one_sitting
        if not unpromised or weights is None or self.is_large:
            return Estimate(mean, std, self.tier, within, unpromised)
        withheld = np.broadcast_to(moving_share(weights) >= _LARGE, mean.shape)
        return Estimate(mean, std, self.tier, within, unpromised if withheld.any() else "", withheld)

    def _moving_bytes(self, genotypes: Genotypes) -> FloatArray:
        """Bytes of weights, float64[n], or float64[] where the space's networks are alike."""
        return self._weight_bytes(genotypes) if self._alike_bytes is None else np.array(self._alike_bytes)

    def _weight_bytes(self, genotypes: Genotypes) -> FloatArray:
        return self._params(genotypes) * running_bytes_of(self.model.target.precision)

    @property
    def relaxed_without(self) -> str:
        """Trees have no gradient."""
        return "" if self.model.residual is None else "the trees that correct its calibrated sums"

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Expected cost float32[n] of relaxed architectures float32[n, f]: the calibrated sums, without trees.

        Of a space whose networks move unlike between sittings all get the level of the typical one.
        """
        from fleetfront.predictors.relaxed import by_look_up, relaxed_sums

        calibration = self.model.calibration
        values = calibration.a * self._table.ms + calibration.c * block_params(self.space)
        sums = relaxed_sums(self.space, [values], choice_probabilities)
        total = by_look_up(self.space, self._calibrated, choice_probabilities) if sums is None else sums[0]
        level = self.model.between_sittings.at_level(np.array(self.typical_bytes)) if self.metric == LATENCY else 1.0
        return (total + calibration.b).clamp(min=calibration.floor_ms) * float(level)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


def block_params(space: SearchSpace) -> FloatArray:
    """Parameters of each block of the vocabulary, float64[|V|]: from the space, or counted in the blocks' graphs."""
    if isinstance(space, DescribesBlocks):
        return np.asarray(space.block_params(space.vocabulary), np.float64)
    outlines = outline_blocks(space, space.vocabulary)
    return np.array([float(sum(weight.size for weight in graph.weights.values())) for graph in outlines])

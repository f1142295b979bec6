"""Estimating a device that was never measured in a space: launch overhead, rate and bandwidth by class of operator.

``T = (launches^p + (batch * work)^p)^(1/p)``: with p = 1 overhead and work add up, as where one thread does both; with
a large p the longer of the two counts, as where a GPU works off a queue that the CPU fills. Coefficients are fitted to
public tables of another space by ``benchmarks/operator_fit.py`` and shipped in ``operator_models``, with the errors
found there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.base import covers_all
from fleetfront.predictors.operators.work import CLASSES, QUANTITIES, Mode, NetworkWork, graph_work
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.quantities import LATENCY, Z90, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.device_configs.facts import DeviceConfig
    from fleetfront.graphs.graph import Graph
    from fleetfront.quantities import FloatArray

SCHEMA = "fleetfront.operator-model/1"

#: How many times slower than its data sheet a device may run arithmetic of convolutions, and read their weights, and
#: how many times faster (data sheets count at a base clock, or whole numbers of another width). Of seventeen shipped
#: estimates sixteen lie within 0.5 to 13 times, and 1 to 200; the other says 890 and 1,030.
_ARITHMETIC_BOUNDS = (0.25, 50.0)
_WEIGHT_BOUNDS = (0.25, 500.0)

#: Standard deviations of logarithms, root mean squares over the twelve pieces of hardware whose estimates could be
#: checked on other spaces: by how much all latencies are off together (of seven where overhead and work add up, of five
#: that work off a queue), and among each other. ``benchmarks/operator_models.py`` holds each against the others.
LEVEL_STD, LEVEL_STD_OF_QUEUES, RANK_STD = 0.49, 0.18, 0.15
#: The logarithm of powers that doubles hold both ways, and a sum of two as well.
_LOG_OF_MOST = 600.0
#: An estimate that nobody could check lies within a factor of six either way in nine of ten cases.
UNCHECKED_STD = math.log(6) / Z90


@dataclass(frozen=True, slots=True)
class Check:
    """How an estimate fared on networks with known latency. ``spearman`` and ``mape`` (percent) as in ``scores``.

    ``space`` is that of the networks; ``setting`` the device setting; ``ceiling`` the Spearman of a model trained on
    those very networks (cross-validated), None where it was not made: noise keeps anything from passing it. Of the
    logarithms of measured over estimated, ``level`` is the median and ``rank`` the standard deviation around it, taken
    from the middle 90 %.
    """

    space: str
    setting: str
    networks: int
    spearman: float
    mape: float
    rms: float
    ceiling: float | None = None
    level: float = 0.0
    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class OperatorModel:
    """Coefficients of one piece of hardware under one runtime.

    Attributes:
        hardware: what the coefficients belong to, e.g. ``1080ti``.
        settings: names of the device configs that differ in batch size only.
        mode: which operators of dead branches it executes.
        base_ms: what a network costs whatever is in it.
        launch_ms, ms_per_mmac, ms_per_melement, ms_per_mweight: float64[classes], in the order of ``CLASSES``.
        exponent: p.
        fitted_on: source of the coefficients in words.
        checks: on networks that the coefficients were not fitted to.
    """

    hardware: str
    settings: tuple[str, ...]
    mode: Mode
    base_ms: float
    launch_ms: FloatArray
    ms_per_mmac: FloatArray
    ms_per_melement: FloatArray
    ms_per_mweight: FloatArray
    exponent: float
    fitted_on: str
    fitted_space: str
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        """Raises ValueError on an exponent that is no number from 1 up."""
        if not 1.0 <= self.exponent < math.inf:
            raise ValueError(f"the exponent is {self.exponent}")

    def latency_ms(self, work: FloatArray, batch: int = 1) -> FloatArray:
        """float64[n] of work float64[n, len(WORK_NAMES)]."""
        return self.combine(*self.parts(work, batch))

    def parts(self, work: FloatArray, batch: int) -> tuple[FloatArray, FloatArray]:
        """Launch overhead (without ``base_ms``) and busy time, float64[n] ms each; both are linear in work."""
        launches, mmacs, melements, mweights = (
            work.reshape(len(work), len(CLASSES), len(QUANTITIES))[:, :, i] for i in range(len(QUANTITIES))
        )
        busy = batch * (mmacs @ self.ms_per_mmac + melements @ self.ms_per_melement) + mweights @ self.ms_per_mweight
        return launches @ self.launch_ms, busy

    def combine(self, overhead: FloatArray, busy: FloatArray) -> FloatArray:
        """Latency in ms of the two ``parts`` of n networks."""
        launched, p = self.base_ms + overhead, self.exponent
        if p == 1.0:
            return launched + busy
        longer = np.maximum(launched, busy)
        if p * np.abs(np.log(longer[longer > 0])).max(initial=0.0) < _LOG_OF_MOST:
            plain: FloatArray = (launched**p + busy**p) ** (1 / p)
            return plain
        # Powers are beyond what doubles hold: the longer of the two is taken out of both.
        share = np.divide(np.minimum(launched, busy), longer, out=np.zeros_like(longer), where=longer > 0)
        with np.errstate(under="ignore"):
            total: FloatArray = longer * (1 + share**p) ** (1 / p)
        return total

    def objection(self, config: DeviceConfig) -> str:
        """Why coefficients cannot be defended against the device's data sheet; empty if they can or none is known.

        A multiply-accumulate is two of the sheet's operations, a weight is four bytes.
        """
        of_convolutions = CLASSES.index("convolution")
        peak = config.fact("peak_fp32_gflops") or config.fact("peak_int16_gops")
        bandwidth = config.fact("memory_bandwidth_gb_per_s")
        times = []
        if peak:
            times.append(("does arithmetic", self.ms_per_mmac[of_convolutions] * peak / 2, _ARITHMETIC_BOUNDS))
        if bandwidth:
            times.append(("reads weights", self.ms_per_mweight[of_convolutions] * bandwidth / 4, _WEIGHT_BOUNDS))
        for does, ratio, (low, high) in times:
            if not low <= ratio <= high:
                slower = f"{ratio:.0f} times slower" if ratio > 1 else f"{1 / ratio:.0f} times faster"
                return (
                    f"The shipped estimate of {self.hardware} says that it {does} {slower} than its data sheet: that "
                    "cannot be defended, so it serves no more."
                )
        return ""

    @property
    def is_queue(self) -> bool:
        """True where the longer of overhead and work counts, as on a GPU."""
        return self.exponent > 1.0

    @property
    def foreign_checks(self) -> tuple[Check, ...]:
        """Checks on another space than the coefficients were fitted on."""
        return tuple(check for check in self.checks if check.space != self.fitted_space)

    @property
    def rank_std(self) -> float:
        """Standard deviation of the logarithm of networks' latencies among each other: how far off they are if all are
        off by one factor that is known. What was seen on other spaces counts with ``RANK_STD`` as one of them.
        """
        return _with_others([check.rank for check in self.foreign_checks], RANK_STD)

    @property
    def level_std(self) -> float:
        """Standard deviation of the logarithm of the factor by which all latencies are off together."""
        levels = [check.level for check in self.foreign_checks]
        of_like = LEVEL_STD_OF_QUEUES if self.is_queue else LEVEL_STD
        return _with_others(levels, of_like) if levels else math.sqrt(UNCHECKED_STD**2 - RANK_STD**2)

    @property
    def relative_std(self) -> float:
        """Standard deviation of the logarithm of a latency: level and rank together."""
        return math.hypot(self.level_std, self.rank_std)

    @property
    def warning(self) -> str:
        """The warning that a reader of an estimate needs; never empty."""
        apart = (
            f"All may be {math.exp(Z90 * self.level_std):.2g} times too high or too low together, and "
            f"{math.exp(Z90 * self.rank_std):.2g} times among each other."
        )
        if not self.foreign_checks:
            return f"Nobody could check estimates of {self.hardware} outside {self.fitted_space}. {apart}"
        worst = max(self.foreign_checks, key=lambda check: check.mape)
        return (
            f"Estimates of {self.hardware} were off by {worst.mape:.0f} % (Spearman {worst.spearman:.2f}) on "
            f"{worst.space}, {worst.setting}. {apart}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads."""
        per_class = {
            name: {
                "launch_ms": float(self.launch_ms[i]),
                "ms_per_mmac": float(self.ms_per_mmac[i]),
                "ms_per_melement": float(self.ms_per_melement[i]),
                "ms_per_mweight": float(self.ms_per_mweight[i]),
            }
            for i, name in enumerate(CLASSES)
        }
        return {
            "schema": SCHEMA,
            "hardware": self.hardware,
            "settings": list(self.settings),
            "mode": self.mode.value,
            "base_ms": self.base_ms,
            "exponent": self.exponent,
            "classes": per_class,
            "fitted_on": self.fitted_on,
            "fitted_space": self.fitted_space,
            "checks": [asdict(check) for check in self.checks],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OperatorModel:
        """Read ``to_json`` back. Raises KeyError, TypeError or ValueError on anything else."""
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r} is not {SCHEMA}")
        columns = {
            name: np.array([float(data["classes"][kind][name]) for kind in CLASSES])
            for name in ("launch_ms", "ms_per_mmac", "ms_per_melement", "ms_per_mweight")
        }
        return cls(
            hardware=str(data["hardware"]),
            settings=tuple(str(name) for name in data["settings"]),
            mode=Mode(data["mode"]),
            base_ms=float(data["base_ms"]),
            exponent=float(data["exponent"]),
            fitted_on=str(data["fitted_on"]),
            fitted_space=str(data["fitted_space"]),
            checks=tuple(Check(**check) for check in data["checks"]),
            **columns,
        )


def _with_others(own: list[float], others: float) -> float:
    """Root mean square of what was seen of one piece of hardware, and of all others as one more."""
    return float(np.sqrt(np.mean(np.square([*own, others]))))


class OperatorEstimate:
    """Latency in ms of a space's networks on a device that was not measured in it. A CostModel."""

    metric: Metric = LATENCY
    tier: Tier = Tier.ESTIMATED

    def __init__(self, work: NetworkWork, model: OperatorModel, target: Target) -> None:
        """``work`` counts the space's operators; make one and share it among devices."""
        self.model = model
        self.target = target
        self._work = work
        self._mode = model.mode if model.mode in work.modes else work.own_mode
        # Both parts add up over blocks, so that a search need not count operators.
        self._parts = tuple(block_sum(work.space, part) for part in model.parts(work.blocks, target.batch))

    @property
    def warning(self) -> str:
        """The warning that a reader of these numbers needs."""
        return self.model.warning

    @property
    def is_checked(self) -> bool:
        """True if its error could be looked up on another space than it was fitted on."""
        return bool(self.model.foreign_checks)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds of n genotypes int8[n, v] at the target's batch; the std is the logarithm's, times the mean."""
        if self._mode is self._work.own_mode:
            mean = self.model.combine(*(part(genotypes) for part in self._parts))
        else:
            mean = self.model.latency_ms(self._work(genotypes, self._mode), self.target.batch)
        return Estimate(mean, self.model.relative_std * mean, self.tier)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Expected latency float32[n] in ms of relaxed architectures float32[n, f]."""
        from fleetfront.predictors.relaxed import by_look_up, relaxed_sums

        space, p = self._work.space, self.model.exponent
        parts = self.model.parts(self._work.blocks, self.target.batch)
        sums = relaxed_sums(space, parts, choice_probabilities) if self._mode is self._work.own_mode else None
        if sums is None:
            return by_look_up(space, lambda rows: self.predict(rows).mean, choice_probabilities)
        launched, busy = sums[0] + self.model.base_ms, sums[1]
        if p == 1.0:
            return launched + busy
        # Floats of 32 bits hold no large powers, so the longer of the two is taken out of both.
        longer = launched.maximum(busy)
        return longer * ((launched / longer) ** p + (busy / longer) ** p) ** (1 / p)

    def estimate(self, graph: Graph) -> Estimate:
        """One inference of any graph at the target's batch, n = 1. Raises InputError on operators of unknown work."""
        mean = self.model.latency_ms(graph_work(graph)[None], self.target.batch)
        return Estimate(mean, self.model.relative_std * mean, self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


def operator_models() -> dict[str, OperatorModel]:
    """The shipped models, by the name of each device setting that they cover."""
    found: dict[str, OperatorModel] = {}
    for file in sorted((resources.files(__package__) / "models").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".json"):
            model = OperatorModel.from_json(json.loads(file.read_text(encoding="utf-8")))
            found.update(dict.fromkeys(model.settings, model))
    return found

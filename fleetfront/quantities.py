"""Words and units for numbers: clocks, tiers, metrics, estimates, durations. Measurements are not computed on here."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown


class _PlainArray:
    """Says how arrays of numbers are spelled in files: as lists, all of them finite."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            _finite_array,
            core_schema.list_schema(core_schema.any_schema()),
            serialization=core_schema.plain_serializer_function_ser_schema(np.ndarray.tolist),
        )


def _finite_array(values: list[Any]) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "if":
        raise ValueError("holds something that is no number")
    if not np.isfinite(array).all():
        raise ValueError("holds a number that is not finite")
    return array.astype(np.float64)


#: Any number of axes. Lists that files hold are checked on reading: ``plain``.
FloatArray = Annotated[NDArray[np.float64], _PlainArray()]

NS_PER_MS = 1e6

#: Stands for a number that nobody knows.
UNKNOWN = "–"


class Clock(enum.StrEnum):
    """The clock that a sample was read from. Apps feel ``WALL``; ``THREAD_CPU`` is steadier for single-thread work."""

    WALL = "wall"
    THREAD_CPU = "thread-cpu"
    #: The device's own, e.g. CUDA events: its work without the host's part.
    DEVICE = "device"
    #: An imported number whose source does not say.
    UNKNOWN = "unknown"


class Tier(enum.StrEnum):
    """The origin of a number, best first."""

    MEASURED = "measured"
    TRANSFERRED = "transferred"
    ESTIMATED = "estimated"
    PREDICTED = "predicted"


class Aggregation(enum.StrEnum):
    """The way in which the parts of a network add up to the whole."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Metric:
    """A cost: its name, unit and how parts add up, e.g. ``latency``, ``ms``, sum."""

    name: str
    unit: str
    aggregation: Aggregation = Aggregation.SUM

    @property
    def title(self) -> str:
        """Its name in words, e.g. ``peak memory``."""
        return self.name.replace("_", " ")

    def spell(self, value: float) -> str:
        """A cost in words, four digits of it: ``12.35 ms``; bytes from a KiB on in KiB or MiB."""
        scale, unit = self.scale(value)
        return f"{value / scale:.4g} {unit}"

    def scale(self, value: float) -> tuple[float, str]:
        """How many of its unit one of the unit is that people write ``value`` in, and that unit."""
        if self.unit != "bytes" or abs(value) < 2**10:
            return 1.0, self.unit
        return (2.0**20, "MiB") if abs(value) >= 2**20 else (2.0**10, "KiB")

    def divisor(self, unit: str) -> float:
        """How many ``unit`` of a stored sample make one unit of this metric. Raises InputError for a strange unit."""
        if unit == self.unit:
            return 1.0
        if (unit, self.unit) not in _PARTS:
            raise InputError(
                f"A measured {self.name} is in {unit!r}, which is no unit of it.", f"Known: {self.unit} and its parts."
            )
        return _PARTS[unit, self.unit]


#: (stored unit, unit of a metric) -> how many of the former make one of the latter.
_PARTS = {("ns", "ms"): NS_PER_MS, ("nJ", "uJ"): 1e3}

LATENCY = Metric("latency", "ms")
PEAK_MEMORY = Metric("peak_memory", "bytes", Aggregation.MAX)
ENERGY = Metric("energy", "uJ")
#: Of the file that a device is handed.
SIZE = Metric("size", "bytes")
#: Loading a file in a process that has its runtime, and with the first run.
LOAD, COLD_START = Metric("load", "ms"), Metric("cold_start", "ms")
#: What devices, networks and fronts are compared by.
METRICS = {metric.name: metric for metric in (LATENCY, PEAK_MEMORY, ENERGY)}
#: What is measured of files.
FILE_METRICS = METRICS | {metric.name: metric for metric in (LOAD, COLD_START)}

#: Metric -> the unit that importers keep its samples in.
SAMPLES_IN = {"latency": "ns", "peak_memory": "bytes", "energy": "nJ"}


class _ByName:
    """Says that a metric is spelled by its name in files."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            METRICS.__getitem__,
            core_schema.literal_schema(list(METRICS)),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda metric: metric.name),
        )


#: A metric that files spell by its name.
NamedMetric = Annotated[Metric, _ByName()]


def metric_named(name: str) -> Metric:
    """The metric of that name. Raises InputError if there is none."""
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]


#: Numbers whose 90 % interval reaches further than this share of them are marked wherever they are shown.
FAR_OFF = 0.2


@dataclass(frozen=True, slots=True)
class Quality:
    """How good networks are, as people say it. Inside, the higher a score the better: ``score`` and ``shown`` turn one
    into the other.

    Attributes:
        unit: ``%`` for shares of 100; empty for plain numbers.
        is_higher_better: False for perplexity, whose score is its negative.
    """

    name: str
    unit: str
    is_higher_better: bool = True

    @property
    def title(self) -> str:
        """As a column is headed: ``accuracy %``, ``perplexity``."""
        return f"{self.name} {self.unit}".strip()

    @property
    def suffix(self) -> str:
        """The text after a number in words: `` %``."""
        return f" {self.unit}" if self.unit else ""

    def shown(self, score: Any) -> Any:
        """A score, or scores, in the quality's own direction."""
        return score if self.is_higher_better else -score

    def score(self, shown: Any) -> Any:
        """Back: the higher the better."""
        return shown if self.is_higher_better else -shown


ACCURACY, PERPLEXITY, BLEU = Quality("accuracy", "%"), Quality("perplexity", "", False), Quality("BLEU", "")
#: 1 for a network that somebody calls good enough, else 0.
PASS = Quality("pass", "")
#: Scores of untrained networks, which rank them and are no accuracy: a decimal and a natural logarithm.
SYNFLOW, NASWOT = Quality("synflow", "log10"), Quality("naswot", "log")
_LONGEST_NAME = 40
QUALITIES = {quality.name: quality for quality in (ACCURACY, PERPLEXITY, BLEU, PASS, SYNFLOW, NASWOT)}


def own_quality(name: str, unit: str, is_higher_better: bool) -> Quality:
    """The quality that a user names. Raises InputError on words that tables cannot show, and on a known name that means
    something else.
    """
    long = next((text for text in (name, unit) if not text.isprintable() or len(text) > _LONGEST_NAME), None)
    if long is not None or not name.strip():
        raise InputError(
            f"{(long or name)[:80]!r} cannot name a quality or its unit.", "Use a few words of printable letters."
        )
    quality, known = Quality(name, unit, is_higher_better), QUALITIES.get(name)
    if known not in (None, quality):
        meant = f"{known.title}, the {'higher' if known.is_higher_better else 'lower'} the better"
        raise InputError(f"{name} is already {meant}.", "Choose another name, or declare it like that.")
    return quality


def percent_of(value: object, unit: str) -> float:
    """An accuracy in percent, of what a user's function gives as ``fraction`` of 1, ``error`` in percent, or percent;
    NaN where that is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return float("nan")
    number = float(value)
    return 100 * number if unit == "fraction" else 100 - number if unit == "error" else number


#: Half-width of a central 90 % interval of the normal distribution, in standard deviations.
Z90 = 1.6448536269514722


def interval_90(mean: Any, std: Any, tier: str) -> tuple[Any, Any]:
    """Ends of the 90 % interval of numbers, or arrays of them, with their standard deviations.

    What is estimated may be off by a factor, so that its interval is log-normal: ``std / mean`` is the standard
    deviation of the logarithm. Any other is normal, and begins just above zero where it is wide.
    """
    if tier == Tier.ESTIMATED:
        factor = np.exp(Z90 * np.asarray(std) / mean)
        return mean / factor, mean * factor
    return np.maximum(mean - Z90 * np.asarray(std), np.asarray(mean) / 1000), mean + Z90 * np.asarray(std)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values for ``n`` architectures, in one unit.

    Attributes:
        mean: float64[n].
        std: float64[n], one standard deviation of what is found when somebody looks: for latency, in a later sitting.
            Of what is estimated, ``mean`` times that of the logarithm.
        tier: of all of them.
        within: float64[n], the same in the very sitting that the model was made from; None where nobody tells them
            apart.
        unpromised: why ``std`` is what is typical elsewhere and not to be promised; empty where it is of this target.
        withheld: bool[n], the architectures that ``unpromised`` is about; None for all.
    """

    mean: FloatArray
    std: FloatArray
    tier: Tier
    within: FloatArray | None = None
    unpromised: str = ""
    withheld: NDArray[np.bool_] | None = None

    @property
    def is_promised(self) -> NDArray[np.bool_]:
        """bool[n]: where ``std`` may be told."""
        if not self.unpromised or self.withheld is None:
            return np.full(len(self.std), not self.unpromised)
        return ~self.withheld

    @property
    def promised_std(self) -> list[float | None]:
        """``std`` as far as it may be told: None of n where it is not to be promised."""
        return self.promised(self.std)

    def promised(self, values: FloatArray) -> list[float | None]:
        """Of float64[n] those that may be told; None elsewhere."""
        return [one if told else None for one, told in zip(values.tolist(), self.is_promised.tolist(), strict=True)]

    @property
    def may_be_far_off(self) -> NDArray[np.bool_]:
        """bool[n]: where the 90 % interval reaches further than ``FAR_OFF`` of the mean."""
        result: NDArray[np.bool_] = Z90 * self.std > FAR_OFF * self.mean
        return result

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """Ends of the 90 % intervals, float64[n] each."""
        low, high = interval_90(self.mean, self.std, self.tier)
        return low, high

    @property
    def same_sitting(self) -> FloatArray:
        """float64[n]: ``within`` where it is told, else ``std``: for networks measured beside those of the model."""
        return self.std if self.within is None else self.within


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|min|h)\Z")
#: Nobody waits longer for one command.
_LONGEST_S = 30 * 24 * 3600.0
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration_s(text: str) -> float:
    """Seconds in ``90s``, ``10m`` or ``1.5h``. Raises InputError on anything else, on zero and beyond 30 days."""
    match = _DURATION.match(text.strip().lower())
    seconds = float(match.group(1)) * _SECONDS[match.group(2)] if match else 0.0
    if seconds <= 0:
        raise InputError(f"{text[:40]!r} is not a duration.", "Write a number with a unit: 90s, 10m, 1.5h.")
    if seconds > _LONGEST_S:
        raise InputError(f"{text!r} is longer than 30 days.", "Give a shorter time; the same command goes on later.")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration for people: ``4.2 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_spread(value: float, std: float, tier: str) -> str:
    """One standard deviation for terminals, ``+-0.4``; of an estimate's logarithm as a factor, ``x/1.5``."""
    return f"x/{math.exp(std / value):.2g}" if tier == Tier.ESTIMATED and value > 0 else f"+-{std:.2g}"


def format_number(value: float | None, digits: int = 3) -> str:
    """A number for people, to some significant digits, so that no small one becomes 0; without exponent for everyday
    sizes; a dash for none."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, decimals)}f}"

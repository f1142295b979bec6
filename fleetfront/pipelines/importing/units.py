"""Turn the numbers of a table into the units that are kept, and refuse those that are hardly in the unit they seem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.errors import InputError
from fleetfront.predictors.scores import weighted_spearman
from fleetfront.quantities import LATENCY, FloatArray, Metric

#: For each metric, how many of its own unit one of a user's unit is.
UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6},
    "energy": {"uJ": 1.0, "mJ": 1e3, "J": 1e6, "nJ": 1e-3},
    "peak_memory": {"bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "kB": 1e3, "MB": 1e6},
}

_NAMES = {"s": "seconds", "us": "microseconds", "ns": "nanoseconds"}

#: Multiply-accumulates a second, median over networks or blocks, outside of which numbers are more likely in another
#: unit: public tables of 27 phones, boards, CPUs and GPUs lie between 2e9 and 1.5e10; this is a hundred times wider.
_PLAUSIBLE_RATE = (2e7, 2e12)
#: What a device's data sheet says of fp32 is exceeded so many times at most, by matrix units and in int8.
_BEYOND_PEAK = 16.0
#: Facts of device configs that say how many operations a second there are, two a multiply-accumulate.
_PEAKS: Mapping[str, float] = {"peak_fp32_gflops": 1e9 / 2, "peak_int16_gops": 1e9 / 2}
#: Between neighbours of a public table's sorted times for their work there is never more than a factor of 1.2.
_MIXED_FACTOR = 30.0
#: Of 21 columns of public tables none has a rank correlation with the work below 0.2; of made-up devices on which large
#: kernels cost least some have -0.7.
_FALLING = -0.75
#: A rank correlation of n numbers takes n * n of memory.
_SAMPLED = 200
#: Fewer numbers show nothing.
_FEWEST_TO_JUDGE = 8


def factor_of(metric: Metric, unit: str) -> float:
    """How many of the metric's unit one ``unit`` is. Empty is milliseconds for latency, where tables have no other.

    Raises InputError for another unit, or none where the metric has no usual one.
    """
    units = UNITS[metric.name]
    if not unit and metric.name == LATENCY.name:
        return 1.0
    if unit not in units:
        raise InputError(
            f"{unit!r} is not a unit of {metric.name}." if unit else f"The unit of {metric.name} is not given.",
            f"Give --unit, one of {', '.join(units)}.",
        )
    return units[unit]


def doubt_unit(
    name: str, ms: FloatArray, macs: NDArray[np.int64], what: str = "networks", config: DeviceConfig | None = None
) -> list[tuple[str, str]]:
    """Why numbers are hardly milliseconds, and what to do; empty if nothing speaks against it.

    Args:
        name: of the column or folder.
        ms: float64[n], NaN where nothing was measured.
        macs: int64[n], of one inference: the batch of the device's target counts.
        what: the numbers are of, in the plural.
        config: of the device, if it has one: its data sheet bounds what it can do.
    """
    present = np.isfinite(ms)
    values, works = ms[present], macs[present]
    if not values.size:
        return []
    return [
        *_implausible(name, values, works, what, config),
        *_mixed(name, values, works),
        *_falling(name, values, works),
    ]


def doubt_columns(
    devices: Sequence[str], ms: FloatArray, macs: NDArray[np.int64], configs: Mapping[str, DeviceConfig]
) -> list[tuple[str, str]]:
    """The same of a table's columns ``lat_<device>``, float64[n, d]; ``configs`` are those that are known."""
    columns = enumerate(devices)
    return [
        doubt for at, name in columns for doubt in doubt_unit(f"lat_{name}", ms[:, at], macs, config=configs.get(name))
    ]


def told_doubts(where: str, doubts: list[tuple[str, str]], unit: str) -> list[str]:
    """Doubts as warnings where a user gave the ``unit``.

    Raises InputError where nobody did: a wrong one would be stored as a number that looks right.
    """
    if doubts and not unit:
        said, todo = doubts[0]
        raise InputError(
            f"{where} was not imported: {said}", f"{todo} If these are milliseconds all the same, say so: --unit ms."
        )
    return [said for said, _ in doubts]


def _implausible(
    name: str, values: FloatArray, works: NDArray[np.int64], what: str, config: DeviceConfig | None
) -> list[tuple[str, str]]:
    rate = float(np.median(works / values)) * 1e3
    low, high, beyond = *_PLAUSIBLE_RATE, "any device known here"
    batch = 1 if config is None else config.target.batch
    peaks = [] if config is None else [fact * unit for key, unit in _PEAKS.items() if (fact := config.fact(key))]
    if config is not None and peaks and _BEYOND_PEAK * max(peaks) / batch < high:
        high, beyond = _BEYOND_PEAK * max(peaks) / batch, f"what the data sheet of {config.title} allows"
    if low / batch <= rate <= high:
        return []
    likely = [
        unit for unit, factor in UNITS[LATENCY.name].items() if unit != "ms" and low / batch <= rate / factor <= high
    ]
    return [
        (
            f"{name} has a median of {np.median(values):.4g}, which would mean that {what} run at {rate / 1e6:.3g} "
            f"million multiply-accumulates a second, {f'above {beyond}' if rate > high else 'below any known device'}.",
            f"If these are {_NAMES[likely[0]]}, give --unit {likely[0]}." if likely else "Check what they are.",
        )
    ]


def _mixed(name: str, values: FloatArray, works: NDArray[np.int64]) -> list[tuple[str, str]]:
    logs = np.sort(np.log(values / np.maximum(works, 1)))
    inner = logs[len(logs) // 20 : len(logs) - len(logs) // 20]
    if inner.size < _FEWEST_TO_JUDGE or np.diff(inner).max() <= math.log(_MIXED_FACTOR):
        return []
    return [
        (
            f"{name} falls into two groups, one {math.exp(np.diff(inner).max()):.0f} times slower for its work than "
            "the other, as numbers in two units do.",
            "Write all of them in one unit.",
        )
    ]


def _falling(name: str, values: FloatArray, works: NDArray[np.int64]) -> list[tuple[str, str]]:
    if values.size < _FEWEST_TO_JUDGE or np.ptp(values) == 0 or np.ptp(works) == 0:
        return []
    sample = slice(None, None, -(-values.size // _SAMPLED))
    ms, macs = values[sample], works[sample].astype(np.float64)
    rho = float(weighted_spearman(ms, macs, np.ones((1, ms.size)))[0])
    if not rho < _FALLING:
        return []
    return [
        (
            f"{name} falls where networks take more multiply-accumulates (rank correlation {rho:.2f}), as frames a "
            "second do, and no time.",
            "If these are networks a second, write 1000 / them.",
        )
    ]

"""Records of what a model promises of a file that was timed: in any sitting, and in the one it was timed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetfront.quantities import Tier, interval_90


@dataclass(frozen=True, slots=True)
class Promise:
    """A latency in ms with its standard deviation, within +- 1.645 of which nine of ten files lie."""

    ms: float
    std_ms: float

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 90 % interval, ms."""
        low, high = interval_90(self.ms, self.std_ms, Tier.MEASURED)
        return float(low), float(high)

    def holds(self, measured_ms: float) -> bool:
        """Tell whether a measurement lies within the interval."""
        low, high = self.interval
        return low <= measured_ms <= high


@dataclass(frozen=True, slots=True)
class Promises:
    """The promises for one file, beside its measurement.

    Attributes:
        any_sitting: by the model as it was profiled and fitted, for whenever the file is run; None where it promises
            nothing of other sittings.
        this_sitting: by the model brought up to the sitting of the measurement, for that sitting alone; None where too
            few networks were measured in it.
        networks: calibration networks that brought it up.
        measured_ms: what the file took; None where nothing is promised of such a sitting, since other programs ran.
        not_promised: why ``any_sitting`` is None.
    """

    any_sitting: Promise | None
    this_sitting: Promise | None
    networks: int
    measured_ms: float | None
    not_promised: str = ""

    def verdict(self, promise: Promise) -> bool | None:
        """True if a promise holds, False if not; None where it is not judged."""
        return None if self.measured_ms is None else promise.holds(self.measured_ms)

    def to_json(self) -> dict[str, Any]:
        """Plain values for manifests and ``--json``: ``as_profiled`` and ``today``, None where there is none; why the
        former is, as ``not_promised``."""
        ever = None if self.any_sitting is None else self._plain(self.any_sitting)
        today = None if self.this_sitting is None else self._plain(self.this_sitting) | {"networks": self.networks}
        return {"as_profiled": ever, "today": today, **({"not_promised": self.not_promised} if ever is None else {})}

    def _plain(self, promise: Promise) -> dict[str, Any]:
        low, high = promise.interval
        said = {"ms": promise.ms, "std_ms": promise.std_ms, "low_ms": low, "high_ms": high}
        return {**said, "holds": self.verdict(promise)}

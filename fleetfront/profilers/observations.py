"""Statistics on reading: what the raw samples of one target and space say about each block and network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, FloatArray
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class Observations:
    """What was measured of one space on one target under one clock.

    Attributes:
        visits_ms: role -> key -> ms[visits]: the minimum of each accepted visit's samples, in the order taken.
        errors: key -> the last error of a key that has no accepted visit.
        discarded: reason -> number of visits left out.
        seconds: time the measuring took.
        environment: what the agent said of the device when it measured.
    """

    target: Target
    space: str
    clock: Clock
    visits_ms: Mapping[Role, Mapping[str, FloatArray]]
    errors: Mapping[str, str] = field(default_factory=dict)
    discarded: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    environment: Mapping[str, Any] = field(default_factory=dict)

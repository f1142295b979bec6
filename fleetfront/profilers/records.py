"""Measurement: one visit of one thing on one target, raw. Statistics are computed on reading, in ``observations``."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetfront.quantities import Clock
from fleetfront.targets import Target


class Role(enum.StrEnum):
    """What a measured thing is for. Validation networks never choose anything."""

    BLOCK = "block"
    CALIBRATION = "calibration"
    VALIDATION = "validation"
    ANCHOR = "anchor"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Measurement:
    """All samples of one visit under one clock, or the error that it met.

    Attributes:
        uuid: identity; writing the same measurement twice changes nothing.
        target: what the samples belong to.
        space: name of the search space, empty for a user's own file.
        role: what the thing is for.
        key: block key, arch id, or the SHA-256 of a user's file.
        clock: which clock the samples were read from.
        samples: every timed run in the order taken, in ``unit``; empty if ``error`` is set.
        campaign: identity of the campaign that planned the visit.
        round: number of the round within the campaign, from 0.
        started_ns: wall-clock time at which the visit began, nanoseconds since 1970.
        before, after: conditions around the visit (load, clocks, temperature, throttling...).
        flags: words that a reader may filter on, e.g. ``throttled``, ``imported``.
        error: what went wrong, or None.
    """

    target: Target
    space: str
    role: Role
    key: str
    clock: Clock
    samples: tuple[int, ...]
    campaign: str
    round: int
    started_ns: int
    metric: str = "latency"
    unit: str = "ns"
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    error: str | None = None
    uuid: str = field(default_factory=lambda: uuid.uuid4().hex)

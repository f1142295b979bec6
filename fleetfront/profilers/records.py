"""Measurement: one visit of one thing on one target, raw, and its form as JSON between processes and machines.

Statistics are computed on reading, in ``observations``; how rows are kept on disk is written in ``store``.
"""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fleetfront.errors import InputError
from fleetfront.plain import from_plain, to_plain
from fleetfront.quantities import Clock
from fleetfront.targets import Target

T = TypeVar("T")

#: Among the conditions after a visit: clock -> nanoseconds that reading it added to every sample.
CLOCK_COST = "clock_cost_ns"


class Role(enum.StrEnum):
    """The purpose of a measured thing. Validation networks never choose anything."""

    BLOCK = "block"
    CALIBRATION = "calibration"
    VALIDATION = "validation"
    ANCHOR = "anchor"
    FILE = "file"
    #: A whole network out of somebody's table: an importer does not decide what it will be used for.
    NETWORK = "network"


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


def with_samples(measurement: Measurement, samples: tuple[int, ...]) -> Measurement:
    """The same visit with other samples. A fifth of the time of ``replace``, which asks every field for its name."""
    m = measurement
    return Measurement(
        m.target, m.space, m.role, m.key, m.clock, samples, m.campaign, m.round, m.started_ns, m.metric, m.unit,
        m.before, m.after, m.flags, m.error, m.uuid,
    )  # fmt: skip


def measurement_uuid(visit: str, clock: Clock, metric: str = "latency") -> str:
    """Identity of the row that visit ``visit`` gives under one clock: the same for every repetition of that visit."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"fleetfront:{visit}:{metric}:{clock}").hex


def measurement_to_json(measurement: Measurement) -> dict[str, Any]:
    """Plain values that ``measurement_from_json`` reads back equal."""
    plain: dict[str, Any] = to_plain(measurement)
    return plain


def measurement_from_json(data: Mapping[str, Any]) -> Measurement:
    """The measurement of ``measurement_to_json``. Raises InputError on anything else."""
    return from_agent(Measurement, data)


def from_agent(kind: type[T], data: Mapping[str, Any]) -> T:
    """The record that an agent, or whoever speaks to one, sent. Raises InputError on anything else."""
    try:
        return from_plain(kind, json.dumps(data))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"What agent and coordinator exchange is no {kind.__name__} ({error}).",
            "Check that both run the same version of fleetfront.",
        ) from error

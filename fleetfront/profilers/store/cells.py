"""Make cells of samples and conditions, and measurements of cells: what is damaged becomes the error of its own row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock
from fleetfront.targets import Target

_ROLES, _CLOCKS = frozenset(role.value for role in Role), frozenset(clock.value for clock in Clock)
_CHECKSUM_BYTES = 4
#: What the error of a row begins with that cannot be read.
DAMAGED = "the store's row is damaged"
#: A run of a day is none.
_MOST_NS = 24 * 3600 * 10**9


def pack_facts(value: Mapping[str, Any] | Sequence[str]) -> str | None:
    """Conditions or flags as compact JSON; None if there are none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if value else None


def pack_samples(samples: Sequence[int]) -> bytes:
    """Samples as 8 bytes each, and a CRC-32 of them."""
    data = np.asarray(samples, dtype="<i8").tobytes()
    return data + zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")


def unpack_samples(blob: bytes) -> tuple[int, ...]:
    """The samples of ``pack_samples``, or of an older store, which has no checksums. Raises ValueError for others."""
    data, checksum = blob, len(blob) % 8
    if checksum:
        data = blob[:-_CHECKSUM_BYTES]
        if checksum != _CHECKSUM_BYTES or zlib.crc32(data) != int.from_bytes(blob[-_CHECKSUM_BYTES:], "little"):
            raise ValueError("samples do not match their checksum")
    return tuple(np.frombuffer(data, dtype="<i8").tolist())


def is_target(text: object) -> bool:
    """Tell whether a cell spells a target."""
    try:
        Target.parse(str(text))
    except InputError:
        return False
    return True


@lru_cache(maxsize=1024)
def _parsed(target: str) -> Target:
    """A campaign's rows are all of one target, and reading a spelling takes a fifth of reading a row."""
    return Target.parse(target)


def is_known(target: object, role: object, clock: object) -> bool:
    """Tell whether a series can be named in this version's words."""
    return role in _ROLES and clock in _CLOCKS and is_target(target)


def read_facts(text: object) -> dict[str, Any]:
    """The object that a cell of JSON holds; an empty one if it is damaged."""
    try:
        return _object(text)
    except (ValueError, RecursionError):
        return {}


def _object(text: object) -> dict[str, Any]:
    value = json.loads(str(text)) if text else {}
    if not isinstance(value, dict):
        raise ValueError("conditions are no JSON object")
    return value


def read_measurement(row: Sequence[Any]) -> Measurement:
    """The measurement of a row, cells in the order of ``Store.measurements``; damaged cells make it a failed visit."""
    target, space, role, key, metric, unit, clock, uuid, campaign, round_, started_ns, blob = row[:12]
    before, after, flags, error = row[12:]
    read: dict[str, Any] = {}
    try:
        if not (isinstance(round_, int) and isinstance(started_ns, int) and isinstance(blob, bytes)):
            raise ValueError("numbers are text")
        read = {"samples": unpack_samples(blob), "before": _object(before), "after": _object(after)}
        read["flags"] = tuple(map(str, json.loads(flags))) if flags else ()
        if metric == "latency" and read["samples"] and not 0 <= min(read["samples"]) <= max(read["samples"]) < _MOST_NS:
            raise ValueError("a run took less than no time, or more than a day")
    except (ValueError, TypeError, RecursionError) as damage:
        read, error = {"samples": ()}, f"{DAMAGED} ({damage})"
    return Measurement(
        target=_parsed(target),
        space=space,
        role=Role(role),
        key=str(key),
        clock=Clock(clock),
        campaign=str(campaign),
        round=round_ if isinstance(round_, int) else 0,
        started_ns=started_ns if isinstance(started_ns, int) else 0,
        metric=metric,
        unit=unit,
        error=None if error is None else str(error),
        uuid=str(uuid),
        **read,
    )

"""Make cells of samples and conditions, and read them back: what is damaged becomes the error of its own row."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json

from fleetfront.errors import InputError
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.conditions import Layout
from fleetfront.quantities import LATENCY, METRICS, Clock
from fleetfront.targets import Target

_ROLES, _CLOCKS = frozenset(role.value for role in Role), frozenset(clock.value for clock in Clock)
_CHECKSUM_BYTES = 4
#: Ends samples of 4 bytes each: with it no blob is as long as one of samples of 8 bytes.
NARROW = b"\x04"
#: What the error of a row begins with that cannot be read.
DAMAGED = "the store's row is damaged"
#: A run of a day is none.
_MOST_NS = 24 * 3600 * 10**9


def pack_samples(samples: Sequence[int]) -> bytes:
    """Samples as 4 bytes each if those hold them all, else as 8, and a CRC-32 of them."""
    wide = np.asarray(samples, dtype="<i8")
    is_narrow = bool(wide.size) and wide.min() >= 0 and wide.max() < 2**32
    data = (wide.astype("<u4") if is_narrow else wide).tobytes()
    return data + zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little") + (NARROW if is_narrow else b"")


def unpack_samples(blob: bytes) -> tuple[int, ...]:
    """The samples of ``pack_samples``, or of an older store, which has no checksums. Raises ValueError for others."""
    if not len(blob) % 8:
        return struct.unpack(f"<{len(blob) // 8}q", blob)
    is_narrow = len(blob) % 4 == 1 and blob.endswith(NARROW)
    end = len(blob) - is_narrow - _CHECKSUM_BYTES
    size = 4 if is_narrow else 8
    data = blob[:end]
    if end % size or zlib.crc32(data) != int.from_bytes(blob[end : end + _CHECKSUM_BYTES], "little"):
        raise ValueError("samples do not match their checksum")
    return struct.unpack(f"<{end // size}{'I' if is_narrow else 'q'}", data)


def is_target(text: object) -> bool:
    """Tell whether a cell spells a target."""
    try:
        Target.parse(str(text))
    except InputError:
        return False
    return True


@lru_cache(maxsize=1024)
def known_words(target: str, role: str, clock: str) -> tuple[Target, Role, Clock] | None:
    """Read what a series is of; None if this version has no words for it. A campaign's rows are all of few series."""
    if role not in _ROLES or clock not in _CLOCKS or not is_target(target):
        return None
    return Target.parse(target), Role(role), Clock(clock)


@lru_cache(maxsize=64)
def is_unit(metric: object, unit: object) -> bool:
    """Tell whether a known metric can be in a unit; of others nobody knows."""
    try:
        METRICS[str(metric)].divisor(str(unit))
    except InputError:
        return False
    except KeyError:
        pass
    return True


def read_facts(text: object) -> dict[str, Any]:
    """The object that a cell of JSON holds; an empty one if it is damaged."""
    try:
        return read_object(text)
    except (ValueError, RecursionError):
        return {}


def read_object(text: object) -> dict[str, Any]:
    """The object that a cell of JSON holds. Raises ValueError if it is damaged."""
    value = from_json(str(text), cache_strings="keys") if text else {}
    if not isinstance(value, dict):
        raise ValueError("conditions are no JSON object")
    return value


#: Rows of one visit under several clocks come one after the other and tell the same conditions.
_conditions = lru_cache(maxsize=8)(read_object)


@lru_cache(maxsize=8)
def unpack_conditions(layout: Layout | None, numbers: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Conditions before and after a visit. Raises ValueError, TypeError or struct.error for damaged ones."""
    if layout is None:
        raise ValueError("the layout of conditions is missing")
    return layout.unpack(numbers)


class Cells(NamedTuple):
    """A row as it was read, in the order of ``Measurement``'s fields."""

    target: Target
    space: str
    role: Role
    key: str
    clock: Clock
    samples: tuple[int, ...]
    campaign: str
    round: int
    started_ns: int
    metric: str
    unit: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    flags: tuple[str, ...]
    error: str | None
    uuid: str


def read_cells(row: Sequence[Any], layouts: Mapping[int, Layout]) -> Cells | None:
    """The values of a row, cells in the order of ``queries.read_rows``; None if ``known_words`` has none for it.

    Damaged cells make it a failed visit. Conditions may be shared between rows.
    """
    target, space, role, key, metric, unit, clock, uuid, campaign, round_, started_ns, blob, *told = row
    before_text, after_text, flag_text, error, layout, numbers, _ = told
    words = known_words(target, role, clock)
    if words is None:
        return None
    samples: tuple[int, ...] = ()
    before: Mapping[str, Any] = {}
    after: Mapping[str, Any] = {}
    flags: tuple[str, ...] = ()
    try:
        if not (isinstance(round_, int) and isinstance(started_ns, int) and isinstance(blob, bytes)):
            raise ValueError("numbers are text")
        samples = unpack_samples(blob)
        if numbers is None:
            before, after = _conditions(before_text), _conditions(after_text)
        else:
            before, after = unpack_conditions(layouts.get(layout), numbers)
        flags = tuple(map(str, json.loads(flag_text))) if flag_text else ()
        if samples and not is_unit(metric, unit):
            raise ValueError(f"nobody measures {str(metric)[:40]} in {str(unit)[:40]!r}")
        if metric == LATENCY.name and samples and not 0 < min(samples) <= max(samples) < _MOST_NS:
            raise ValueError("a run took no time, or more than a day")
    except (ValueError, TypeError, RecursionError, struct.error) as damage:
        samples, before, after, flags, error = (), {}, {}, (), f"{DAMAGED} ({damage})"
    return Cells(
        words[0],
        space,
        words[1],
        str(key),
        words[2],
        samples,
        str(campaign),
        round_ if isinstance(round_, int) else 0,
        started_ns if isinstance(started_ns, int) else 0,
        metric,
        unit,
        before,
        after,
        flags,
        None if error is None else str(error),
        str(uuid),
    )

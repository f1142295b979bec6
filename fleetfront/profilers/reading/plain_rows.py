"""Read many rows of a store at once, where all of them are as agents write them: no error, no flag, no damage."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.profilers.records import Role
from fleetfront.profilers.store.cells import NARROW, is_unit, known_words
from fleetfront.profilers.store.conditions import Layout
from fleetfront.profilers.store.queries import Piece
from fleetfront.quantities import LATENCY, Clock

_CHECKSUM_BYTES = 4
_TAIL = _CHECKSUM_BYTES + len(NARROW)


@dataclass(frozen=True, slots=True)
class PlainRows:
    """n rows in the order taken, without flags and errors.

    Attributes:
        series: [s] role, key, clock and unit; ``of`` int[n] names one for each row.
        campaigns: [c]; ``campaign`` int[n] names one for each row.
        samples: int64[m] of all rows one after the other, ``count`` int64[n] of each.
        visits: how many; ``visit`` int64[n] names one for each row.
        conditions: each layout, the visits int[k] that have it, and their numbers, a field for each place.
    """

    series: list[tuple[Role, str, Clock, str]]
    of: NDArray[np.int64]
    campaigns: list[str]
    campaign: NDArray[np.int64]
    round: NDArray[np.int64]
    started_ns: NDArray[np.int64]
    samples: NDArray[np.int64]
    count: NDArray[np.int64]
    visits: int
    visit: NDArray[np.int64]
    conditions: list[tuple[Layout, NDArray[np.intp], NDArray[np.void]]]


def read_plain(piece: Piece) -> PlainRows | None:
    """The rows of a piece; None if one of them has to be looked at by itself."""
    if not piece.rows:
        return None
    targets, _, roles, keys, metrics, units, clocks, _, campaigns, rounds, begun, blobs, *told = zip(
        *piece.rows, strict=True
    )
    layouts, numbers = told[4:6]
    kinds = {int: (rounds, begun, layouts), bytes: (blobs, numbers), str: (campaigns, keys), type(None): told[:4]}
    if any(set(map(type, cells)) != {kind} for kind, columns in kinds.items() for cells in columns):
        return None
    series = _series(targets, roles, keys, metrics, units, clocks)
    runs = _runs(blobs, LATENCY.name in metrics)
    visits = _visits(layouts, numbers, piece.layouts)
    if series is None or runs is None or visits is None:
        return None
    names = {name: place for place, name in enumerate(dict.fromkeys(campaigns))}
    return PlainRows(
        series[0],
        series[1],
        list(names),
        np.array([names[name] for name in campaigns]),
        np.array(rounds, dtype=np.int64),
        np.array(begun, dtype=np.int64),
        samples=runs[0],
        count=runs[1],
        visits=visits[0],
        visit=visits[1],
        conditions=visits[2],
    )


def _series(*cells: tuple[Any, ...]) -> tuple[list[tuple[Role, str, Clock, str]], NDArray[np.int64]] | None:
    """The distinct series, and which each row is of; None if one has no words here."""
    rows = list(zip(*cells, strict=True))
    places = {one: place for place, one in enumerate(dict.fromkeys(rows))}
    found = []
    for target, role, key, metric, unit, clock in places:
        words = known_words(target, role, clock)
        if words is None or not is_unit(metric, unit):
            return None
        found.append((words[1], key, words[2], unit))
    return found, np.array([places[one] for one in rows])


def _runs(blobs: tuple[bytes, ...], are_times: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The samples of all rows, and how many each has; None if a row has none, wide or damaged ones."""
    sizes = np.fromiter(map(len, blobs), np.int64, len(blobs))
    if (sizes <= _TAIL).any() or (sizes % 4 != 1).any():
        return None
    whole = all(
        blob[-1:] == NARROW and zlib.crc32(blob[:-_TAIL]) == int.from_bytes(blob[-_TAIL:-1], "little") for blob in blobs
    )
    if not whole:
        return None
    samples = np.frombuffer(b"".join([blob[:-_TAIL] for blob in blobs]), "<u4").astype(np.int64)
    return None if are_times and not samples.all() else (samples, (sizes - _TAIL) // 4)


def _visits(
    layouts: tuple[int, ...], numbers: tuple[bytes, ...], known: Mapping[int, Layout]
) -> tuple[int, NDArray[np.int64], list[tuple[Layout, NDArray[np.intp], NDArray[np.void]]]] | None:
    """How many visits, which each row is of, and numbers by layout; None if some are damaged."""
    pairs = list(zip(layouts, numbers, strict=True))
    is_new = [True, *(one != before for before, one in pairwise(pairs))]
    visits = [pair for pair, new in zip(pairs, is_new, strict=True) if new]
    of = np.array([layout for layout, _ in visits])
    tables = []
    for number in np.unique(of).tolist():
        rows = np.flatnonzero(of == number)
        layout = known.get(number)
        table = None if layout is None else layout.table([visits[row][1] for row in rows.tolist()])
        if layout is None or table is None:
            return None
        tables.append((layout, rows, table))
    return len(visits), np.cumsum(is_new) - 1, tables

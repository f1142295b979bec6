"""Make a store smaller: rows of older versions as new ones are kept, and no empty pages; every value stays."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError
from fleetfront.profilers.store.cells import pack_samples, read_object, unpack_samples
from fleetfront.profilers.store.conditions import Layout, VisitWriter, pack_conditions
from fleetfront.profilers.store.contents import file_bytes
from fleetfront.profilers.store.schema import explained, open_database
from fleetfront.progress import SILENT, Progress

#: Rows of a transaction: short enough for a profile that writes meanwhile.
_AT_ONCE = 20_000
_TRIGGERS = ("measurements_no_update", "visits_no_update")
_Row = tuple[int, object, object, object, object]


@dataclass(frozen=True, slots=True)
class Compacted:
    """The outcome: rows that the store holds, how many were packed anew, bytes of its files before and after."""

    rows: int
    packed: int
    bytes_before: int
    bytes_after: int


def compact_store(path: Path, *, progress: Progress = SILENT) -> Compacted:
    """Pack rows of older versions anew, some thousand in a transaction, then give back the pages that are empty.

    A value that would not read as before, a damaged one first of all, stays as it is. Whatever ends the process, the
    store then holds every row, and another call does the rest.

    Raises:
        InputError: there is no store, its pages are damaged, somebody reads or writes it for minutes, or the disk lacks
            room for a copy of it.
    """
    with closing(open_database(path, must_exist=True)) as connection, explained(path):
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise InputError(
                f"{path} is damaged ({said}), and writing it anew might lose what can still be read.",
                "Restore a copy, or save what can be read: fleetfront store rescue --out NEW; it was left untouched.",
            )
        before = file_bytes(path)
        (rows, last) = connection.execute("SELECT count(*), coalesce(max(id), 0) FROM measurements").fetchone()
        progress.start(f"Packing {path.name}", rows)
        packed, at = 0, 0
        while at < last:
            with _updating(connection):
                at, looked, changed = _pack_rows(connection, at)
            packed += changed
            progress.advance(looked)
        progress.finish()
        visit: int | None = 0
        while visit is not None:
            with _updating(connection):
                visit = _pack_visits(connection, visit)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (left,) = connection.execute("SELECT count(*) FROM measurements").fetchone()
    return Compacted(left, packed, before, file_bytes(path))


@contextmanager
def _updating(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction in which rows may be changed; their guards are back before anybody sees it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        marks = ", ".join("?" * len(_TRIGGERS))
        query = f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name IN ({marks})"
        guards = connection.execute(query, _TRIGGERS).fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        yield
        for _, sql in guards:
            connection.execute(sql)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pack_rows(connection: sqlite3.Connection, at: int) -> tuple[int, int, int]:
    """Pack the rows after number ``at``: the last number, how many were looked at, how many changed."""
    rows: list[_Row] = connection.execute(
        "SELECT id, samples, before, after, visit FROM measurements WHERE id > ? ORDER BY id LIMIT ?", (at, _AT_ONCE)
    ).fetchall()
    visits, shared, changed = VisitWriter(connection), _Shared(), 0
    for number, samples, before, after, visit in rows:
        narrow = _narrow(samples)
        told = shared.read(before, after) if visit is None and (before, after) != (None, None) else None
        if told is not None:
            visit, before, after = visits.number_of(*told), None, None
        if told is not None or narrow is not None:
            cells = (samples if narrow is None else narrow, before, after, visit, number)
            connection.execute(
                "UPDATE measurements SET samples = ?, before = ?, after = ?, visit = ? WHERE id = ?", cells
            )
            changed += 1
    return (rows[-1][0] if rows else at + _AT_ONCE), len(rows), changed


def _pack_visits(connection: sqlite3.Connection, at: int) -> int | None:
    """Pack visits that are text after number ``at``: the last number, None if there are no more."""
    rows = connection.execute(
        "SELECT id, before, after FROM visits WHERE id > ? AND numbers IS NULL ORDER BY id LIMIT ?", (at, _AT_ONCE)
    ).fetchall()
    visits, shared = VisitWriter(connection), _Shared()
    for number, before, after in rows:
        told = shared.read(before, after)
        if told is not None:
            layout, numbers = visits.packed(*told)
            connection.execute(
                "UPDATE visits SET before = NULL, after = NULL, layout = ?, numbers = ? WHERE id = ?",
                (layout, numbers, number),
            )
    return rows[-1][0] if rows else None


class _Shared:
    """Reads the conditions of rows; those of rows one after the other that are equal are one object."""

    def __init__(self) -> None:
        self._cells: tuple[object, object] | None = None
        self._told: tuple[dict[str, Any], dict[str, Any]] | None = None

    def read(self, before: object, after: object) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Conditions before and after; None if they are damaged, or would not read as before once they are packed."""
        if (before, after) != self._cells:
            self._cells, self._told = (before, after), None
            with contextlib.suppress(ValueError, TypeError, RecursionError, struct.error):
                told = read_object(before), read_object(after)
                packed = pack_conditions(*told)
                if packed is not None and _spelled(Layout.parse(*packed[:2]).unpack(packed[2])) == _spelled(told):
                    self._told = told
        return self._told


def _spelled(told: object) -> str:
    """Conditions as text that tells 1 from 1.0 and true."""
    return json.dumps(told, sort_keys=True)


def _narrow(blob: object) -> bytes | None:
    """Samples in fewer bytes; None if they have the fewest, or are damaged."""
    if not isinstance(blob, bytes):
        return None
    try:
        samples = unpack_samples(blob)
    except ValueError:
        return None
    packed = pack_samples(samples)
    return packed if len(packed) < len(blob) and unpack_samples(packed) == samples else None

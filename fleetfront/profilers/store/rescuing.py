"""Save rows of a damaged store into a new one: whatever lies on pages that can be read, with all that belongs to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.profilers.store.schema import explained, open_database, open_for_reading
from fleetfront.progress import SILENT, Progress

#: Tables in the order in which rows find what they belong to: table -> {column: where its value must be}. ``row`` is a
#: row's own number.
_TABLES: dict[str, dict[str, str]] = {
    "sources": {},
    "series": {},
    "layouts": {},
    "visits": {"layout": "layouts"},
    "campaigns": {},
    "sessions": {"campaign": "campaigns"},
    "endings": {"row": "sessions"},
    "measurements": {"series": "series", "visit": "visits", "source": "sources"},
}
#: The lowest number that a row has: campaigns that a merge put below others have negative ones.
_LOWEST = -(1 << 20)
#: Rows of one statement.
_AT_ONCE = 5_000
#: A page holds ten rows and more: holes are felt along in such steps, and in growing ones beyond so many of them.
_STEP, _SMALL_STEPS = 8, 1 << 18
_HIGHEST = 1 << 62


@dataclass(frozen=True, slots=True)
class Rescued:
    """The outcome: measurements saved, those found of which the rest is lost, and stretches of rows that are lost."""

    rows: int
    without_rest: int
    holes: int


def rescue_store(path: Path, out: Path, *, progress: Progress = SILENT) -> Rescued:
    """Copy every row of the store at ``path`` that can be read into a new store ``out``; ``path`` stays as it is.

    A measurement is left out if its name, its conditions or its source are lost. Cells that are damaged are copied as
    they are: reading tells them by their checksums.

    Raises InputError if there is no store, ``out`` exists or cannot be written, or the first page is damaged, which
    tells where all others are.
    """
    if out.exists():
        raise InputError(f"{out} exists.", "Name a new file: rows are saved into a store of their own.")
    with closing(open_for_reading(path)) as damaged, explained(path):
        damaged.execute("PRAGMA cell_size_check = ON")
        damaged.execute("BEGIN")
        try:
            return _copied(damaged, out, progress)
        except BaseException:
            for name in (out.name, f"{out.name}-wal", f"{out.name}-shm"):
                with suppress(OSError):
                    out.with_name(name).unlink()
            raise


def _copied(damaged: sqlite3.Connection, out: Path, progress: Progress) -> Rescued:
    found, kept, holes = 0, 0, 0
    with closing(open_database(out)) as saved:
        saved.execute("BEGIN IMMEDIATE")
        for table, owners in _TABLES.items():
            columns = _columns(damaged, table)
            if not columns:
                continue
            progress.start(f"Saving {table}")
            owned = [
                f"({name} IS NULL OR EXISTS (SELECT 1 FROM {of} o WHERE o.id = {name}))"
                for name, of in owners.items()
                if name in (*columns, "row")
            ]
            names, marks = ", ".join(columns), ", ".join(f"? AS {name}" for name in columns)
            insert = (
                f"INSERT OR IGNORE INTO {table} (rowid, {names}) SELECT * FROM (SELECT ? AS row, {marks})"
                f" WHERE {' AND '.join(owned) or 1}"
            )
            rows = _Rows(damaged, table, columns)
            each = iter(rows)
            while piece := list(islice(each, _AT_ONCE)):
                new = saved.executemany(insert, piece).rowcount
                progress.advance(len(piece))
                if table == "measurements":
                    found, kept = found + len(piece), kept + new
            holes += rows.holes
            progress.finish()
        saved.execute("COMMIT")
    return Rescued(kept, found - kept, holes)


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns that the table has in this version of the store, without the number of a row."""
    told = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    numbered = {"campaigns": "", "endings": "session"}.get(table, "id")
    return [name for (name,) in told if name != numbered]


class _Rows:
    """Rows of a table by their numbers, as far as its pages can be read; ``holes`` counts what lay between them."""

    def __init__(self, connection: sqlite3.Connection, table: str, columns: list[str]) -> None:
        # Indices have pages of their own, which may be damaged where the table is not.
        self._all = f"SELECT rowid, {', '.join(columns)} FROM {table} NOT INDEXED WHERE rowid >= ? ORDER BY rowid"
        self._one = f"SELECT rowid FROM {table} NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT 1"
        self._connection = connection
        self.holes = 0

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        at: int | None = _LOWEST
        while at is not None:
            try:
                for row in self._connection.execute(self._all, (at,)):
                    yield row
                    at = int(row[0]) + 1
                return
            except sqlite3.DatabaseError:
                self.holes += 1
                at = self._beyond(at)

    def _beyond(self, lost: int) -> int | None:
        """The first number after ``lost`` from which on rows can be read; None if there is none."""
        good, steps, step = lost + 1, 0, 1
        while not self._is_readable(good):
            lost, steps = good, steps + 1
            step = min(2 * step, _STEP) if steps < _SMALL_STEPS else 2 * step
            good = lost + step
            if good > _HIGHEST:
                return None
        while good - lost > 1:
            middle = (good + lost) // 2
            lost, good = (lost, middle) if self._is_readable(middle) else (middle, good)
        return good

    def _is_readable(self, number: int) -> bool:
        try:
            self._connection.execute(self._one, (number,)).fetchone()
        except sqlite3.DatabaseError:
            return False
        return True

"""Read rows of measurements out of a store's tables, of whatever version, piece by piece in the order taken."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fleetfront.profilers.store.cells import Cells, read_cells
from fleetfront.profilers.store.conditions import Layout, read_layouts
from fleetfront.profilers.store.schema import WITH_LAYOUTS, WITH_VISITS, decoded, version_of
from fleetfront.targets import Target

SERIES = ("target", "space", "role", "key", "metric", "unit", "clock")
#: Rows in memory at a time.
_AT_ONCE = 2000


def where_named(target: Target | None, space: str | None) -> tuple[str, list[str]]:
    """The condition on ``series s`` that its index answers without looking at others, and its values."""
    asked = {"s.target": None if target is None else str(target), "s.space": space}
    given = {column: value for column, value in asked.items() if value is not None}
    return " AND ".join(f"{column} = ?" for column in given) or "1", list(given.values())


class Piece(NamedTuple):
    """Some thousand rows as SQLite gave them, cells in the order that ``read_cells`` takes, and what fills layouts."""

    rows: list[tuple[Any, ...]]
    layouts: Mapping[int, Layout]

    def cells(self) -> Iterator[Cells]:
        """The rows that this version has words for."""
        return filter(None, (read_cells(row, self.layouts) for row in self.rows))


def read_pieces(
    connection: sqlite3.Connection, wanted: Mapping[str, str | None], campaigns: Sequence[str] | None
) -> Iterator[Piece]:
    """Rows of the series with the cells ``wanted`` (``None``: any), of these campaigns, in the order taken.

    Takes memory for some thousand rows, and 8 bytes for each. Raises sqlite3.Error, also for rows that are in an index
    alone.
    """
    given = {column: value for column, value in wanted.items() if value is not None}
    conditions = [f"s.{column} = ?" for column in given]
    values = list(given.values())
    if campaigns is not None:
        conditions.append(f"m.campaign IN ({','.join('?' * len(campaigns))})")
        values.extend(campaigns)
    found = "SELECT m.rowid FROM measurements m JOIN series s ON s.id = m.series"
    query = f"{found} WHERE {' AND '.join(conditions)}" if conditions else found
    # SQLite would sort whole rows, samples and conditions with them.
    numbers = array("q", sorted(number for (number,) in connection.execute(query, values)))
    told, join = conditions_of(connection)
    layouts = read_layouts(connection) if version_of(connection) >= WITH_LAYOUTS else {}
    columns = ", ".join(f"s.{column}" for column in SERIES)
    query = (
        f"SELECT {columns}, m.uuid, m.campaign, m.round, m.started_ns, m.samples, {told[0]}, {told[1]}, m.flags,"
        f" m.error, {told[2]}, {told[3]}, m.rowid FROM measurements m JOIN series s ON s.id = m.series{join}"
        " WHERE m.rowid IN (SELECT value FROM json_each(?))"
    )
    for start in range(0, len(numbers), _AT_ONCE):
        piece = numbers[start : start + _AT_ONCE].tolist()
        rows = fetch_all(connection, query, [json.dumps(piece)])
        if len(rows) != len(piece):
            raise sqlite3.DatabaseError("rows of an index are missing")
        rows.sort(key=lambda row: row[-1])
        yield Piece(rows, layouts)


def conditions_of(connection: sqlite3.Connection) -> tuple[tuple[str, str, str, str], str]:
    """Conditions of the visit of a row of ``measurements m``, and what a query joins for them.

    They are text before and after it, or, where those are NULL, the number of their layout and what fills it.
    """
    version = version_of(connection)
    if version < WITH_VISITS:
        return ("m.before", "m.after", "NULL", "NULL"), ""
    packed = ("v.layout", "v.numbers") if version >= WITH_LAYOUTS else ("NULL", "NULL")
    return (
        "coalesce(v.before, m.before)",
        "coalesce(v.after, m.after)",
        *packed,
    ), " LEFT JOIN visits v ON v.id = m.visit"


def fetch_all(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[Any]:
    """All rows of a query. Where every text is one, they are read without a call of Python's for each."""
    connection.text_factory = str
    try:
        return connection.execute(query, values).fetchall()
    except (sqlite3.OperationalError, UnicodeDecodeError) as error:
        if "decode" not in str(error):
            raise
    finally:
        connection.text_factory = decoded
    return connection.execute(query, values).fetchall()


def killed_seconds(connection: sqlite3.Connection, campaign: str, killed: float, told: float) -> float:
    """Seconds of killed sessions: by the system's clock, which may be set, within what visits themselves say.

    Visits take most of a session, but for the files that are written before the first. ``killed`` are seconds by the
    clock, ``told`` those of the campaign's other sessions.
    """
    (_, after, layout, numbers), join = conditions_of(connection)
    layouts = read_layouts(connection) if version_of(connection) >= WITH_LAYOUTS else {}
    rows = connection.execute(
        f"SELECT DISTINCT started_ns, CASE WHEN json_valid({after}) THEN json_extract({after}, '$.visit_ns') END,"
        f" {layout}, {numbers} FROM measurements m{join} WHERE campaign = ?",
        (campaign,),
    )
    each = {(started_ns, _visit_ns(layouts.get(of), packed) if text is None else text)
            for started_ns, text, of, packed in rows}  # fmt: skip
    known = [ns for _, ns in each if isinstance(ns, int)]
    if not known:
        return max(0.0, killed)
    visits = max(0.0, sum(known) / 1e9 - told)
    return min(max(killed, visits), 2 * visits + 60.0)


def _visit_ns(layout: Layout | None, packed: object) -> int | None:
    """How long a visit took by its packed conditions; None if they do not tell."""
    place = None if layout is None else layout.after.get("visit_ns")
    if layout is None or not isinstance(packed, bytes) or len(packed) != layout.numbers.size or type(place) is not int:
        return None
    found = layout.numbers.unpack(packed)[place]
    return found if isinstance(found, int) else None

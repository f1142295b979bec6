"""Read rows of measurements out of a store's tables, of whatever version, piece by piece in the order taken."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetfront.profilers.store.cells import Cells, read_cells
from fleetfront.profilers.store.schema import WITH_VISITS, decoded, version_of
from fleetfront.targets import Target

SERIES = ("target", "space", "role", "key", "metric", "unit", "clock")
#: Rows in memory at a time.
_AT_ONCE = 2000


def where_named(target: Target | None, space: str | None) -> tuple[str, list[str]]:
    """The condition on ``series s`` that its index answers without looking at others, and its values."""
    asked = {"s.target": None if target is None else str(target), "s.space": space}
    given = {column: value for column, value in asked.items() if value is not None}
    return " AND ".join(f"{column} = ?" for column in given) or "1", list(given.values())


def read_rows(
    connection: sqlite3.Connection, wanted: Mapping[str, str | None], campaigns: Sequence[str] | None
) -> Iterator[Cells]:
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
    before, after, join = conditions_of(connection)
    columns = ", ".join(f"s.{column}" for column in SERIES)
    query = (
        f"SELECT {columns}, m.uuid, m.campaign, m.round, m.started_ns, m.samples, {before}, {after}, m.flags, m.error,"
        f" m.rowid FROM measurements m JOIN series s ON s.id = m.series{join}"
        " WHERE m.rowid IN (SELECT value FROM json_each(?))"
    )
    for start in range(0, len(numbers), _AT_ONCE):
        piece = numbers[start : start + _AT_ONCE].tolist()
        rows = fetch_all(connection, query, [json.dumps(piece)])
        if len(rows) != len(piece):
            raise sqlite3.DatabaseError("rows of an index are missing")
        rows.sort(key=lambda row: row[-1])
        yield from filter(None, map(read_cells, rows))


def conditions_of(connection: sqlite3.Connection, schema: str = "main") -> tuple[str, str, str]:
    """Conditions before and after the visit of a row of ``measurements m``, and what a query joins for them."""
    if version_of(connection, schema) < WITH_VISITS:
        return "m.before", "m.after", ""
    join = f" LEFT JOIN {schema}.visits v ON v.id = m.visit"
    return "coalesce(v.before, m.before)", "coalesce(v.after, m.after)", join


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
    _, after, join = conditions_of(connection)
    (visits_ns,) = connection.execute(
        f"SELECT sum(ns) FROM (SELECT DISTINCT started_ns, CASE WHEN json_valid({after}) THEN"
        f" json_extract({after}, '$.visit_ns') END AS ns FROM measurements m{join} WHERE campaign = ?)",
        (campaign,),
    ).fetchone()
    if not isinstance(visits_ns, int):
        return max(0.0, killed)
    visits = max(0.0, visits_ns / 1e9 - told)
    return min(max(killed, visits), 2 * visits + 60.0)

"""Merge another store into one's own: rows by their identity, devices of other machines under names of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.profilers.store.cells import DAMAGED, is_target, read_cells
from fleetfront.profilers.store.contents import machines_in
from fleetfront.profilers.store.queries import read_pieces
from fleetfront.profilers.store.schema import (
    WITH_LAYOUTS,
    WITH_VISITS,
    attach_to_read,
    explained,
    open_database,
    open_for_reading,
    version_of,
)
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.targets import Target

#: Measurements of a statement: between two of them progress is told, and Ctrl-C works.
_AT_ONCE = 50_000
#: Device -> its name in the store that rows are merged into.
Rename = Callable[[str], str]

_SERIES = "target, space, role, key, metric, unit, clock"
_TARGET = "renamed(x.target)"
_SOUND = "m.id NOT IN (SELECT id FROM temp.damaged)"

_PACKED, _AS_TEXT = "o.id, v.numbers", "NULL, NULL"
_JOINED = (
    " LEFT JOIN other.layouts y ON y.id = v.layout"
    " LEFT JOIN main.layouts o ON o.template = y.template AND o.format = y.format"
)
_NEW_VISITS = (
    f"INSERT INTO visits (id, before, after, layout, numbers) SELECT v.id + :known, v.before, v.after, {_PACKED}"
    f" FROM other.visits v{_JOINED} WHERE v.id IN"
    " (SELECT m.visit FROM other.measurements m JOIN other.series x ON x.id = m.series"
    f" WHERE {_TARGET} IS NOT NULL AND {_SOUND} AND NOT EXISTS (SELECT 1 FROM measurements o WHERE o.uuid = m.uuid))"
)

#: Campaigns of rows that no row of ``campaigns`` describes, found by a leap from each to the next: imported ones belong
#: to none, and their sources say whose they are.
_LONE = (
    "WITH RECURSIVE each(name) AS (SELECT min(campaign) FROM measurements UNION ALL"
    " SELECT (SELECT min(m.campaign) FROM measurements m WHERE m.campaign > each.name) FROM each"
    " WHERE each.name IS NOT NULL) SELECT name FROM each WHERE name IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM campaigns c WHERE c.id = each.name)"
)

#: In this order, each step finding what the ones before it brought. Sessions have no identity of their own: two of one
#: campaign cannot begin in the same nanosecond. Nor have visits, which get numbers beyond the ``known`` ones.
_STEPS = {
    "sources": "INSERT OR IGNORE INTO sources (name, licence, url, sha256, imported_ns)"
    " SELECT name, licence, url, sha256, imported_ns FROM other.sources",
    "series": f"INSERT OR IGNORE INTO series ({_SERIES})"
    f" SELECT {_TARGET}, x.space, x.role, x.key, x.metric, x.unit, x.clock FROM other.series x"
    f" WHERE {_TARGET} IS NOT NULL",
    # Readers take the last row of a target for its newest profile: one that began before what is here goes below it.
    "campaigns": "INSERT OR IGNORE INTO campaigns (rowid, id, target, space, identity, plan, environment, started_ns)"
    " SELECT CASE WHEN x.started_ns < (SELECT max(c.started_ns) FROM campaigns c"
    f" WHERE c.target = {_TARGET} AND c.space = x.space)"
    " THEN (SELECT min(rowid) FROM campaigns) - row_number() OVER (ORDER BY x.started_ns DESC) END,"
    f" x.id, {_TARGET}, x.space, x.identity, x.plan, x.environment, x.started_ns FROM other.campaigns x"
    f" WHERE {_TARGET} IS NOT NULL AND x.id NOT IN (SELECT id FROM campaigns) ORDER BY x.started_ns",
    "sessions": "INSERT INTO sessions (campaign, started_ns) SELECT x.campaign, x.started_ns FROM other.sessions x"
    " WHERE EXISTS (SELECT 1 FROM campaigns c WHERE c.id = x.campaign) AND NOT EXISTS"
    " (SELECT 1 FROM sessions s WHERE s.campaign = x.campaign AND s.started_ns = x.started_ns) ORDER BY x.id",
    "endings": "INSERT OR IGNORE INTO endings (session, ended_ns, reason, finished)"
    " SELECT s.id, e.ended_ns, e.reason, e.finished FROM other.endings e JOIN other.sessions x ON x.id = e.session"
    " JOIN sessions s ON s.campaign = x.campaign AND s.started_ns = x.started_ns",
    "layouts": "INSERT OR IGNORE INTO layouts (template, format) SELECT template, format FROM other.layouts",
    "visits": _NEW_VISITS,
    "measurements": "INSERT OR IGNORE INTO measurements (uuid, series, campaign, round, started_ns, samples, before,"
    " after, flags, error, source, visit)"
    " SELECT m.uuid, s.id, m.campaign, m.round, m.started_ns, m.samples, m.before, m.after, m.flags, m.error, o.id,"
    " m.visit + :known"
    " FROM other.measurements m JOIN other.series x ON x.id = m.series"
    " JOIN series s ON s.target = renamed(x.target) AND s.space = x.space AND s.role = x.role AND s.key = x.key"
    " AND s.metric = x.metric AND s.unit = x.unit AND s.clock = x.clock"
    " LEFT JOIN other.sources y ON y.id = m.source LEFT JOIN sources o ON o.name = y.name AND o.sha256 = y.sha256"
    f" WHERE {_SOUND} AND m.id > :after AND m.id <= :upto ORDER BY m.id",
}


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        devices: names, as they are now called, of all that the other store holds.
        rows: measurements that were new.
        known: measurements that were there already.
        left_out: measurements of series that nobody here can name.
        campaigns: campaigns that were new.
        held_as: other names than these under which known ones are held.
        damaged: measurements that were left out for their cells are damaged: a sound copy would bring them.
    """

    devices: tuple[str, ...]
    rows: int
    known: int
    left_out: int
    campaigns: int
    held_as: tuple[str, ...] = ()
    damaged: int = 0


def devices_in(path: Path) -> list[str]:
    """Every device that the store at ``path`` has rows of. Raises InputError as ``open_for_reading`` does."""
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Name the store.sqlite of the other machine's FLEETFRONT_HOME.")
    with closing(open_for_reading(path)) as connection, explained(path):
        targets = connection.execute("SELECT DISTINCT target FROM series").fetchall()
    return sorted({Target.parse(target).device for (target,) in targets if is_target(target)})


def described_differently(path: Path, other: Path, rename: Rename) -> dict[str, str]:
    """Devices of ``other`` whose names here are another machine's, by what both said that they are, in a sentence.

    Raises InputError as ``open_for_reading`` does.
    """
    if not path.is_file() or not path.stat().st_size:
        return {}
    here, there = _names(path), _names(other)
    found = {}
    for device, names in there.items():
        held = here.get(rename(device), set())
        if held and names and held.isdisjoint(names):
            found[device] = f"{rename(device)} is {' and '.join(sorted(held))} here, and {' and '.join(sorted(names))}"
    return found


def _names(path: Path) -> dict[str, set[str]]:
    """Device -> what it said that it is."""
    found: dict[str, set[str]] = {}
    for machine in machines_in(path):
        if machine.name:
            found.setdefault(machine.device, set()).add(machine.name)
    with closing(open_for_reading(path)) as connection, explained(path):
        lone = [str(campaign) for (campaign,) in connection.execute(_LONE)]
    with Store(path, read_only=True) as store:
        for campaign in lone:
            # A phone says with every row what it is; of one sustained run there is nothing else.
            for row in islice(store.measurements(metric=None, campaigns=[campaign]), 1):
                if name := row.before.get("model"):
                    found.setdefault(row.target.device, set()).add(str(name))
    return found


def merge_store(path: Path, other: Path, rename: Rename, *, progress: Progress = SILENT) -> Merged:
    """Copy what the store ``other`` holds and ``path`` does not, in one transaction: all of it or, on an error, none.

    Rows are known by their identity, so that merging again changes nothing; damaged ones are left out, so that a sound
    copy can bring them. ``rename`` gives the devices' names here.

    Raises:
        InputError: one of them is no readable store, both are one file, or the disk is full.
    """
    if path.exists() and other.exists() and path.samefile(other):
        raise InputError(f"{other} is this very store.", "Name the file of another one.")
    devices = sorted({rename(device) for device in devices_in(other)})
    damaged = _damaged_rows(other)
    with closing(open_database(path)) as connection, explained(other, written=path):
        attach_to_read(connection, other, "other")
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Nothing of Python runs inside a statement: an interruption there would be told as an error of the store.
            told = connection.execute("SELECT target FROM other.series UNION SELECT target FROM other.campaigns")
            names = {target: _renamed(target, rename) for (target,) in told.fetchall()}
            connection.create_function("renamed", 1, names.get, deterministic=True)
            connection.execute("CREATE TEMP TABLE damaged (id INTEGER PRIMARY KEY)")
            connection.executemany("INSERT INTO temp.damaged VALUES (?)", [(number,) for number in damaged])
            new = _copy(connection, progress)
            total, named = _counts(connection)
            rows, broken = new["measurements"], _count_broken(connection)
            held = _held_as(connection) - {*devices} if named > rows else set()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    known = named - rows - broken
    return Merged(tuple(devices), rows, known, total - named, new["campaigns"], tuple(sorted(held)), broken)


def _damaged_rows(path: Path) -> list[int]:
    """Numbers of the rows of a store whose cells are damaged. Raises InputError as ``open_for_reading`` does."""
    with closing(open_for_reading(path)) as connection, explained(path):
        pieces = read_pieces(connection, {}, None)
        read = ((row[-1], read_cells(row, piece.layouts)) for piece in pieces for row in piece.rows)
        return [number for number, cells in read if cells and cells.error and cells.error.startswith(DAMAGED)]


def _count_broken(connection: sqlite3.Connection) -> int:
    """Damaged rows of the other store that are not here from a sound one."""
    query = (
        "SELECT count(*) FROM other.measurements m WHERE m.id IN (SELECT id FROM temp.damaged)"
        " AND NOT EXISTS (SELECT 1 FROM main.measurements o WHERE o.uuid = m.uuid)"
    )
    (count,) = connection.execute(query).fetchone()
    return int(count)


def _copy(connection: sqlite3.Connection, progress: Progress) -> dict[str, int]:
    """Rows that each table got."""
    (known,) = connection.execute("SELECT coalesce(max(id), 0) FROM main.visits").fetchone()
    steps, version = dict(_STEPS), version_of(connection, "other")
    if version < WITH_LAYOUTS:
        del steps["layouts"]
        steps["visits"] = _NEW_VISITS.replace(_PACKED, _AS_TEXT).replace(_JOINED, "")
    if version < WITH_VISITS:
        del steps["visits"]
        steps["measurements"] = steps["measurements"].replace("m.visit + :known", "NULL")
    query = "SELECT coalesce(min(id), 1) - 1, coalesce(max(id), 0) FROM other.measurements"
    first, last = connection.execute(query).fetchone()
    new = dict.fromkeys(steps, 0)
    progress.start("Merging", last - first)
    for table, sql in steps.items():
        pieces = range(first, last, _AT_ONCE) if table == "measurements" else [first]
        for after in pieces:
            given = {"known": known, "after": after, "upto": after + _AT_ONCE}
            new[table] += max(0, connection.execute(sql, given).rowcount)
            progress.advance(min(_AT_ONCE, last - after) if table == "measurements" else 0, table)
    progress.finish()
    return new


def _renamed(text: object, rename: Rename) -> str | None:
    """The target with its device's name here; None for what is no target."""
    if not is_target(text):
        return None
    target = Target.parse(str(text))
    name = rename(target.device)
    return str(text) if name == target.device else str(text).replace(target.device, name, 1)


def _held_as(connection: sqlite3.Connection) -> set[str]:
    """The devices here that rows of the other store are held as."""
    told = connection.execute(
        "SELECT DISTINCT target FROM series WHERE id IN"
        " (SELECT m.series FROM measurements m JOIN other.measurements o ON o.uuid = m.uuid)"
    )
    return {Target.parse(target).device for (target,) in told.fetchall() if is_target(target)}


def _counts(connection: sqlite3.Connection) -> tuple[int, int]:
    """Rows of the other store, and those of them whose series can be named."""
    (total,) = connection.execute("SELECT count(*) FROM other.measurements").fetchone()
    (named,) = connection.execute(
        f"SELECT count(*) FROM other.measurements m JOIN other.series x ON x.id = m.series WHERE {_TARGET} IS NOT NULL"
    ).fetchone()
    return int(total), int(named)

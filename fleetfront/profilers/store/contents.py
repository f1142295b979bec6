"""Count what lies in a store: targets, machines, visits, samples, bytes, and runs that were cut short."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fleetfront.profilers.store.cells import is_target, read_facts
from fleetfront.profilers.store.schema import explained, open_for_reading, version_of
from fleetfront.targets import Target

#: What tells a machine, the most telling first.
_NAMED_BY = ("model", "gpu", "cpu")

_SAMPLES = "CASE WHEN length(samples) % 4 = 1 THEN (length(samples) - 5) / 4 ELSE length(samples) / 8 END"
_COUNTED = (
    "SELECT s.target, s.space, count(*), sum(h.rows), sum(h.failed), sum(h.samples), max(h.last)"
    f" FROM (SELECT series, count(*) AS rows, sum(error IS NOT NULL) AS failed, sum({_SAMPLES}) AS samples,"
    " max(CAST(started_ns AS INTEGER)) AS last FROM measurements NOT INDEXED GROUP BY series) h"
    " JOIN series s ON s.id = h.series GROUP BY 1, 2 ORDER BY 1, 2"
)
# Rows of one visit begin in the same nanosecond; what was imported has a row a visit.
_VISITS = (
    "SELECT s.target, s.space, count(DISTINCT CASE WHEN m.source IS NULL THEN m.started_ns ELSE -m.id END)"
    " FROM measurements m NOT INDEXED JOIN series s ON s.id = m.series GROUP BY 1, 2"
)
_UNFINISHED = (
    "SELECT c.id, c.target, c.space, coalesce(e.reason, '') FROM campaigns c LEFT JOIN endings e ON e.session ="
    " (SELECT max(s.id) FROM sessions s WHERE s.campaign = c.id) WHERE coalesce(e.finished, 0) = 0 ORDER BY c.rowid"
)


@dataclass(frozen=True, slots=True)
class TargetContent:
    """A count of what is held of one target in one space; the space of files is empty.

    Attributes:
        series: how many blocks, networks and files, each counted once under every clock and metric.
        visits: measured or failed; each gives a row a clock.
        rows, failed: of all visits, and those with an error.
        samples: single timed runs.
        last_started_ns: when the newest visit began, nanoseconds since 1970.
        is_known: False if this version cannot name the target; its rows are left out everywhere else.
    """

    target: str
    space: str
    series: int
    visits: int
    rows: int
    failed: int
    samples: int
    last_started_ns: int
    is_known: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """A device and what it said that it is, when it was measured."""

    device: str
    name: str
    system: str


@dataclass(frozen=True, slots=True)
class InterruptedRun:
    """A campaign that the same command would continue; ``reason`` is empty if it was killed or still runs."""

    campaign: str
    target: str
    space: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoreContents:
    """All that lies in a store, counted.

    Attributes:
        version: of its schema.
        bytes: of the file and its log.
        free_bytes: of pages in the file that hold nothing.
        campaigns, sources: how many.
    """

    version: int
    bytes: int
    free_bytes: int
    targets: tuple[TargetContent, ...]
    machines: tuple[Machine, ...]
    campaigns: int
    sources: int
    interrupted: tuple[InterruptedRun, ...]

    @property
    def samples(self) -> int:
        """Of all targets."""
        return sum(one.samples for one in self.targets)

    @property
    def bytes_a_sample(self) -> float | None:
        """Bytes of the file for each sample; None without samples."""
        return self.bytes / self.samples if self.samples else None


def count_contents(path: Path) -> StoreContents:
    """Count what the store at ``path`` holds: one look at each row, memory for a number a visit.

    Raises InputError as ``open_for_reading`` does.
    """
    with closing(open_for_reading(path)) as connection, explained(path):
        connection.execute("BEGIN")
        return contents_of(connection, path)


def contents_of(connection: sqlite3.Connection, path: Path) -> StoreContents:
    """``count_contents`` of an open store, within a transaction. Raises sqlite3.Error."""
    visits = {(target, space): count for target, space, count in connection.execute(_VISITS)}
    targets = tuple(
        TargetContent(
            str(target), str(space), series, visits[target, space], rows, failed, samples, last, is_target(target)
        )
        for target, space, series, rows, failed, samples, last in connection.execute(_COUNTED)
    )
    machines = _machines(connection)
    return StoreContents(
        version_of(connection),
        file_bytes(path),
        _pragma(connection, "freelist_count") * _pragma(connection, "page_size"),
        targets,
        machines,
        _count(connection, "campaigns"),
        _count(connection, "sources"),
        tuple(InterruptedRun(*map(str, row)) for row in connection.execute(_UNFINISHED)),
    )


def machines_in(path: Path) -> tuple[Machine, ...]:
    """Machines that devices of a store's campaigns told. Raises InputError as ``open_for_reading`` does."""
    with closing(open_for_reading(path)) as connection, explained(path):
        return _machines(connection)


def _machines(connection: sqlite3.Connection) -> tuple[Machine, ...]:
    told = connection.execute("SELECT DISTINCT target, environment FROM campaigns ORDER BY 1, 2").fetchall()
    return tuple(dict.fromkeys(_machine(target, told) for target, told in told if is_target(target)))


def _machine(target: str, environment: object) -> Machine:
    told = read_facts(environment)
    name = next((str(told[key]) for key in _NAMED_BY if told.get(key)), "")
    return Machine(Target.parse(target).device, name, str(told.get("system") or ""))


def file_bytes(path: Path) -> int:
    """Bytes of a store and its log."""
    real = path.resolve()
    files = (real, real.with_name(f"{real.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

"""Keep every raw sample in one append-only SQLite file. Only the coordinator of a campaign writes to it.

Statistics are not computed here but on reading (``observations``); the tables are in ``store.schema``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from types import TracebackType
from typing import Any

from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.cells import DAMAGED, Cells, is_target, known_words, pack_samples, read_facts
from fleetfront.profilers.store.conditions import VisitWriter, pack_facts
from fleetfront.profilers.store.contents import StoreContents, contents_of
from fleetfront.profilers.store.queries import SERIES, Piece, killed_seconds, read_pieces, where_named
from fleetfront.profilers.store.schema import explained, open_database, open_for_reading
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of imported rows. ``sha256`` is of the imported file, so that importing it again changes nothing."""

    name: str
    licence: str
    url: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A campaign as the store keeps it.

    Attributes:
        identity: hash over everything that must be equal for a later command to continue this campaign.
        plan: what was to be measured, as JSON values.
        environment: what the agent said of the device.
        started_ns: nanoseconds since 1970.
        seconds: time spent measuring over all sessions so far.
        is_finished: a stop rule or the budget ended it; otherwise the same command continues it.
        reason: why the last session ended; empty if it was killed or still runs.
    """

    id: str
    target: Target
    space: str
    identity: str
    plan: Mapping[str, Any]
    environment: Mapping[str, Any]
    started_ns: int
    seconds: float
    is_finished: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Holding:
    """A count of the rows of one target, space, role, clock and metric."""

    target: Target
    space: str
    role: Role
    clock: Clock
    metric: str
    keys: int
    visits: int
    last_started_ns: int
    is_imported: bool


#: How long another command may write before this one gives up.
_WAIT_S = 600.0


class Store:
    """The measurements of one user. Use as a context manager, or call ``close``."""

    def __init__(self, path: Path, *, must_exist: bool = False, read_only: bool = False) -> None:
        """Open or make the store at ``path``; with ``read_only`` only open it, also in a folder that is read-only.

        Raises InputError if the file is corrupt, of another program, of a newer version, or not writable; with
        ``must_exist`` also if there is none; with ``read_only`` if there is none or it is empty, whether writable or
        not.
        """
        self.path = path
        self._connection = open_for_reading(path) if read_only else open_database(path, must_exist)
        # Whoever only reads tells the time of killed sessions as it was when it was first asked for.
        self._killed: dict[tuple[str, float, float], float] | None = {} if read_only else None
        self._series: dict[tuple[str, ...], int] = {}
        self._visits = VisitWriter(self._connection)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The store is unusable afterwards."""
        self._connection.close()

    def append(self, measurements: Iterable[Measurement], source: Source | None = None) -> int:
        """Write measurements in one transaction: all of them or, on an error, none. Returns how many were new.

        Rows whose ``uuid`` is already there are left as they are. ``source`` marks the rows as imported from there. The
        conditions of a visit are kept once for its rows, which come one after the other.
        Raises InputError if the disk is full or the file cannot be written.
        """
        new = 0
        with self._transaction() as connection:
            self._visits.begin()
            origin = None if source is None else self._source_id(source)
            for measurement in measurements:
                if connection.execute("SELECT 1 FROM measurements WHERE uuid = ?", (measurement.uuid,)).fetchone():
                    continue
                connection.execute(
                    "INSERT INTO measurements (uuid, series, campaign, round, started_ns, samples, flags, error,"
                    " source, visit) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        measurement.uuid,
                        self._series_id(measurement),
                        measurement.campaign,
                        measurement.round,
                        measurement.started_ns,
                        pack_samples(measurement.samples),
                        pack_facts(measurement.flags),
                        measurement.error,
                        origin,
                        self._visits.number_of(measurement.before, measurement.after),
                    ),
                )
                new += 1
        return new

    def add_campaign(
        self,
        campaign: str,
        target: Target,
        space: str,
        identity: str,
        plan: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> None:
        """Record a campaign before its first visit; a campaign already there stays as it is."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO campaigns VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (
                    campaign,
                    str(target),
                    space,
                    identity,
                    json.dumps(plan, sort_keys=True),
                    json.dumps(environment, sort_keys=True),
                    time.time_ns(),
                ),
            )

    def begin_session(self, campaign: str, started_ns: int | None = None) -> int:
        """Note that somebody works on a campaign since ``started_ns`` (now); the number goes to ``end_session``."""
        since = time.time_ns() if started_ns is None else started_ns
        with self._transaction() as connection:
            cursor = connection.execute("INSERT INTO sessions (campaign, started_ns) VALUES (?, ?)", (campaign, since))
            return int(cursor.lastrowid or 0)

    def end_session(self, session: int, reason: str, *, finished: bool, seconds: float | None = None) -> None:
        """Note why a session ended and whether that finished its campaign.

        ``seconds`` is how long it took, by a clock that nobody sets; by default until now.
        """
        with self._transaction() as connection:
            (started_ns,) = connection.execute("SELECT started_ns FROM sessions WHERE id = ?", (session,)).fetchone()
            ended_ns = time.time_ns() if seconds is None else started_ns + int(seconds * 1e9)
            connection.execute(
                "INSERT INTO endings VALUES (?, ?, ?, ?) ON CONFLICT (session) DO NOTHING",
                (session, ended_ns, reason, int(finished)),
            )

    def measurements(
        self,
        *,
        target: Target | None = None,
        space: str | None = None,
        role: Role | None = None,
        key: str | None = None,
        clock: Clock | None = None,
        metric: str | None = "latency",
        campaigns: Sequence[str] | None = None,
    ) -> Iterator[Measurement]:
        """Measurements in the order taken, filtered by whatever is given (``None``: any).

        A row with damaged samples or conditions comes as one with an error that says so; rows whose target, role or
        clock nobody here knows are left out, see ``find_damage``.
        """
        return starmap(Measurement, self.rows(target, space, role, key, clock, metric, campaigns))

    def rows(
        self,
        target: Target | None,
        space: str | None,
        role: Role | None = None,
        key: str | None = None,
        clock: Clock | None = None,
        metric: str | None = None,
        campaigns: Sequence[str] | None = None,
    ) -> Iterator[Cells]:
        """``measurements`` as plain tuples, which take half the time, piece by piece."""
        wanted = {"target": target, "space": space, "role": role, "key": key, "clock": clock, "metric": metric}
        named = {column: None if value is None else str(value) for column, value in wanted.items()}
        with explained(self.path):
            for piece in read_pieces(self._connection, named, campaigns):
                yield from piece.cells()

    def pieces(self, target: Target, space: str, metric: str, campaigns: Sequence[str] | None) -> Iterator[Piece]:
        """Rows of one target, space and metric as SQLite gives them, for readers that make columns of them."""
        wanted = {"target": str(target), "space": space, "metric": metric}
        with explained(self.path):
            yield from read_pieces(self._connection, wanted, campaigns)

    @contextmanager
    def at_one_moment(self) -> Iterator[StoreContents]:
        """All that is held, counted; whatever is read of this store meanwhile is of the same moment."""
        with explained(self.path), self._connection:
            self._connection.execute("BEGIN")
            yield contents_of(self._connection, self.path)

    def find_damage(self) -> list[str]:
        """Find what of the store cannot be read, in sentences; empty if everything can. Reads everything."""
        with explained(self.path):
            series = self._connection.execute("SELECT id, target, role, clock FROM series").fetchall()
            counts = dict(self._connection.execute("SELECT series, count(*) FROM measurements GROUP BY series"))
        strange = [(name, *cells) for name, *cells in series if known_words(*cells) is None]
        found = [
            f"{counts.get(name, 0)} rows of {target!r}, role {role!r}, clock {clock!r} are left out: this version of "
            "fleetfront does not know them."
            for name, target, role, clock in strange
        ]
        damaged = [m.error for m in self.measurements(metric=None) if m.error and m.error.startswith(DAMAGED)]
        if damaged:
            found.append(f"{len(damaged)} rows are damaged and count as failed visits, e.g.: {damaged[0]}.")
        return found

    def campaigns(self, *, target: Target | None = None, space: str | None = None) -> list[CampaignRow]:
        """Campaigns of a target and space, newest first."""
        where, values = where_named(target, space)
        query = (
            "SELECT id, target, space, identity, plan, environment, CAST(started_ns AS INTEGER) FROM campaigns s"
            f" WHERE {where} ORDER BY rowid DESC"
        )
        with explained(self.path):
            rows = self._connection.execute(query, values).fetchall()
            return [self._campaign(row) for row in rows if is_target(row[1])]

    def uuids(self, campaign: str, round_: int) -> set[str]:
        """Identities of all rows of one round of a campaign, those of failed visits included."""
        with explained(self.path):
            rows = self._connection.execute(
                "SELECT uuid FROM measurements WHERE campaign = ? AND round = ?", (campaign, round_)
            ).fetchall()
        return {uuid for (uuid,) in rows}

    def last_round(self, campaign: str) -> int:
        """Number of the newest round with a visit, -1 if there is none."""
        with explained(self.path):
            row = self._connection.execute(
                "SELECT coalesce(max(CAST(round AS INTEGER)), -1) FROM measurements WHERE campaign = ?", (campaign,)
            ).fetchone()
        return int(row[0])

    def holdings(self, target: Target | None = None, space: str | None = None) -> list[Holding]:
        """List the holdings by target, space, role, clock and metric: all, or those of a target and space."""
        where, values = where_named(target, space)
        # Counted by an index alone, in its order, before anything is joined: a fifth of the time.
        among = f" AND m.series IN (SELECT s.id FROM series s WHERE {where})" if values else ""
        query = (
            "SELECT s.target, s.space, s.role, s.clock, s.metric, count(DISTINCT s.key), sum(h.visits), max(h.last),"
            " h.imported FROM (SELECT m.series, m.source IS NOT NULL AS imported, count(*) AS visits,"
            " max(CAST(m.started_ns AS INTEGER)) AS last"
            f" FROM measurements m WHERE m.error IS NULL{among} GROUP BY m.series, m.source) h"
            " JOIN series s ON s.id = h.series GROUP BY 1, 2, 3, 4, 5, 9 ORDER BY 1, 2, 3, 4, 5"
        )
        with explained(self.path):
            rows = self._connection.execute(query, values).fetchall()
        return [
            Holding(Target.parse(t), space, Role(role), Clock(clock), metric, keys, visits, last, bool(imported))
            for t, space, role, clock, metric, keys, visits, last, imported in rows
            if known_words(t, role, clock) is not None
        ]

    def sources(self, target: Target | None = None, space: str | None = None) -> list[Source]:
        """The origins of the imported rows of a target and space."""
        where, values = where_named(target, space)
        query = (
            "SELECT name, licence, url, sha256 FROM sources WHERE id IN (SELECT m.source FROM series s"
            f" CROSS JOIN measurements m ON m.series = s.id WHERE {where}) ORDER BY id"
        )
        with explained(self.path):
            return [Source(*row) for row in self._connection.execute(query, values).fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._begin()
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A rolled-back series has no row, so its number must not be remembered.
                self._series.clear()
                self._visits = VisitWriter(self._connection)
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _begin(self) -> None:
        """Wait for whoever writes, as an import may for minutes; Ctrl-C works between two tries."""
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise

    def _series_id(self, measurement: Measurement) -> int:
        names = (
            str(measurement.target),
            measurement.space,
            measurement.role.value,
            measurement.key,
            measurement.metric,
            measurement.unit,
            measurement.clock.value,
        )
        if names not in self._series:
            where = " AND ".join(f"{column} = ?" for column in SERIES)
            row = self._connection.execute(f"SELECT id FROM series WHERE {where}", names).fetchone()
            if row is None:
                columns, marks = ", ".join(SERIES), ", ".join("?" * len(SERIES))
                cursor = self._connection.execute(f"INSERT INTO series ({columns}) VALUES ({marks})", names)
                row = (cursor.lastrowid,)
            self._series[names] = int(row[0])
        return self._series[names]

    def _source_id(self, source: Source) -> int:
        found = self._connection.execute(
            "SELECT id FROM sources WHERE name = ? AND sha256 = ?", (source.name, source.sha256)
        ).fetchone()
        if found is not None:
            return int(found[0])
        cursor = self._connection.execute(
            "INSERT INTO sources (name, licence, url, sha256, imported_ns) VALUES (?, ?, ?, ?, ?)",
            (source.name, source.licence, source.url, source.sha256, time.time_ns()),
        )
        return int(cursor.lastrowid or 0)

    def _killed_seconds(self, campaign: str, killed: float, told: float) -> float:
        known = {} if self._killed is None else self._killed
        if (campaign, killed, told) not in known:
            known[campaign, killed, told] = killed_seconds(self._connection, campaign, killed, told)
        return known[campaign, killed, told]

    def _campaign(self, row: Sequence[Any]) -> CampaignRow:
        campaign, target, space, identity, plan, environment, started_ns = row
        sessions = self._connection.execute(
            "SELECT CAST(s.started_ns AS INTEGER), CAST(e.ended_ns AS INTEGER), e.reason, e.finished,"
            " (SELECT max(CAST(m.started_ns AS INTEGER)) FROM measurements m WHERE m.campaign = s.campaign"
            "  AND m.started_ns >= s.started_ns AND m.started_ns < coalesce((SELECT min(n.started_ns)"
            "  FROM sessions n WHERE n.campaign = s.campaign AND n.id > s.id), 9223372036854775807))"
            " FROM sessions s LEFT JOIN endings e ON e.session = s.id WHERE s.campaign = ? ORDER BY s.id",
            (campaign,),
        ).fetchall()
        told = sum(max(0, end - start) for start, end, *_ in sessions if end is not None) / 1e9
        # A killed session has no ending: it is taken to have ended with its last visit.
        killed = sum((last or start) - start for start, end, _, _, last in sessions if end is None) / 1e9
        seconds = told + (self._killed_seconds(campaign, killed, told) if killed else 0.0)
        return CampaignRow(
            id=campaign,
            target=Target.parse(target),
            space=space,
            identity=identity,
            plan=read_facts(plan),
            environment=read_facts(environment),
            started_ns=started_ns,
            seconds=seconds,
            is_finished=bool(sessions and sessions[-1][3]),
            reason=(sessions[-1][2] or "") if sessions else "",
        )

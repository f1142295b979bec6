"""Store: every raw sample, in one append-only SQLite file. Only the coordinator of a campaign writes to it.

Statistics are not computed here but on reading (``observations``); the tables are in ``store.schema``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.schema import explained, open_database, open_for_reading
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class Source:
    """Where imported rows come from. ``sha256`` is of the imported file, so that importing it again changes nothing."""

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
    """How much the store holds of one target, space, role, clock and metric."""

    target: Target
    space: str
    role: Role
    clock: Clock
    metric: str
    keys: int
    visits: int
    last_started_ns: int
    is_imported: bool


_SERIES = ("target", "space", "role", "key", "metric", "unit", "clock")


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
        self._series: dict[tuple[str, ...], int] = {}

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The store is unusable afterwards."""
        self._connection.close()

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, measurements: Iterable[Measurement], source: Source | None = None) -> int:
        """Write measurements in one transaction: all of them or, on an error, none. Returns how many were new.

        Rows whose ``uuid`` is already there are left as they are. ``source`` marks the rows as imported from there.
        Raises InputError if the disk is full or the file cannot be written.
        """
        new = 0
        with self._transaction() as connection:
            origin = None if source is None else self._source_id(source)
            for measurement in measurements:
                cursor = connection.execute(
                    "INSERT INTO measurements (uuid, series, campaign, round, started_ns, samples, before, after,"
                    " flags, error, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uuid) DO NOTHING",
                    (
                        measurement.uuid,
                        self._series_id(measurement),
                        measurement.campaign,
                        measurement.round,
                        measurement.started_ns,
                        np.asarray(measurement.samples, dtype="<i8").tobytes(),
                        _packed(measurement.before),
                        _packed(measurement.after),
                        _packed(measurement.flags),
                        measurement.error,
                        origin,
                    ),
                )
                new += cursor.rowcount
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

    def end_session(self, session: int, reason: str, *, finished: bool) -> None:
        """Note why a session ended and whether that finished its campaign."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO endings VALUES (?, ?, ?, ?) ON CONFLICT (session) DO NOTHING",
                (session, time.time_ns(), reason, int(finished)),
            )

    # -- reading -----------------------------------------------------------------------------------------------------

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
        """Measurements in the order taken, filtered by whatever is given (``None``: any)."""
        wanted = {
            "target": None if target is None else str(target),
            "space": space,
            "role": role,
            "key": key,
            "clock": clock,
            "metric": metric,
        }
        conditions = [f"s.{column} = ?" for column, value in wanted.items() if value is not None]
        values: list[Any] = [str(value) for value in wanted.values() if value is not None]
        if campaigns is not None:
            conditions.append(f"m.campaign IN ({','.join('?' * len(campaigns))})")
            values.extend(campaigns)
        query = (
            f"SELECT {', '.join('s.' + column for column in _SERIES)}, m.uuid, m.campaign, m.round, m.started_ns,"
            " m.samples, m.before, m.after, m.flags, m.error FROM measurements m JOIN series s ON s.id = m.series"
            f"{' WHERE ' if conditions else ''}{' AND '.join(conditions)} ORDER BY m.started_ns, m.id"
        )
        with explained(self.path):
            rows = self._connection.execute(query, values).fetchall()
        return map(_measurement, rows)

    def campaigns(self, *, target: Target | None = None, space: str | None = None) -> list[CampaignRow]:
        """Campaigns of a target and space, newest first."""
        conditions = [f"{name} = ?" for name, value in (("target", target), ("space", space)) if value is not None]
        values = [str(value) for value in (target, space) if value is not None]
        query = (
            "SELECT id, target, space, identity, plan, environment, started_ns FROM campaigns"
            f"{' WHERE ' if conditions else ''}{' AND '.join(conditions)} ORDER BY started_ns DESC, rowid DESC"
        )
        with explained(self.path):
            return [self._campaign(row) for row in self._connection.execute(query, values).fetchall()]

    def count(self, campaign: str) -> int:
        """Rows of a campaign."""
        with explained(self.path):
            row = self._connection.execute(
                "SELECT count(*) FROM measurements WHERE campaign = ?", (campaign,)
            ).fetchone()
        return int(row[0])

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
                "SELECT coalesce(max(round), -1) FROM measurements WHERE campaign = ?", (campaign,)
            ).fetchone()
        return int(row[0])

    def holdings(self) -> list[Holding]:
        """What the store holds, by target, space, role, clock and metric."""
        query = (
            "SELECT s.target, s.space, s.role, s.clock, s.metric, count(DISTINCT s.key), count(m.id),"
            " max(m.started_ns), m.source IS NOT NULL AS imported"
            " FROM measurements m JOIN series s ON s.id = m.series WHERE m.error IS NULL"
            " GROUP BY s.target, s.space, s.role, s.clock, s.metric, imported ORDER BY 1, 2, 3, 4, 5"
        )
        with explained(self.path):
            rows = self._connection.execute(query).fetchall()
        return [
            Holding(Target.parse(t), space, Role(role), Clock(clock), metric, keys, visits, last, bool(imported))
            for t, space, role, clock, metric, keys, visits, last, imported in rows
        ]

    def sources(self, target: Target | None = None, space: str | None = None) -> list[Source]:
        """Where the imported rows of a target and space come from."""
        query = (
            "SELECT DISTINCT o.name, o.licence, o.url, o.sha256 FROM sources o JOIN measurements m ON m.source = o.id"
            " JOIN series s ON s.id = m.series WHERE (? IS NULL OR s.target = ?) AND (? IS NULL OR s.space = ?)"
        )
        name = None if target is None else str(target)
        with explained(self.path):
            return [Source(*row) for row in self._connection.execute(query, (name, name, space, space)).fetchall()]

    # -- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A rolled-back series has no row, so its number must not be remembered.
                self._series.clear()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
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
            where = " AND ".join(f"{column} = ?" for column in _SERIES)
            row = self._connection.execute(f"SELECT id FROM series WHERE {where}", names).fetchone()
            if row is None:
                columns, marks = ", ".join(_SERIES), ", ".join("?" * len(_SERIES))
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

    def _campaign(self, row: Sequence[Any]) -> CampaignRow:
        campaign, target, space, identity, plan, environment, started_ns = row
        sessions = self._connection.execute(
            "SELECT s.started_ns, e.ended_ns, e.reason, e.finished,"
            " (SELECT max(m.started_ns) FROM measurements m WHERE m.campaign = s.campaign"
            "  AND m.started_ns >= s.started_ns AND m.started_ns < coalesce((SELECT min(n.started_ns)"
            "  FROM sessions n WHERE n.campaign = s.campaign AND n.id > s.id), 9223372036854775807))"
            " FROM sessions s LEFT JOIN endings e ON e.session = s.id WHERE s.campaign = ? ORDER BY s.id",
            (campaign,),
        ).fetchall()
        # A killed session has no ending: it is taken to have ended with its last visit.
        ended = [end if end is not None else (last or start) for start, end, _, _, last in sessions]
        seconds = sum(end - session[0] for end, session in zip(ended, sessions, strict=True)) / 1e9
        return CampaignRow(
            id=campaign,
            target=Target.parse(target),
            space=space,
            identity=identity,
            plan=json.loads(plan),
            environment=json.loads(environment),
            started_ns=started_ns,
            seconds=seconds,
            is_finished=bool(sessions and sessions[-1][3]),
            reason=(sessions[-1][2] or "") if sessions else "",
        )


def _packed(value: Mapping[str, Any] | Sequence[str]) -> str | None:
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if value else None


def _measurement(row: Sequence[Any]) -> Measurement:
    target, space, role, key, metric, unit, clock, uuid, campaign, round_, started_ns, samples = row[:12]
    before, after, flags, error = row[12:]
    return Measurement(
        target=Target.parse(target),
        space=space,
        role=Role(role),
        key=key,
        clock=Clock(clock),
        samples=tuple(np.frombuffer(samples, dtype="<i8").tolist()),
        campaign=campaign,
        round=round_,
        started_ns=started_ns,
        metric=metric,
        unit=unit,
        before=json.loads(before) if before else {},
        after=json.loads(after) if after else {},
        flags=tuple(json.loads(flags)) if flags else (),
        error=error,
        uuid=uuid,
    )

"""A store to try, and a measurement to keep in it."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store import schema
from fleetfront.profilers.store.conditions import pack_facts
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def older_store(path: Path, version: int, *rows: Measurement) -> None:
    """A store as programs of ``version`` made it, every row with conditions, or a visit, of its own."""
    connection = sqlite3.connect(path)
    connection.executescript(schema._TABLES + schema._APPEND_ONLY + (schema._VISITS if version >= 3 else ""))
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    known: dict[tuple[object, ...], int] = {}
    for number, row in enumerate(rows, 1):
        names = (str(row.target), row.space, row.role, row.key, row.metric, row.unit, row.clock)
        series = known.setdefault(names, len(known) + 1)
        connection.execute("INSERT OR IGNORE INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (series, *names))
        data = np.asarray(row.samples, dtype="<i8").tobytes()
        samples = data + zlib.crc32(data).to_bytes(4, "little")
        cells = (row.uuid, series, row.campaign, row.round, row.started_ns, samples if version > 1 else samples[:-4])
        conditions, visit = (pack_facts(row.before), pack_facts(row.after)), ()
        if version >= 3:
            connection.execute("INSERT INTO visits VALUES (?, ?, ?)", (number, *conditions))
            conditions, visit = (None, None), (number,)
        values = (number, *cells, *conditions, pack_facts(row.flags), row.error, None, *visit)
        connection.execute(f"INSERT INTO measurements VALUES ({', '.join('?' * len(values))})", values)
    connection.commit()
    connection.close()


def measured(target: Target, key: str = "k", clock: Clock = Clock.WALL, **changes: object) -> Measurement:
    whole = Measurement(target, "space", Role.BLOCK, key, clock, (5, 2**46, 7), "campaign", 0, 11)
    return replace(whole, **changes)  # type: ignore[arg-type]

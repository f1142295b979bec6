"""Compact stores of every version: every row reads as before, whenever the process dies, and damage stays damage."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.records import Measurement
from fleetfront.profilers.store import compacting
from fleetfront.profilers.store.compacting import compact_store
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured, older_store

CPU = Target("cpu", "litert")


def rows_of(visits: int) -> list[Measurement]:
    """Two rows a visit, conditions as a CPU's agent tells them; one failed, one with samples that need 8 bytes."""
    rows = [
        measured(
            CPU, f"k{n % 7}", clock, samples=(10**6 + n, 10**6), started_ns=n, flags=("throttled",) if n == 3 else (),
            before={"clock_ns": 10**18 + n, "cores": [1], "load_1m": 0.5 + n}, after={"visit_ns": n, "is_hot": n == 2},
        )
        for n in range(visits) for clock in (Clock.WALL, Clock.THREAD_CPU)
    ]  # fmt: skip
    return [*rows, measured(CPU, "failed", samples=(), error="no such operator"), measured(CPU, "wide")]


def read(path: Path) -> list[Measurement]:
    with Store(path, read_only=True) as store:
        return list(store.measurements(metric=None))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_row_of_an_older_store_reads_as_before(path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(100)
    older_store(path, version, *rows)
    # A lasting order of campaigns, some of which a merge put below the others.
    with Store(path) as store:
        for name in ("old", "a", "b"):
            store.add_campaign(name, CPU, "space", "identity", {}, {})
        store._connection.execute("DROP TRIGGER campaigns_no_update")
        store._connection.execute("UPDATE campaigns SET rowid = -5 WHERE id = 'old'")
    monkeypatch.setattr(compacting, "_AT_ONCE", 64)
    done = compact_store(path)
    assert (done.rows, read(path)) == (len(rows), rows)
    assert done.packed >= 200
    assert done.bytes_after < done.bytes_before
    with Store(path) as store:
        assert [row.id for row in store.campaigns()] == ["b", "a", "old"]
        assert store.append(rows) == 0
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store._connection.execute("UPDATE measurements SET round = 7")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store._connection.execute("UPDATE visits SET before = NULL")
        (count,) = store._connection.execute("SELECT count(*) FROM visits WHERE numbers IS NULL").fetchone()
        assert count <= 2
    again = compact_store(path)
    assert (again.packed, again.bytes_after) == (0, done.bytes_after)


@pytest.mark.parametrize("share", [0.03, 0.2, 0.4, 0.6, 0.8, 0.97])
def test_a_kill_at_any_time_loses_nothing(path: Path, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(60)
    older_store(path, 2, *rows)
    Store(path).close()
    monkeypatch.setattr(compacting, "_AT_ONCE", 32)
    steps, opened = [0], compacting.open_database

    def counted(most: float) -> None:
        def step() -> int:
            steps[0] += 1
            if steps[0] > most:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

        def opening(*given: object, **named: object) -> sqlite3.Connection:
            connection = opened(*given, **named)  # type: ignore[arg-type]
            connection.set_progress_handler(step, 20)
            return connection

        monkeypatch.setattr(compacting, "open_database", opening)

    copy = path.with_name("whole.sqlite")
    copy.write_bytes(path.read_bytes())
    counted(float("inf"))
    compact_store(copy)
    most, steps[0] = share * steps[0], 0
    child = os.fork()
    if not child:
        counted(most)
        compact_store(path)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert read(path) == rows
    monkeypatch.setattr(compacting, "open_database", opened)
    compact_store(path)
    assert read(path) == rows


def test_damaged_cells_stay_as_they_are(path: Path) -> None:
    rows = rows_of(4)
    older_store(path, 2, *rows)
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER measurements_no_update")
    connection.execute("UPDATE measurements SET samples = x'0102' WHERE id = 1")
    connection.execute("UPDATE measurements SET after = '[1' WHERE id = 2")
    connection.commit()
    connection.close()
    before = read(path)
    assert [row.error is not None for row in before[:3]] == [True, True, False]
    compact_store(path)
    assert read(path) == before


def test_a_damaged_file_and_none_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        compact_store(path)
    older_store(path, 2, *rows_of(300))
    Store(path).close()
    data = bytearray(path.read_bytes())
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'measurements_by_series'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data[(page - 1) * size + 12 : (page - 1) * size + 60] = b"\xff" * 48
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged|not a readable store") as caught:
        compact_store(path)
    assert "estore a copy" in caught.value.remedy
    assert path.read_bytes()[: len(data)] == data

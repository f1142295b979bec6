"""Damaged cells, pipes, long imports and clocks that are set cost a store as little as they can."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.campaign import find_unfinished
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.verdict import judge
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured, older_store


def spoil(path: Path, statement: str, *values: object) -> None:
    """Change an append-only store behind its back, as a failing disk does."""
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("samples", b"odd"),
        ("samples", "text"),
        ("samples", bytes(8)),
        ("samples", (-5).to_bytes(8, "little", signed=True)),
        ("samples", (2**60).to_bytes(8, "little")),
        ("before", "{"),
        ("after", "[1]"),
        ("after", "[" * 100_000),
        ("flags", "7"),
        ("round", "first"),
        ("started_ns", b"\xff"),
        ("error", b"\xff\xfe"),
    ],
)
def test_a_damaged_cell_costs_its_own_row(path: Path, target: Target, column: str, value: object) -> None:
    with Store(path) as store:
        store.append([measured(target), measured(target, "spoilt", campaign="other")])
        assert store.find_damage() == []
    spoil(path, f"UPDATE measurements SET {column} = ? WHERE campaign = 'other'", value)
    with Store(path, read_only=True) as store:
        good, bad = sorted(store.measurements(), key=lambda row: row.key != "k")
        assert (good.samples, good.error) == ((5, 2**46, 7), None)
        assert bad.key == "spoilt"
        assert bad.error
        if column != "error":
            assert bad.samples == ()
            assert "1 rows are damaged" in store.find_damage()[0]
        assert store.holdings()
        assert store.campaigns() == []


def test_a_unit_of_nothing_costs_its_own_rows(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target), measured(target, "spoilt")])
    spoil(path, "UPDATE series SET unit = 'parsec' WHERE key = 'spoilt'")
    with Store(path, read_only=True) as store:
        seen = read_observations(store, target, "space", Clock.WALL)
        assert [list(keys) for keys in seen.visits.values()] == [["k"]]
        assert "nobody measures latency in 'parsec'" in seen.errors["spoilt"]


@pytest.mark.parametrize("plan", ['{"tasks": 7}', '{"tasks": ["block"]}', '{"tasks": {"block": [[1, 2, 3]]}}', "[]"])
def test_a_damaged_plan_hides_no_rows(path: Path, target: Target, plan: str) -> None:
    with Store(path) as store:
        store.add_campaign("c", target, "space", "identity", {"tasks": {}, "anchor": None}, {})
        store.append([measured(target, campaign="c")])
    spoil(path, "UPDATE campaigns SET plan = ?", plan)
    with Store(path) as store:
        assert read_observations(store, target, "space", Clock.WALL).campaign == "c"
        assert find_unfinished(store, target, "space", "identity", 60.0) is None


def test_a_bit_that_flips_inside_samples_is_seen(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target)])
    blob = bytearray(sqlite3.connect(path).execute("SELECT samples FROM measurements").fetchone()[0])
    blob[3] ^= 4
    spoil(path, "UPDATE measurements SET samples = ?", bytes(blob))
    with Store(path) as store:
        (row,) = store.measurements()
    assert row.samples == ()
    assert "do not match their checksum" in str(row.error)


def test_samples_of_older_stores_have_no_checksum(path: Path, target: Target) -> None:
    older_store(path, 1, measured(target))
    for read_only in (True, False):
        with Store(path, read_only=read_only) as store:
            (row,) = store.measurements()
            assert row.samples == (5, 2**46, 7)


@pytest.mark.parametrize(("column", "value"), [("role", "wizard"), ("clock", "sundial"), ("target", "nonsense")])
def test_words_that_nobody_knows_stop_nothing_else(path: Path, target: Target, column: str, value: str) -> None:
    with Store(path) as store:
        store.append([measured(target), measured(target, "strange")])
    spoil(path, f"UPDATE series SET {column} = ? WHERE key = 'strange'", value)
    with Store(path, read_only=True) as store:
        assert [row.key for row in store.measurements()] == ["k"]
        assert [holding.keys for holding in store.holdings()] == [1]
        (sentence,) = store.find_damage()
        assert repr(value) in sentence


def test_a_damaged_campaign_is_not_gone_on_with(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.add_campaign("c", target, "space", "identity", {"tasks": {}, "anchor": None}, {})
    spoil(path, "UPDATE campaigns SET plan = '{\"tasks\": 7', environment = '[]'")
    with Store(path) as store:
        (row,) = store.campaigns()
        assert (row.plan, row.environment) == ({}, {})
        assert find_unfinished(store, target, "space", "identity", 60.0) is None


def test_a_view_in_place_of_a_table_is_refused(path: Path) -> None:
    Store(path).close()
    spoil(path, "DROP TABLE measurements")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"
    spoil(path, f"CREATE VIEW measurements AS {endless}")
    for read_only in (True, False):
        with pytest.raises(InputError, match="'measurements' is not a table"):
            Store(path, read_only=read_only)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read_only in (True, False):
        with pytest.raises(InputError, match="is no file"):
            Store(tmp_path / "pipe", read_only=read_only)


def test_a_writer_waits_for_a_long_import(path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetfront.profilers.store.schema._BUSY_S", 0.05)
    with Store(path) as store:
        importing = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        importing.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, importing.execute, ("COMMIT",)).start()
        assert store.append([measured(target)]) == 1
        importing.close()


HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize("jump_ns", [-HOUR_NS, HOUR_NS])
def test_a_clock_that_is_set_changes_no_sum(store: Store, target: Target, jump_ns: int) -> None:
    store.add_campaign("c", target, "space", "identity", {}, {})
    first = store.begin_session("c", 10 * HOUR_NS)
    store.end_session(first, "interrupted", finished=False, seconds=5.0)
    store.begin_session("c", 11 * HOUR_NS)
    visits = [
        measured(target, str(number), campaign="c", started_ns=11 * HOUR_NS + number, after={"visit_ns": 10**9})
        for number in range(20)
    ]
    late = measured(target, campaign="c", started_ns=11 * HOUR_NS + jump_ns, after={"visit_ns": 10**9})
    store.append([*visits, late])
    (row,) = store.campaigns()
    assert 5.0 + 16.0 <= row.seconds <= 5.0 + 2 * 16.0 + 60.0
    assert not row.is_finished


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(damage=[(0.4990771506478691, 48)])
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12))
def test_bytes_that_are_damaged_are_refused_or_cost_their_rows(
    tmp_path: Path, target: Target, damage: list[tuple[float, int]]
) -> None:
    whole = tmp_path / "whole.sqlite"
    if not whole.exists():
        with Store(whole) as store:
            store.add_campaign("campaign", target, "space", "identity", {"tasks": {}, "anchor": None}, {"cpu": "x"})
            store.end_session(store.begin_session("campaign"), "budget", finished=True)
            facts = {"throttles": 1, "visit_ns": 5, "frequency_khz": 7}
            store.append(measured(target, str(number), before=facts, after=facts) for number in range(40))
        with sqlite3.connect(whole) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
    data = bytearray(whole.read_bytes())
    written = [place for place, byte in enumerate(data) if byte]
    for share, byte in damage:
        data[written[int(share * len(written))]] = byte
    path = tmp_path / "damaged.sqlite"
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.write_bytes(data)
    for read in (
        lambda store: store.holdings(),
        lambda store: store.campaigns(),
        lambda store: store.sources(),
        lambda store: store.find_damage(),
        lambda store: find_unfinished(store, target, "space", "identity", 60.0),
        lambda store: judge(read_observations(store, target, "space", Clock.WALL)).to_json(),
    ):
        with suppress(InputError), Store(path, read_only=True) as store:
            read(store)

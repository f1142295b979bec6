"""Conditions that are kept once a visit, and stores of before that was so."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured, older_store


def test_rows_of_a_visit_share_its_conditions(store: Store, target: Target, path: Path) -> None:
    facts = {"before": {"load_1m": 0.5}, "after": {"visit_ns": 7}}
    both = [measured(target, clock=clock, **facts) for clock in (Clock.THREAD_CPU, Clock.WALL)]
    other = measured(target, before={"load_1m": 0.5}, after={"visit_ns": 8})
    store.append([*both, other])
    store.append([measured(target, before={"load_1m": 0.5})])
    assert store.append(both) == 0
    count = "SELECT count(*), count(DISTINCT visit) FROM measurements"
    with sqlite3.connect(path) as connection:
        assert connection.execute(count).fetchone() == (4, 3)
        assert connection.execute("SELECT count(*) FROM visits").fetchone() == (3,)
    connection.close()
    read = [(row.before, row.after) for row in store.measurements()]
    assert read == [(row.before, row.after) for row in [*both, other]] + [({"load_1m": 0.5}, {})]


def test_an_older_store_is_read_as_it_is_and_goes_on_in_the_new_way(path: Path, target: Target) -> None:
    begun, second = 10**18, 10**9
    told = {"after": {"visit_ns": 3 * second}, "flags": ("throttled",)}
    old = [measured(target, key, campaign="c", started_ns=begun + second, **told) for key in ("a", "b")]
    older_store(path, 2, *old)
    with sqlite3.connect(path) as connection:
        facts = ("c", str(target), "space", "identity", "{}", "{}", begun)
        connection.execute("INSERT INTO campaigns VALUES (?, ?, ?, ?, ?, ?, ?)", facts)
        connection.execute("INSERT INTO sessions VALUES (1, 'c', ?)", (begun,))
    connection.close()
    with Store(path, read_only=True) as store:
        assert list(store.measurements()) == old
        (row,) = store.campaigns()
    new = measured(target, "new", campaign="c", started_ns=begun + 4 * second, after={"visit_ns": 2 * second})
    with Store(path) as store:
        assert store.append([*old, new]) == 1
        assert list(store.measurements()) == [*old, new]
        assert store.find_damage() == []
        (later,) = store.campaigns()
    # The session was killed: its visits of 3 s and 5 s tell how long it was, although the clock says 1 s and 4 s.
    assert (row.seconds, later.seconds) == (3.0, 5.0)


def test_rows_that_an_index_alone_knows_are_damage(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target, str(number)) for number in range(3)])
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'measurements'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'sources'", (page,))
        (other,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'endings'").fetchone()
        connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'measurements'", (other,))
    connection.close()
    with Store(path, read_only=True) as store, pytest.raises(InputError, match="not a readable store"):
        list(store.measurements())

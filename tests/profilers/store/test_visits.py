"""Conditions that are kept once a visit, and stores of before that was so."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.store.cells import pack_samples, unpack_samples
from fleetfront.profilers.store.conditions import Layout, pack_conditions
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


FACTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CONDITIONS = st.dictionaries(st.text(max_size=8), FACTS, max_size=4)


@given(before=CONDITIONS, after=CONDITIONS)
def test_packed_conditions_come_back_as_json_would_bring_them(before: dict[str, Any], after: dict[str, Any]) -> None:
    packed = pack_conditions(before, after)
    if packed is None:
        assert (before, after) == ({}, {})
        return
    found = Layout.parse(*packed[:2]).unpack(packed[2])
    assert [json.dumps(one, sort_keys=True) for one in found] == [
        json.dumps(one, sort_keys=True) for one in (before, after)
    ]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**32), max_size=9))
def test_packed_samples_come_back(samples: list[int]) -> None:
    assert unpack_samples(pack_samples(samples)) == tuple(samples)


def test_every_broken_bit_of_samples_is_damage() -> None:
    blob = pack_samples((5, 2**31, 7))
    assert len(blob) == 3 * 4 + 5
    for place in range(len(blob)):
        for bit in range(8):
            broken = bytearray(blob)
            broken[place] ^= 1 << bit
            with pytest.raises(ValueError, match="checksum"):
                unpack_samples(bytes(broken))


def test_visits_share_layouts_and_numbers_of_any_size_are_kept(store: Store, target: Target, path: Path) -> None:
    rows = [measured(target, str(n), before={"cores": [1], "load_1m": n / 3}, after={"visit_ns": n}) for n in range(4)]
    rows.append(measured(target, "huge", after={"visit_ns": 2**70}))
    store.append(rows)
    assert list(store.measurements()) == rows
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM layouts").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM visits WHERE numbers IS NULL").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    ("template", "kinds", "numbers"),
    [
        ('[{},{"visit_ns":0}]', "q", b"1234567"),
        ('[{},{"visit_ns":1}]', "q", b"12345678"),
        ('[{},{"visit_ns":-1}]', "q", b"12345678"),
        ('[{},{"visit_ns":0.5}]', "q", b"12345678"),
        ('{"visit_ns":0}', "q", b"12345678"),
        ('[{},{"visit_ns":0}]', "999999999s", b"12345678"),
        ("[" * 9999, "", b""),
        ('[{},{"visit_ns":0}]', "q", "text"),
    ],
)
def test_a_damaged_layout_costs_its_own_rows(
    store: Store, target: Target, template: str, kinds: str, numbers: bytes | str
) -> None:
    store.append([measured(target, "good", after={"visit_ns": 8}), measured(target, "bad", after={"load_1m": 0.5})])
    store._connection.execute("DROP TRIGGER visits_no_update")
    store._connection.execute("INSERT INTO layouts VALUES (9, ?, ?)", (template, kinds))
    store._connection.execute("UPDATE visits SET layout = 9, numbers = ? WHERE id = 2", (numbers,))
    good, bad = store.measurements()
    assert (good.after, good.error) == ({"visit_ns": 8}, None)
    assert bad.error is not None
    assert bad.error.startswith("the store's row is damaged")
    store.add_campaign("campaign", target, "space", "identity", {}, {})
    store.begin_session("campaign", 1)
    assert store.campaigns()[0].seconds >= 0


def test_a_store_of_version_3_goes_on(path: Path, target: Target) -> None:
    old = [measured(target, key, after={"visit_ns": 8}) for key in ("a", "b")]
    older_store(path, 3, *old)
    with Store(path, read_only=True) as store:
        assert list(store.measurements()) == old
    new = measured(target, "c", after={"visit_ns": 9})
    with Store(path) as store:
        assert store.append([*old, new]) == 1
        assert list(store.measurements()) == [*old, new]

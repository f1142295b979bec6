"""The store by command: what it holds, as a table for others, and what is said where that cannot be had."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured

Told = Callable[..., tuple[int, str, str]]
CPU = Target("cpu", "litert")


@pytest.fixture
def held(tmp_path: Path) -> str:
    """A store with six visits under two clocks, one of them while the machine slept, and a campaign that was killed."""
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.add_campaign("campaign", CPU, "space", "identity", {"tasks": {}}, {"cpu": "Abacus"})
        store.begin_session("campaign", 1)
        for number in range(6):
            slept = {"suspended_ns": 10**9 if number == 3 else 0}
            told = {"before": {"suspended_ns": 0}, "after": slept, "started_ns": 10 + number}
            store.append([measured(CPU, "a", clock, **told) for clock in (Clock.WALL, Clock.THREAD_CPU)])
    return str(path)


def test_info_counts_and_says_what_is_left_out(told: Told, held: str) -> None:
    code, text, err = told("store", "info", "--store", held)
    assert (code, "36 samples of 6 visits" in text, "killed, or still runs" in text) == (0, True, True), err
    assert "Abacus" in text
    assert "leave out" not in text
    code, text, err = told("store", "info", "--discards", "--store", held, "--json", "--quiet")
    found = json.loads(text)
    assert (code, found["visits"], found["samples"], found["discards"]) == (0, 6, 36, {"slept": 2}), err
    assert (found["damage"], found["interrupted"][0]["campaign"]) == ([], "campaign")


def test_the_store_is_exported(told: Told, held: str, tmp_path: Path) -> None:
    out = str(tmp_path / "rows.csv")
    code, text, err = told("export", "store", "--store", held, "--out", out, "--json", "--quiet")
    found = json.loads(text)
    assert (code, found["rows"], found["samples"], found["format"]) == (0, 12, 36, "csv"), err
    code, _, err = told("export", "store", "--store", held, "--out", out, "--format", "parquet")
    assert (code, "contradict each other" in err) == (2, True)
    code, _, err = told("export", "--json", "store", "--store", held, "--out", out)
    assert (code, "--json stands before `store`" in err) == (2, True)


def test_slips_of_the_keyboard_are_told(told: Told, held: str) -> None:
    code, _, err = told("store", "inof", "--store", held)
    assert (code, "Did you mean 'info'?" in err) == (2, True)
    code, _, err = told("export", "stroe")
    assert (code, "Did you mean 'store'?" in err) == (2, True)
    code, _, err = told("export", "store", "--store", held, "--device", "cpa")
    assert (code, "Did you mean 'cpu'?" in err) == (2, True)
    code, _, err = told("store", "info", "--store", f"{held}.none")
    assert (code, "does not exist" in err) == (2, True)


def test_the_store_is_compacted(told: Told, held: str) -> None:
    code, text, err = told("store", "compact", "--store", held, "--json", "--quiet")
    found = json.loads(text)
    assert (code, found["rows"], found["packed"]) == (0, 12, 0), err
    code, text, err = told("store", "compact", "--store", held)
    assert (code, "12 rows" in text) == (0, True), err
    code, _, err = told("store", "compact", "--store", f"{held}.none")
    assert (code, "does not exist" in err) == (2, True)

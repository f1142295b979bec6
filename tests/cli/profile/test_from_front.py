"""``profile --from-front`` measures what fronts use first, and says what the rest is worth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.search.collect import collect_fronts
from fleetfront.search.fronts_file import write_fronts
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.testing.problems import small_problem

pytest.importorskip("onnxruntime")

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fronts(tmp_path: Path) -> str:
    problem = small_problem(budget=24)
    run = run_search(problem, make_strategy("random", problem, 1), name="random", seed=1)
    return str(write_fronts(collect_fronts(problem, run), tmp_path / "fronts").parent)


def test_a_short_budget_measures_what_fronts_use(told: Told, fronts: str) -> None:
    asked = ("profile", "--device", "cpu", "--runtime", "onnxruntime", "--space", "ofa-mbv3-mini", "--budget", "4s")
    asked = (*asked, "--calibration", "4", "--validation", "0", "--from-front", fronts)
    code, out, _ = told(*asked, "--dry-run", "--json")
    first = json.loads(out)["measured_first"]
    assert (code, first > 0) == (0, True)
    code, out, err = told(*asked, "--no-fit", "--json")
    assert code == 0, err
    found = json.loads(out)
    worth = found["from_front"]
    assert worth["used"] == first < worth["settings"]
    assert worth["gain_percent"] is None
    if found["rounds"] < 3:
        assert worth["rest_measured"] == 0
    else:
        assert worth["used_measured"] == worth["used"]


@pytest.mark.parametrize("more", [("--few", "5"), ("--operators",), ("--file", "x.onnx")])
def test_an_order_of_blocks_goes_with_blocks_alone(told: Told, fronts: str, more: tuple[str, ...]) -> None:
    code, out, err = told("profile", "--device", "cpu", "--from-front", fronts, *more)
    assert (code, out) == (2, "")
    assert "--from-front" in err

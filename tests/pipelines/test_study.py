"""``fleetfront.search(...)`` from Python: names or objects in, records with tables out."""

import sys
from types import SimpleNamespace

import pytest

import fleetfront as ff
from fleetfront.search.strategies.random_search import RandomSearch
from fleetfront.search.strategies.surrogate import SurrogateSettings
from fleetfront.testing.problems import SyntheticAccuracy, synthetic_latencies


@pytest.fixture(autouse=True)
def _own_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path))


def test_names_alone_are_enough():
    study = ff.search(
        "ofa-mbv3-w1.2", ["pixel3", "raspi4"], budget=40, limits={"pixel3": 90}, objectives=["macs"], share=2
    )
    assert set(study.fronts) == {"pixel3", "raspi4"}
    assert study.strategy == "surrogate"
    assert study.fronts["pixel3"].limit_ms == 90
    assert study.fronts["raspi4"].objectives == ("macs",)
    assert len(study.shared["networks"]) == 2


@pytest.mark.parametrize("strategy", ["random:batch=9", RandomSearch, SurrogateSettings(first=5)])
def test_own_targets_accuracies_and_strategies_serve(strategy):
    space = ff.load_space("ofa-mbv3-mini")
    target = ff.ProblemTarget("mine", synthetic_latencies(space)[0])
    study = ff.search(space, [target], SyntheticAccuracy(space), strategy, 30, limits={"mine": 24.0, "params": 1e9})
    assert study.evaluations == 30
    assert max(point.latency_ms for point in study.fronts["mine"].points) <= 24.0
    assert study.fronts["mine"].limits == {"params": 1e9}


def test_nothing_to_search_for_is_refused():
    with pytest.raises(ff.InputError, match="no device to search for"):
        ff.search("ofa-mbv3-w1.2", [])
    with pytest.raises(ff.InputError, match="The budget is 0"):
        ff.search("ofa-mbv3-w1.2", ["pixel3"], budget=0)


def test_fronts_are_tables(monkeypatch):
    space = ff.load_space("ofa-mbv3-mini")
    target = ff.ProblemTarget("<b>mine", synthetic_latencies(space)[0])
    front = ff.search(space, [target], SyntheticAccuracy(space), "random", 20).fronts["<b>mine"]
    shown = front._repr_html_()
    assert "&lt;b&gt;mine" in shown
    assert shown.count("<tr>") == 1 + len(front.points)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ff.MissingDependency, match="pandas"):
        front.to_frame()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=list))
    assert [row["arch"] for row in front.to_frame()] == [point.arch for point in front.points]

"""Strategies are made of names, settings, classes and plug-ins, and what nobody can mean is refused with a remedy."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from fleetfront import plugins
from fleetfront.errors import InputError
from fleetfront.search.run import run_search
from fleetfront.search.strategies.base import StrategyKind
from fleetfront.search.strategies.catalogue import (
    describe_strategies,
    find_strategy,
    make_strategy,
    spell_strategy,
    strategy_names,
)
from fleetfront.search.strategies.hybrid import HybridSettings, HybridStrategy
from fleetfront.search.strategies.random_search import RandomSearch
from fleetfront.search.strategies.surrogate import SurrogateSettings


def test_settings_are_read_as_their_types(make_problem):
    problem = make_problem(budget=400)
    strategy = make_strategy("surrogate:first=7, batch=3", problem, 0)
    assert strategy.batch == 7
    problem.evaluate(problem.sample(9, np.random.default_rng(0)))
    assert strategy.batch == 3
    assert make_strategy("hybrid:rounds=10", problem, 0).batch == 40
    assert make_strategy(HybridSettings(rounds=20), problem, 0).batch == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nsga-2", "Did you mean 'nsga2'"),
        ("surrogate:frist=3", "Unknown setting of the strategy surrogate 'frist'. Did you mean 'first'"),
        ("surrogate:first=many", "surrogate cannot take first = many"),
        ("surrogate:first=0", "surrogate cannot take first = 0"),
        ("surrogate:first=" + "9" * 400, "surrogate cannot take first"),
        ("hybrid:growth=nan", "hybrid cannot take growth = nan"),
        ("hybrid:growth=inf", "hybrid cannot take growth = inf"),
        ("hybrid:lagging=2", "hybrid cannot take lagging = 2"),
        ("surrogate:first", "'first' sets nothing"),
        ("surrogate:first=3,first=4", "first is set to 3 and to 4"),
        ("exact:first=3", "exact has no settings"),
    ],
)
def test_what_no_strategy_takes_is_refused(make_problem, text, message):
    with pytest.raises(InputError, match=message):
        make_strategy(text, make_problem(), 0)
    with pytest.raises(InputError, match="A int is no strategy"):
        make_strategy(3, make_problem(), 0)


def test_runs_are_called_what_was_chosen():
    assert spell_strategy("house:rounds=3") == "hybrid:rounds=3"
    assert spell_strategy(SurrogateSettings(first=3, growth=0.1)) == "surrogate:first=3,growth=0.1"
    assert spell_strategy(SurrogateSettings()) == "surrogate"
    assert spell_strategy(RandomSearch) == "RandomSearch"


def test_the_list_names_every_strategy_and_setting():
    rows = {name: (meaning, settings) for name, meaning, settings in describe_strategies()}
    assert set(rows) == set(strategy_names())
    assert all(meaning for meaning, _ in rows.values())
    assert "first=16" in rows["surrogate"][1]


@dataclass(frozen=True)
class OwnSettings:
    step: int = 5


class Own:
    """A user's strategy: random networks, ``step`` at a time."""

    def __init__(self, problem, seed, settings=OwnSettings()):
        self.inner, self.batch = RandomSearch(problem, seed), settings.step

    def ask(self, n):
        return self.inner.ask(n)

    def tell(self, genotypes, accuracy, cost):
        assert len(genotypes) == len(accuracy) == len(cost)


@pytest.fixture
def installed(monkeypatch):
    """Plug-ins as installed packages would offer them."""

    def install(name, value):
        entry = SimpleNamespace(name=name, value="theirs:KIND", dist=SimpleNamespace(name="theirs"), load=lambda: value)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == "fleetfront.strategies" else [])

    return install


def test_a_plug_in_is_a_strategy_like_any_other(make_problem, installed):
    installed("own", StrategyKind(Own, "steps", OwnSettings))
    problem = make_problem(budget=20)
    assert make_strategy("own:step=4", problem, 0).batch == 4
    run = run_search(problem, make_strategy("own", problem, 0), name="own", seed=0)
    assert run.evaluations == 20
    assert "own" in strategy_names()
    assert find_strategy("hybrid").make is HybridStrategy


def test_a_plug_in_that_is_none_is_named(make_problem, installed):
    installed("own", Own)
    with pytest.raises(InputError, match=r"Strategy 'own' \(theirs:KIND, from theirs\) is not a strategy but type"):
        make_strategy("own", make_problem(), 0)


class Trained:
    """Spends the budget by itself, in steps of 30."""

    statement = "Trained on nothing."

    def run(self, problem, progress, checkpoint):
        rng = np.random.default_rng(1)
        while problem.remaining:
            problem.evaluate(problem.sample(min(30, problem.remaining), rng))
            checkpoint()


def test_a_strategy_that_trains_runs_by_itself_through_the_same_counter(make_problem):
    problem = make_problem(budget=100)
    seen = []
    run = run_search(
        problem, make_strategy(Trained(), problem, 0), name="t", seed=0, checkpoint=lambda found: seen.append(found)
    )
    assert run.evaluations == problem.counter.requested == 100
    assert len(seen) == 4
    assert run.statement == "Trained on nothing."
    assert np.all(np.diff([point.hypervolume for point in run.trace], axis=0) >= 0)
    assert run.trace[-1].evaluations == 100
    assert make_strategy(Own, problem, 0).batch == 5

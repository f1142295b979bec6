"""Try what trained strategies count, trade and refuse; that they keep the protocol is tested with all others."""

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.built_in import load_built_in
from fleetfront.progress import SILENT
from fleetfront.search.generators.answers import best_of_preference, front_of
from fleetfront.search.generators.budgets import is_better
from fleetfront.search.metrics import PARAMS, CountedCost
from fleetfront.search.run import run_search
from fleetfront.search.strategies import rounds
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import small_problem, synthetic_latencies

MINI, W12 = load_space("ofa-mbv3-mini"), load_space("ofa-mbv3-w1.2")


def test_every_network_whose_own_gradients_are_followed_counts() -> None:
    problem = small_problem(W12, accuracy=load_built_in(W12), budget=40)
    strategy = make_strategy("modnas:accuracy=own,steps=2,round_steps=2,preferences=2,fit_steps=1", problem, 0)
    run_search(problem, strategy, name="modnas", seed=0)
    assert problem.counter.requested <= 40
    assert problem.counter.evaluated == len(problem.archive)
    assert problem.counter.requested > 30
    with pytest.raises(InputError, match="no gradients of its own"):
        make_strategy("modnas:accuracy=own", small_problem(MINI, budget=40), 0)


def test_three_objectives_are_traded() -> None:
    problem = small_problem(MINI, budget=30, extras=("params",))
    strategy = make_strategy("modnas:steps=5,round_steps=1,fit_steps=10", problem, 0)
    run_search(problem, strategy, name="modnas", seed=0)
    generator = strategy.generator  # type: ignore[union-attr]
    assert generator.training.costs == ("latency", "params")
    assert generator.wishes.width == 3
    (_, unmet) = synthetic_latencies(MINI, 2, seed=9)
    front = front_of(generator, [unmet, CountedCost(MINI, PARAMS)])
    assert np.array_equal(front.costs[:, 1], MINI.params(front.genotypes))
    assert np.any(np.diff(front.accuracy) < 0), "some points are there for their parameters"
    with pytest.raises(InputError, match="pnag knows one cost"):
        make_strategy("pnag", problem, 0)


def test_most_of_many_accuracies_are_spent_as_hybrid_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_MANY", 60)
    name = "modnas:steps=2,round_steps=1,fit_steps=10,features=coefficients"
    problem, alone = small_problem(W12, budget=80), small_problem(W12, budget=80)
    run_search(alone, make_strategy("hybrid", alone, 0), name="hybrid", seed=0)
    states = []
    strategy = make_strategy(name, problem, 0)
    strategy.run(problem, SILENT, lambda: states.append((len(problem.archive), strategy.dump())))
    assert len(problem.archive) == 80
    assert np.array_equal(problem.archive.genotypes[:60], alone.archive.genotypes[:60])
    # A killed one goes on from any of its states, to the same end.
    for rows, state in (states[len(states) // 3], states[-2]):
        again = small_problem(W12, budget=80)
        again.evaluate(problem.archive.genotypes[:rows])
        resumed = make_strategy(name, again, 0)
        resumed.load(state)
        run_search(again, resumed, name=name, seed=0)
        assert np.array_equal(again.archive.genotypes, problem.archive.genotypes)


def test_networks_are_ranked_within_a_budget() -> None:
    accuracy, place = np.array([70.0, 75.0, 80.0, 90.0]), np.array([0.1, 0.3, 0.6, 0.9])
    found = is_better(accuracy, place, 0.5)
    # Both within: the more accurate. One within: that one. Both over: the cheaper.
    assert (found[1, 0], found[1, 3], found[2, 3], found[0, 0]) == (1, 1, 1, 0)
    assert np.array_equal(found, -found.T)


def test_a_preference_is_a_place_along_the_front() -> None:
    costs, accuracy = np.array([[1.0], [2.0], [50.0], [60.0], [61.0]]), np.array([10.0, 70.0, 71.0, 72.0, 73.0])
    assert [best_of_preference(costs, accuracy, p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 1, 2, 3, 4]

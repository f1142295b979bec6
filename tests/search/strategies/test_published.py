"""Published methods do what sets each apart; that all keep the protocol is in ``tests/testing``."""

import numpy as np
import pytest

from fleetfront.quantities import PASS, Estimate, Tier
from fleetfront.search.run import run_search
from fleetfront.search.strategies import cpe
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.search.strategies.cma_samples import draw_by_cma
from fleetfront.search.strategies.lamoo import Lamoo, LamooSettings
from fleetfront.search.strategies.linas import Linas
from fleetfront.search.strategies.macs_fronts import MacsFronts
from fleetfront.search.strategies.pdns import Pdns


def test_macs_fronts_ask_for_what_has_the_most_macs_at_its_cost(make_problem, mini):
    problem = make_problem(budget=100)
    asked, others = MacsFronts(problem, 0).ask(30), problem.sample(3000, np.random.default_rng(5))

    def is_beaten(rows):
        """On every device, another network has as many MACs in less time."""
        no_less = mini.macs(others)[None, :, None] >= mini.macs(rows)[:, None, None]
        return np.all(np.any(no_less & (problem.cost(others)[None] < problem.cost(rows)[:, None]), axis=1), axis=1)

    # Fronts of large spaces are thinned on the way, so a few members are not exact.
    assert is_beaten(asked).mean() < 0.2 < 0.9 < is_beaten(others[:200]).mean()


@pytest.mark.parametrize("name", ["macs-fronts", "pdns"])
def test_accuracy_does_not_steer_what_looks_without_it(make_problem, synthetic, name):
    class Reversed:
        source, tier, lowest = synthetic.source, synthetic.tier, 0.0

        def predict(self, genotypes):
            estimate = synthetic.predict(genotypes)
            return type(estimate)(100 - estimate.mean, estimate.std, estimate.tier)

    asked = []
    for accuracy in (synthetic, Reversed()):
        problem = make_problem(accuracy=accuracy, budget=60)
        strategy = make_strategy(name, problem, 0)
        while problem.remaining:
            problem.evaluate(strategy.ask(min(20, problem.remaining)))
        asked.append(problem.archive.genotypes)
    assert np.array_equal(*asked)


def test_the_elite_of_pdns_is_dominated_by_nobody_it_met(make_problem):
    problem = make_problem(budget=60)
    strategy = Pdns(problem, 0)
    strategy.ask(10)
    values = strategy._criteria(strategy._elite)
    beats = np.all(values[None] <= values[:, None], axis=2) & np.any(values[None] < values[:, None], axis=2)
    assert len(values) > 5
    assert not beats.any()


def test_linas_asks_for_what_its_predictor_holds_best(make_problem):
    problem = make_problem(budget=400, bend=0.0)
    problem.evaluate(np.unique(problem.sample(250, np.random.default_rng(0)), axis=0))
    asked = Linas(problem, 0).ask(20)
    truth = problem.accuracy.predict(asked).mean
    for column, front in ((i, problem.front(i)) for i in range(2)):
        known = problem.archive.accuracy[front]
        level = known[
            np.clip(np.searchsorted(problem.archive.cost[front, column], problem.cost(asked)[:, column]) - 1, 0, None)
        ]
        assert (truth > level).mean() > 0.3
    assert len(problem.archive.unknown(asked)) == len(asked)


@pytest.mark.parametrize("selection", ["leaf", "path"])
def test_lamoo_splits_by_who_dominates_whom(make_problem, selection):
    problem = make_problem(budget=200)
    problem.evaluate(np.unique(problem.sample(80, np.random.default_rng(0)), axis=0))
    strategy = Lamoo(problem, 0, LamooSettings(selection=selection, sampling="random", explore=0.0))
    rows = np.arange(len(problem.archive))
    dominated = strategy._dominated(rows)
    fronts = [problem.front(i) for i in range(2)]
    assert all(np.all(dominated[front] <= dominated.max() / 2) for front in fronts)
    assert np.all(dominated[np.intersect1d(*fronts)] == 0)
    region = strategy._chosen()
    assert 0 < len(region.rows) <= 15
    assert region.splits[0][1]  # Without exploring, the better half.
    asked = strategy.ask(5)
    model, is_good = region.splits[0]
    assert np.all((model(strategy._one_hot(asked)) > 0) == is_good)


def test_lamoo_asks_for_what_is_left_of_its_first_sample_and_then_for_batches(make_problem):
    problem = make_problem(budget=100)
    strategy = Lamoo(problem, 0, LamooSettings(first=6, batch=4))
    sizes = []
    rows = np.unique(problem.sample(60, np.random.default_rng(0)), axis=0)
    for known in (0, 2, 5, 6, 9):
        problem.evaluate(rows[:known])
        sizes.append(strategy.batch)
    assert sizes == [6, 4, 1, 4, 4]


@pytest.mark.parametrize(("nodes", "most"), [(1, 0), (5, 2), (9, 4)])
def test_lamoo_splits_no_further_than_its_nodes(make_problem, monkeypatch, nodes, most):
    """Every split adds two regions to the one that all begins with."""
    problem = make_problem(budget=200)
    strategy = Lamoo(problem, 0, LamooSettings(first=10, batch=4, nodes=nodes, selection="leaf"))
    problem.evaluate(np.unique(problem.sample(120, np.random.default_rng(0)), axis=0)[:100])
    made, split = [], strategy._split
    monkeypatch.setattr(strategy, "_split", lambda region: made.append(split(region)) or made[-1])
    strategy._chosen()
    assert sum(halves is not None for halves in made) <= most
    assert made or not most


def test_draws_of_cma_move_to_where_known_networks_are_best(mini):
    rng, counts = np.random.default_rng(0), np.array([len(values) for values in mini.choices])
    known = mini.sample(60, rng)
    low = draw_by_cma(known, known.sum(axis=1).astype(float), counts, 200, np.random.default_rng(1))
    high = draw_by_cma(known, -known.sum(axis=1).astype(float), counts, 200, np.random.default_rng(1))
    assert low.sum(axis=1).mean() < known.sum(axis=1).mean() < high.sum(axis=1).mean()
    assert np.all((low >= 0) & (low < counts))
    again = draw_by_cma(known, known.sum(axis=1).astype(float), counts, 200, np.random.default_rng(1))
    assert np.array_equal(low, again)


def test_lamoo_by_cma_asks_within_its_region(make_problem):
    problem = make_problem(budget=200)
    problem.evaluate(np.unique(problem.sample(80, np.random.default_rng(0)), axis=0))
    strategy = Lamoo(problem, 0, LamooSettings(sampling="cma", explore=0.0))
    asked = strategy.ask(5)
    model, is_good = strategy._candidates.splits[0]
    assert len(asked) == 5
    assert np.all((model(strategy._one_hot(asked)) > 0) == is_good)


class Passes:
    """Networks of more than so many MACs are good enough, and nobody says more."""

    source, tier, quality = "test", Tier.MEASURED, PASS

    def __init__(self, space):
        self._macs, self._space = space.macs, space
        self._bar = np.quantile(space.macs(space.sample(500, np.random.default_rng(0))), 0.7)

    def predict(self, genotypes):
        return Estimate((self._macs(genotypes) > self._bar).astype(float), np.zeros(len(genotypes)), self.tier)


def test_cpe_finds_cheap_networks_that_pass(make_problem, mini):
    cheapest = {}
    for name in ("cpe", "random"):
        problem = make_problem(accuracy=Passes(mini), budget=150)
        run_search(problem, make_strategy(name, problem, 0), name=name, seed=0)
        passed = problem.archive.accuracy > 0
        cheapest[name] = problem.archive.cost[passed].min(axis=0)
    share = cheapest["cpe"] / cheapest["random"]
    assert share.max() < 1.0
    assert share.min() < 0.9


@pytest.mark.parametrize(
    ("told", "trust"),
    [([1, 1, 0, 0], 1), ([0, 0, 1, 1], -1), ([0, 0, 0, 1], 0)],
)
def test_cpe_trusts_a_classifier_as_far_as_it_told_held_out_networks(told, trust):
    assert cpe._trust(np.array(told, bool), np.array([1, 1, 0, 0], bool), 0.4) == trust

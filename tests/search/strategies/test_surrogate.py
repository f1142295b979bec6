"""The surrogate strategy on NAS-Bench-201's 13 devices, on a space too large to look at whole, and within limits."""

import csv
from functools import partial

import numpy as np
import pytest

from fleetfront.pipelines.search import SearchOptions, default_strategy, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import LATENCY, Estimate, Tier
from fleetfront.search.checkpoints import ARCHIVE_FILE
from fleetfront.search.cost_range import cost_range
from fleetfront.search.front import Staircase, hypervolume, target_front
from fleetfront.search.models.gaussian_process import GaussianProcess
from fleetfront.search.models.learnt_proxy import LearntProxy
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.search.strategies.surrogate import SurrogateSettings, SurrogateStrategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.strategies import StrategyCase, check_state


class Column:
    """Latencies of all 15,625 cells. A CostModel."""

    metric = LATENCY
    tier = Tier.MEASURED

    def __init__(self, genotypes, ms):
        self.ms = np.empty(len(ms))
        self.ms[self.number(genotypes)] = ms

    @staticmethod
    def number(genotypes):
        return genotypes.astype(int) @ 5 ** np.arange(6)

    def predict(self, genotypes):
        mean = self.ms[self.number(genotypes)]
        return Estimate(mean, np.zeros(len(mean)), self.tier)


@pytest.fixture(scope="module")
def cells(shared_data):
    """(space, 13 targets, accuracy) of the public table."""
    path = shared_data / "nb201" / "nb201.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    space = load_space("nasbench201")
    genotypes = space.parse([row["arch"] for row in rows])
    targets = [
        ProblemTarget(name, Column(genotypes, np.array([float(row[name]) for row in rows])))
        for name in rows[0]
        if name.startswith("lat_")
    ]
    return space, tuple(targets), load_accuracy(f"csv:{path}:acc_cifar100", space)


def share(problem):
    """Share of the true hypervolume on each target, whole-space scaling."""
    every = problem.space.every()
    cost, top = problem.cost(every), problem.accuracy.predict(every).mean
    low, spread = cost.min(axis=0), np.ptp(cost, axis=0)

    def volumes(cost, accuracy):
        error = (top.max() - accuracy) / np.ptp(top)
        return np.array([hypervolume(np.stack([c, error], axis=1), (1.0, 1.0)) for c in ((cost - low) / spread).T])

    return volumes(problem.archive.cost, problem.archive.accuracy) / volumes(cost, top)


def search(problem, seed=0, name="surrogate"):
    return run_search(problem, make_strategy(name, problem, seed), name=name, seed=seed)


def test_sixty_cells_serve_thirteen_devices_far_better_than_random_ones(cells):
    space, targets, accuracy = cells
    lost = {}
    for name in ("surrogate", "random"):
        problems = [Problem(space, targets, accuracy, budget=60) for _ in range(3)]
        for seed, problem in enumerate(problems):
            assert search(problem, seed, name).evaluations == 60
        lost[name] = 1 - np.array([share(problem) for problem in problems])
    assert lost["surrogate"].mean() < 0.025
    assert lost["surrogate"].mean() < 0.5 * lost["random"].mean()
    assert np.all(lost["surrogate"].mean(axis=0) < lost["random"].mean(axis=0))


def test_in_a_large_space_it_beats_random_search_and_nsga2_on_both_devices(make_problem):
    def volumes(name):
        runs = [search(make_problem(budget=100), seed, name) for seed in range(2)]
        return np.mean([run.trace[-1].hypervolume for run in runs], axis=0)

    found = volumes("surrogate")
    assert np.all(found > volumes("random"))
    assert np.all(found > volumes("nsga2"))


def test_same_seed_same_search_and_another_seed_another(make_problem):
    problems = [make_problem(budget=60) for _ in range(3)]
    for problem, seed in zip(problems, (1, 1, 2), strict=True):
        search(problem, seed)
    first, same, other = (problem.archive.genotypes for problem in problems)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


class Dying:
    """An accuracy model whose process is killed after some calls."""

    def __init__(self, model, calls):
        self.model, self.left = model, calls
        self.source, self.tier = model.source, model.tier

    def predict(self, genotypes):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.model.predict(genotypes)


def test_a_killed_search_goes_on_to_the_same_end(cells, tmp_path, monkeypatch):
    space, targets, accuracy = cells
    options = SearchOptions("surrogate", 50, seed=4)
    whole = search_space(space, targets[:2], accuracy, options)
    monkeypatch.setattr("fleetfront.search.checkpoints._EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        search_space(space, targets[:2], Dying(accuracy, 5), options, out=tmp_path)
    resumed = search_space(space, targets[:2], accuracy, options, out=tmp_path)
    assert resumed.audit["recalled"] >= 20
    assert resumed.audit["evaluated"] + resumed.audit["recalled"] == 50
    assert [d.points for d in resumed.devices] == [d.points for d in whole.devices]


def test_a_device_that_joins_later_is_served_without_a_first_sample(cells, tmp_path):
    space, targets, accuracy = cells
    search_space(space, targets[:1], accuracy, SearchOptions("surrogate", 40), out=tmp_path)
    gained = {}
    for name in ("surrogate", "random"):
        problem = Problem(space, (targets[0], targets[6]), accuracy, budget=12)
        problem.adopt(type(problem.archive).load(tmp_path / ARCHIVE_FILE, {}))
        before = share(problem)[1]
        search(problem, 0, name)
        assert len(problem.archive) == 52
        gained[name] = share(problem)[1] - before
    assert gained["surrogate"] > 2 * gained["random"]


@pytest.mark.parametrize("share_of_range", [0.15, 0.02])
def test_evaluations_go_within_tight_limits(make_problem, share_of_range):
    low, high = cost_range(make_problem())
    limits = tuple(low + share_of_range * (high - low))
    problem = make_problem(budget=60, limits=limits)
    search(problem)
    within = np.any(problem.archive.cost <= limits, axis=1)
    # The first networks are random ones, hardly any of which are that fast.
    assert within[30:].mean() > 0.9
    for column, limit in enumerate(limits):
        rows = problem.front(column)
        assert len(rows) > 2
        assert problem.archive.cost[rows, column].max() <= limit


def test_held_genes_budget_and_further_objectives_are_kept(make_problem):
    problem = make_problem(budget=45, fixed={"depth_2": 3}, extras=("params",))
    assert search(problem).evaluations == problem.counter.requested == 45
    rows = problem.archive.genotypes
    assert len(rows) == 45
    assert np.array_equal(rows, problem.complete(rows))
    alone = make_problem(budget=45, fixed={"depth_2": 3})
    search(alone)

    def smallest(problem):
        rows = problem.archive.genotypes
        accuracy = problem.archive.accuracy
        params = problem.space.params(rows) / problem.space.params(problem.sample(500, np.random.default_rng(1))).max()
        return hypervolume(np.stack([params, 100 - accuracy], axis=1), (1.0, 50.0))

    assert smallest(problem) > smallest(alone)


def test_it_ends_when_the_space_is_exhausted(make_problem, mini):
    free = ("kernel_1", "expansion_1", "kernel_2")
    fixed = {n: v[0] for n, v in zip(mini.gene_names, mini.choices, strict=True) if n not in free}
    problem = make_problem(budget=100, fixed=fixed)
    run = search(problem)
    assert len(problem.archive) == run.evaluations == 27


def test_it_is_the_default_where_evaluations_are_few():
    assert [default_strategy(n) for n in (50, 2000, 2001, 20_000)] == ["surrogate", "surrogate", "hybrid", "hybrid"]


def test_the_process_is_fitted_to_the_networks_nearest_to_the_fronts(cells, monkeypatch):
    space, targets, accuracy = cells
    problem = Problem(space, targets[:2], accuracy, budget=60)
    fitted, fit = [], GaussianProcess.fit.__func__

    def noting(cls, groups, values, like=None, steps=15):
        fitted.append((values, problem.archive.accuracy.copy(), problem.archive.cost.copy()))
        return fit(cls, groups, values, like, steps)

    monkeypatch.setattr(GaussianProcess, "fit", classmethod(noting))
    run_search(problem, SurrogateStrategy(problem, 0, SurrogateSettings(fitted=20)), name="surrogate", seed=0)
    bound = [one for one in fitted if len(one[0]) < len(one[1])]
    assert len(bound) >= 5
    for values, known, cost in bound:
        stairs = (Staircase.of(column, known, target_front(column, known)).at(column) for column in cost.T)
        gap = np.min([best - known for best in stairs], axis=0)
        is_fitted = np.isin(-np.log(100 - known + 0.05 * np.ptp(known)), values)
        assert is_fitted.sum() == len(values) == 20
        assert gap[is_fitted].mean() < 0.5 * gap[~is_fitted].mean()


def test_cells_that_features_cannot_tell_from_known_ones_are_expected_to_do_as_these(cells):
    space, targets, accuracy = cells
    problem = Problem(space, targets, accuracy, budget=100)
    every, rng = space.every(), np.random.default_rng(0)
    without_path = every[space.disconnected(every)]
    problem.evaluate(without_path[:4])
    problem.evaluate(rng.permutation(every[~space.disconnected(every)])[:40])
    strategy = SurrogateStrategy(problem, 0)
    fronts = strategy._gain.steps(strategy._gain.archived_cost(), problem.archive.accuracy)
    judged = strategy._judged(without_path[4:200], strategy._fitted(fronts), fronts)
    assert judged.gain.max() < 1e-6


def test_a_proxy_is_learnt_from_a_few_scores_and_survives_a_kill(mini):
    learnt = LearntProxy.of(mini, "synflow")
    rng = np.random.default_rng(0)
    assert not learnt(mini.sample(3, rng)).any()
    learnt.learn(mini.sample(30, rng))
    learnt.learn(mini.sample(10, rng))
    others = mini.sample(15, rng)
    told, true = learnt(others)[:, 0], learnt.model.predict(others).mean
    assert learnt.scored == 40
    assert np.corrcoef(told, true)[0, 1] > 0.6
    heir = LearntProxy.of(mini, "synflow")
    heir.load(learnt.dump())
    assert np.array_equal(heir(others), learnt(others))


def test_a_search_with_a_proxy_scores_so_many_and_goes_on_where_it_was(make_problem):
    spelled = "surrogate:first=8,proxy=synflow,scored=30"
    check_state(StrategyCase(partial(make_strategy, spelled), evaluations=30))
    problem = make_problem(budget=30)
    strategy = make_strategy(spelled, problem, 0)
    run_search(problem, strategy, name=spelled, seed=0)
    assert strategy._proxy.scored == 30


def test_the_first_networks_may_be_those_of_the_most_macs(make_problem, mini):
    problem = make_problem(budget=40)
    strategy = make_strategy("surrogate:design=macs,first=8", problem, 0)
    first = strategy.ask(8)
    assert len(first) == 8
    cost, macs = problem.cost(first), mini.macs(first)
    pool = mini.sample(2000, np.random.default_rng(5))
    pool_cost, pool_macs = problem.cost(pool), mini.macs(pool)
    dearer_and_smaller = [
        np.mean((pool_cost[:, 0] < cost[i, 0]) & (pool_macs > macs[i]))
        + np.mean((pool_cost[:, 1] < cost[i, 1]) & (pool_macs > macs[i]))
        for i in range(8)
    ]
    assert np.median(dearer_and_smaller) < 0.1
    run_search(problem, strategy, name="surrogate", seed=0)
    assert len(problem.archive) == 40

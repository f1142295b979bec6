"""The hybrid strategy beside the published ones, within limits, and along the fronts of several devices at once."""

import numpy as np
import pytest

from fleetfront.search.block_genes import find_block_genes
from fleetfront.search.cost_range import cost_range
from fleetfront.search.front import Staircase, target_front
from fleetfront.search.models.ridge import PairRidge
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.search.strategies.context_fronts import ContextFronts
from fleetfront.search.strategies.hybrid import HybridSettings, HybridStrategy


def volumes(make_problem, name, budget, **keywords):
    problems = [make_problem(budget=budget, **keywords) for _ in range(3)]
    runs = [run_search(p, make_strategy(name, p, s), name=name, seed=s) for s, p in enumerate(problems)]
    return np.mean([run.trace[-1].hypervolume for run in runs], axis=0)


def test_it_beats_nsga2_on_both_devices(make_problem):
    assert np.all(volumes(make_problem, "hybrid", 1200) > volumes(make_problem, "nsga2", 1200))


def test_tight_limits_on_every_device_leave_it_fronts(make_problem):
    free = make_problem()
    low, high = cost_range(free)
    limits = tuple(low + 0.15 * (high - low))
    problem = make_problem(budget=800, limits=limits)
    run_search(problem, make_strategy("hybrid", problem, 0), name="hybrid", seed=0)
    for column, limit in enumerate(limits):
        rows = problem.front(column)
        assert len(rows) >= 10
        assert problem.archive.cost[rows, column].max() <= limit
        # Evaluations go where a front can gain: far more than the few per cent of random networks.
        assert np.mean(np.any(problem.archive.cost <= limits, axis=1)) > 0.5


def test_it_ends_when_the_space_is_exhausted(make_problem, mini):
    fixed = {n: v[0] for n, v in zip(mini.gene_names, mini.choices, strict=True) if n not in ("kernel_1", "kernel_2")}
    problem = make_problem(budget=100, fixed=fixed)
    run = run_search(problem, make_strategy("hybrid", problem, 0), name="hybrid", seed=0)
    assert len(problem.archive) == run.evaluations == 9


@pytest.mark.parametrize("limits", [(None, None), (9.0, None)])
def test_fronts_of_contexts_measure_gaps_and_gains_from_the_fronts(make_problem, limits):
    problem = make_problem(limits=limits)
    fronts = ContextFronts(problem, find_block_genes(problem).context)
    for seed in range(3):
        problem.evaluate(problem.sample(80, np.random.default_rng(seed)))
        fronts.update()
    archive = problem.archive
    cost = fronts.archived_cost(slice(None))
    gap = fronts.gap(cost, archive.accuracy, fronts.context_of(archive.genotypes))
    members = np.unique(np.concatenate([problem.front(0), problem.front(1)]))
    assert np.allclose(gap[members], 0)
    assert np.all(gap >= 0)
    assert np.count_nonzero(gap < 1e-9) == len(members)
    # A point more on every front is worth more than on none, and what exceeds a limit is worth nothing there.
    better, worse = (fronts.gain(cost[members], archive.accuracy[members] + d) for d in (1.0, -1.0))
    assert np.all(better > worse)


def test_pairs_of_genes_are_learned_exactly_where_values_are_quadratic():
    rng = np.random.default_rng(0)
    x = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (1500, 6))].reshape(1500, -1)
    pairs = rng.normal(size=(18, 18))
    y = 70 + np.einsum("nf,fg,ng->n", x, pairs, x)
    model = PairRidge.fit(x[:1000], y[:1000], 1e-3)
    assert np.abs(model(x[1000:]) - y[1000:]).max() < 0.05 * np.ptp(y)
    assert np.corrcoef(model(x[1000:]), y[1000:])[0, 1] > 0.999


def below_fronts(cost, accuracy):
    """How far each network is below the nearest front of cost[n, t], percentage points."""
    stairs = (Staircase.of(column, accuracy, target_front(column, accuracy)).at(column) for column in cost.T)
    return np.min([best - accuracy for best in stairs], axis=0)


def test_surrogates_are_fitted_to_the_best_networks(make_problem, monkeypatch):
    """One to those nearest to the fronts, one to the most accurate: in turn, after each growth."""
    problem = make_problem(budget=600)
    fitted, fit = [], PairRidge.fit.__func__

    def noting(cls, features, values, noise=0.03):
        fitted.append((values, problem.archive.accuracy.copy(), problem.archive.cost.copy()))
        return fit(cls, features, values, noise)

    monkeypatch.setattr(PairRidge, "fit", classmethod(noting))
    settings = HybridSettings(fitted=60, fitted_tops=40, kept=100)
    run_search(problem, HybridStrategy(problem, 0, settings), name="hybrid", seed=0)
    assert len(fitted) >= 6
    for near, tops in zip(fitted[::2], fitted[1::2], strict=True):
        values, accuracy, cost = near
        gap = below_fronts(cost, accuracy)
        assert len(values) <= 60
        if len(values) < len(accuracy):
            assert gap[np.isin(accuracy, values)].mean() < 0.5 * gap[~np.isin(accuracy, values)].mean()
        values, accuracy, _ = tops
        assert np.array_equal(np.sort(values), np.sort(accuracy)[-len(values) :])

"""Every strategy keeps the rules, repeats itself with its seed, and beats chance where it should."""

import hashlib

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.search.run import reference_points, run_search
from fleetfront.search.strategies.catalogue import STRATEGIES, make_strategy
from fleetfront.search.strategies.local_search import neighbours

#: ``surrogate`` is for far fewer evaluations; its own tests are in ``strategies/test_surrogate.py``.
EVOLVING = sorted(set(STRATEGIES) - {"random", "exact", "surrogate"})


def search(problem, name, seed=0):
    return run_search(problem, make_strategy(name, problem, seed), name=name, seed=seed)


def digest(problem):
    return hashlib.sha256(problem.archive.genotypes.tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("name", [*EVOLVING, "random"])
def test_same_seed_same_search_and_another_seed_another(make_problem, name):
    problems = [make_problem(budget=350) for _ in range(3)]
    for problem, seed in zip(problems, (1, 1, 2), strict=True):
        search(problem, name, seed)
    assert digest(problems[0]) == digest(problems[1]) != digest(problems[2])


@pytest.mark.parametrize("name", [*EVOLVING, "random"])
def test_budget_is_kept_and_only_allowed_networks_are_asked_for(make_problem, name, mini):
    problem = make_problem(budget=333, fixed={"depth_2": 3}, limits=(None, 14.0))
    run = search(problem, name)
    assert run.evaluations == problem.counter.requested == 333
    rows = problem.archive.genotypes
    assert np.array_equal(rows, problem.complete(rows))
    for column, target in enumerate(problem.targets):
        assert len(problem.front(column)) > 0
        if target.limit:
            assert problem.archive.cost[problem.front(column), column].max() <= target.limit


@pytest.mark.parametrize("name", EVOLVING)
def test_every_strategy_beats_random_search_on_every_device(make_problem, name):
    def volumes(strategy):
        runs = [search(make_problem(budget=1500), strategy, seed) for seed in range(3)]
        return np.mean([run.trace[-1].hypervolume for run in runs], axis=0)

    assert np.all(volumes(name) > volumes("random"))


def test_hypervolume_never_falls_and_ends_where_the_archive_says(make_problem):
    problem = make_problem(budget=600)
    run = search(problem, "nsga2")
    volumes = np.array([point.hypervolume for point in run.trace])
    assert np.all(np.diff(volumes, axis=0) >= 0)
    assert run.trace[-1].evaluations == 600
    assert run.references == reference_points(problem)


def test_neighbours_differ_in_one_choice_and_are_complete(make_problem, mini):
    problem = make_problem()
    row = problem.sample(1, np.random.default_rng(4))
    active = mini.active(row)[0]
    found = problem.archive.unknown(neighbours(problem, row))
    expected = sum(len(values) - 1 for values, used in zip(mini.choices, active, strict=True) if used)
    depth = np.array([name.startswith("depth") for name in mini.gene_names])
    changed = found != row
    # A depth gene switches slots on or off; every other gene changes alone.
    assert np.all(changed[~changed[:, depth].any(axis=1)].sum(axis=1) <= 1)
    assert len(found) in (expected, expected + 1)


def test_local_search_restarts_when_a_small_space_is_exhausted(make_problem, mini):
    free = {"kernel_1", "expansion_1", "kernel_2"}
    fixed = {n: v[0] for n, v in zip(mini.gene_names, mini.choices, strict=True) if n not in free}
    problem = make_problem(budget=500, fixed=fixed)
    run = search(problem, "local-search")
    assert len(problem.archive) == 27
    assert run.evaluations == 27


def test_unknown_strategy_names_the_near_miss(make_problem):
    with pytest.raises(InputError, match="Did you mean 'nsga2'"):
        make_strategy("nsga-2", make_problem(), 0)


def test_extra_objectives_keep_networks_that_latency_alone_would_drop(make_problem):
    problem = make_problem(budget=600, extras=("params",))
    search(problem, "nsga2")
    rows = problem.front(0)
    archive = problem.archive
    values = problem.objectives(0)
    assert values.shape == (len(rows), 3)
    assert np.array_equal(values[:, 2], archive.extras[rows, 0])
    assert np.array_equal(archive.extras[:, 0], problem.space.params(archive.genotypes))
    flat = make_problem(budget=600)
    flat.adopt(archive)
    assert set(flat.front(0)) < set(rows)

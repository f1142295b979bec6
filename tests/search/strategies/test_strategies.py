"""See what strategies reach; that each keeps the protocol is tested in ``tests/testing/test_strategies.py``."""

from types import SimpleNamespace

import numpy as np
import pytest

from fleetfront.search.run import reference_points, run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.search.strategies.local_search import neighbours
from fleetfront.search.strategies.pymoo_parts import nsga2_algorithm


def search(problem, name, seed=0):
    return run_search(problem, make_strategy(name, problem, seed), name=name, seed=seed)


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


def test_nine_of_ten_pairs_of_parents_exchange_genes(make_problem):
    from pymoo.core.individual import Individual

    problem = make_problem()
    crossover = nsga2_algorithm(problem, 20, 0.04).mating.crossover
    genes = len(problem.space.choices)
    one, other = np.zeros(genes, dtype=int), np.ones(genes, dtype=int)
    parents = [[Individual(X=one), Individual(X=other)] for _ in range(2000)]
    outer = SimpleNamespace(n_var=genes, xl=None, xu=None)
    children = crossover.do(outer, parents, random_state=np.random.default_rng(0)).get("X")
    kept = np.mean([(child == one).all() or (child == other).all() for child in children])
    assert kept == pytest.approx(0.1, abs=0.03)

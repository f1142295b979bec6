"""See what a space falls apart into, sums along it, and exact fronts against looking at every network."""

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.search import additive
from fleetfront.search.additive import additive_front, additive_fronts, additive_values, additivity_error, make_layout
from fleetfront.search.block_genes import combinations, find_block_genes
from fleetfront.search.front import target_front
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space


def every(problem, free):
    """All networks in which only some genes vary."""
    genes = tuple(problem.space.gene_names.index(name) for name in free)
    values = combinations(problem, genes)
    rows = np.zeros((len(values), len(problem.space.choices)), dtype=np.int8)
    rows[:, genes] = values
    return np.unique(problem.complete(rows), axis=0)


def test_the_structure_of_once_for_all(latencies, synthetic):
    from fleetfront.testing.problems import BlockSums

    space = load_space("ofa-mbv3-w1.2")
    macs = BlockSums(space, space.block_macs(space.vocabulary).astype(float))
    block_genes = find_block_genes(Problem(space, (ProblemTarget("x", macs),), synthetic))
    names = space.gene_names
    assert [names[gene] for gene in block_genes.context] == ["resolution"]
    # Slots 3 and 4 hang on their stage's depth; slots 1 and 2 are always there and stand alone.
    by_controller = {tuple(names[g] for g in group.controllers): group for group in block_genes.groups}
    third = by_controller[("depth_3",)]
    assert {tuple(names[g] for g in leaf) for leaf in third.leaves} == {
        ("kernel_11", "expansion_11"),
        ("kernel_12", "expansion_12"),
    }
    assert sum(not group.controllers for group in block_genes.groups) == 10
    assert sorted(g for group in block_genes.groups for g in group.genes) == list(range(45))


def test_block_sums_add_up_and_others_do_not(make_problem, latencies):
    problem = make_problem()
    layout = make_layout(problem, find_block_genes(problem))
    for model in latencies:
        assert additivity_error(problem, layout, lambda rows, m=model: m.predict(rows).mean, 500) < 1e-12
    error = additivity_error(problem, layout, lambda rows: latencies[0].predict(rows).mean ** 2, 500)
    assert error > 1e-2


def test_sums_along_the_structure_are_the_function_itself(make_problem, mini):
    problem = make_problem()
    layout = make_layout(problem, find_block_genes(problem))
    rows = mini.sample(300, np.random.default_rng(8))
    table = layout.table(mini.params(layout.rows).astype(float))
    assert np.allclose(additive_values(layout, table, rows), mini.params(rows))


FREE = ("kernel_1", "expansion_1", "kernel_3", "expansion_4", "depth_1", "depth_3", "kernel_11", "expansion_12")


def test_the_exact_front_is_that_of_all_networks(make_problem, mini):
    fixed = {n: v[-1] for n, v in zip(mini.gene_names, mini.choices, strict=True) if n not in FREE}
    problem = make_problem(bend=0.0, budget=5000, fixed=fixed)
    whole = every(problem, FREE)
    assert len(whole) > 1000
    run = run_search(problem, make_strategy("exact", problem, 0), name="exact", seed=0)
    assert "accuracy synthetic against the latency on device_0 (measured), device_1 (measured)" in run.statement
    assert "both were found to add up" in run.statement
    assert problem.counter.requested < 400
    accuracy = problem.accuracy.predict(whole).mean
    for column, cost in enumerate(problem.cost(whole).T):
        front = whole[target_front(cost, accuracy)]
        found = problem.archive.genotypes[problem.front(column)]
        assert {bytes(row) for row in found} == {bytes(row) for row in front}


def test_thinned_fronts_stay_near_the_exact_one(make_problem, mini):
    problem = make_problem()
    layout = make_layout(problem, find_block_genes(problem))
    cost, gain = (layout.table(values) for values in (problem.cost(layout.rows)[:, 1], mini.params(layout.rows) / 1e3))
    exact, thin = additive_front(layout, cost, gain), additive_front(layout, cost, gain, 60)
    assert len(thin.cost) <= 60 < len(exact.cost)
    best = exact.gain[np.searchsorted(exact.cost, thin.cost, side="right") - 1]
    assert np.all(thin.gain <= best + 1e-9)
    assert np.median((best - thin.gain) / np.ptp(exact.gain)) < 0.02


def test_exact_refuses_what_does_not_add_up(make_problem):
    problem = make_problem(bend=0.3, budget=5000)
    with pytest.raises(InputError, match="The accuracy synthetic is not a sum over blocks"):
        run_search(problem, make_strategy("exact", problem, 0), name="exact", seed=0)
    small = make_problem(bend=0.0, budget=100)
    with pytest.raises(InputError, match=r"needs \d+ more evaluations, 100 are left"):
        run_search(small, make_strategy("exact", small, 0), name="exact", seed=0)
    with pytest.raises(InputError, match="not also macs"):
        make_strategy("exact", make_problem(extras=("macs",)), 0)


def test_exact_refuses_a_cost_that_does_not_add_up(mini, latencies, synthetic):
    class Squared:
        metric, tier = latencies[0].metric, latencies[0].tier

        def predict(self, genotypes):
            estimate = latencies[0].predict(genotypes)
            return type(estimate)(estimate.mean**2, estimate.std, estimate.tier)

    problem = Problem(mini, (ProblemTarget("odd", Squared()),), synthetic, budget=5000)
    with pytest.raises(InputError, match="The latency model of odd is not a sum over blocks"):
        make_strategy("exact", problem, 0)


def test_exact_front_of_nasbench_is_found_by_looking_at_all(shared_data):
    from fleetfront.predictors.accuracy.sources import load_accuracy
    from fleetfront.testing.problems import BlockSums

    space = load_space("nasbench201")
    accuracy = load_accuracy(f"csv:{shared_data / 'nb201/nb201.csv'}:acc_cifar100", space)
    macs = BlockSums(space, space.block_macs(space.vocabulary) / 1e6)
    problem = Problem(space, (ProblemTarget("x", macs),), accuracy, budget=16_000)
    run = run_search(problem, make_strategy("exact", problem, 0), name="exact", seed=0)
    assert len(problem.archive) == 15_625
    assert run.statement.endswith("all 15625 networks were looked at.")


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_the_front_of_many_sums_is_that_of_all_of_them(scale):
    """Fronts of very many rows are found in bins of cost first."""
    rng = np.random.default_rng(0)
    cost, gain = scale * (5 + rng.random(60_000)), rng.random(60_000)
    assert len(cost) > additive._BINS
    kept = additive._front_rows(cost, gain, None)
    order = np.lexsort((-gain, cost))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], gain[order]]))[:-1]
    assert set(kept) == set(order[gain[order] > best])


class Switches:
    """A problem of three genes of two values; each of the first two decides one block, the third both."""

    free_choices = (2, 2, 2)

    def __init__(self):
        self.space = self

    def sample(self, n, rng):
        return rng.integers(0, 2, (n, 3)).astype(np.int8)

    def complete(self, genotypes):
        return genotypes

    def active(self, genotypes):
        return np.ones(genotypes.shape, dtype=np.bool_)

    def block_indices(self, genotypes):
        return genotypes[:, :2] + 2 * genotypes[:, 2:]


def test_genes_of_two_values_are_found_to_decide_blocks():
    found = find_block_genes(Switches())
    assert found.context == (2,)
    assert [group.leaves for group in found.groups] == [((0,),), ((1,),)]


@pytest.mark.filterwarnings("error")
def test_fronts_of_sums_leave_out_what_another_limit_forbids(make_problem, mini, synthetic):
    plain = make_problem()
    most = float(np.median(mini.params(mini.sample(500, np.random.default_rng(0)))))
    targets = [replace(target, limits={"params": most}) for target in plain.targets]
    problem = Problem(mini, tuple(targets), synthetic)
    layout = make_layout(problem, find_block_genes(problem))
    gain = mini.macs(layout.rows).astype(float)
    fronts = additive_fronts(problem, layout, gain, 200)
    whole = additive_fronts(plain, make_layout(plain, find_block_genes(plain)), gain, 200)
    for limited, free in zip(fronts, whole, strict=True):
        assert 5 < len(limited) < len(free)
        assert mini.params(limited).max() <= most < mini.params(free).max()

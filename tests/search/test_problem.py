"""The one door to accuracy counts as it says, and what a problem forbids does not get in."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.pipelines.fleet import parse_limits
from fleetfront.quantities import LATENCY, SIZE, Estimate, Tier
from fleetfront.search.archive import Archive
from fleetfront.search.cost_range import cost_range, extreme_cost, rounded_up
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import SyntheticAccuracy


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 7))
def test_requests_count_each_time_but_accuracy_is_computed_once(make_problem, picks, size):
    problem = make_problem()
    accuracy = problem.accuracy
    pool = np.unique(problem.sample(12, np.random.default_rng(0)), axis=0)[:10]
    for start in range(0, len(picks), size):
        chosen = pool[np.array(picks[start : start + size]) % len(pool)]
        found = problem.evaluate(chosen)
        assert np.allclose(found.cost, problem.cost(chosen))
    counter = problem.counter
    assert counter.requested == len(picks) == counter.evaluated + counter.repeated + counter.recalled
    assert len(accuracy.asked) == len(set(accuracy.asked)) == counter.evaluated == len(problem.archive)


def test_the_budget_bounds_requests(make_problem):
    problem = make_problem(budget=10)
    problem.evaluate(problem.sample(8, np.random.default_rng(0)))
    with pytest.raises(InputError, match="3 evaluations were asked for, 2 of 10 are left"):
        problem.evaluate(problem.sample(3, np.random.default_rng(1)))


def test_the_tracked_front_is_the_front_of_the_whole_archive(make_problem):
    from fleetfront.search.front import target_front

    problem, rng = make_problem(limits=(None, 12.0)), np.random.default_rng(0)
    for _ in range(5):
        problem.evaluate(problem.sample(60, rng))
        for column, target in enumerate(problem.targets):
            whole = target_front(problem.archive.cost[:, column], problem.archive.accuracy, target.limit)
            assert problem.front(column).tolist() == whole.tolist()


def test_excluded_values_are_never_proposed(make_problem, mini):
    excluded = {"kernel_1": (7,), "depth_1": (2, 4), "expansion_2": (3,)}
    problem = make_problem(excluded=excluded)
    rows = np.concatenate(
        [problem.sample(200, np.random.default_rng(0)), problem.complete(mini.sample(200, np.random.default_rng(1)))]
    )
    active = mini.active(rows)
    for name, barred in excluded.items():
        gene = mini.gene_names.index(name)
        taken = {mini.choices[gene][value] for value in rows[active[:, gene], gene]}
        assert taken == set(mini.choices[gene]) - set(barred)
    assert np.array_equal(problem.complete(rows), rows)
    assert problem.held == {"depth_1": 3}
    allowed = problem.allowed[mini.gene_names.index("kernel_1")]
    assert allowed.tolist() == [True, True, False]


def test_impossible_exclusions_are_refused(make_problem):
    with pytest.raises(InputError, match="depth_1 has no value left"):
        make_problem(excluded={"depth_1": (2, 3, 4)})
    with pytest.raises(InputError, match="depth_1 is held at 3, which is excluded"):
        make_problem(fixed={"depth_1": 3}, excluded={"depth_1": (3,)})
    with pytest.raises(InputError, match="kernel_1 cannot be 9"):
        make_problem(excluded={"kernel_1": (9,)})


@pytest.mark.parametrize(
    "name",
    [
        "surrogate",
        "hybrid",
        "exact",
        "nsga2",
        "sms-emoa",
        "linas",
        "pdns",
        "macs-fronts",
        "local-search",
        "random",
        "modnas:steps=2,round_steps=1",
    ],
)
def test_every_strategy_leaves_excluded_values_out(make_problem, mini, name):
    accuracy = SyntheticAccuracy(mini, bend=0.0)
    problem = make_problem(
        accuracy=accuracy, excluded={"kernel_1": (3,), "depth_1": (4,)}, budget=20_000 if name == "exact" else 60
    )
    run_search(problem, make_strategy(name, problem, 0), name=name, seed=0)
    rows = problem.archive.genotypes
    assert len(rows) > 10
    kernel, depth = (mini.gene_names.index(gene) for gene in ("kernel_1", "depth_1"))
    assert 3 not in {mini.choices[kernel][value] for value in rows[mini.active(rows)[:, kernel], kernel]}
    assert 4 not in {mini.choices[depth][value] for value in rows[:, depth]}


def test_fixed_genes_hold_for_samples_and_completed_rows(make_problem, mini):
    problem = make_problem(fixed={"depth_1": 3, "kernel_1": 7})
    rows = problem.complete(mini.sample(50, np.random.default_rng(0)))
    at = [mini.gene_names.index(name) for name in ("depth_1", "kernel_1")]
    assert np.all(rows[:, at] == [mini.choices[at[0]].index(3), mini.choices[at[1]].index(7)])
    assert np.array_equal(rows, mini.canonical(rows))
    assert problem.free_choices[at[0]] == 1
    with pytest.raises(InputError, match="kernel_1 cannot be 9"):
        make_problem(fixed={"kernel_1": 9})
    with pytest.raises(InputError, match="Unknown gene of ofa-mbv3-mini 'kernel_01'"):
        make_problem(fixed={"kernel_01": 3})


def test_a_limit_that_nothing_meets_names_the_fastest_and_the_gap(make_problem, mini, latencies):
    fastest = latencies[1].predict(mini.sample(4000, np.random.default_rng(0))).mean.min()
    with pytest.raises(InputError, match=r"takes at most 0.5 .* on device_1: the fastest found takes") as raised:
        make_problem(limits=(None, 0.5))
    claimed = float(str(raised.value).split("found takes ")[1].split(" ")[0])
    assert claimed <= fastest + 1e-3
    assert float(str(raised.value).split(", ")[-1].split(" ms")[0]) == pytest.approx(claimed - 0.5, abs=0.01)


def test_the_remedy_for_a_limit_is_one_that_is_met(make_problem):
    problem = make_problem()
    fastest = extreme_cost(problem, problem.targets[1].cost)
    for limit in (0.3 * fastest, 0.9 * fastest):
        with pytest.raises(InputError) as raised:
            make_problem(limits=(None, limit))
        make_problem(limits=(None, float(raised.value.remedy.split(" to ")[1].split(" ")[0])))
    assert [rounded_up(value, LATENCY) for value in (12.3441, 12.34, 0.0099999, 99.996, 26151.4)] == [
        "12.35",
        "12.34",
        "0.01",
        "100",
        "2.616e+04",
    ]
    size = 13_661_234
    assert (SIZE.spell(1), SIZE.spell(2048), SIZE.spell(size)) == ("1 bytes", "2 KiB", "13.03 MiB")
    assert (rounded_up(1000, SIZE), rounded_up(2000, SIZE), rounded_up(size, SIZE)) == ("1000", "1.954KiB", "13.03MiB")
    for at_least in (1000.0, 2000.0, 13_661_234.0):
        assert parse_limits([f"size={rounded_up(at_least, SIZE)}"], ["a"])["a"]["size"] >= at_least


def test_the_fastest_of_a_small_space_is_that_of_all_its_networks(synthetic):
    space = load_space("nasbench201")

    class OneFastCell:
        metric, tier = LATENCY, Tier.MEASURED

        def predict(self, genotypes):
            is_fast = np.all(genotypes == [0, 1, 2, 3, 4, 1], axis=1)
            return Estimate(np.where(is_fast, 1.0, 10.0 + genotypes.sum(axis=1)), np.zeros(len(genotypes)), self.tier)

    problem = Problem(space, (ProblemTarget("spiky", OneFastCell(), limit=2.0),), synthetic)
    assert cost_range(problem).ravel().tolist() == [1.0, 34.0]
    with pytest.raises(InputError, match=r"the fastest takes 1 ms, 0\.5 ms too long"):
        Problem(space, (ProblemTarget("spiky", OneFastCell(), limit=0.5),), synthetic)
    assert len(problem.every()) == 5**6
    with pytest.raises(InputError, match="the fastest takes 10 ms"):
        Problem(space, problem.targets, synthetic, fixed={"edge_0_1": "none", "edge_2_3": "none"})


def test_an_objective_given_twice_is_one(make_problem):
    problem = make_problem(extras=("macs", "macs"))
    assert problem.extra_values(problem.sample(3, np.random.default_rng(0))).shape == (3, 1)


def test_descent_finds_the_extremes_of_an_additive_cost(make_problem, mini, latencies):
    problem = make_problem()
    low, high = cost_range(problem)
    costs = problem.cost(problem.sample(20_000, np.random.default_rng(5)))
    assert np.all(low <= costs.min(axis=0))
    assert np.all(high >= costs.max(axis=0))
    assert np.all(low > 0.5 * costs.min(axis=0))
    assert np.all(high < 1.5 * costs.max(axis=0))


def test_no_device_twice_and_not_none(make_problem, mini, synthetic):
    with pytest.raises(InputError, match="no device to search for"):
        Problem(mini, (), synthetic)
    target = make_problem().targets[0]
    with pytest.raises(InputError, match="named twice"):
        Problem(mini, (target, target), synthetic)


def test_recalled_accuracies_are_not_computed_again(make_problem, mini, synthetic):
    first = make_problem()
    rows = np.unique(first.sample(40, np.random.default_rng(0)), axis=0)
    first.evaluate(rows[:20])
    second = make_problem(accuracy=synthetic, recall=first.archive)
    second.evaluate(rows[10:])
    assert second.counter.recalled == 10
    assert second.counter.evaluated == len(synthetic.asked) == len(rows) - 20
    known = second.everything_known()
    assert len(known) == len(rows)
    assert np.allclose(known.cost[known.find(rows)], second.cost(rows))


def test_an_adopted_archive_costs_no_evaluations_and_fills_new_columns(make_problem, mini, synthetic):
    first = make_problem(devices=1)
    first.evaluate(first.sample(30, np.random.default_rng(0)))
    second = make_problem(accuracy=synthetic)
    second.adopt(first.archive)
    assert second.counter.requested == len(synthetic.asked) == 0
    assert second.counter.adopted == len(first.archive)
    assert len(second.archive) == len(first.archive)
    assert np.allclose(second.archive.cost, second.cost(first.archive.genotypes))
    with pytest.raises(InputError, match="of another space"):
        second.adopt(Archive(3, ["a"]))


def test_the_archive_keeps_the_order_of_requests_whatever_order_answers_come_in(make_problem, synthetic):
    class ManyWorkers:
        """Answers its rows in any order, and hands them back in that of the request."""

        source, tier, lowest = synthetic.source, synthetic.tier, synthetic.lowest

        def predict(self, genotypes):
            order = np.random.default_rng(len(genotypes)).permutation(len(genotypes))
            back = np.argsort(order)
            estimate = synthetic.predict(genotypes[order])
            return Estimate(estimate.mean[back], estimate.std[back], estimate.tier)

    one, many = make_problem(accuracy=synthetic), make_problem(accuracy=ManyWorkers())
    for seed in range(3):
        rows = one.sample(30, np.random.default_rng(seed))
        found = [problem.evaluate(rows) for problem in (one, many)]
        assert np.array_equal(found[0].accuracy, found[1].accuracy)
    assert np.array_equal(one.archive.genotypes, many.archive.genotypes)
    assert np.array_equal(one.archive.accuracy, many.archive.accuracy)


def test_a_gene_may_be_fixed_at_what_the_accuracy_requires_and_at_nothing_else(make_problem, mini, synthetic):
    gene, (only, other, *_) = mini.gene_names[0], mini.choices[0]

    class AtOneValue:
        source, tier, lowest, required = "table", synthetic.tier, 0.0, {gene: only}
        predict = synthetic.predict

    for fixed in ({}, {gene: only}):
        problem = make_problem(accuracy=AtOneValue(), fixed=fixed)
        assert set(problem.sample(50, np.random.default_rng(0))[:, 0]) == {0}
    with pytest.raises(InputError, match=f"answers only for {gene} = {only}, not {other}"):
        make_problem(accuracy=AtOneValue(), fixed={gene: other})


def test_calls_of_the_accuracy_model_are_counted(make_problem):
    problem = make_problem()
    rows = np.unique(problem.sample(40, np.random.default_rng(0)), axis=0)
    for part in (rows[:5], rows[5:9], rows[:9]):
        problem.evaluate(part)
    assert (problem.counter.calls, problem.counter.evaluated) == (2, 9)

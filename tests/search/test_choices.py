"""Choices of fronts, and what other ones would change, against arithmetic that is known."""

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.quantities import ACCURACY, PERPLEXITY
from fleetfront.search.choices import ArchivedAccuracy, describe_choices
from fleetfront.search.collect import collect_fronts
from fleetfront.search.fronts_file import load_fronts, write_fronts
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy


@pytest.fixture
def searched(make_problem):
    problem = make_problem(budget=300)
    run = run_search(problem, make_strategy("nsga2-shared", problem, 0), name="nsga2-shared", seed=0)
    return problem, run


def changed(space, members, gene, value):
    """The members with another value of an active gene, before and after it is set."""
    rows = members[space.active(members)[:, gene] & (members[:, gene] != value)]
    after = rows.copy()
    after[:, gene] = value
    return rows, space.canonical(after)


def test_shares_and_costs_are_those_of_the_networks_on_the_front(searched):
    problem, run = searched
    space = problem.space
    asked = problem.counter.requested
    front = collect_fronts(problem, run, explain=True).devices[0]
    assert problem.counter.requested == asked
    members = space.parse([point.arch for point in front.points])
    some = members[np.unique(np.linspace(0, len(members) - 1, 24).round().astype(int))]
    for one in front.choices:
        gene = space.gene_names.index(one.gene)
        value = [str(choice) for choice in space.choices[gene]].index(one.value)
        has = space.active(members)[:, gene] & (members[:, gene] == value)
        assert one.share == pytest.approx(has.mean())
        before, after = changed(space, some, gene, value)
        assert one.networks == len(before)
        if len(before):
            cost = problem.targets[0].cost
            assert one.latency_ms == pytest.approx((cost.predict(after).mean - cost.predict(before).mean).mean())
        else:
            assert (one.latency_ms, one.accuracy) == (None, None)


def test_accuracies_are_near_the_truth_and_their_intervals_hold_it(searched):
    problem, _ = searched
    space, known = problem.space, ArchivedAccuracy.of(problem.space, problem.archive)
    members = problem.archive.genotypes[problem.front(0)]
    told, true, std = [], [], []
    for one in describe_choices(space, members, None, known, ACCURACY):
        assert one.latency_ms is None
        if one.accuracy is None:
            continue
        gene = space.gene_names.index(one.gene)
        value = [str(choice) for choice in space.choices[gene]].index(one.value)
        before, after = changed(space, members, gene, value)
        truth = problem.accuracy.predict(after).mean - problem.accuracy.predict(before).mean
        told.append(one.accuracy)
        true.append(truth.mean())
        std.append(one.accuracy_std)
    assert len(told) > 20
    assert np.corrcoef(told, true)[0, 1] > 0.9
    assert np.mean(np.abs(np.subtract(told, true)) <= 1.645 * np.array(std)) >= 0.8


def test_of_what_nobody_evaluated_no_accuracy_is_told(make_problem, mini):
    problem = make_problem(budget=60, excluded={"kernel_1": (7,)})
    problem.evaluate(problem.sample(60, np.random.default_rng(0)))
    known = ArchivedAccuracy.of(mini, problem.archive)
    told = describe_choices(mini, problem.archive.genotypes[problem.front(0)], None, known, ACCURACY)
    barred = next(one for one in told if (one.gene, one.value) == ("kernel_1", "7"))
    assert barred.accuracy is None
    assert any(one.accuracy is not None for one in told if one.gene == "kernel_1")


def test_few_networks_tell_no_accuracy(make_problem, mini):
    problem = make_problem(budget=10)
    problem.evaluate(problem.sample(10, np.random.default_rng(0)))
    assert ArchivedAccuracy.of(mini, problem.archive) is None


def test_perplexity_changes_in_its_own_direction(searched):
    problem, _ = searched
    members = problem.archive.genotypes[problem.front(0)]
    known = ArchivedAccuracy.of(problem.space, problem.archive)
    up, down = (describe_choices(problem.space, members, None, known, q) for q in (ACCURACY, PERPLEXITY))
    assert [one.accuracy for one in down] == [None if one.accuracy is None else -one.accuracy for one in up]


def test_choices_are_kept_with_the_fronts(searched, tmp_path):
    problem, run = searched
    fronts = collect_fronts(problem, run, explain=True)
    write_fronts(fronts, tmp_path)
    assert load_fronts(tmp_path, problem.space).devices[0].choices == fronts.devices[0].choices
    assert collect_fronts(problem, run).devices[0].choices == ()
    wrong = replace(fronts.devices[0], choices=(replace(fronts.devices[0].choices[0], share=1.5),))
    write_fronts(replace(fronts, devices=(wrong, *fronts.devices[1:])), tmp_path)
    with pytest.raises(InputError, match="share"):
        load_fronts(tmp_path)

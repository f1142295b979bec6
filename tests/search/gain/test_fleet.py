"""Expected gains against hypervolumes by moocore: exactly for certain networks, by sampling for uncertain ones."""

import numpy as np
import pytest

from fleetfront.search.cost_range import cost_range, extreme_cost
from fleetfront.search.front import hypervolume
from fleetfront.search.gain.fleet import FleetGain

SURE = 1e-9


@pytest.fixture(params=[(None, None), (9.0, None)])
def known(make_problem, request):
    """(problem with 60 networks in its archive, its gains, 40 unknown networks)."""
    problem = make_problem(limits=request.param)
    problem.evaluate(problem.sample(60, np.random.default_rng(0)))
    fresh = problem.archive.unknown(problem.sample(40, np.random.default_rng(1)))
    return problem, FleetGain(problem), fresh


def volume(cost, accuracy):
    """Summed over columns: cost range x percentage points above the lowest accuracy known, 58."""
    values = [np.stack([c, 100 - accuracy], axis=1)[c <= 1.0] for c in cost.T]
    return sum(hypervolume(v, (1.0, 100 - 58.0)) for v in values)


def start(problem, gain):
    """Archived costs and accuracies, and their steps above an accuracy of 58, as if one network were that bad."""
    cost = np.concatenate([gain.archived_cost(), np.full((1, gain.columns), 1.0)])
    accuracy = np.append(problem.archive.accuracy, 58.0)
    return cost, accuracy, gain.steps(cost, accuracy)


def test_a_certain_network_gains_what_hypervolume_gains(known):
    problem, gain, fresh = known
    cost, accuracy, fronts = start(problem, gain)
    new, top = gain.cost(fresh), problem.accuracy.predict(fresh).mean + 0.5
    expected = gain.expected(new, top, np.full(len(top), SURE), fronts)
    before = volume(cost, accuracy)
    exact = [volume(np.append(cost, c[None], axis=0), np.append(accuracy, a)) - before for c, a in zip(new, top)]  # noqa: B905
    assert np.allclose(expected, exact, atol=1e-6)
    assert np.count_nonzero(np.array(exact) > 1e-3) > 5


def test_an_uncertain_network_gains_the_mean_over_its_accuracies(known):
    problem, gain, fresh = known
    _, _, fronts = start(problem, gain)
    new, top = gain.cost(fresh), problem.accuracy.predict(fresh).mean
    drawn = np.random.default_rng(3).normal(top[:, None], 0.8, (len(top), 4000))
    sampled = [
        gain.expected(np.repeat(new[i : i + 1], 4000, axis=0), drawn[i], np.full(4000, SURE), fronts).mean()
        for i in range(len(top))
    ]
    expected = gain.expected(new, top, np.full(len(top), 0.8), fronts)
    assert np.allclose(expected, sampled, rtol=0.1, atol=0.02)
    assert np.all(gain.bound(new, top, np.full(len(top), 0.8), fronts) >= expected - 1e-9)


def test_of_several_forms_each_column_takes_the_best_which_is_no_more_than_all_gain_together(known):
    problem, gain, fresh = known
    cost, accuracy, fronts = start(problem, gain)
    sure, new, top = np.full(len(fresh), SURE), gain.cost(fresh), problem.accuracy.predict(fresh).mean
    # Another form is slower on the first device and faster on the other, and a little worse.
    other = np.minimum(new * np.where(np.arange(gain.columns) == 0, 1.2, 0.5), 1.0)
    forms = [(new, top), (other, top - 0.1)]
    expected = gain.expected_of(forms, sure, fronts)
    alone = [gain.expected(of, mean, sure, fronts) for of, mean in forms]
    both = [
        volume(np.concatenate([cost, [a, b]]), np.append(accuracy, [t, t - 0.1])) - volume(cost, accuracy)
        for a, b, t in zip(new, other, top, strict=True)
    ]
    assert np.all(expected >= np.max(alone, axis=0) - 1e-9)
    assert np.all(expected <= np.array(both) + 1e-6)
    # Beyond a limit the first device gains by neither.
    assert np.any(expected > np.max(alone, axis=0) + 1e-3) == (problem.targets[0].limit is None)
    assert np.all(gain.bound_of(forms, sure, fronts) >= expected - 1e-9)


def test_what_is_over_its_limit_gains_nothing_there(make_problem):
    low, high = cost_range(make_problem())
    limits = tuple(low + 0.3 * (high - low))
    problem = make_problem(limits=limits)
    problem.evaluate(problem.sample(300, np.random.default_rng(0)))
    gain = FleetGain(problem)
    over = problem.cost(problem.archive.genotypes) > limits
    scaled = gain.archived_cost()
    assert over.any()
    assert np.array_equal(np.isinf(scaled), over)
    excess = gain.excess(problem.archive.genotypes)
    assert np.array_equal(excess > 0, over.all(axis=1))
    fronts = gain.steps(scaled, problem.archive.accuracy)
    forbidden = over.all(axis=1)
    n = int(forbidden.sum())
    assert np.allclose(gain.expected(scaled[forbidden], np.full(n, 90.0), np.full(n, 1.0), fronts), 0, atol=1e-9)


def test_a_limit_at_the_lowest_cost_admits_the_fastest_alone(make_problem):
    free = make_problem()
    fastest = extreme_cost(free, free.targets[0].cost)
    problem = make_problem(devices=1, limits=(fastest, None))
    problem.evaluate(problem.sample(100, np.random.default_rng(0)))
    gain = FleetGain(problem)
    with np.errstate(all="raise"):
        assert np.all(np.isinf(gain.archived_cost()))
        assert np.all(gain.excess(problem.archive.genotypes) > 0)


def test_members_of_a_front_have_no_gap_and_all_others_one(known):
    problem, gain, _ = known
    fronts = gain.steps(gain.archived_cost(), problem.archive.accuracy)
    gap = gain.gap(gain.archived_cost(), problem.archive.accuracy, fronts)
    members = np.unique(np.concatenate([problem.front(0), problem.front(1)]))
    assert np.allclose(gap[members], 0)
    assert np.all(np.delete(gap, members) > 0)

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.problem import Problem
from fleetfront.search.run import reference_points
from fleetfront.search.sharing import share


@pytest.fixture
def searched(make_problem, mini):
    """A problem with 60 evaluated networks and the points that bound its hypervolumes."""

    def make(**keywords):
        problem = make_problem(**keywords)
        problem.evaluate(mini.sample(60, np.random.default_rng(5)))
        return problem, reference_points(problem)

    return make


def kept_by(problem, references, rows):
    """Mean share of hypervolume, counted anew from the archive."""
    shares = []
    for column, reference in enumerate(references):
        cost, error = problem.archive.cost[:, column], FULL - problem.archive.accuracy
        points = np.stack([cost, error], axis=1)
        shares.append(hypervolume(points[list(rows)], reference) / hypervolume(points, reference))
    return float(np.mean(shares))


def test_two_networks_are_nearly_the_best_two(searched) -> None:
    problem, references = searched()
    rows = np.unique(np.concatenate([problem.front(0), problem.front(1)]))
    best = max(kept_by(problem, references, pair) for pair in combinations(rows.tolist(), 2))
    sharing = share(problem, references, 2)
    assert len(sharing.archs) == 2
    assert (1 - 1 / np.e) * best <= sharing.shares.mean() <= best + 1e-12
    chosen = [problem.space.arch_ids(problem.archive.genotypes).index(arch) for arch in sharing.archs]
    assert sharing.shares.mean() == pytest.approx(kept_by(problem, references, chosen))
    assert np.allclose(sharing.latency_ms, problem.archive.cost[chosen])


def test_more_networks_keep_more_and_enough_keep_everything(searched) -> None:
    problem, references = searched()
    kept = [share(problem, references, count).shares.mean() for count in (1, 2, 4, 8)]
    assert kept == sorted(kept)
    everything = share(problem, references, 1000)
    assert everything.shares == pytest.approx(1.0)
    # Networks that add nothing are not named.
    assert len(everything.archs) <= len(problem.front(0)) + len(problem.front(1))


def test_accuracy_descends_and_each_device_is_told_what_serves_it(searched) -> None:
    problem, references = searched()
    sharing = share(problem, references, 4)
    assert list(sharing.accuracy) == sorted(sharing.accuracy, reverse=True)
    for column, rows in enumerate(sharing.serving):
        latency = sharing.latency_ms[list(rows), column]
        assert len(rows)
        assert list(latency) == sorted(latency)
    data = sharing.to_json()
    assert set(data["devices"]) == {"device_0", "device_1"}
    assert {device["tier"] for device in data["devices"].values()} == {problem.targets[0].cost.tier.value}
    assert data["mean_hypervolume_share"] == pytest.approx(sharing.shares.mean())


def test_a_network_beyond_a_limit_does_not_serve_the_device(searched, latencies, mini) -> None:
    limit = float(np.median(latencies[0].predict(mini.sample(500, np.random.default_rng(0))).mean))
    problem, references = searched(limits=(limit, None))
    sharing = share(problem, references, 3)
    assert len(sharing.serving[0])
    assert all(sharing.latency_ms[row, 0] <= limit for row in sharing.serving[0])


def test_further_objectives_count_too(searched) -> None:
    problem, references = searched(extras=("params",))
    assert {len(reference) for reference in references} == {3}
    everything = share(problem, references, 1000)
    # A network with few parameters is kept, although others beat it in latency and accuracy.
    assert everything.shares == pytest.approx(1.0)
    for column, rows in enumerate(everything.serving):
        own = {problem.space.arch_ids(problem.archive.genotypes[[row]])[0] for row in problem.front(column)}
        assert {everything.archs[row] for row in rows} == own
    few = share(problem, references, 3)
    kept = problem.archive.find(problem.space.parse(few.archs))
    for column, reference in enumerate(references):
        points = problem.objectives(column)
        chosen = np.concatenate(
            [problem.archive.cost[kept, column, None], FULL - problem.archive.accuracy[kept, None]], axis=1
        )
        chosen = np.concatenate([chosen, problem.archive.extras[kept]], axis=1)
        share_of_it = hypervolume(chosen, reference) / hypervolume(points, reference)
        assert few.shares[column] == pytest.approx(share_of_it)


def test_a_front_without_volume_is_kept_by_its_member(searched) -> None:
    problem, _ = searched(devices=1)
    fastest = float(problem.archive.cost[:, 0].min())
    limited = replace(problem.targets[0], limit=fastest)
    again = Problem(problem.space, (limited,), problem.accuracy)
    again.adopt(problem.archive)
    sharing = share(again, reference_points(again), 2)
    assert sharing.latency_ms.tolist() == [[fastest]]
    assert sharing.shares.tolist() == [1.0]


def test_no_network_is_no_choice(searched) -> None:
    problem, references = searched()
    with pytest.raises(InputError, match="--share 3"):
        share(problem, references, 0)

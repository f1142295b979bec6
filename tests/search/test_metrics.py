"""Further metrics: objectives and limits on one target or on all, through every strategy, archive and file."""

from dataclasses import dataclass

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.quantities import ENERGY, PEAK_MEMORY, Estimate, Tier
from fleetfront.search.collect import collect_fronts
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.fronts_file import load_fronts, write_fronts
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import reference_points, run_search
from fleetfront.search.sharing import share
from fleetfront.search.strategies.catalogue import STRATEGIES, make_strategy
from fleetfront.testing.problems import SyntheticAccuracy


@dataclass(frozen=True)
class Energy:
    """Mostly what computing costs, with a taste for parameters. A CostModel."""

    space: object
    scale: float
    metric = ENERGY
    tier = Tier.ESTIMATED

    def predict(self, genotypes):
        mean = self.scale * (self.space.macs(genotypes) / 1e6 + self.space.params(genotypes) / 1e3)
        return Estimate(mean, 0.1 * mean, self.tier)

    def covers(self, genotypes):
        return np.ones(len(genotypes), bool)


@pytest.fixture
def make(mini, latencies):
    def made(extras=(), limits=({}, {}), **keywords):
        targets = tuple(
            ProblemTarget(f"device_{i}", latencies[i], further={"energy": Energy(mini, 1.0 + i)}, limits=limits[i])
            for i in range(2)
        )
        return Problem(mini, targets, SyntheticAccuracy(mini, 0.3), extras, **keywords)

    return made


def test_an_energy_is_a_column_of_its_device_and_macs_are_one_of_all(make, mini):
    problem = make(("energy", "macs"))
    assert problem.archive.extra_names == ("device_0:energy", "device_1:energy", "macs")
    assert [problem.objectives_of(target) for target in (0, 1)] == [[0, 2], [1, 2]]
    rows = problem.sample(30, np.random.default_rng(0))
    values = problem.evaluate(rows).extras
    assert np.allclose(values[:, 1], 2 * values[:, 0])
    assert np.array_equal(values[:, 2], mini.macs(rows))
    assert set(problem.targets[0].costs) == {"latency", "energy"}
    front = problem.objectives(1)
    reference = reference_points(problem)[1]
    assert front.shape[1] == len(reference) == 4
    assert np.all(front.max(axis=0) <= reference)


#: Strategies that train a network, and what keeps that short.
TRAINED = {
    "modnas": ":steps=100,round_steps=20,fit_steps=100",
    "pnag": ":steps=50,evaluator_steps=50,round_steps=10,fit_steps=50",
}

#: Baselines of other libraries take seconds for each question.
OUTSIDE = {"botorch-nehvi", "optuna-gp"}


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"exact"} - OUTSIDE))
def test_every_strategy_keeps_a_limit_on_energy_and_finds_what_it_admits(make, name):
    budget = 120 if name in ("surrogate", "lamoo", "linas", *TRAINED) else 500
    free = make()
    energy = free.targets[1].further["energy"].predict(free.sample(2000, np.random.default_rng(1))).mean
    limit = float(np.quantile(energy, 0.2))
    problem = make(limits=({}, {"energy": limit}), budget=budget)
    run_search(problem, make_strategy(name + TRAINED.get(name, ""), problem, 0), name=name, seed=0)
    rows = problem.front(1)
    assert len(rows) >= 5
    assert problem.archive.extras[rows, 0].max() <= limit
    # The other device has no such limit.
    assert problem.archive.extras[problem.front(0), 0].max() > limit


@pytest.mark.parametrize("name", ["hybrid", "surrogate", "nsga2"])
def test_an_objective_widens_the_front(make, name):
    problem = make(("energy",), budget=120)
    run_search(problem, make_strategy(name, problem, 0), name=name, seed=0)
    archive = problem.archive
    points = np.stack([archive.cost[:, 0], FULL - archive.accuracy, archive.extras[:, 0]], axis=1)
    assert hypervolume(points, reference_points(problem)[0]) == pytest.approx(
        hypervolume(problem.objectives(0), reference_points(problem)[0])
    )
    plain = make()
    plain.adopt(archive)
    assert set(plain.front(0)) < set(problem.front(0))


def test_limits_are_checked_before_the_search_and_unknown_metrics_named(make):
    with pytest.raises(InputError, match=r"takes at most 0\.001 uJ on device_1: the least demanding found takes"):
        make(limits=({}, {"energy": 0.001}))
    with pytest.raises(InputError, match="takes at most 10 MACs on device_0"):
        make(limits=({"macs": 10}, {}))
    with pytest.raises(InputError, match="There is no peak memory model of device_0"):
        make((PEAK_MEMORY.name,))
    with pytest.raises(InputError, match=r"Unknown objective 'enrgy'\. Did you mean 'energy'"):
        make(("enrgy",))


def test_fronts_and_shared_networks_tell_energy_and_its_limit(make, mini, tmp_path):
    free = make()
    limit = float(
        np.quantile(free.targets[1].further["energy"].predict(mini.sample(500, np.random.default_rng(0))).mean, 0.3)
    )
    problem = make(("energy",), limits=({}, {"energy": limit}), budget=200)
    run = run_search(problem, make_strategy("random", problem, 0), name="random", seed=0)
    write_fronts(collect_fronts(problem, run), tmp_path)
    fronts = load_fronts(tmp_path, mini)
    front = fronts.device("device_1")
    assert front.limits == {"energy": limit}
    assert front.objectives == ("energy",)
    rows = mini.parse([point.arch for point in front.points])
    told = [point.more["energy_uJ"] for point in front.points]
    assert told == pytest.approx(problem.targets[1].further["energy"].predict(rows).mean)
    assert max(told) <= limit
    sharing = share(problem, run.references, 3)
    serving = mini.parse([sharing.archs[row] for row in sharing.serving[1]])
    assert problem.targets[1].further["energy"].predict(serving).mean.max() <= limit

"""pymoo's parts that this package brings: gene-wise operators, canonical repair, survival over several fronts.

Importing this file imports pymoo; only ``pymoo_algorithms`` does so, when a search asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import HyperplaneNormalization
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.algorithms.moo.spea2 import SPEA2, SPEA2Survival
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.core.survival import Survival
from pymoo.operators.crossover.ux import UX
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from fleetfront.search.problem import Problem


def nsga2_algorithm(problem: Problem, population: int, mutation: float, survival: Any = None) -> Any:
    """NSGA-II over genes; ``survival`` replaces its own."""
    own = {} if survival is None else {"survival": survival}
    return NSGA2(pop_size=population, **_operators(problem, mutation), **own)


def sms_emoa_algorithm(problem: Problem, population: int, mutation: float) -> Any:
    """SMS-EMOA over genes; a generation makes as many children as parents, as pymoo does."""
    return SMSEMOA(pop_size=population, **_operators(problem, mutation))


def spea2_algorithm(problem: Problem, population: int, mutation: float) -> Any:
    """SPEA2 over genes."""
    # pymoo's default survival is one object for all runs, and remembers where the last one was.
    return SPEA2(pop_size=population, survival=SPEA2Survival(normalize=True), **_operators(problem, mutation))


#: What survival says of each individual, for the tournaments of the next generation.
_LABELS = ("rank", "crowding", "SPEA_F")
#: What SPEA2's survival remembers of earlier generations.
_BOUNDS = ("ideal_point", "worst_point", "nadir_point", "extreme_points")


def dump_population(algorithm: Any) -> dict[str, Any]:
    """All that an algorithm's next generation follows from, but for its random generator."""
    population = algorithm.pop
    state = {"iteration": algorithm.n_iter, **{name: population.get(name) for name in ("X", "F", "G")}}
    labels = {name: population.get(name) for name in _LABELS}
    state |= {name: values.astype(float) for name, values in labels.items() if values[0] is not None}
    if isinstance(algorithm.survival, SPEA2Survival) and algorithm.survival.norm is not None:
        state |= {name: vars(algorithm.survival.norm)[name] for name in _BOUNDS}
    return state


def load_population(algorithm: Any, state: Mapping[str, Any]) -> None:
    """Become what was dumped. Raises KeyError, TypeError or ValueError on anything else."""
    algorithm.pop = Population.new(**{name: state[name] for name in ("X", "F", "G")})
    for name in _LABELS:
        if name in state:
            algorithm.pop.set(name, state[name])
    for individual in algorithm.pop:
        individual.evaluated.update({"F", "G", "H"})
    algorithm.n_iter, algorithm.is_initialized = int(state["iteration"]), True
    if "ideal_point" in state:
        norm = HyperplaneNormalization(len(state["ideal_point"]))
        vars(norm).update({name: state[name] for name in _BOUNDS})
        algorithm.survival.norm = norm


def _operators(problem: Problem, mutation: float) -> dict[str, Any]:
    """Uniform crossover and gene-wise mutation; no two equal networks in a population."""
    return {
        "sampling": UniformGenes(problem),
        "crossover": UX(prob=0.9),
        "mutation": ResetGenes(problem, mutation),
        "repair": Canonical(problem),
        "eliminate_duplicates": True,
    }


class UniformGenes(Sampling):  # type: ignore[misc]
    """Initial architectures as the space draws them."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem

    def _do(self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
        return self._problem.sample(n_samples, random_state).astype(int)


class ResetGenes(Mutation):  # type: ignore[misc]
    """Each gene takes a fresh uniform value with a fixed probability."""

    def __init__(self, problem: Problem, probability: float) -> None:
        super().__init__(prob=1.0)
        self._counts = np.array(problem.free_choices)
        self._probability = probability

    def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
        drawn = random_state.integers(0, self._counts, X.shape)
        return np.where(random_state.random(X.shape) < self._probability, drawn, X)


class Canonical(Repair):  # type: ignore[misc]
    """Children become canonical architectures, so that equal networks are seen to be equal."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self._problem = problem

    def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
        return self._problem.complete(X.astype(np.int8)).astype(int)


class BestRankSurvival(Survival):  # type: ignore[misc]
    """NSGA-II's survival over the fronts of several costs: best rank on any, ties by the largest crowding distance."""

    def __init__(self, costs: int) -> None:
        super().__init__(filter_infeasible=False)
        self._costs = costs
        self._single = RankAndCrowding()

    def _do(self, problem: Any, pop: Any, *args: Any, n_survive: int | None = None, **kwargs: Any) -> Any:
        objectives = pop.get("F")
        ranks, crowding = np.full(len(pop), np.inf), np.zeros(len(pop))
        for column in range(self._costs):
            alone = Population.new(F=objectives[:, [column, *range(self._costs, objectives.shape[1])]])
            # Survival of all only labels them with rank and crowding.
            self._single.do(problem, alone, n_survive=len(alone))
            rank, crowd = alone.get("rank"), alone.get("crowding")
            better = (rank < ranks) | ((rank == ranks) & (crowd > crowding))
            ranks, crowding = np.where(better, rank, ranks), np.where(better, crowd, crowding)
        pop.set("rank", ranks, "crowding", crowding)
        return pop[np.lexsort((-crowding, ranks))[:n_survive]]

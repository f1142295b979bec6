"""NSGA-II and SMS-EMOA as pymoo composes them, over genes: integers in, canonical architectures out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import missing
from fleetfront.search.front import FULL
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, Share, State, Strategy, dump_generator, load_generator
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from types import ModuleType

    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class PymooSettings:
    """Settings of a population.

    Attributes:
        population: individuals.
        mutation: chance of each gene of a child to change; at least that of one gene of all.
    """

    population: Count = 100
    mutation: Share = 0.04


_DEFAULTS = PymooSettings()


def nsga2(problem: Problem, seed: int, settings: PymooSettings = _DEFAULTS) -> Strategy:
    """NSGA-II (Deb et al. 2002), a population for each target."""
    return _populations(problem, seed, settings, _parts().nsga2_algorithm)


def sms_emoa(problem: Problem, seed: int, settings: PymooSettings = _DEFAULTS) -> Strategy:
    """SMS-EMOA (Beume et al. 2007), a population for each target."""
    return _populations(problem, seed, settings, _parts().sms_emoa_algorithm)


def spea2(problem: Problem, seed: int, settings: PymooSettings = _DEFAULTS) -> Strategy:
    """SPEA2 (Zitzler et al. 2001), a population for each target."""
    return _populations(problem, seed, settings, _parts().spea2_algorithm)


def nsga2_diversity(problem: Problem, seed: int, settings: PymooSettings = _DEFAULTS) -> Strategy:
    """NSGA-II with the diversity of costs as a further objective (MO-HDNAS, arXiv 2404.12403)."""
    return _populations(problem, seed, settings, _parts().nsga2_algorithm, has_diversity=True)


def nsga2_shared(problem: Problem, seed: int, settings: PymooSettings = _DEFAULTS) -> Strategy:
    """NSGA-II with one population for all targets: an individual is as good as its best rank on any front."""
    survival = _parts().BestRankSurvival(len(problem.targets))
    algorithm = _parts().nsga2_algorithm(problem, settings.population, _mutation(problem, settings), survival)
    return PymooStrategy(problem, None, algorithm, seed)


def _populations(
    problem: Problem, seed: int, settings: PymooSettings, make: Callable[..., Any], has_diversity: bool = False
) -> Strategy:
    """One algorithm a target, as ``make(problem, population, mutation)`` composes it."""

    def member(problem: Problem, column: int, seed: int) -> PymooStrategy:
        algorithm = make(problem, settings.population, _mutation(problem, settings))
        return PymooStrategy(problem, column, algorithm, seed, has_diversity)

    return PerTarget(problem, seed, member)


def _mutation(problem: Problem, settings: PymooSettings) -> float:
    """By default the rate at which NSGA-II did best on OFA2's problem (46 genes, so about two a child); pymoo's own,
    1 / genes, is near it there and better on spaces with few genes.
    """
    return max(settings.mutation, 1 / len(problem.space.choices))


def _parts() -> ModuleType:
    try:
        from fleetfront.search.strategies import pymoo_parts
    except ImportError as error:
        raise missing("pymoo", "search", "NSGA-II and SMS-EMOA") from error
    module: ModuleType = pymoo_parts
    return module


def _nothing(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Costs and further metrics of no network."""
    return np.zeros((0, len(problem.targets))), np.zeros((0, len(problem.columns)))


class PerTarget:
    """One strategy a target, taking turns: what one evaluates is in every front, as they share an archive."""

    def __init__(self, problem: Problem, seed: int, make: Callable[[Problem, int, int], PymooStrategy]) -> None:
        """``make(problem, column, seed)`` gives the strategy of one cost column."""
        self._members = [make(problem, column, seed + 1000 * column) for column in range(len(problem.targets))]
        self._turn = 0

    @property
    def batch(self) -> int:
        return self._members[self._turn].batch

    def ask(self, n: int) -> Genotypes:
        return self._members[self._turn].ask(n)

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        self._members[self._turn].tell(genotypes, accuracy, cost)
        self._turn = (self._turn + 1) % len(self._members)

    def dump(self) -> State:
        members = enumerate(self._members)
        return {"turn": self._turn} | {f"{i}.{name}": value for i, one in members for name, value in one.dump().items()}

    def load(self, state: State) -> None:
        for number, member in enumerate(self._members):
            prefix = f"{number}."
            member.load({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
        self._turn = range(len(self._members))[int(state["turn"])]


class PymooStrategy:
    """A pymoo algorithm behind ask and tell. It minimises the cost of one target (all of them if ``column`` is None),
    the error, and the problem's further objectives.

    With ``has_diversity``, also minus the mean distance of a network's cost from the population's, as a share of their
    range: it keeps networks whose cost few others have.
    """

    def __init__(
        self, problem: Problem, column: int | None, algorithm: Any, seed: int, has_diversity: bool = False
    ) -> None:
        from pymoo.core.problem import Problem as PymooProblem
        from pymoo.core.termination import NoTermination

        self._problem = problem
        self._columns = list(range(len(problem.targets))) if column is None else [column]
        self._extras = sorted({i for target in self._columns for i in problem.objectives_of(target)})
        self._target, self._has_diversity = column, has_diversity
        self._algorithm = algorithm
        outer = PymooProblem(
            n_var=len(problem.space.choices),
            n_obj=len(self._columns) + 1 + len(self._extras) + has_diversity,
            n_ieq_constr=0 if column is None else problem.excess(column, *_nothing(problem)).shape[1],
            xl=0,
            xu=np.array(problem.free_choices) - 1,
            vtype=int,
        )
        algorithm.setup(outer, termination=NoTermination(), seed=seed, verbose=False)
        self._asked: Any = None

    @property
    def batch(self) -> int:
        size: int = self._algorithm.pop_size
        return size

    def ask(self, n: int) -> Genotypes:
        self._asked = self._algorithm.ask()
        if self._asked is None or not len(self._asked):
            return np.zeros((0, len(self._problem.space.choices)), dtype=np.int8)
        self._asked = self._asked[:n]
        genotypes: Genotypes = self._asked.get("X").astype(np.int8)
        return genotypes

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        extras = self._problem.archive.extras[self._problem.archive.find(genotypes)]
        parts = [cost[:, self._columns], FULL - accuracy[:, None], extras[:, self._extras]]
        if self._has_diversity:
            parts.append(self._diversity(cost[:, self._columns[0]]))
        self._asked.set("F", np.concatenate(parts, axis=1))
        if self._target is not None and self._algorithm.problem.n_ieq_constr:
            self._asked.set("G", self._problem.excess(self._target, cost, extras))
        # All were computed by one call of the problem, which pymoo would do itself if we let it.
        for individual in self._asked:
            individual.evaluated.update({"F", "G", "H"})
        self._algorithm.tell(infills=self._asked)

    def dump(self) -> State:
        generator = {"generator": dump_generator(self._algorithm.random_state)}
        return generator | (_parts().dump_population(self._algorithm) if self._algorithm.is_initialized else {})

    def load(self, state: State) -> None:
        self._algorithm.random_state = load_generator(str(state["generator"]))
        if len(state) > 1:
            _parts().load_population(self._algorithm, state)

    def _diversity(self, cost: FloatArray) -> FloatArray:
        """float64[m, 1] of the networks asked for; those of the population are brought up to date."""
        population = self._algorithm.pop
        known = population.get("F") if population is not None and len(population) else None
        every = cost if known is None else np.concatenate([cost, known[:, 0]])
        spread = float(np.ptp(every)) or 1.0
        diversity = -np.abs(every[:, None] - every[None]).mean(axis=1) / spread
        if known is not None:
            known[:, -1] = diversity[len(cost) :]
            population.set("F", known)
        own: FloatArray = diversity[: len(cost), None]
        return own

"""Check that a search strategy keeps the promises of ``Strategy``: its seed, its budget, one door to accuracy."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.arrays import read_arrays, write_arrays
from fleetfront.errors import InputError
from fleetfront.progress import SILENT
from fleetfront.quantities import FloatArray
from fleetfront.search.problem import Problem
from fleetfront.search.run import hypervolumes, reference_points, run_search
from fleetfront.search.strategies.base import StatefulStrategy, Strategy, TrainedStrategy
from fleetfront.search.strategies.random_search import RandomSearch
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.checks import Fault, expect, with_fault
from fleetfront.testing.problems import SyntheticAccuracy, small_problem, synthetic_latencies

Make = Callable[[Problem, int], Strategy | TrainedStrategy]


@dataclass(frozen=True, slots=True)
class StrategyCase:
    """A strategy to be tried.

    Attributes:
        make: (problem, seed) -> a fresh strategy.
        evaluations: budget of the searches that most checks run.
        bend: how far the accuracy is from additive; 0 for strategies that need it to be.
        has_chance: whether another seed gives another search.
        beats_random: whether it must be better than random search with ``comparing`` evaluations.
        comparing: budget of those comparisons.
    """

    make: Make
    evaluations: int = 350
    bend: float = 0.3
    has_chance: bool = True
    beats_random: bool = True
    comparing: int = 1500


class Checked:
    """A strategy held against the protocol at every step; a Strategy itself. Raises NotConforming from ``ask``."""

    def __init__(self, strategy: Strategy, problem: Problem) -> None:
        self._strategy = strategy
        self._problem = problem

    @property
    def batch(self) -> int:
        """That of the strategy."""
        expect(self._strategy.batch >= 1, f"batch is at least 1, not {self._strategy.batch}")
        return self._strategy.batch

    def ask(self, n: int) -> Genotypes:
        """Ask the strategy for proposals."""
        requested = self._problem.counter.requested
        rows = self._strategy.ask(n)
        expect(self._problem.counter.requested == requested, "asking evaluates nothing")
        expect(len(rows) <= n, f"ask({n}) proposes at most {n}, not {len(rows)}")
        if len(rows):
            expect(rows.dtype == np.int8 and rows.ndim == 2, f"proposals are int8[m, v], not {rows.dtype}{rows.shape}")
            expect(np.array_equal(self._problem.complete(rows), rows), "proposals are as Problem.complete makes them")
        return rows

    def tell(self, genotypes: Genotypes, accuracy: FloatArray, cost: FloatArray) -> None:
        """Hand on."""
        self._strategy.tell(genotypes, accuracy, cost)


def _problem(case: StrategyCase, **options: Any) -> Problem:
    space = load_space("ofa-mbv3-mini")
    accuracy = SyntheticAccuracy(space, case.bend)
    return small_problem(space, **{"accuracy": accuracy, "budget": case.evaluations, **options})


def _search(case: StrategyCase, seed: int = 0, **options: Any) -> Problem:
    """A finished search of a small problem, checked at every step."""
    problem = _problem(case, **options)
    made = case.make(problem, seed)
    # One that trains asks the problem by itself, which counts and refuses.
    checked = made if isinstance(made, TrainedStrategy) else Checked(made, problem)
    run_search(problem, checked, name="checked", seed=seed)
    return problem


def check_seed(case: StrategyCase) -> None:
    """The same seed gives the same search; another gives another."""
    first, again = (_search(case, 1).archive.genotypes.tobytes() for _ in range(2))
    expect(first == again, "the same seed gives the same search")
    if case.has_chance:
        expect(first != _search(case, 2).archive.genotypes.tobytes(), "another seed gives another search")


def check_budget_and_limits(case: StrategyCase) -> None:
    """With fixed genes and a limit, something allowed is found for each target within the budget."""
    budget = case.evaluations - 17
    problem = _search(case, budget=budget, fixed={"depth_2": 3}, limits=(None, 24.0))
    expect(problem.counter.requested <= budget, "the budget is kept")
    for column, target in enumerate(problem.targets):
        front = problem.front(column)
        expect(len(front), f"the front of {target.name} is not empty")
        if target.limit is not None:
            expect(problem.archive.cost[front, column].max() <= target.limit, f"{target.name} keeps its limit")


def check_one_door(case: StrategyCase) -> None:
    """Accuracy is asked for through ``Problem.evaluate`` alone, where it is counted."""
    accuracy = SyntheticAccuracy(load_space("ofa-mbv3-mini"), case.bend)
    problem = _search(case, accuracy=accuracy)
    counted = problem.counter.evaluated
    expect(len(accuracy.asked) == counted, f"accuracy was asked for {len(accuracy.asked)} times, {counted} counted")
    expect(len(problem.archive) == counted, "the archive holds what was evaluated and nothing else")


def check_one_target(case: StrategyCase) -> None:
    """One device is enough of a problem, and one evaluation is enough of a budget or refused with InputError."""
    latencies = synthetic_latencies(load_space("ofa-mbv3-mini"), devices=1)
    expect(len(_search(case, latencies=latencies).front(0)), "the front of the only device is not empty")
    with suppress(InputError):
        expect(_search(case, budget=1).counter.requested <= 1, "a budget of one evaluation is kept")


def check_small_space(case: StrategyCase) -> None:
    """A space of 27 networks ends the search or is asked again, but nothing outside it is proposed."""
    space = load_space("ofa-mbv3-mini")
    free = {"kernel_1", "expansion_1", "kernel_2"}
    fixed = {n: v[0] for n, v in zip(space.gene_names, space.choices, strict=True) if n not in free}
    found = len(_search(case, budget=100, fixed=fixed).archive)
    expect(0 < found <= 27, f"27 networks are allowed, {found} were evaluated")


def check_state(case: StrategyCase) -> None:
    """A strategy that can be dumped goes on from what was dumped, through a file, exactly as if nothing had been."""
    whole, again = _problem(case), _problem(case)
    strategy, heir = case.make(whole, 1), case.make(again, 1)
    if isinstance(strategy, TrainedStrategy):
        _check_trained_state(case)
        return
    if not isinstance(strategy, StatefulStrategy) or not isinstance(heir, StatefulStrategy):
        return
    _spend(whole, strategy, case.evaluations, until=case.evaluations // 2)
    known = whole.archive
    again.archive.add(known.genotypes, known.accuracy, known.accuracy_std, known.cost)
    again.counter.requested = whole.counter.requested
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(Path(folder) / "state.npz", strategy.dump())
        heir.load(read_arrays(Path(folder) / "state.npz"))
    _spend(whole, strategy, case.evaluations)
    _spend(again, heir, case.evaluations)
    same = np.array_equal(whole.archive.genotypes, again.archive.genotypes)
    expect(same, "what was loaded goes on as what was dumped")


class _Killed(Exception):
    """Ends a run as a kill would."""


def _trained(strategy: Strategy | TrainedStrategy) -> TrainedStrategy:
    if not isinstance(strategy, TrainedStrategy):
        raise TypeError(f"{strategy!r} does not spend its budget by itself")
    return strategy


def _check_trained_state(case: StrategyCase) -> None:
    """The same of a strategy that spends the budget by itself: it is killed at its third checkpoint."""
    whole, again, killed = _problem(case), _problem(case), _problem(case)
    first, heir, victim = (_trained(case.make(problem, 1)) for problem in (whole, again, killed))
    if not isinstance(victim, StatefulStrategy) or not isinstance(heir, StatefulStrategy):
        return
    calls = itertools.count(1)

    def kill() -> None:
        if next(calls) == 3:
            raise _Killed

    with suppress(_Killed):
        victim.run(killed, SILENT, kill)
    known = killed.archive
    again.archive.add(known.genotypes, known.accuracy, known.accuracy_std, known.cost)
    again.counter.requested = killed.counter.requested
    with tempfile.TemporaryDirectory() as folder:
        write_arrays(Path(folder) / "state.npz", victim.dump())
        heir.load(read_arrays(Path(folder) / "state.npz"))
    heir.run(again, SILENT, lambda: None)
    first.run(whole, SILENT, lambda: None)
    same = np.array_equal(whole.archive.genotypes, again.archive.genotypes)
    expect(same, "what was loaded goes on as what was dumped")


def _spend(problem: Problem, strategy: Any, evaluations: int, until: int | None = None) -> None:
    """Of a budget of so many evaluations, at least ``until``: all by default."""
    while problem.counter.requested < (until or evaluations):
        left = evaluations - problem.counter.requested
        rows = strategy.ask(min(strategy.batch, left))
        if not len(rows):
            break
        found = problem.evaluate(rows)
        strategy.tell(rows, found.accuracy, found.cost)


def check_beats_random(case: StrategyCase) -> None:
    """On every device the hypervolume, as a mean over three seeds, is above that of random search."""
    if not case.beats_random:
        return

    def volume(make: Make) -> FloatArray:
        compared = replace(case, make=make)
        problems = [_search(compared, seed, budget=case.comparing) for seed in range(3)]
        return np.asarray(np.mean([hypervolumes(one, reference_points(one)) for one in problems], axis=0))

    ours, chance = volume(case.make), volume(RandomSearch)
    expect(np.all(ours > chance), f"hypervolumes {ours.round(2)} are above those of random search, {chance.round(2)}")


STRATEGY_CHECKS: tuple[Callable[[StrategyCase], None], ...] = (
    check_seed,
    check_budget_and_limits,
    check_one_door,
    check_one_target,
    check_small_space,
    check_state,
    check_beats_random,
)


def _breaking(**faults: Fault) -> Callable[[Make], Make]:
    return lambda make: lambda problem, seed: with_fault(make(problem, seed), **faults)


def _peeking(make: Make) -> Make:
    def made(problem: Problem, seed: int) -> Strategy | TrainedStrategy:
        def tell(healthy: Callable[..., None], rows: Genotypes, *found: object) -> None:
            problem.accuracy.predict(rows)
            healthy(rows, *found)

        return with_fault(make(problem, seed), tell=tell)

    return made


_SEEDS = itertools.count()

#: Faults by the promise that they break; ``faulty_strategy`` puts one in.
_FAULTS: dict[str, Callable[[Make], Make]] = {
    "the seed is ignored": lambda make: lambda problem, _seed: make(problem, next(_SEEDS)),
    "more is proposed than asked for": _breaking(ask=lambda ask, n: np.repeat(ask(n), 2, axis=0)),
    "nothing is proposed": _breaking(ask=lambda ask, n: ask(n)[:0]),
    "proposals are not completed": _breaking(ask=lambda ask, n: (ask(n) + 1) % 2),
    "the state is forgotten": _breaking(load=lambda load, state: None),
    "accuracy is looked up behind the counter": _peeking,
}
STRATEGY_FAULTS = tuple(_FAULTS)


def faulty_strategy(case: StrategyCase, fault: str) -> StrategyCase:
    """The case with one of ``STRATEGY_FAULTS`` put into its strategy. Raises KeyError on others."""
    return replace(case, make=_FAULTS[fault](case.make))

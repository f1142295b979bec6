"""Spend a budget: a strategy proposes, the problem evaluates, hypervolumes are taken on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import HasLowest, quality_of
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import ACCURACY, Tier
from fleetfront.search.cost_range import cost_range
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.metrics import TaskLoss
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Strategy, TrainedStrategy, Vouches

_Contexts = Callable[[], AbstractContextManager[object]]

#: Hypervolumes are taken this often in a run: enough for a curve, and cheap beside the search.
_TRACE_POINTS = 40
#: The error of a reference point where the accuracy model cannot tell its lowest: everything counts.
_WORST_ERROR = 100.0
#: How much error beyond the lowest accuracy a reference point leaves, so that the least accurate network counts too.
_ERROR_MARGIN = 1.0


@dataclass(frozen=True, slots=True)
class TracePoint:
    """Hypervolume of each target's front after so many evaluations and seconds."""

    evaluations: int
    seconds: float
    hypervolume: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SearchRun:
    """The cost and the reach of a run; the architectures are in the problem's archive.

    Attributes:
        references: for each target, the reference point of its hypervolume: cost, error in percent, extra objectives.
        statement: what the strategy vouches for, in words; empty for most.
    """

    strategy: str
    seed: int
    evaluations: int
    seconds: float
    references: tuple[tuple[float, ...], ...]
    trace: tuple[TracePoint, ...]
    statement: str = ""


@dataclass(frozen=True, slots=True)
class RunSoFar:
    """The cost and the reach of a run when it was last looked at."""

    seconds: float = 0.0
    trace: tuple[TracePoint, ...] = ()


def run_search(
    problem: Problem,
    strategy: Strategy | TrainedStrategy,
    *,
    name: str,
    seed: int,
    references: tuple[tuple[float, ...], ...] | None = None,
    progress: Progress = SILENT,
    checkpoint: Callable[[RunSoFar], None] | None = None,
    so_far: RunSoFar | None = None,
) -> SearchRun:
    """Spend the problem's budget, or stop earlier if the strategy proposes nothing.

    ``checkpoint`` is called after every batch; whatever ends the run, the archive then holds what was evaluated. A run
    that was interrupted goes on from ``so_far``, with the problem and strategy as they were then.

    Raises:
        InputError: if the problem has no budget, or from the accuracy model.
    """
    if problem.budget is None:
        raise InputError("The search has no budget.", "Say how many evaluations it may make: --evaluations 20000.")
    references = references or reference_points(problem)
    progress.start(f"search ({name})", problem.budget)
    trace = _Trace(problem, references, progress, checkpoint, so_far or RunSoFar())
    alone = one_thread()
    # A measured accuracy runs networks, which may use all cores.
    evaluating = nullcontext if problem.accuracy.tier is Tier.MEASURED else alone
    if isinstance(strategy, TrainedStrategy):
        with evaluating():
            strategy.run(problem, progress, trace.look)
    else:
        _alternate(problem, strategy, trace.look, alone, evaluating)
    progress.finish()
    run = trace.finish()
    statement = strategy.statement if isinstance(strategy, Vouches) else ""
    return SearchRun(name, seed, problem.counter.requested, run.seconds, references, run.trace, statement)


def _alternate(
    problem: Problem, strategy: Strategy, look: Callable[[], None], asking: _Contexts, evaluating: _Contexts
) -> None:
    """Ask, evaluate and tell until the budget is spent or nothing is proposed."""
    while problem.remaining:
        with asking():
            genotypes = strategy.ask(min(strategy.batch, problem.remaining))
        if not len(genotypes):
            break
        with evaluating():
            found = problem.evaluate(genotypes)
        strategy.tell(genotypes, found.accuracy, found.cost)
        look()


class _Trace:
    """Takes hypervolumes now and then, and tells the user and whoever keeps checkpoints."""

    def __init__(
        self,
        problem: Problem,
        references: tuple[tuple[float, ...], ...],
        progress: Progress,
        checkpoint: Callable[[RunSoFar], None] | None,
        so_far: RunSoFar,
    ) -> None:
        self._problem, self._references = problem, references
        self._progress, self._checkpoint = progress, checkpoint
        self._start = time.perf_counter() - so_far.seconds
        self._points = list(so_far.trace) or [TracePoint(0, 0.0, hypervolumes(problem, references))]
        self._shown = 0

    def look(self) -> None:
        """Note what a batch brought."""
        problem, spent = self._problem, self._problem.counter.requested
        if not problem.remaining or spent - self._points[-1].evaluations >= (problem.budget or 1) / _TRACE_POINTS:
            self._add()
        if self._checkpoint is not None:
            self._checkpoint(self._so_far())
        volume = np.mean(self._points[-1].hypervolume)
        self._progress.advance(spent - self._shown, f"mean hypervolume {volume:.6g}")
        self._shown = spent

    def finish(self) -> RunSoFar:
        """All of it, with a point at its end."""
        if self._points[-1].evaluations < self._problem.counter.requested:
            self._add()
        return self._so_far()

    def _so_far(self) -> RunSoFar:
        return RunSoFar(time.perf_counter() - self._start, tuple(self._points))

    def _add(self) -> None:
        volumes = hypervolumes(self._problem, self._references)
        self._points.append(TracePoint(self._problem.counter.requested, time.perf_counter() - self._start, volumes))


def one_thread() -> _Contexts:
    """Contexts in which matrix products use one thread.

    A search makes thousands of small ones. On a machine that does other work too, the threads that wait for one another
    made it ten times slower than one thread alone; on an idle one they gain little.
    """
    try:
        # scipy brings a BLAS of its own, which only a controller made after it is loaded governs.
        import_module("scipy.linalg")
        controller = import_module("threadpoolctl").ThreadpoolController()
    except ImportError:
        return nullcontext
    return lambda: controller.limit(limits=1, user_api="blas")


def reference_points(problem: Problem) -> tuple[tuple[float, ...], ...]:
    """For each target: its highest cost (its limit, if lower), the error of the least accurate network where the
    accuracy model knows it (100 % otherwise), and of each further objective twice its highest over a fixed sample (its
    limit, if lower), of each further task what it says. They depend on the problem alone, not on the run, so
    hypervolumes of different runs compare.
    """
    error = _WORST_ERROR
    if isinstance(problem.accuracy, HasLowest):
        error = FULL - problem.accuracy.lowest + _ERROR_MARGIN
        error = min(error, _WORST_ERROR) if quality_of(problem.accuracy) == ACCURACY else error
    highest = cost_range(problem)[1]
    sample = problem.sample(2048, np.random.default_rng(0))
    twice = 2 * problem.extra_values(sample).max(axis=0, initial=0.0)

    def bound(target: int, column: int) -> float:
        model = problem.columns[column].model
        if isinstance(model, TaskLoss):
            return model.highest
        return float(min(twice[column], problem.columns[column].limits.get(target, np.inf)))

    limits = [np.inf if target.limit is None else target.limit for target in problem.targets]
    return tuple(
        (float(min(high, limit)), error, *(bound(target, column) for column in problem.objectives_of(target)))
        for target, (high, limit) in enumerate(zip(highest, limits, strict=True))
    )


def hypervolumes(problem: Problem, references: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """Hypervolume of each target's front in the archive, in cost unit x percent (x units of extra objectives)."""
    return tuple(hypervolume(problem.objectives(column), reference) for column, reference in enumerate(references))

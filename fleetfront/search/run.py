"""The loop that spends a budget: a strategy proposes, the problem evaluates, hypervolumes are reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from fleetfront.errors import InputError
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Tier
from fleetfront.search.front import FULL, hypervolume
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Strategy

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
    """What a run spent and reached; the architectures are in the problem's archive.

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


def run_search(
    problem: Problem,
    strategy: Strategy,
    *,
    name: str,
    seed: int,
    references: tuple[tuple[float, ...], ...] | None = None,
    progress: Progress = SILENT,
    checkpoint: Callable[[], None] | None = None,
) -> SearchRun:
    """Spend the problem's budget, or stop earlier if the strategy proposes nothing.

    ``checkpoint`` is called after every batch; whatever ends the run, the archive then holds what was evaluated.

    Raises:
        InputError: if the problem has no budget, or from the accuracy model.
    """
    if problem.budget is None:
        raise InputError("The search has no budget.", "Say how many evaluations it may make: --evaluations 20000.")
    references = references or reference_points(problem)
    start, trace = time.perf_counter(), [TracePoint(0, 0.0, hypervolumes(problem, references))]
    progress.start(f"search ({name})", problem.budget)
    alone = _one_thread()
    # A measured accuracy runs networks, which may use all cores.
    evaluating = nullcontext if problem.accuracy.tier is Tier.MEASURED else alone
    while problem.remaining:
        with alone():
            genotypes = strategy.ask(min(strategy.batch, problem.remaining))
        if not len(genotypes):
            break
        with evaluating():
            found = problem.evaluate(genotypes)
        strategy.tell(genotypes, found.accuracy, found.cost)
        if checkpoint is not None:
            checkpoint()
        spent = problem.counter.requested
        if spent - trace[-1].evaluations >= problem.budget / _TRACE_POINTS or not problem.remaining:
            trace.append(TracePoint(spent, time.perf_counter() - start, hypervolumes(problem, references)))
        progress.advance(len(genotypes), f"mean hypervolume {np.mean(trace[-1].hypervolume):.6g}")
    progress.finish()
    seconds = time.perf_counter() - start
    if trace[-1].evaluations < problem.counter.requested:
        trace.append(TracePoint(problem.counter.requested, seconds, hypervolumes(problem, references)))
    statement: str = getattr(strategy, "statement", "")
    return SearchRun(name, seed, problem.counter.requested, seconds, references, tuple(trace), statement)


def _one_thread() -> Callable[[], AbstractContextManager[object]]:
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
    accuracy model knows it (100 % otherwise), and twice the highest of each extra objective over a fixed sample. They
    depend on the problem alone, not on the run, so hypervolumes of different runs compare.
    """
    lowest: float | None = getattr(problem.accuracy, "lowest", None)
    error = _WORST_ERROR if lowest is None else min(FULL - lowest + _ERROR_MARGIN, _WORST_ERROR)
    highest = problem.cost_range()[1]
    sample = problem.sample(2048, np.random.default_rng(0))
    extras = problem.extra_values(sample).max(axis=0, initial=0.0) if problem.extras else np.zeros(0)
    limits = [np.inf if target.limit is None else target.limit for target in problem.targets]
    return tuple(
        (float(min(high, limit)), error, *(2 * float(value) for value in extras))
        for high, limit in zip(highest, limits, strict=True)
    )


def hypervolumes(problem: Problem, references: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """Hypervolume of each target's front in the archive, in cost unit x percent (x units of extra objectives)."""
    return tuple(hypervolume(problem.objectives(column), reference) for column, reference in enumerate(references))

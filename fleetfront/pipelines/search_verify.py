"""Measure the best of each front before they are believed, and search again with what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel, KnowsPrecisions
from fleetfront.progress import Progress
from fleetfront.search.problem import EvaluationCounter, Problem, ProblemTarget
from fleetfront.search.run import SearchRun
from fleetfront.spaces.base import Genotypes, HasPrecisions, SearchSpace
from fleetfront.targets import with_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome of measuring k architectures on a target.

    Attributes:
        measured_ms: float64[k], NaN where it failed.
        refitted: the cost model with these measurements among its calibration networks.
    """

    measured_ms: FloatArray
    refitted: CostModel


class Verifier(Protocol):
    """Measures networks where a target's latencies come from. The profile pipeline implements it."""

    def check(self, target: ProblemTarget) -> None:
        """Raises InputError if networks cannot be measured where the latencies of ``target`` come from."""

    def verify(self, target: ProblemTarget, genotypes: Genotypes) -> Verified:
        """Measure k architectures int8[k, v] and refit. Raises DeviceError if the device is lost."""


@dataclass(frozen=True, slots=True)
class Verify:
    """``--verify top:K``: how many networks of each front are measured, and by whom."""

    top: int
    verifier: Verifier

    def check(self, problem: Problem) -> None:
        """Raise InputError where a target cannot be measured, in one of its precisions if these are several."""
        for target in problem.targets:
            for one in _in_each_precision(target).values():
                self.verifier.check(one)

    def verify(self, target: ProblemTarget, space: SearchSpace, genotypes: Genotypes) -> Verified:
        """Measure k architectures int8[k, v] of a space on a target, each in its own precision, and refit.

        Raises DeviceError if the device is lost.
        """
        if not isinstance(space, HasPrecisions) or not isinstance(target.cost, KnowsPrecisions):
            return self.verifier.verify(target, genotypes)
        measured_ms, refitted = np.full(len(genotypes), np.nan), {}
        precisions = np.array(space.precisions_of(genotypes))
        for precision, one in _in_each_precision(target).items():
            rows = np.flatnonzero(precisions == precision)
            if len(rows):
                found = self.verifier.verify(one, space.without(genotypes[rows]))
                measured_ms[rows], refitted[precision] = found.measured_ms, found.refitted
        return Verified(measured_ms, target.cost.with_models(refitted))


def _in_each_precision(target: ProblemTarget) -> dict[str, ProblemTarget]:
    """Precision -> a target with the cost model of it alone; the target itself where networks are in one."""
    if not isinstance(target.cost, KnowsPrecisions):
        return {"": target}
    return {
        name: replace(target, cost=model, target=with_precision(target.target, name))
        for name, model in target.cost.models.items()
    }


def parse_verify(text: str) -> int:
    """The K of ``top:K``. Raises InputError on anything else."""
    kind, _, number = text.partition(":")
    if kind != "top" or not re.fullmatch(r"[1-9][0-9]{0,3}", number):
        raise InputError(
            f"--verify {text[:40]!r} is not known.", "Write top:K with K up to 9999, e.g. --verify top:10."
        )
    return int(number)


def search_verified(
    problem: Problem,
    run: SearchRun,
    verify: Verify,
    search_again: Callable[[Problem], SearchRun],
    progress: Progress,
) -> tuple[Problem, SearchRun, dict[str, Any]]:
    """Measure picks of every front, refit, search again on the same archive of accuracies."""
    progress.start("measure the best of each front", len(problem.targets))
    rows, refitted = [], []
    for column, target in enumerate(problem.targets):
        picks = spread_picks(problem, column, verify.top)
        if not len(picks):
            # No network that was evaluated is within its limit: nothing to measure, but the others' fronts stand.
            refitted.append(target)
            progress.advance(1, target.name)
            continue
        genotypes = problem.archive.genotypes[picks]
        found = verify.verify(target, problem.space, genotypes)
        predicted = problem.archive.cost[picks, column]
        refit = found.refitted.predict(genotypes).mean
        rows.append(_compared(target.name, problem.space.arch_ids(genotypes), predicted, found.measured_ms, refit))
        refitted.append(replace(target, cost=found.refitted))
        progress.advance(1, target.name)
    progress.finish()
    again = Problem(
        problem.space,
        tuple(refitted),
        problem.accuracy,
        problem.extras,
        problem.fixed,
        problem.budget,
        recall=problem.everything_known(),
        excluded=problem.excluded,
        part=problem.part,
        prior=problem.prior,
    )
    again.adopt(problem.archive)
    again.counter = EvaluationCounter(adopted=problem.counter.adopted)
    second = search_again(again)
    again.counter.requested += problem.counter.requested
    again.counter.evaluated += problem.counter.evaluated
    again.counter.repeated += problem.counter.repeated
    again.counter.recalled += problem.counter.recalled
    second = replace(second, evaluations=run.evaluations + second.evaluations, seconds=run.seconds + second.seconds)
    return again, second, {"top": verify.top, "devices": {row.pop("device"): row for row in rows}}


def spread_picks(problem: Problem, column: int, count: int) -> NDArray[np.intp]:
    """At most ``count`` archive rows of a target's front, from one end to the other in even steps."""
    rows = problem.front(column)
    positions = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.intp))
    picked: NDArray[np.intp] = rows[positions]
    return picked


def _compared(
    name: str, archs: Sequence[str], predicted: FloatArray, measured: FloatArray, refitted: FloatArray
) -> dict[str, Any]:
    """Predicted beside measured. ``optimism_percent`` > 0: the front's networks are slower than it said, as whatever a
    search picks by a prediction tends to be (the winner's curse)."""
    error = 100 * (measured / predicted - 1)
    again = 100 * (measured / refitted - 1)
    valid = np.isfinite(error)
    points = [
        {"arch": arch, "predicted_ms": p, "measured_ms": m if np.isfinite(m) else None, "refitted_ms": r}
        for arch, p, m, r in zip(archs, predicted.tolist(), measured.tolist(), refitted.tolist(), strict=True)
    ]
    return {
        "device": name,
        "networks": int(valid.sum()),
        "failed": int((~valid).sum()),
        "optimism_percent": float(error[valid].mean()) if valid.any() else None,
        "mape": float(np.abs(error[valid]).mean()) if valid.any() else None,
        "optimism_percent_refitted": float(again[valid].mean()) if valid.any() else None,
        "mape_refitted": float(np.abs(again[valid]).mean()) if valid.any() else None,
        "points": points,
    }

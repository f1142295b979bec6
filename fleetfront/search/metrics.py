"""Keep metrics of networks beside the cost on each target as columns: objectives of fronts, or limits alone.

A column is of the network itself (MACs, parameters), and then the same for all targets, or of it on one target. What a
target does not run at all is a column with a limit, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown
from fleetfront.predictors.base import AccuracyModel, CostModel, KnowsPrecisions, TellsTasks, covers_all
from fleetfront.quantities import METRICS, SIZE, Estimate, Metric, Tier
from fleetfront.search.front import FULL
from fleetfront.spaces.base import Genotypes, HasPrecisions, SearchSpace

if TYPE_CHECKING:
    from fleetfront.search.problem import ProblemTarget

#: What every space counts exactly.
MACS, PARAMS = Metric("macs", "MACs"), Metric("params", "parameters")
COUNTED = {metric.name: metric for metric in (MACS, PARAMS)}
#: What is learnt of files that this project writes, for any target.
WRITTEN = {SIZE.name: SIZE}
#: Everything that limits and further objectives may name.
NAMED = {**METRICS, **COUNTED, **WRITTEN}
#: 1 of networks in a precision that is not known on a target, else 0.
STRANGE = Metric("in strange precision", "")


@dataclass(frozen=True, slots=True)
class CountedCost:
    """MACs or parameters of networks. A CostModel."""

    space: SearchSpace
    metric: Metric

    @property
    def tier(self) -> Tier:
        """Counted, which is better than measured."""
        return Tier.MEASURED

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Exact numbers of n architectures."""
        count = self.space.macs if self.metric == MACS else self.space.params
        return Estimate(np.asarray(count(genotypes), np.float64), np.zeros(len(genotypes)), self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """Every architecture of the space."""
        return covers_all(genotypes)


@dataclass(frozen=True, slots=True)
class StrangePrecision:
    """Networks in a precision of which a model knows nothing. A CostModel."""

    model: KnowsPrecisions

    @property
    def metric(self) -> Metric:
        """``STRANGE``."""
        return STRANGE

    @property
    def tier(self) -> Tier:
        """Known for certain."""
        return Tier.MEASURED

    def predict(self, genotypes: Genotypes) -> Estimate:
        """1 for each of n networks that the target does not run, else 0."""
        return Estimate((~self.model.runs(genotypes)).astype(np.float64), np.zeros(len(genotypes)), self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """Every architecture of the space."""
        return covers_all(genotypes)


@dataclass(frozen=True, slots=True)
class TaskLoss:
    """By how much networks stay below 100 at a task beside the first. A CostModel that is not free: it knows networks
    whose accuracy was asked for, and of others NaN."""

    accuracy: TellsTasks
    position: int

    @property
    def metric(self) -> Metric:
        """The task."""
        task = self.accuracy.tasks[self.position]
        return Metric(task.name, task.unit)

    @property
    def tier(self) -> Tier:
        """As a user's function told it."""
        return Tier.MEASURED

    @property
    def highest(self) -> float:
        """A loss that bounds hypervolumes."""
        return FULL - self.accuracy.lowest_scores[self.position]

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Losses of n networks, as far as they were asked for."""
        scores = self.accuracy.task_scores(genotypes)[:, self.position]
        return Estimate(FULL - scores, np.zeros(len(genotypes)), self.tier)


@dataclass(frozen=True, slots=True)
class MetricColumn:
    """A further metric of every network, on one target or on all alike.

    Attributes:
        name: ``macs``, ``pixel3:energy``, or ``task:parity``.
        target: position of the target that it is of; None if it is of the network itself.
        is_objective: whether fronts trade it against accuracy.
        limits: position of a target -> the most that it allows.
    """

    name: str
    model: CostModel
    target: int | None
    is_objective: bool
    limits: Mapping[int, float]

    def is_of(self, target: int) -> bool:
        """Tell whether the fronts of a target know it."""
        return self.target in (None, target)


def metric_columns(
    space: SearchSpace, targets: Sequence[ProblemTarget], objectives: Sequence[str], accuracy: AccuracyModel
) -> tuple[MetricColumn, ...]:
    """The columns of the further ``objectives``, of every limit that is not on a target's own cost, of what a target
    does not run, and of every task of ``accuracy`` but the first.

    Raises InputError on a metric that a target has no model of.
    """
    limited = (metric for target in targets for metric in target.limits)
    columns = []
    for metric in dict.fromkeys((*objectives, *limited)):
        # A limit of one target asks nothing of the others.
        owners = [i for i, t in enumerate(targets) if metric in objectives or metric in t.limits]
        limits = {i: targets[i].limits[metric] for i in owners if metric in targets[i].limits}
        if metric in COUNTED:
            model = CountedCost(space, COUNTED[metric])
            columns.append(MetricColumn(metric, model, None, metric in objectives, limits))
            continue
        for i in owners:
            own = {i: limits[i]} if i in limits else {}
            name = f"{targets[i].name}:{metric}"
            columns.append(MetricColumn(name, _model(targets[i], metric), i, metric in objectives, own))
    tasks = accuracy.tasks if isinstance(accuracy, TellsTasks) else ()
    losses = [MetricColumn(f"task:{t.name}", TaskLoss(accuracy, i), None, True, {}) for i, t in enumerate(tasks)]  # type: ignore[arg-type]
    return (*columns, *_strange_columns(space, targets), *losses[1:])


def _strange_columns(space: SearchSpace, targets: Sequence[ProblemTarget]) -> Iterator[MetricColumn]:
    precisions = set(space.precisions) if isinstance(space, HasPrecisions) else set()
    for i, target in enumerate(targets):
        if isinstance(target.cost, KnowsPrecisions) and not precisions <= set(target.cost.known_precisions):
            yield MetricColumn(f"{target.name}:{STRANGE.name}", StrangePrecision(target.cost), i, False, {i: 0.0})


def _model(target: ProblemTarget, metric: str) -> CostModel:
    if metric in target.further:
        return target.further[metric]
    if metric not in NAMED:
        raise unknown("objective", metric, NAMED)
    raise InputError(
        f"There is no {metric.replace('_', ' ')} model of {target.name}.",
        f"Leave it out, or use what every network has: {', '.join(COUNTED)}.",
    )

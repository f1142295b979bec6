"""Answer with a generator: propose networks for a device, judge them by its cost model and the counted accuracies, keep
the best.

Proposals are judged together with everything that was counted in training, whose costs on any device are known at once:
where re-costing these is better than what the network proposes, they are the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel, NetworkCosts, predict_covered
from fleetfront.quantities import Estimate
from fleetfront.search.cost_range import rounded_up
from fleetfront.search.front import FULL, non_dominated
from fleetfront.search.generators.generator import Generator
from fleetfront.search.generators.wishes import cost_place
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Wishes of a sweep over two objectives and over more, and draws of each.
_SWEEP, _WIDE_SWEEP, _SAMPLES = 65, 256, 8
#: Draws for one limit of a budget generator, as published; spread over so many budgets below the limit.
_PUBLISHED_SAMPLES, _BELOW = 210, 5
#: Where the budgets below a limit end, in places between the cheapest network and the dearest.
_MARGIN = 0.12
#: What is only predicted counts as so many standard deviations less accurate beside what was counted: the best of some
#: thousand predictions is the luckiest of them. With 1, fronts of OFA's networks lost 4 % of their hypervolume.
_CAUTION = 3.0


@dataclass(frozen=True, slots=True)
class Judged:
    """n networks on a device.

    Attributes:
        costs, cost_std: float64[n, c] of each metric that the generator trades.
        accuracy, accuracy_std: float64[n].
        is_counted: bool[n]: whether the accuracy was counted in training, else predicted.
    """

    genotypes: Genotypes
    costs: FloatArray
    cost_std: FloatArray
    accuracy: FloatArray
    accuracy_std: FloatArray
    is_counted: NDArray[np.bool_]

    def take(self, rows: NDArray[np.intp]) -> Judged:
        """Some of them, in the order of ``rows``."""
        return Judged(*(getattr(self, name)[rows] for name in self.__slots__))

    @property
    def cautious(self) -> FloatArray:
        """float64[n]: accuracy less what a prediction may be off."""
        return np.where(self.is_counted, self.accuracy, self.accuracy - _CAUTION * self.accuracy_std)


def front_of(generator: Generator, models: Sequence[CostModel], *, refine: int = 1, pooled: bool = True) -> Judged:
    """The front of a device, ascending in its first cost.

    Args:
        generator: trained.
        models: the device's cost models, one for each of ``generator.training.costs``.
        refine: rounds in which the neighbours of the best are judged, too.
        pooled: whether what was counted in training is judged beside the proposals.

    Raises:
        InputError: the models do not cover the networks.
    """
    proposed = generator.propose(models, generator.wishes.sweep(_sweep(generator)), _SAMPLES)
    judged = judge(generator, models, proposed, pooled)
    return _refined(generator, models, judged, refine)


def within_limit(
    generator: Generator, models: Sequence[CostModel], limit: float, *, refine: int = 1, pooled: bool = True
) -> Judged:
    """The most accurate network within a limit on the first cost, n = 1.

    Raises InputError, naming the cheapest network there is, if none is within.
    """
    if generator.wishes.kind == "budget":
        low, high = cost_reach(generator, models[0])
        place = float(cost_place(np.array([limit]), low, high)[0])
        wishes = generator.wishes.of_places(np.linspace(place - _MARGIN, place, _BELOW))
        proposed = generator.propose(models, wishes, _PUBLISHED_SAMPLES // _BELOW)
    else:
        proposed = generator.propose(models, generator.wishes.sweep(_sweep(generator)), _SAMPLES)
    judged = _refined(generator, models, judge(generator, models, proposed, pooled, limit), refine, limit)
    within = np.flatnonzero(judged.costs[:, 0] <= limit)
    if not len(within):
        cheapest = _cheapest(generator, models)
        within = np.flatnonzero(cheapest.costs[:, 0] <= limit)
        if not len(within):
            _refuse(generator, models[0], limit, float(cheapest.costs[0, 0]))
        judged = cheapest
    return judged.take(within[[int(np.argmax(judged.cautious[within]))]])


def by_preference(
    generator: Generator, models: Sequence[CostModel], preference: float, *, refine: int = 1, pooled: bool = True
) -> Judged:
    """The network of a preference for accuracy from 0, the cheapest, to 1, the most accurate; n = 1.

    Of the front, each objective as its rank among the members, that with the least of the largest weighted loss: with
    two objectives, the member so far along the front.
    """
    front = front_of(generator, models, refine=refine, pooled=pooled)
    return front.take(np.array([best_of_preference(front.costs, front.accuracy, preference)]))


def best_of_preference(costs: FloatArray, accuracy: FloatArray, preference: float) -> int:
    """The row of a front costs[n, c], accuracy[n] that a preference for accuracy asks for."""
    losses = np.column_stack([-accuracy, costs])
    scaled = np.argsort(np.argsort(losses, axis=0, kind="stable"), axis=0) / max(len(losses) - 1, 1)
    weights = np.array([preference, *[(1 - preference) / costs.shape[1]] * costs.shape[1]])
    weighted = scaled * weights
    return int(np.lexsort((scaled.sum(axis=1), weighted.max(axis=1)))[0])


def judge(
    generator: Generator,
    models: Sequence[CostModel],
    proposed: Genotypes,
    pooled: bool,
    limit: float | None = None,
) -> Judged:
    """Costs and accuracies of distinct proposals, and of what was counted, if it is pooled; each network once. Where
    some keep the ``limit`` on the first cost, these alone."""
    counted = generator.counted
    at = counted.index.find(proposed)
    fresh = proposed[at < 0]
    at = np.arange(len(counted.genotypes)) if pooled else at[at >= 0]
    rows = np.concatenate([counted.genotypes[at], fresh])
    estimates = [_predicted(model, rows) for model in models]
    costs, stds = (np.stack([getattr(e, name) for e in estimates], axis=1) for name in ("mean", "std"))
    kept = np.isfinite(costs).all(axis=1)
    if not kept.any():
        raise InputError(
            "The device's table has none of the networks that the generator proposes.",
            "Learn the others: fleetfront fit, or profile the device.",
        )
    within = kept if limit is None else kept & (costs[:, 0] <= limit)
    # Accuracy is what takes time to predict.
    kept = np.flatnonzero(within if within.any() else kept)
    known = at[kept[kept < len(at)]]
    mean, std = generator.accuracy.predict(rows[kept[len(known) :]])
    accuracy, deviation = np.append(counted.accuracy[known], mean), np.append(counted.std[known], std)
    return Judged(rows[kept], costs[kept], stds[kept], accuracy, deviation, np.arange(len(kept)) < len(known))


def cost_reach(generator: Generator, model: CostModel) -> tuple[float, float]:
    """The lowest and highest cost among the reference networks and those that were counted."""
    rows = np.unique(np.concatenate([generator.features.references, generator.counted.genotypes]), axis=0)
    cost = _predicted(model, rows).mean
    return float(np.nanmin(cost)), float(np.nanmax(cost))


def _sweep(generator: Generator) -> int:
    return _SWEEP if generator.wishes.objectives == 2 else _WIDE_SWEEP


def _predicted(model: CostModel, rows: Genotypes) -> Estimate:
    """NaN for networks that a table lacks."""
    return predict_covered(model, rows) if isinstance(model, NetworkCosts) else model.predict(rows)


def _refined(
    generator: Generator, models: Sequence[CostModel], judged: Judged, rounds: int, limit: float | None = None
) -> Judged:
    """The front of what is judged and, in so many rounds, of its members' neighbours."""
    front = _front(judged)
    for _ in range(rounds):
        parents = front.genotypes
        if limit is not None:
            near = np.argsort(np.abs(front.costs[:, 0] - limit), kind="stable")[:8]
            parents = parents[near]
        fresh = judge(generator, models, _neighbours(generator, parents), pooled=False, limit=limit)
        front = _front(_joined(front, fresh))
    return front


def _neighbours(generator: Generator, genotypes: Genotypes) -> Genotypes:
    """Every network that differs from one of them in a single allowed choice."""
    counts = [len(values) for values in generator.space.choices]
    allowed = np.flatnonzero(generator.allowed.numpy())
    gene_of, value_of = np.repeat(np.arange(len(counts)), counts), np.concatenate([np.arange(c) for c in counts])
    rows = np.repeat(genotypes[:, None], len(allowed), axis=1)
    rows[:, np.arange(len(allowed)), gene_of[allowed]] = value_of[allowed].astype(np.int8)
    return np.unique(generator.space.canonical(rows.reshape(-1, len(counts))), axis=0)


def _front(judged: Judged) -> Judged:
    """Not dominated by what others are sure of, then by what they are said to be; ascending in the first cost."""
    front = judged.take(non_dominated(np.column_stack([judged.costs, FULL - judged.cautious])))
    return front.take(non_dominated(np.column_stack([front.costs, FULL - front.accuracy])))


def _joined(a: Judged, b: Judged) -> Judged:
    return Judged(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in Judged.__slots__))


def _cheapest(generator: Generator, models: Sequence[CostModel]) -> Judged:
    """The cheapest network that descent over neighbours finds, n = 1."""
    rows = np.unique(np.concatenate([generator.counted.genotypes, generator.features.references]), axis=0)
    best = judge(generator, models, rows, pooled=False)
    best = best.take(np.argsort(best.costs[:, 0], kind="stable")[:1])
    for _ in range(4 * len(generator.space.choices)):
        fresh = judge(generator, models, _neighbours(generator, best.genotypes), pooled=False)
        fresh = fresh.take(np.argsort(fresh.costs[:, 0], kind="stable")[:1])
        if fresh.costs[0, 0] >= best.costs[0, 0]:
            break
        best = fresh
    return best


def _refuse(generator: Generator, model: CostModel, limit: float, lowest: float) -> None:
    metric = model.metric
    raise InputError(
        f"No architecture of {generator.space.name} takes at most {metric.spell(limit)}: the least demanding found "
        f"takes {metric.spell(lowest)}.",
        f"Raise the limit to {rounded_up(lowest, metric)} or more.",
    )

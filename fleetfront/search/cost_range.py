"""Find how far costs reach over a space, and refuse limits that nothing meets. Costs are free: nothing is evaluated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel
from fleetfront.quantities import LATENCY, Metric
from fleetfront.search.metrics import STRANGE

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray
    from fleetfront.search.problem import Problem

#: Architectures whose costs show how far a target's cost reaches.
_COST_SAMPLE = 2048
#: Starts and rounds of the descent to the fastest architecture; each round tries every value of every gene.
_DESCENT_STARTS, _DESCENT_ROUNDS = 8, 6


def cost_range(problem: Problem) -> FloatArray:
    """float64[2, t]: lowest and highest cost, the same in every run: of all architectures where these are few, else
    as found over a fixed sample and by descent."""
    every = problem.every()
    if every is not None:
        cost = problem.cost(every)
        return np.stack([cost.min(axis=0), cost.max(axis=0)])
    sampled = problem.cost(problem.sample(_COST_SAMPLE, np.random.default_rng(0)))
    ends = [extreme_cost(problem, target.cost, sign) for sign in (1, -1) for target in problem.targets]
    found = np.array(ends).reshape(2, -1)
    return np.stack([np.minimum(sampled.min(axis=0), found[0]), np.maximum(sampled.max(axis=0), found[1])])


def extreme_cost(problem: Problem, model: CostModel, sign: int = 1) -> float:
    """The lowest (``sign`` 1) or highest (-1) cost by a model: of all architectures where these are few, else as
    coordinate descent finds it, which is exact if costs add up."""
    every = problem.every()
    if every is not None:
        return float(sign * (sign * model.predict(every).mean).min())
    rows = problem.sample(_DESCENT_STARTS, np.random.default_rng(0))
    value = sign * model.predict(rows).mean
    for _ in range(_DESCENT_ROUNDS):
        before = value.copy()
        for gene, count in enumerate(problem.free_choices):
            for choice in range(count if count > 1 else 0):
                tried = rows.copy()
                tried[:, gene] = choice
                tried = problem.complete(tried)
                cost = sign * model.predict(tried).mean
                better = cost < value
                rows[better], value[better] = tried[better], cost[better]
        if np.array_equal(before, value):
            break
    return float(sign * value.min())


def check_limit(problem: Problem, name: str, model: CostModel, limit: float) -> None:
    """Raises InputError, naming the lowest cost there is, if no architecture is within a limit on a target."""
    lowest, spell = extreme_cost(problem, model), model.metric.spell
    if lowest > limit and model.metric.name == STRANGE.name:
        raise InputError(
            f"Of the networks that may be searched, none is in a precision that is known on {name}.",
            f"Leave {name} out, or hold another precision.",
        )
    if lowest > limit:
        is_time = model.metric.name == LATENCY.name
        word, much = ("fastest", "long") if is_time else ("least demanding", "much")
        found = word if problem.every() is not None else f"{word} found"
        raise InputError(
            f"No architecture of {problem.space.name} takes at most {spell(limit)} on {name}: the {found} takes "
            f"{spell(lowest)}, {spell(lowest - limit)} too {much}.",
            f"Raise the limit to {rounded_up(lowest, model.metric)} or more.",
        )


def rounded_up(value: float, metric: Metric) -> str:
    """A cost with four significant digits that is no less than ``value``, as ``--limit`` takes it: in the metric's own
    unit, which is left out, or as ``4MiB``.
    """
    scale, unit = metric.scale(value)
    scaled = value / scale
    step = 10.0 ** (math.floor(math.log10(scaled)) - 3) if scaled > 0 else 1.0
    text = f"{scaled:.4g}"
    return (text if float(text) >= scaled else f"{float(text) + step:.4g}") + (unit if scale > 1 else "")

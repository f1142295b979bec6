"""Fronts: which points no other dominates, their hypervolume, and the points a user asks for. Everything is minimised
except accuracy, which enters as error = 100 - accuracy. Arithmetic on fronts is moocore's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, missing

if TYPE_CHECKING:
    from types import ModuleType

    from fleetfront.quantities import FloatArray

#: Accuracy is in percent.
FULL = 100.0


def non_dominated(values: FloatArray) -> NDArray[np.intp]:
    """Rows of ``values`` float64[n, m], all minimised, that no other row dominates, ascending in the first column.

    Of equal rows the first is kept. Raises MissingDependency without moocore.
    """
    if not len(values):
        return np.zeros(0, dtype=np.intp)
    kept = np.flatnonzero(_moocore().is_nondominated(np.ascontiguousarray(values, np.float64), keep_weakly=False))
    order: NDArray[np.intp] = kept[np.argsort(values[kept, 0], kind="stable")]
    return order


def area(cost: FloatArray, error: FloatArray, most_cost: float, most_error: float) -> float:
    """The hypervolume of cost[n] and error[n] alone, without moocore."""
    rows = two_objectives(cost, FULL - error)
    rows = rows[(cost[rows] < most_cost) & (error[rows] < most_error)]
    widths = np.diff(np.append(cost[rows], most_cost))
    return float(widths @ (most_error - error[rows]))


def target_front(
    cost: FloatArray, accuracy: FloatArray, limit: float | None = None, extras: FloatArray | None = None
) -> NDArray[np.intp]:
    """Rows on the front of cost[n] against accuracy[n] (and extras[n, m]), ascending in cost, within ``limit``.

    What costs infinitely much is on no front.
    """
    within = np.flatnonzero(np.isfinite(cost) if limit is None else cost <= limit)
    columns = [cost[within], FULL - accuracy[within]]
    if extras is not None:
        columns.extend(extras[within].T)
    return within[non_dominated(np.stack(columns, axis=1))]


def hypervolume(values: FloatArray, reference: tuple[float, ...]) -> float:
    """Volume dominated by ``values`` float64[n, m] and bounded by ``reference``, in the product of the units.

    Points beyond the reference add nothing. Raises MissingDependency without moocore.
    """
    if not len(values):
        return 0.0
    return float(
        _moocore().hypervolume(np.ascontiguousarray(values, np.float64), ref=np.asarray(reference, np.float64))
    )


def knee(cost: FloatArray, accuracy: FloatArray) -> int:
    """Position of the point of a front farthest above the line between its ends, both axes scaled to [0, 1].

    The knee of Das, "On characterizing the knee of the Pareto curve", Structural Optimization 18 (1999). Of one or two
    points it is the first.
    """
    if len(cost) < 3:
        return 0
    x = (cost - cost[0]) / max(float(cost[-1] - cost[0]), np.finfo(float).tiny)
    y = (accuracy - accuracy[0]) / max(float(accuracy[-1] - accuracy[0]), np.finfo(float).tiny)
    return int(np.argmax(y - x))


def two_objectives(cost: FloatArray, accuracy: FloatArray) -> NDArray[np.intp]:
    """Positions of the points that no other beats in cost[n] and accuracy[n] alone, ascending in both.

    On a front that has further objectives some points are beaten; on one that has none, no point is.
    """
    order = np.lexsort((-accuracy, cost))
    best_before = np.maximum.accumulate(np.append(-np.inf, accuracy[order]))[:-1]
    kept: NDArray[np.intp] = order[accuracy[order] > best_before]
    return kept


def best_within(
    cost: FloatArray, accuracy: FloatArray, limit: float, name: str = "the device", unit: str = "ms"
) -> int:
    """Position of the most accurate point of cost[n], accuracy[n] with a cost of at most ``limit``.

    Raises InputError naming the fastest point if there is none.
    """
    within = np.flatnonzero(cost <= limit)
    if not len(within):
        fastest = float(np.min(cost)) if len(cost) else float("nan")
        raise InputError(
            f"No architecture of the front takes at most {limit:g} {unit} on {name}: the fastest takes {fastest:.4g} "
            f"{unit}, {fastest - limit:.3g} {unit} too long.",
            "Raise the limit, or search with it.",
        )
    return int(within[np.argmax(accuracy[within])])


@dataclass(frozen=True, slots=True)
class Staircase:
    """The best accuracy that a front offers within any cost.

    Attributes:
        cost, accuracy: float64[k], both ascending.
    """

    cost: FloatArray
    accuracy: FloatArray

    @classmethod
    def of(cls, cost: FloatArray, accuracy: FloatArray, rows: NDArray[np.intp]) -> Staircase:
        """Of the rows of a front, ascending in cost."""
        return cls(cost[rows], accuracy[rows])

    def at(self, cost: FloatArray) -> FloatArray:
        """float64[m]: the best accuracy within each cost; below the fastest point, its own less the front's spread."""
        below = float(self.accuracy[0] - max(self.accuracy[-1] - self.accuracy[0], 1.0))
        return np.concatenate([[below], self.accuracy])[np.searchsorted(self.cost, cost, side="right")]


def _moocore() -> ModuleType:
    try:
        import moocore
    except ImportError as error:
        raise missing("moocore", "search", "Computing fronts") from error
    module: ModuleType = moocore
    return module

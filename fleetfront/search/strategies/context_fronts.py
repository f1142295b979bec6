"""Fronts of a growing archive for every cost column, overall and within contexts, and how far networks are from them.

A context is a value of the context genes, such as the resolution: each keeps its own fronts, so that a resolution that
lags at first is not lost before it has been searched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.search.front import Staircase, target_front
from fleetfront.search.problem import Problem
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Accuracy gains (percentage points) are added up over the fronts as softplus(gain / this): a front that a network
#: would not reach counts little, and among networks that reach none the nearest is preferred.
SOFTNESS = 0.1
#: A network on its context's own front counts as no farther than this (percentage points) below the front of all.
CONTEXT_BONUS = 0.3

Rows = NDArray[np.intp]


class ContextFronts:
    """Columns are the problem's targets and then its extra objectives, each against accuracy."""

    def __init__(self, problem: Problem, context: tuple[int, ...]) -> None:
        self._problem = problem
        self._context = list(context)
        counts = [problem.free_choices[gene] for gene in context]
        self._radix = np.append(np.cumprod(counts[::-1], dtype=np.intp)[::-1][1:], 1)[: len(counts)]
        self.contexts = int(np.prod(counts, dtype=np.intp))
        self._limits = problem.front_limits
        self.columns = len(self._limits)
        #: How many rows of the archive were taken in.
        self.seen = 0
        empty: Rows = np.zeros(0, dtype=np.intp)
        self._fronts = [[empty] * self.contexts for _ in range(self.columns)]
        self._stairs: list[list[Staircase | None]] = [[None] * self.contexts for _ in range(self.columns)]
        self._overall: list[Staircase | None] = [None] * self.columns

    def context_of(self, genotypes: Genotypes) -> NDArray[np.intp]:
        """int[n]: which context each network is in."""
        found: NDArray[np.intp] = genotypes[:, self._context].astype(np.intp) @ self._radix
        return found

    def cost(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, columns], free of charge."""
        return self._problem.front_costs(self._problem.cost(genotypes), self._problem.extra_values(genotypes))

    def archived_cost(self, rows: Rows | slice) -> FloatArray:
        """float64[n, columns] of archive rows."""
        archive = self._problem.archive
        return self._problem.front_costs(archive.cost[rows], archive.extras[rows])

    def _archived_column(self, rows: Rows, column: int) -> FloatArray:
        """float64[n]: one column of ``archived_cost``, of many columns in a fraction of the time."""
        problem = self._problem
        if column < len(problem.targets) and not any(one.limits for one in problem.columns):
            found: FloatArray = problem.archive.cost[rows, column]
            return found
        return self.archived_cost(rows)[:, column]

    def update(self, upto: int | None = None) -> None:
        """Take in what the archive has gained, or its first ``upto`` rows."""
        archive = self._problem.archive
        fresh = np.arange(self.seen, len(archive) if upto is None else upto)
        if not len(fresh):
            return
        context = self.context_of(archive.genotypes[fresh])
        for index in np.unique(context):
            arrived = fresh[context == index]
            for column in range(self.columns):
                rows = np.concatenate([self._fronts[column][index], arrived])
                cost = self._archived_column(rows, column)
                kept = target_front(cost, archive.accuracy[rows], self._limits[column])
                self._fronts[column][index] = rows[kept]
                self._stairs[column][index] = _stairs(cost, archive.accuracy[rows], kept)
        for column in range(self.columns):
            rows = np.concatenate(self._fronts[column])
            cost = self._archived_column(rows, column)
            self._overall[column] = _stairs(cost, archive.accuracy[rows], target_front(cost, archive.accuracy[rows]))
        self.seen += len(fresh)

    def fronts(self, column: int) -> list[Rows]:
        """Archive rows of the fronts of a column, context by context, each ascending in cost; empty ones left out."""
        return [rows for rows in self._fronts[column] if len(rows)]

    def gap(self, cost: FloatArray, accuracy: FloatArray, context: NDArray[np.intp]) -> FloatArray:
        """float64[n]: how far below the nearest front of any column each network is, in percentage points."""
        # Networks of a context lie together, and costs on a device: hundreds of devices are looked at one by one.
        order = np.argsort(context, kind="stable")
        parts = np.flatnonzero(np.diff(context[order], prepend=-1))
        ends = np.append(parts[1:], len(order))[: len(parts)]
        pieces = list(zip(context[order[parts]].tolist(), parts.tolist(), ends.tolist(), strict=True))
        costs, accuracy = np.ascontiguousarray(cost[order].T), accuracy[order]
        gap = np.full(len(accuracy), np.inf)
        for column, stairs in enumerate(self._overall):
            if stairs is None:
                continue
            within = self._within(costs.T, column)
            below = stairs.at(costs[column])
            for index, start, end in pieces:
                own = self._stairs[column][index]
                if own is not None:
                    part = below[start:end]
                    np.minimum(part, CONTEXT_BONUS + own.at(costs[column, start:end]), out=part)
            np.minimum(gap, np.where(within, below - accuracy, np.inf), out=gap)
        found = np.empty_like(gap)
        found[order] = gap
        return found

    def gain(self, cost: FloatArray, accuracy: FloatArray) -> FloatArray:
        """float64[n]: by how much the fronts of all columns together would gain, in softened percentage points."""
        total = np.zeros(len(accuracy))
        for column, stairs in enumerate(self._overall):
            if stairs is not None:
                total += self._softened(stairs, cost, accuracy, column)
        return total

    @property
    def has_limits(self) -> bool:
        """True if every column has a limit, so that some networks are of no use at all."""
        return None not in self._limits or any(column.limits for column in self._problem.columns)

    def is_admitted(self, cost: FloatArray) -> NDArray[np.bool_]:
        """bool[n]: within the limit of at least one column of cost[n, columns]."""
        admitted: NDArray[np.bool_] = self.excess(cost) <= 0
        return admitted

    def excess(self, cost: FloatArray) -> FloatArray:
        """float64[n]: the share by which cost[n, columns] is over the most generous limit; 0 and below within one."""
        limits = np.array([np.inf if limit is None else limit for limit in self._limits])
        with np.errstate(invalid="ignore"):
            over = cost / limits - 1
        # Of what another limit forbids, nothing says by how much.
        missed: FloatArray = np.where(np.isinf(cost), 1.0, over).min(axis=1)
        return missed

    def gain_within(self, cost: FloatArray, accuracy: FloatArray, context: NDArray[np.intp]) -> FloatArray:
        """float64[n]: the same for the fronts of each network's own context."""
        total = np.zeros(len(accuracy))
        for index in np.unique(context):
            here = np.flatnonzero(context == index)
            for column in range(self.columns):
                stairs = self._stairs[column][index]
                if stairs is None:  # Nothing known there yet: worth as much as a full point.
                    total[here] += 1.0 / SOFTNESS
                else:
                    total[here] += self._softened(stairs, cost[here], accuracy[here], column)
        return total

    def _softened(self, stairs: Staircase, cost: FloatArray, accuracy: FloatArray, column: int) -> FloatArray:
        gain = (accuracy - stairs.at(cost[:, column])) / SOFTNESS
        return np.where(self._within(cost, column), np.logaddexp(0.0, gain), 0.0)

    def _within(self, cost: FloatArray, column: int) -> NDArray[np.bool_]:
        limit = self._limits[column]
        within: NDArray[np.bool_] = np.isfinite(cost[:, column]) if limit is None else cost[:, column] <= limit
        return within


def _stairs(cost: FloatArray, accuracy: FloatArray, rows: Rows) -> Staircase | None:
    return Staircase.of(cost, accuracy, rows) if len(rows) else None

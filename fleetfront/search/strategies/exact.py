"""The exact strategy: the whole true front, where accuracy and every cost add up over the parts of a network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.search.additive import additive_fronts, additive_values, additivity_error, make_layout
from fleetfront.search.block_genes import find_block_genes, is_separable
from fleetfront.search.metrics import STRANGE
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import ReadsArchive, State
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Networks on which sums are compared with the functions themselves; costs are free, accuracy is not.
_COST_SAMPLE, _ACCURACY_SAMPLE = 2000, 100
#: Deviation relative to the spread over the sample up to which a function counts as a sum: float32 models round.
_TOLERANCE = 1e-5


class ExactFront(ReadsArchive):
    """Tabulates accuracy and costs part by part, adds fronts up (``additive``), and evaluates what is on them.

    Raises InputError where a cost or the accuracy is not additive, the space does not fall apart, or the budget does
    not reach; it never returns a front that only looks whole.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        if any(column.model.metric == STRANGE for column in problem.columns):
            raise InputError(
                "The exact strategy searches devices of which every precision is known, and one here lacks some.",
                "Use --strategy hybrid, or leave such devices out.",
            )
        if problem.columns:
            raise InputError(
                "The exact strategy knows one cost and accuracy, not also "
                f"{', '.join(column.name for column in problem.columns)}.",
                "Leave out further objectives and limits, or use --strategy hybrid.",
            )
        block_genes = find_block_genes(problem)
        if not is_separable(problem, block_genes):
            raise InputError(
                f"The blocks of {problem.space.name} depend on too many genes at once for an exact front.",
                "Use --strategy hybrid.",
            )
        self._problem, self._seed = problem, seed
        self._layout = make_layout(problem, block_genes)
        for column, target in enumerate(problem.targets):

            def cost(genotypes: Genotypes, column: int = column) -> FloatArray:
                return problem.targets[column].cost.predict(genotypes).mean

            error = additivity_error(problem, self._layout, cost, _COST_SAMPLE)
            if error > _TOLERANCE:
                raise InputError(
                    f"The {target.cost.metric.name} model of {target.name} is not a sum over blocks (it is off by "
                    f"{100 * error:.2g} % of its range).",
                    "Use --strategy hybrid.",
                )
        self._steps = self._plan()

    @property
    def batch(self) -> int:
        """Everything it has to ask."""
        return self._problem.budget or sys.maxsize

    @property
    def statement(self) -> str:
        """The objective that was optimised, for people."""
        targets = self._problem.targets
        devices = ", ".join(f"{target.name} ({target.cost.tier})" for target in targets)
        every = self._problem.every()
        if every is not None and len(np.unique(self._layout.rows, axis=0)) == len(every):
            reason = f"all {len(every)} networks were looked at"
        else:
            reason = "both were found to add up over blocks"
        return (
            f"Exact: the whole front of the accuracy {self._problem.accuracy.source} against the "
            f"{targets[0].cost.metric.name} on {devices}; {reason}."
        )

    def ask(self, n: int) -> Genotypes:
        asked = next(self._steps, None)
        if asked is None:
            return self._layout.rows[:0]
        if len(asked) > n:
            raise InputError(
                f"The exact front needs {len(asked)} more evaluations, {n} are left.",
                f"Allow more: --evaluations {self._problem.counter.requested + len(asked)} or above.",
            )
        return asked

    def dump(self) -> State:
        """Nothing: each step asks for what the archive lacks of it, so that all of them can be taken again."""
        return {}

    def load(self, state: State) -> None:
        self._steps = self._plan()

    def _plan(self) -> Iterator[Genotypes]:
        problem, layout, archive = self._problem, self._layout, self._problem.archive
        sample = problem.sample(_ACCURACY_SAMPLE, np.random.default_rng(self._seed))
        yield from self._unknown(np.concatenate([layout.rows, sample]))
        table = layout.table(archive.accuracy[archive.find(layout.rows)])
        truth = archive.accuracy[archive.find(sample)]
        error = float(np.abs(additive_values(layout, table, sample) - truth).max())
        spread = max(float(np.ptp(truth)), float(np.finfo(np.float64).tiny))
        if error > _TOLERANCE * spread:
            raise InputError(
                f"The accuracy {problem.accuracy.source} is not a sum over blocks (it is off by {error:.2g} points).",
                "Use --strategy hybrid.",
            )
        for front in additive_fronts(problem, layout, table.ravel(), None):
            yield from self._unknown(front)

    def _unknown(self, genotypes: Genotypes) -> Iterator[Genotypes]:
        unknown = self._problem.archive.unknown(genotypes)
        if len(unknown):
            yield unknown

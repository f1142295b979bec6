"""Look at every network of the tables that cover a part of their space: no other can be asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import ListsNetworks, knows_costs
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import ReadsArchive, State
from fleetfront.spaces.base import Genotypes

#: Networks that are looked up at a time: enough for progress to be told.
_BATCH = 1000


class ListedNetworks(ReadsArchive):
    """All networks of the problem's part, or of its table of accuracies, in random order, as far as a budget goes."""

    def __init__(self, problem: Problem, seed: int) -> None:
        """Raises InputError if neither costs nor accuracies come from a table, or no network of it is of the values
        that genes are held at and covered by every device."""
        listed = problem.part
        if listed is None and isinstance(problem.accuracy, ListsNetworks):
            listed = problem.accuracy.networks()
        if listed is None:
            raise InputError(
                "Only a table of accuracies lists its networks, and these accuracies come from none.",
                "Give one, as in --accuracy csv:FILE, or choose another strategy.",
            )
        self.batch = _BATCH
        self._problem = problem
        allowed = (problem.complete(listed) == listed).all(axis=1)
        for target in problem.targets:
            allowed &= knows_costs(target.cost, listed)
        if not allowed.any():
            raise InputError(
                f"None of the {len(listed)} networks of {problem.accuracy.source} can be searched: their costs are not "
                "known on every device, or --fix excludes them.",
                "Add networks to the table, leave out devices, or fit their tables: fleetfront fit --device NAME.",
            )
        kept = listed[allowed]
        self._listed: Genotypes = kept[np.random.default_rng(seed).permutation(len(kept))]

    @property
    def statement(self) -> str:
        """How much of the table was looked at."""
        seen = len(self._listed) - len(self._problem.archive.unknown(self._listed))
        most = "every network" if seen == len(self._listed) else f"{seen} of {len(self._listed)} networks"
        if self._problem.part is None:
            return f"Of {most} of the accuracy table; networks that it does not list were not searched."
        return f"Of {most} that all tables know, those of latency too; other networks were not searched."

    def ask(self, n: int) -> Genotypes:
        return self._problem.archive.unknown(self._listed)[:n]

    def dump(self) -> State:
        return {}

    def load(self, state: Mapping[str, object]) -> None:
        """Nothing but the archive tells what is left."""

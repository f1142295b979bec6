"""Ask a user's own function how good networks are at several tasks, each of which is an objective of the fronts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.call import MOST_PARTS, WORD, CallAccuracy, score_of_accuracy, score_of_quality
from fleetfront.quantities import ACCURACY, Quality, own_quality
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

_WRITE = "Write objectives=digit:higher/drift:lower cm: two to eight tasks, each higher or lower, and a unit."
#: A reference point lies beyond the smallest network by so much of what that reaches.
_MARGIN = 0.1


def parse_tasks(text: str) -> tuple[Quality, ...]:
    """The tasks of ``digit:higher/drift:lower cm``: accuracy in percent where it is ``higher`` without a unit.

    Raises InputError on another spelling, and on fewer than two tasks.
    """
    found = []
    for one in text.split("/"):
        name, _, told = one.partition(":")
        better, _, unit = told.strip().partition(" ")
        if not WORD.fullmatch(name) or better not in ("higher", "lower"):
            raise InputError(f"objectives cannot be {text[:80]!r}.", _WRITE)
        is_higher = better == "higher"
        found.append(own_quality(name, unit.strip() or ("%" if is_higher else ""), is_higher))
    if not 2 <= len({task.name for task in found}) == len(found) <= MOST_PARTS:
        raise InputError(f"objectives are {len(found)} tasks: {text[:80]}.", _WRITE)
    return tuple(found)


class CallTasks(CallAccuracy):
    """Several answers a network, by a user's function. A TellsTasks, whose ``predict`` tells the first."""

    @property
    def tasks(self) -> tuple[Quality, ...]:
        """The tasks, in the order in which they were declared."""
        return parse_tasks(self._settings.objectives)

    @property
    def quality(self) -> Quality:
        """That of the first task: accuracy, where it is in percent."""
        return ACCURACY if is_percent(self.tasks[0]) else self.tasks[0]

    @property
    def lowest_scores(self) -> tuple[float, ...]:
        """Of each task a score that few networks stay below: 0 of accuracy, else somewhat worse than the smallest's."""
        if all(map(is_percent, self.tasks)):
            return (0.0,) * len(self.tasks)
        smallest = self._space.canonical(np.zeros((1, len(self._space.choices)), np.int8))
        self._ask([arch for arch in self._space.arch_ids(smallest) if arch not in self._known])
        (scores,) = self.task_scores(smallest).tolist()
        if not np.isfinite(scores).all():
            raise InputError(f"{self.source} failed for the smallest network.", "Repair the function.")
        return tuple(
            0.0 if is_percent(task) else score - _MARGIN * max(abs(score), 1e-9)
            for task, score in zip(self.tasks, scores, strict=True)
        )

    @property
    def lowest(self) -> float:
        """Of the first task."""
        return self.lowest_scores[0]

    def task_scores(self, genotypes: Genotypes) -> FloatArray:
        """See ``TellsTasks``."""
        told = [self._parts.get(arch, {}) for arch in self._space.arch_ids(genotypes)]
        scores = [[task.score(one.get(task.name, np.nan)) for task in self.tasks] for one in told]
        return np.array(scores, np.float64).reshape(len(genotypes), len(self.tasks))

    def _combined(self, arch: str, told: Any) -> float:
        names = [task.name for task in self.tasks]
        if not isinstance(told, dict) or sorted(map(str, told)) != sorted(names):
            raise InputError(
                f"{self.source} gave {str(told)[:80]} for {arch}.",
                f"Return a dict of {', '.join(names)}, a number each.",
            )
        scores = [
            score_of_accuracy(self.source, self._settings.unit, arch, told[task.name])
            if is_percent(task)
            else score_of_quality(self.source, task, arch, told[task.name])
            for task in self.tasks
        ]
        self._parts[arch] = {
            task.name: float(task.shown(score)) for task, score in zip(self.tasks, scores, strict=True)
        }
        return scores[0]


def is_percent(task: Quality) -> bool:
    """Tell whether a task's answers are accuracies in percent."""
    return task.unit == "%" and task.is_higher_better

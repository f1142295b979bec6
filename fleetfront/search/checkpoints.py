"""Keep what a search has evaluated, and the state of its strategy, so that a killed search goes on where it was.

A strategy without a state repeats its steps, and its accuracies are recalled from the archive: the same end, later.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.arrays import read_arrays, write_arrays
from fleetfront.errors import FileError, InputError
from fleetfront.search.problem import EvaluationCounter, Problem
from fleetfront.search.run import RunSoFar, TracePoint
from fleetfront.search.strategies.base import StatefulStrategy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fleetfront.search.strategies.base import Strategy, TrainedStrategy

ARCHIVE_FILE, STATE_FILE = "archive.npz", "search-state.npz"
_SCHEMA = "fleetfront.search-state/1"
#: Seconds between two writings; what a kill can lose of accuracy evaluations.
_EVERY_S = 5.0
#: Before the names of what a strategy dumped.
_PREFIX = "strategy."
#: A stored cost may differ from today's prediction by rounding, not by more.
_ROUNDING = 1e-9


class Checkpoints:
    """Of one run in one folder; without a folder nothing is kept."""

    def __init__(
        self,
        problem: Problem,
        strategy: Strategy | TrainedStrategy,
        folder: Path | None,
        about: Mapping[str, str],
        run: Mapping[str, Any],
    ) -> None:
        """``about`` what accuracies of the archive are of; ``run`` plain values, what else decides a search's steps."""
        self._problem, self._folder, self._about = problem, folder, dict(about)
        self._strategy = strategy if isinstance(strategy, StatefulStrategy) else None
        targets = [[target.name, target.limit] for target in problem.targets]
        columns = {"columns": [column.name for column in problem.columns]} if problem.columns else {}
        self._run = json.dumps({**about, **run, "targets": targets, **columns}, sort_keys=True, default=str)
        self._state: dict[str, Any] | None = None
        self._saved_at, self._saved = time.monotonic(), problem.counter.evaluated

    def resume(self) -> RunSoFar | None:
        """Set problem and strategy to where an interrupted run of this very search was; None if there was none.

        Raises InputError if what was kept is damaged.
        """
        path = None if self._folder is None else self._folder / STATE_FILE
        if self._strategy is None or path is None or not path.exists():
            return None
        try:
            state = read_arrays(path)
            if str(state["schema"]) != _SCHEMA or str(state["run"]) != self._run:
                return None
            if not self._restore(int(state["rows"]), json.loads(str(state["counter"]))):
                return None
            kept = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
            self._strategy.load(kept)
            return _run_so_far(state)
        except (OSError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise FileError(
                f"{path} is damaged ({type(error).__name__}: {error}).",
                "Delete it: the search then repeats its steps, and asks for no accuracy twice.",
            ) from error

    def keep(self, so_far: RunSoFar) -> None:
        """Note where the run is; write it now and then."""
        if self._folder is None:
            return
        if self._strategy is not None:
            self._state = self._described(so_far, self._strategy)
        # Recalled values are in the file already.
        if self._problem.counter.evaluated > self._saved and time.monotonic() - self._saved_at > _EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the archive, and where the run was when it was last noted. Raises InputError if that fails."""
        if self._folder is None or self._problem.counter.evaluated == self._saved:
            return
        self._save_archive()
        if self._state is not None:
            try:
                write_arrays(self._folder / STATE_FILE, self._state)
            except OSError as error:
                raise InputError(
                    f"Cannot write {self._folder / STATE_FILE} ({error.strerror or error}).", "Free some space there."
                ) from error
        self._saved_at, self._saved = time.monotonic(), self._problem.counter.evaluated

    def finish(self) -> None:
        """Write the archive of a run that ended; there is nothing to go on with."""
        if self._folder is not None:
            self._save_archive()
            (self._folder / STATE_FILE).unlink(missing_ok=True)

    def _save_archive(self) -> None:
        if self._folder is not None:
            self._problem.everything_known().save(self._folder / ARCHIVE_FILE, self._about)

    def _described(self, so_far: RunSoFar, strategy: StatefulStrategy) -> dict[str, Any]:
        return {
            "schema": _SCHEMA,
            "run": self._run,
            "rows": len(self._problem.archive),
            "counter": json.dumps(dataclasses.asdict(self._problem.counter)),
            "seconds": so_far.seconds,
            "spent": np.array([[point.evaluations, point.seconds] for point in so_far.trace]),
            "hypervolume": np.array([point.hypervolume for point in so_far.trace]),
            **{_PREFIX + name: value for name, value in strategy.dump().items()},
        }

    def _restore(self, rows: int, counted: dict[str, int]) -> bool:
        """Fill the archive as it was after so many rows; False if the folder's archive is not that run's."""
        problem, known = self._problem, self._problem.recall
        own = len(problem.archive)
        if known is None or not own <= rows <= len(known) or known.targets != problem.archive.targets:
            return False
        before: NDArray[np.int8] = known.genotypes[:own]
        if counted["adopted"] != own or not np.array_equal(before, problem.archive.genotypes):
            return False
        fresh = slice(own, rows)
        cost = problem.cost(known.genotypes[fresh])
        if not np.allclose(cost, known.cost[fresh], rtol=_ROUNDING, atol=0):
            return False
        problem.archive.add(
            known.genotypes[fresh],
            known.accuracy[fresh],
            known.accuracy_std[fresh],
            known.cost[fresh],
            known.extras[fresh],
        )
        # What the interrupted run evaluated, this one recalls.
        recalled = counted.pop("evaluated") + counted.pop("recalled")
        problem.counter = EvaluationCounter(**counted, recalled=recalled)
        self._saved = problem.counter.evaluated
        return True


def _run_so_far(state: Mapping[str, Any]) -> RunSoFar:
    trace = tuple(
        TracePoint(int(spent), float(seconds), tuple(map(float, volumes)))
        for (spent, seconds), volumes in zip(state["spent"], state["hypervolume"], strict=True)
    )
    return RunSoFar(float(state["seconds"]), trace)

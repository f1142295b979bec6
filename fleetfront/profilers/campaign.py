"""Measure in rounds of interleaved visits, each committed as soon as it is made, until a rule or budget ends them.

This is the only loop over visits, but for that of a sustained run, which has neither rounds nor rests. What is measured
is decided in ``plan``, how in an agent, and what the numbers say in ``reading``.

A round visits every block, network or file once, in a fresh random order, with the anchor, if there is one, before
every ``anchor_every`` visits and at the end: so a slow minute of the machine touches a few visits of everything, not
all visits of a few.
"""

from __future__ import annotations

import math
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.base import Agent, Visit, VisitBatch
from fleetfront.profilers.plan import RoundOptions, Task, TaskList
from fleetfront.profilers.reading.observations import Observations, read_observations
from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.profilers.store.store import CampaignRow, Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, format_duration
from fleetfront.side_by_side import aside, on_interrupt, working_s
from fleetfront.targets import Target

#: Rounds that visit only what is first: three tell a block's time, and one of them may be an unlucky one.
FIRST_ROUNDS = 3
#: What failed so often in a row is left out of later rounds.
MOST_FAILURES = 2
#: So many different things that fail in a row, and in the same words, have one cause that no repetition removes.
MOST_EQUAL_FAILURES = 3

_HOW_TO_GO_ON = "Run the same command again to go on; everything measured so far is kept."


@dataclass(frozen=True, slots=True)
class Stop:
    """The reason for which a stop rule is satisfied, for people, and the error that it saw (percent), if any."""

    reason: str
    error: float | None = None


class StopRule(Protocol):
    """Decides after every round whether enough was measured. Implemented by whoever knows what the numbers are for."""

    def decide(self, observations: Observations, rounds: int, seconds: float) -> Stop | None:
        """A Stop to end the campaign. ``rounds`` are complete ones, ``seconds`` those of all sessions so far.

        Not asked after a round if that would take more than a tenth of the campaign's time.
        """


class CampaignInterrupted(KeyboardInterrupt):
    """Ctrl-C, after the visit in flight was committed. ``message`` says what happened, ``remedy`` how to go on."""

    exit_code = 130

    def __init__(self, message: str, remedy: str = _HOW_TO_GO_ON) -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} {remedy}")


class NothingMeasurable(DeviceError):
    """The device is there, but whatever was tried on it failed; the rows of those visits are in the store."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a campaign ends even if its stop rule is not satisfied: seconds over all sessions, and complete rounds."""

    seconds: float
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """The end of a campaign.

    Attributes:
        campaign: its name in the store.
        rounds: complete rounds over all sessions.
        seconds: time over all sessions, making the files included.
        ended_by: ``target``, ``budget`` or ``rounds``.
        stop: what the stop rule said, if it ended the campaign.
        visits: visits made in this session.
        was_resumed: whether an earlier command had begun it.
    """

    campaign: str
    rounds: int
    seconds: float
    ended_by: str
    stop: Stop | None
    visits: int
    was_resumed: bool


def find_unfinished(store: Store, target: Target, space: str, identity: str, budget_s: float) -> CampaignRow | None:
    """The newest campaign of this identity, if its last session was cut short or ended at a smaller budget."""
    for row in store.campaigns(target=target, space=space):
        if row.identity == identity and TaskList.from_store(row.plan) is not None:
            has_budget_left = row.reason == "budget" and row.seconds < 0.9 * budget_s
            return row if not row.is_finished or has_budget_left else None
    return None


def begin_campaign(
    store: Store, target: Target, space: str, identity: str, tasks: TaskList, environment: Mapping[str, Any]
) -> CampaignRow:
    """Record a new campaign; its name is the beginning of its identity and a number."""
    number = sum(row.identity == identity for row in store.campaigns(target=target, space=space)) + 1
    name = f"{identity[:12]}-{number}"
    store.add_campaign(name, target, space, identity, tasks.to_json(), environment)
    return next(row for row in store.campaigns(target=target, space=space) if row.id == name)


class Campaign:
    """One session of work on a recorded campaign. Call ``run`` once."""

    def __init__(
        self,
        store: Store,
        agent: Agent,
        row: CampaignRow,
        options: RoundOptions,
        files: Mapping[str, str],
        *,
        clock: Clock,
        names: Mapping[str, str] | None = None,
        progress: Progress = SILENT,
        now: Callable[[], float] = working_s,
    ) -> None:
        """Prepare to go on where the campaign ``row`` stands.

        Args:
            store: every visit is committed here.
            agent: makes the visits.
            row: what is measured, and the seconds already spent.
            options: order and shape of the visits.
            files: path of each file by its SHA-256.
            clock: what the stop rule sees.
            names: what to call keys that are no names themselves.
            progress: told of every visit.
            now: seconds of the budget, by default without those of other devices' turns; a simulated device brings its
                own.
        """
        self._store = store
        self._agent = agent
        self._row = row
        self._list = TaskList.from_json(row.plan)
        self._options = options
        self._files = files
        self._clock = clock
        self._names = names or {}
        self._progress = progress
        self._now = now
        self._started = now()
        self._failures: Counter[str] = Counter()
        self._last_error = ""
        self._equal_failures: list[Measurement] = []
        self._has_measured = False
        self._visits = 0
        self._shown = 0
        self._is_interrupted = False
        self._ask_again = self._started

    @property
    def seconds(self) -> float:
        """Time spent on the campaign over all sessions."""
        return self._row.seconds + self._now() - self._started

    def run(self, limits: Limits, rule: StopRule | None = None, *, preparing_s: float = 0.0) -> CampaignResult:
        """Measure until the rule is satisfied or a limit is reached; ``preparing_s`` were spent on it already.

        Raises:
            CampaignInterrupted: on Ctrl-C, once the visit in flight is committed.
            DeviceError: if the device is lost or nothing works on it; what was measured stays.
            InputError: if the disk is full, or the budget is spent before the first visit.
        """
        self._started -= preparing_s
        session = self._store.begin_session(self._row.id, time.time_ns() - int(preparing_s * 1e9))
        what = f"Profiling {self._row.space}" if self._row.space else "Measuring files"
        self._progress.start(f"{what} on {self._row.target}", self._total(limits))
        try:
            with aside(), on_interrupt(self._finish_the_visit):
                result = self._rounds(limits, rule)
        except CampaignInterrupted:
            self._store.end_session(session, "interrupted", finished=False, seconds=self._now() - self._started)
            raise
        except DeviceError as error:
            is_hopeless = isinstance(error, NothingMeasurable)
            # Where nothing was ever measured there is nothing to go on with: once the cause is gone, begin anew.
            is_empty = is_hopeless and not self._has_measured and self._row.seconds == 0
            self._store.end_session(session, "lost", finished=is_empty, seconds=self._now() - self._started)
            raised = NothingMeasurable if is_hopeless else DeviceError
            raise raised(error.message, f"{error.remedy} {_HOW_TO_GO_ON}".strip()) from error
        finally:
            self._progress.finish()
        self._store.end_session(session, result.ended_by, finished=True, seconds=self._now() - self._started)
        if self._store.last_round(self._row.id) < 0:
            written = (
                f"Writing its files took {format_duration(preparing_s)}, and they are kept: type the same command."
            )
            raise InputError(
                f"The budget of {format_duration(limits.seconds)} was spent before the first visit.",
                written
                if 2 * preparing_s > limits.seconds
                else f"Give more, e.g. --budget {max(2 * math.ceil(limits.seconds), 60)}s.",
            )
        return result

    def _rounds(self, limits: Limits, rule: StopRule | None) -> CampaignResult:
        number = max(0, self._store.last_round(self._row.id))
        while True:
            if not self._round(number, limits):
                return self._result(number, "budget", None)
            stop = None if rule is None else self._asked(rule, number + 1)
            if stop is not None:
                return self._result(number + 1, "target", stop)
            if limits.rounds is not None and number + 1 >= limits.rounds:
                return self._result(number + 1, "rounds", None)
            number += 1

    def _asked(self, rule: StopRule, rounds: int) -> Stop | None:
        if self._now() < self._ask_again:
            return None
        row, asked = self._row, self._now()
        observations = read_observations(self._store, row.target, row.space, self._clock, [row.id])
        stop = rule.decide(observations, rounds, self.seconds)
        # Asking takes longer the more was measured: it may cost a tenth of the time, not the better part of it.
        self._ask_again = self._now() + 10 * (self._now() - asked)
        return stop

    def _round(self, number: int, limits: Limits) -> bool:
        """Make what is left of a round; False if the budget ended in it."""
        done = self._store.uuids(self._row.id, number)
        visits = self._order(number)
        left = [visit for visit in visits if measurement_uuid(visit.uuid, Clock.WALL) not in done]
        made = len(visits) - len(left)
        size = self._options.anchor_every + 1
        row = self._row
        for start in range(0, len(left), size):
            seconds_left = limits.seconds - self.seconds
            if seconds_left <= 0:
                return False
            chunk = tuple(left[start : start + size])
            inputs = self._options.inputs
            needed = [visit.file for visit in chunk] + ([inputs.arrays] if inputs.arrays else [])
            files = {sha256: self._files[sha256] for sha256 in needed}
            within = seconds_left if math.isfinite(seconds_left) else None
            batch = VisitBatch(row.target, row.space, row.id, number, chunk, files, within, inputs)
            with closing(self._agent.run(batch)) as results:
                for measurements in results:
                    made += 1
                    self._commit(measurements)
                    self._show(limits, f"{self._name(number, limits)}, {made}/{len(visits)}")
                    if self._is_interrupted:
                        raise CampaignInterrupted(f"Interrupted in round {number + 1} after {self._visits} visits.")
                    if self.seconds >= limits.seconds:
                        return made == len(visits)
        return True

    def _order(self, number: int) -> list[Visit]:
        """All visits of a round in their order, the same whenever it is asked for."""
        tasks = self._tasks(number)
        anchor = () if self._list.anchor is None else (self._list.anchor,)
        order: list[Task] = []
        for position, task in enumerate(tasks):
            if position % self._options.anchor_every == 0:
                order.extend(anchor)
            order.append(task)
        order.extend(anchor)
        visits = [self._visit(task, number, position) for position, task in enumerate(order)]
        kept = [visit for visit in visits if self._failures[visit.key] < MOST_FAILURES]
        if not any(visit.role != Role.ANCHOR for visit in kept):
            raise NothingMeasurable(
                f"Nothing can be measured on {self._row.target}: {self._last_error}.", "Fix this first."
            )
        return kept

    def _tasks(self, number: int) -> list[Task]:
        """Order what a round visits at random. The first rounds pass over blocks that are not first."""
        places = {key: place for place, key in enumerate(self._options.first)}
        tasks = [
            task
            for task in self._list.tasks
            if not places or number >= FIRST_ROUNDS or task.role != Role.BLOCK or task.key in places
        ]
        shuffled = np.random.default_rng([self._options.seed, number]).permutation(len(tasks))
        order = [tasks[index] for index in shuffled]
        if not places or number:
            return order
        first = sorted((task for task in order if task.key in places), key=lambda task: places[task.key])
        others = [task for task in order if task.key not in places]
        # Networks lie between them: a budget that ends in this round leaves some, or the blocks would scale nothing.
        ranked = [*_spread(first), *_spread(others)]
        return [task for _, task in sorted(ranked, key=lambda pair: pair[0])]

    def _visit(self, task: Task, number: int, position: int) -> Visit:
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"fleetfront:{self._row.id}:{number}:{position}").hex
        shape = self._options
        return Visit(
            identity, task.role, task.key, task.file, shape.warm_runs, shape.timed_runs, shape.timed_s, shape.is_cold
        )

    def _commit(self, measurements: tuple[Measurement, ...]) -> None:
        self._store.append(measurements)
        self._visits += 1
        for measurement in measurements:
            if measurement.error is None:
                self._failures.pop(measurement.key, None)
                self._equal_failures, self._has_measured = [], True
                continue
            self._failures[measurement.key] += 1
            self._last_error = measurement.error
            if self._equal_failures and _words(self._equal_failures[-1]) != _words(measurement):
                self._equal_failures = []
            self._equal_failures.append(measurement)
            equal = len(self._equal_failures)
            if self._failures[measurement.key] == 1 and equal <= MOST_EQUAL_FAILURES:
                name = self._names.get(measurement.key, measurement.key)
                self._progress.note(f"{name} could not be measured: {measurement.error}")
            if equal == MOST_EQUAL_FAILURES + 1 and self._has_measured:
                self._progress.note("More could not be measured, in the same words.")
            self._check_common_cause()

    def _check_common_cause(self) -> None:
        """Raise NothingMeasurable if different things fail in the same words, the anchor among them if there is one."""
        failures = self._equal_failures
        keys = {failure.key for failure in failures}
        is_anchored = self._list.anchor is not None
        is_common = any(f.role == Role.ANCHOR for f in failures) if is_anchored else not self._has_measured
        if len(keys) >= MOST_EQUAL_FAILURES and is_common:
            raise NothingMeasurable(
                f"Nothing can be measured on {self._row.target}: {len(keys)} things in a row failed in the same words: "
                f"{self._last_error}.",
                str(failures[-1].after.get("remedy") or "Remove the cause that these words name."),
            )

    def _total(self, limits: Limits) -> int | None:
        """Steps that progress is counted in: seconds of the budget, or visits where only the rounds are limited."""
        if math.isfinite(limits.seconds):
            return max(1, int(limits.seconds))
        return None if limits.rounds is None else limits.rounds * len(self._order(0))

    @staticmethod
    def _name(number: int, limits: Limits) -> str:
        return f"round {number + 1}" if limits.rounds is None else f"round {number + 1} of {limits.rounds}"

    def _show(self, limits: Limits, detail: str) -> None:
        if not math.isfinite(limits.seconds):
            self._progress.advance(1, detail)
            return
        elapsed = int(min(self.seconds, limits.seconds))
        # How long it still takes, progress itself says: its steps are seconds.
        self._progress.advance(elapsed - self._shown, detail)
        self._shown = elapsed

    def _result(self, rounds: int, ended_by: str, stop: Stop | None) -> CampaignResult:
        return CampaignResult(
            self._row.id, rounds, self.seconds, ended_by, stop, self._visits, was_resumed=self._row.seconds > 0
        )

    def _finish_the_visit(self) -> None:
        self._is_interrupted = True
        self._progress.note("Finishing the visit in flight; press Ctrl-C again to stop at once.")


def _spread(tasks: Sequence[Task]) -> list[tuple[float, Task]]:
    """Each with its place, the first at 0 and all before 1."""
    return [(place / len(tasks), task) for place, task in enumerate(tasks)]


def _words(failure: Measurement) -> str:
    """An error without what names the file: equal for one cause."""
    return re.sub(r"\S*[0-9a-f]{64}\S*", "", failure.error or "").replace(failure.key, "")

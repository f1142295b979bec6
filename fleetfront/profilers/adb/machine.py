"""Decide what is done next on a phone: connect, prepare, push, look, visit, wait or give up.

A state machine without clock or I/O: events say what happened, instructions what to do; ``agent`` carries them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.facts.conditions import THROTTLED, State, read_state
from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.failures import MOST_ENDLESS, explain_endless, is_endless
from fleetfront.profilers.adb.heat import HeatWatch, Look, Note, Wait
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceReplaced
from fleetfront.profilers.adb.runners.script import FILE_MISSING
from fleetfront.profilers.adb.runners.session import ScriptEnded, Visited
from fleetfront.profilers.adb.visit_rows import Rows, VisitRows, as_try
from fleetfront.profilers.base import Visit, VisitBatch

#: The longest stretch of visits between two looks at the heat; what is taken in it waits for the second look.
CHECK_EVERY_S = 2.0
#: Losses of the connection in a row, with no visit made between them, before the machine gives up.
_MOST_LOSSES = 3
#: Times that the script may end in the middle of one visit before that visit becomes an error.
_MOST_ENDS = 2
#: What a shell returns for a program that it cannot start, or cannot find, and a visit for a file that is not there.
_GONE = (126, 127, FILE_MISSING)
#: Attempts to connect again follow each other so soon, or four times in the time that a lost device has.
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch is to be measured."""

    batch: VisitBatch


@dataclass(frozen=True, slots=True)
class Connected:
    """The device answers, and says what it is."""

    device: Device


@dataclass(frozen=True, slots=True)
class Refused:
    """The device could not be connected to."""

    error: DeviceError


@dataclass(frozen=True, slots=True)
class Prepared:
    """Folder and runner are ready; ``around`` is repeated by every row."""

    around: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """Files are pushed, or the wait is over."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at the device was taken."""

    state: State


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stretch of visits is over, and the script with it if ``is_over``."""

    is_over: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The device went away (ConnectionLost) or the script ended (ScriptEnded), at ``wall_ns`` of the wall clock."""

    error: ConnectionLost | ScriptEnded
    wall_ns: int = 0


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The caller wants no more of the batch; ``is_lost`` if the device went away at that."""

    is_lost: bool = False


Event = Begun | Connected | Refused | Prepared | Done | Looked | Visited | Stopped | Lost | Abandoned


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect anew: Connected, or Refused."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make folder, runner and settings ready: Prepared."""


@dataclass(frozen=True, slots=True)
class Push:
    """Put files on the device, by their SHA-256: Done."""

    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MakeVisits:
    """Make visits in order, beginning none after ``seconds``: Visited for each, then Stopped."""

    visits: tuple[Visit, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class EndScript:
    """Make no more visits and end the script: Stopped."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Rows of one visit, for whoever asked."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Raise the error: nothing more is done until the next batch."""

    error: DeviceError


#: At most the last one in a list is followed by events: all but Keep, Note and GiveUp.
Instruction = Connect | Prepare | Push | Look | MakeVisits | EndScript | Wait | Keep | Note | GiveUp


class PhoneMachine:
    """Knows one device while batches are measured on it."""

    def __init__(self, device: Device, heat: HeatWatch, rows: VisitRows, reconnect_s: float) -> None:
        """Take over a connected device.

        Args:
            device: what answered first; another one that answers later is refused.
            heat: decides when the device is too hot.
            rows: makes rows of visits.
            reconnect_s: how long a lost device is waited for.
        """
        self._device = device
        self._heat = heat
        self._rows = rows
        self._reconnect_s = reconnect_s
        self._is_connected = True
        self._is_prepared = False
        self._is_closing = False
        self._pushed: set[str] = set()
        self._pushing: tuple[str, ...] = ()
        self._batch = VisitBatch(rows.target, "", "", -1, ())
        self._left: dict[str, Visit] = {}
        self._opening = read_state("", "")
        # Visits of the stretch in progress, which wait for the look that follows it.
        self._held: list[tuple[Visit, Visited]] = []
        self._tries: dict[str, list[Rows]] = {}
        self._losses = 0
        # Visits in a row that had to be ended, and why the last one was.
        self._endless = 0
        self._error = ""
        self._lost: tuple[DeviceError, float] | None = None
        self._ended_by: Counter[str] = Counter()

    @property
    def is_waiting(self) -> bool:
        """True if the device is waited for, to cool down or to come back."""
        return self._heat.is_waiting or self._lost is not None

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Answer an event with what to do, in order; ``now`` is in seconds of any clock that never goes back."""
        said = self._handle(event, now)
        if self._endless < MOST_ENDLESS:
            return said
        self._endless = 0
        kept: list[Instruction] = [one for one in said if isinstance(one, Keep | Note)]
        return [*kept, GiveUp(explain_endless(self._rows.target.device, self._error))]

    def _handle(self, event: Event, now: float) -> list[Instruction]:
        match event:
            case Begun(batch):
                return self._begin(batch, now)
            case Connected(device):
                return self._greet(device, now)
            case Refused(error):
                return self._try_again(error, now)
            case Prepared(around):
                self._is_prepared = True
                self._rows.around = around
                return self._next(now)
            case Looked(state):
                notes: list[Instruction] = list(self._heat.see(state, now, is_new=not self._is_closing))
                kept = self._settle(state, now) if self._is_closing else []
                return [*notes, *kept, *self._next(now)]
            case Visited():
                return self._take(event)
            case Stopped(is_over):
                if self._held and not is_over:
                    self._is_closing = True
                    return [Look()]
                return [*self._settle(None, now), *self._next(now)]
            case Lost(error, wall_ns):
                return self._lose(error, wall_ns, now)
            case Abandoned(is_lost):
                self._left, self._held, self._is_closing = {}, [], False
                self._forget_device(is_lost)
                return []
            case Done():
                self._pushed.update(self._pushing)
                self._pushing = ()
                return self._next(now)

    def _begin(self, batch: VisitBatch, now: float) -> list[Instruction]:
        before, self._batch = self._batch, batch
        is_first = before.round < 0
        self._left = {visit.uuid: visit for visit in batch.visits}
        self._held, self._tries, self._is_closing, self._losses, self._lost = [], {}, False, 0, None
        self._heat.wait_within(batch.seconds_left, now)
        if is_first or (before.campaign, before.round) != (batch.campaign, batch.round):
            self._heat.begin_round(is_first)
        return self._next(now)

    def _next(self, now: float) -> list[Instruction]:
        if not self._left:
            return []
        if not self._is_connected:
            return [Connect()]
        if not self._is_prepared:
            return [Prepare()]
        missing = tuple(dict.fromkeys(v.file for v in self._left.values() if v.file not in self._pushed))
        if missing:
            self._pushing = missing
            return [Push(missing)]
        said = self._heat.next(now)
        if said and not isinstance(said[-1], Note):
            return [*said]
        self._opening = self._heat.open()
        return [*said, MakeVisits(tuple(self._left.values()), CHECK_EVERY_S)]

    def _greet(self, device: Device, now: float) -> list[Instruction]:
        if not device.is_same_unit(self._device):
            return [GiveUp(DeviceReplaced(self._device.name_unit(), device.name_unit()))]
        self._is_connected, self._lost = True, None
        return self._next(now)

    def _try_again(self, error: DeviceError, now: float) -> list[Instruction]:
        if self._lost is None:
            return [GiveUp(error)]
        lost, deadline = self._lost
        if now <= deadline:
            return [Wait(min(_RETRY_S, self._reconnect_s / 4))]
        # Why it does not come back says more than that it went away.
        lost.remedy = f"{error.message} {error.remedy}"
        self._lost = None
        return [GiveUp(lost)]

    def _take(self, visited: Visited) -> list[Instruction]:
        visit = self._left[visited.id]
        if visited.exit_code in _GONE:
            # What somebody removed is put back; a runner that cannot start says why when it is installed anew.
            self._is_prepared = False
            self._pushed.clear()
            self._losses += 1
            if self._losses > _MOST_LOSSES:
                why = "files vanish from its folder" if visited.exit_code == FILE_MISSING else visited.text
                return [GiveUp(ScriptEnded(self._device.model, f"exit code {visited.exit_code}: {why}"))]
            return [EndScript()]
        rows = self._make_rows(visit, visited, None)
        self._count_endless(rows[0].error)
        if self._heat.is_told and rows[0].error is None:
            self._held.append((visit, visited))
            return []
        return [self._keep(visit, rows)]

    def _settle(self, closing: State | None, now: float) -> list[Instruction]:
        """Rows of the stretch that is over; visits that were hot are left to be made again."""
        held, self._held, self._is_closing = self._held, [], False
        kept: list[Instruction] = []
        for visit, visited in held:
            rows = self._make_rows(visit, visited, closing)
            tries = self._tries.setdefault(visit.uuid, [])
            if closing is not None and THROTTLED in rows[0].flags and len(tries) < self._heat.repeats(now):
                tries.append(rows)
            else:
                kept.append(self._keep(visit, rows))
        return kept

    def _lose(self, error: ConnectionLost | ScriptEnded, wall_ns: int, now: float) -> list[Instruction]:
        # Nothing that arrived is lost; what the heat was afterwards stays unknown.
        said = self._settle(None, now)
        blamed = self._blame(error)
        if blamed is not None:
            gone = Visited(blamed.uuid, "", 137, wall_ns, 0, "", "", error.message)
            self._opening = read_state("", "")
            return [*said, self._keep(blamed, self._make_rows(blamed, gone, None)), *self._next(now)]
        self._losses += 1
        if isinstance(error, ConnectionLost):
            self._forget_device(True)
        if self._losses > _MOST_LOSSES:
            return [*said, GiveUp(error)]
        if isinstance(error, ConnectionLost) and self._left:
            self._lost = error, now + self._reconnect_s
            said.append(Note(f"{error.message} Waiting up to {self._reconnect_s:.0f} s for it to come back."))
        return [*said, *self._next(now)]

    def _blame(self, error: ConnectionLost | ScriptEnded) -> Visit | None:
        """The visit that ended the script on the device, if it did so before: it costs its own row, not the run."""
        visit = self._left.get(error.visit or "") if isinstance(error, ScriptEnded) else None
        if visit is None:
            return None
        self._ended_by[visit.uuid] += 1
        return visit if self._ended_by[visit.uuid] >= _MOST_ENDS else None

    def _forget_device(self, is_lost: bool) -> None:
        if is_lost:
            self._is_connected = self._is_prepared = False
            # Files are checked by hash again: the device may have restarted in the middle of a write.
            self._pushed.clear()
            self._pushing = ()

    def _make_rows(self, visit: Visit, visited: Visited, closing: State | None) -> Rows:
        return self._rows.of(self._batch, visit, visited, self._opening, closing)

    def _keep(self, visit: Visit, rows: Rows) -> Keep:
        self._losses = 0
        del self._left[visit.uuid]
        return Keep((*_as_tries(self._tries.pop(visit.uuid, ()), visit), *rows))

    def _count_endless(self, error: str | None) -> None:
        self._endless = self._endless + 1 if is_endless(error) else 0
        self._error = error or ""


def _as_tries(tries: Sequence[Rows], visit: Visit) -> Rows:
    return tuple(row for number, rows in enumerate(tries, 1) for row in as_try(rows, visit, number))

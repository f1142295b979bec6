"""Play a phone: carry the instructions of a machine out on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.facts.conditions import Cooling, read_state
from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.heat import HeatWatch, Look, Note, Wait
from fleetfront.profilers.adb.link.faults import ConnectionLost
from fleetfront.profilers.adb.machine import (
    Begun,
    Connect,
    Connected,
    Done,
    EndScript,
    Event,
    GiveUp,
    Keep,
    Looked,
    Lost,
    MakeVisits,
    PhoneMachine,
    Prepare,
    Prepared,
    Push,
    Refused,
    Stopped,
)
from fleetfront.profilers.adb.runners.base import Timings
from fleetfront.profilers.adb.runners.session import ScriptEnded, Visited
from fleetfront.profilers.adb.visit_rows import Rows, VisitRows
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock
from fleetfront.targets import Target

TARGET = Target("adb:x", "tflite-cpu")
DEVICE = Device("Fake Phone", "SoC", "Android 13", ("arm64-v8a",), (), frozenset(), "/data", {}, unit="A1")
#: A played visit and a played look take so long.
VISIT_S, LOOK_S = 0.3, 0.05


class ReadsNumbers:
    """A runner whose words are nanoseconds, or an error."""

    def read(self, text: str, exit_code: int, target: Target) -> Timings:
        return Timings({Clock.WALL: (int(text),)}) if text.isdigit() else Timings(error=text or "nothing")


@dataclass
class PlayedPhone:
    """Carries instructions out on a clock of its own.

    Attributes:
        statuses: thermal statuses of the coming looks; then ``status_at`` tells.
        status_at: thermal status at a time.
        fails: called with the number of each visit, look (0) or connection (-1); may raise.
        answers: what answers when it is connected to again.
    """

    cooling: Cooling = field(default_factory=Cooling)
    statuses: list[int] = field(default_factory=list)
    status_at: Callable[[float], int] = lambda now: 0
    fails: Callable[[int], Any] = lambda number: None
    says: Callable[[int], tuple[str, int]] = lambda number: ("1000", 0)
    answers: Device = DEVICE
    tells_heat: bool = True
    now: float = 100.0
    made: int = 0
    is_ended: bool = False
    done: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.heat = HeatWatch("adb:x", (), 0, self.cooling, self.tells_heat)
        rows = VisitRows(ReadsNumbers(), TARGET, (), 0, self.heat.reason)  # type: ignore[arg-type]
        self.machine = PhoneMachine(DEVICE, self.heat, rows, reconnect_s=10.0)

    def run(self, batch: VisitBatch) -> Iterator[Rows]:
        events: Iterator[Event] = iter((Begun(batch),))
        while True:
            todo = None
            for event in events:
                for instruction in self.machine.handle(event, self.now):
                    if isinstance(instruction, Keep):
                        yield instruction.rows
                    elif isinstance(instruction, Note):
                        self.notes.append(instruction.text)
                    elif isinstance(instruction, GiveUp):
                        raise instruction.error
                    else:
                        todo = instruction
                if todo is not None:
                    break
            if todo is None:
                return
            self.done.append(todo)
            events = self._do(todo)

    def _do(self, todo: Any) -> Iterator[Event]:
        try:
            if isinstance(todo, Connect):
                self.now += 0.1
                try:
                    self.fails(-1)
                except DeviceError as error:
                    yield Refused(error)
                else:
                    yield Connected(self.answers)
            elif isinstance(todo, Prepare):
                yield Prepared({})
            elif isinstance(todo, Push):
                yield Done()
            elif isinstance(todo, Wait):
                self.now += todo.seconds
                yield Done()
            elif isinstance(todo, Look):
                self.now += LOOK_S
                self.fails(0)
                status = self.statuses.pop(0) if self.statuses else self.status_at(self.now)
                yield Looked(read_state(f"Thermal Status: {status}", ""))
            elif isinstance(todo, EndScript):
                yield Stopped(True)
            else:
                assert isinstance(todo, MakeVisits)
                yield from self._visits(todo)
        except (ConnectionLost, ScriptEnded) as error:
            yield Lost(error, 7)

    def _visits(self, todo: MakeVisits) -> Iterator[Event]:
        begun = self.now
        for visit in todo.visits:
            if self.now - begun >= todo.seconds:
                break
            self.now += VISIT_S
            self.made += 1
            try:
                self.fails(self.made)
            except ScriptEnded as ended:
                ended.visit = visit.uuid
                raise
            text, code = self.says(self.made)
            yield Visited(visit.uuid, text, code, 0, 10, "", "")
            if self.is_ended:
                break
        is_over, self.is_ended = self.is_ended, False
        yield Stopped(is_over)


def make_batch(count: int, *, round: int = 0, seconds_left: float | None = None) -> VisitBatch:
    visits = tuple(Visit(f"{round:02}{i:030}", Role.BLOCK, f"b{i}", f"f{i % 3}", 1, 3) for i in range(count))
    return VisitBatch(TARGET, "s", "c", round, visits, seconds_left=seconds_left)


def kinds(phone: PlayedPhone) -> list[str]:
    return [type(one).__name__ for one in phone.done]


def raise_on(number: int, *errors: DeviceError) -> Callable[[int], None]:
    """Raise the errors one after the other, each time that visit ``number`` (or -1, 0) comes."""
    waiting = list(errors)

    def fail(now: int) -> None:
        if now == number and waiting:
            raise waiting.pop(0)

    return fail


def lost() -> ConnectionLost:
    return ConnectionLost("adb:x", "cable")

"""Serve this host's devices to a controller at the other end of a pipe: ``fleetfront agent --stdio``.

One process holds one device, which the controller names. Its lock is the kind's own, so it goes with this process:
when the pipe ends, when the controller is silent for ``SILENCE_S``, or when this process dies. What was measured and
not confirmed stays in the ``Outbox``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from fleetfront import __version__
from fleetfront.errors import DeviceError, FleetfrontError, InputError
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.kinds.base import Choices, TimesOperators
from fleetfront.profilers.kinds.catalogue import kind_of
from fleetfront.profilers.remote.lines import Lines, LineTooLong, LinkEnded
from fleetfront.profilers.remote.messages import (
    AGENT_ENDED,
    BEAT_S,
    LEAVING_S,
    MOST_ENDS,
    MOST_LINE_BYTES,
    PROTOCOL,
    SILENCE_S,
    Abandon,
    Beat,
    Done,
    FromController,
    FromHost,
    Greeting,
    Hello,
    HostDevice,
    HostLine,
    Keep,
    Lacking,
    Measure,
    Note,
    Offer,
    Open,
    Operators,
    Part,
    Ready,
    Refused,
    Rows,
    TimeOperators,
    from_controller,
    to_line,
)
from fleetfront.profilers.remote.outbox import Outbox
from fleetfront.profilers.remote.received import ReceivedFiles
from fleetfront.quantities import Clock
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent
    from fleetfront.profilers.records import Measurement

#: Messages that wait for the device; parts of files are the only ones that come in numbers.
_WAITING = 16
_ASK_AGAIN_S = 0.2
_HASH, _SUFFIX = re.compile(r"[0-9a-f]{64}"), re.compile(r"(\.[a-z0-9]{1,12})?")


def list_host_devices() -> tuple[HostDevice, ...]:
    """The devices that this host could hold: its processor, its GPUs as far as NVML tells, and attached phones."""
    from fleetfront.profilers.adb.open_agent import list_adb_devices
    from fleetfront.profilers.cpu.conditions import describe_machine
    from fleetfront.profilers.gpu.nvml import import_nvml

    found = [HostDevice("cpu", "device", str(describe_machine().get("cpu", "")))]
    with contextlib.suppress(FleetfrontError):
        count = int(import_nvml().nvmlDeviceGetCount())
        found += [HostDevice(f"cuda:{number}", "device") for number in range(count)]
    try:
        found += [HostDevice(one.name, one.state, one.model, one.remedy) for one in list_adb_devices()]
    except FleetfrontError as error:
        found.append(HostDevice("adb", "unknown", remedy=str(error)))
    return tuple(found)


class _ControllerGone(BaseException):
    """Raised in the main thread, wherever it is, when nobody is left to measure for."""


class _Notes:
    """Progress that reaches the person at the controller; only words do."""

    def __init__(self, say: _Mouth) -> None:
        self._say = say

    def start(self, label: str, total: int | None = None) -> None:
        """The controller shows its own."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """The same."""

    def finish(self) -> None:
        """The same."""

    def note(self, text: str) -> None:
        self._say(Note(text[:20_000]))


class _Mouth:
    """Says messages; silent once nobody listens."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __call__(self, message: FromHost) -> None:
        with contextlib.suppress(LinkEnded):
            self._lines.write(to_line(HostLine(message)))


class _Ear:
    """Reads in a thread of its own, so that a long visit neither delays a confirmation nor looks like silence."""

    def __init__(self, lines: Lines, say: _Mouth) -> None:
        self._lines, self._say = lines, say
        self._heard: queue.Queue[FromController] = queue.Queue(_WAITING)
        self._is_leaving = False
        self.abandoned, self.exit_code = -1, 0
        self.outbox: Outbox | None = None
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._leave)
        # Ctrl-C is the controller's business, also where it shares our terminal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for work in (self._listen, self._beat):
            threading.Thread(target=work, daemon=True).start()

    def next(self) -> FromController:
        """The next message that the main thread has to deal with."""
        return self._heard.get()

    def stop(self) -> None:
        """From now on the main thread is not disturbed: it leaves the device."""
        self._is_leaving = True

    def _leave(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            raise _ControllerGone

    def _listen(self) -> None:
        try:
            while True:
                match from_controller(self._lines.read(SILENCE_S)):
                    case Beat():
                        continue
                    case Keep(visit):
                        if self.outbox is not None:
                            self.outbox.forget(visit)
                    case Abandon(number):
                        self.abandoned = max(self.abandoned, number)
                    case message:
                        self._heard.put(message)
        except (LineTooLong, ValueError) as error:
            self.exit_code = InputError.exit_code
            self._say(Refused("DeviceError", f"A message of the controller cannot be read: {error}.", _SAME_VERSION))
            sys.stderr.write(f"Error: what came on stdin is no message of fleetfront: {error}.\n{_NOT_TYPED}\n")
        except LinkEnded:
            pass
        finally:
            self._end()

    def _end(self) -> None:
        """Have the main thread leave the device, and end this process if that takes too long."""
        until = time.monotonic() + LEAVING_S
        while time.monotonic() < until:
            # A signal just before a system call does not interrupt it: the next one does.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            time.sleep(_ASK_AGAIN_S)
        if self.outbox is not None:
            self.outbox.leave()
        os._exit(1)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            self._say(Beat())


class Host:
    """One controller's session on this host."""

    def __init__(self, ear: _Ear, say: _Mouth, place: Workspace) -> None:
        self._ear, self._say, self._place = ear, say, place
        self._files = ReceivedFiles(place)
        self._controller = ""
        self._agent: Agent | None = None

    def greet(self) -> bool:
        """Answer the greeting; False if the two do not speak the same version, which the controller is told."""
        greeting = self._ear.next()
        if not isinstance(greeting, Greeting):
            self._say(Refused("DeviceError", "The controller did not greet.", _SAME_VERSION))
            return False
        if greeting.protocol != PROTOCOL:
            self._say(
                Refused(
                    "DeviceError",
                    f"Its fleetfront {__version__} speaks version {PROTOCOL} of the agent's protocol, and fleetfront "
                    f"{greeting.fleetfront} here version {greeting.protocol}.",
                    _SAME_VERSION,
                )
            )
            return False
        self._controller = greeting.controller
        devices = list_host_devices() if greeting.lists_devices else ()
        self._say(Hello(PROTOCOL, __version__, platform.python_version(), platform.node(), time.time_ns(), devices))
        return True

    def serve(self) -> None:
        """Deal with messages until ``_ControllerGone`` is raised."""
        while True:
            message = self._ear.next()
            try:
                self._answer(message)
            except FleetfrontError as error:
                self._say(Refused(type(error).__name__, error.message, error.remedy))

    def close(self) -> None:
        """Leave the device as it was found."""
        self._files.drop()
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.close()

    def _answer(self, message: FromController) -> None:
        match message:
            case Open():
                self._open(message)
            case Offer(files):
                self._say(Lacking(self._files.lacking(files)))
            case Part():
                self._files.take(message)
            case Measure(number, batch):
                self._measure(number, batch)
            case TimeOperators():
                self._time_operators(message)
            case _:
                raise DeviceError(f"A {message.kind} comes out of its turn.", _SAME_VERSION)

    def _open(self, message: Open) -> None:
        self.close()
        kind = kind_of(message.target.device)
        paths = set(message.paths)
        settings = {name: Path(str(value)) if name in paths else value for name, value in message.settings.items()}
        choices = Choices(message.device, self._place, settings)
        if message.is_preview:
            self._say(Ready((), kind.preview(message.target, choices, _Notes(self._say))))
            return
        agent = kind.open(message.target, choices, _Notes(self._say))
        self._agent = agent
        self._ear.outbox = Outbox(self._place, self._controller, message.target)
        facts: dict[str, Any] = {**agent.describe(), "remote_host": platform.node(), "remote_fleetfront": __version__}
        self._say(Ready(tuple(agent.clocks), facts))

    def _measure(self, number: int, batch: VisitBatch) -> None:
        agent, outbox = self._agent, self._ear.outbox
        if agent is None or outbox is None:
            raise DeviceError("Visits came before a device was opened.", _SAME_VERSION)
        batch = replace(batch, files={sha256: self._path(sha256, end) for sha256, end in batch.files.items()})
        left = list(batch.visits)
        while left and self._ear.abandoned < number:
            kept = self._known(outbox, batch, left[0])
            if kept is not None:
                self._say(Rows(number, left[0].uuid, kept))
                del left[0]
                continue
            stretch = list(takewhile(lambda visit: self._known(outbox, batch, visit) is None, left))
            for visit, rows in self._made(agent, outbox, replace(batch, visits=tuple(stretch)), stretch):
                outbox.put(batch, visit, rows)
                self._say(Rows(number, visit.uuid, rows))
                if self._ear.abandoned >= number:
                    break
            del left[: len(stretch)]
        self._say(Done(number))

    @staticmethod
    def _known(outbox: Outbox, batch: VisitBatch, visit: Visit) -> tuple[Measurement, ...] | None:
        """Rows of a visit that need no making: they are kept, or making them ends this program; None of others."""
        kept, ended = outbox.find(batch, visit), outbox.ended_in(visit.uuid)
        if kept is not None or ended < MOST_ENDS:
            return kept
        error = f"the agent on the host ended {ended} times while it measured this, as when a runtime crashes"
        return (batch.row(visit, Clock.WALL, (), started_ns=time.time_ns(), after={AGENT_ENDED: ended}, error=error),)

    @staticmethod
    def _made(
        agent: Agent, outbox: Outbox, batch: VisitBatch, visits: Sequence[Visit]
    ) -> Iterator[tuple[Visit, tuple[Measurement, ...]]]:
        with closing(agent.run(batch)) as answers:
            for visit in visits:
                with outbox.making(visit.uuid):
                    rows = next(answers, None)
                if rows is None:
                    return
                yield visit, rows
            # An agent that is not heard out believes the rest to be abandoned.
            next(answers, None)

    def _path(self, sha256: str, suffix: str) -> str:
        if not _HASH.fullmatch(sha256) or not _SUFFIX.fullmatch(suffix):
            raise InputError(f"{sha256[:70]}{suffix[:20]} is no name of a file.", _SAME_VERSION)
        return str(self._files.path(sha256, suffix))

    def _time_operators(self, message: TimeOperators) -> None:
        kind = kind_of(message.target.device)
        if not isinstance(kind, TimesOperators):
            raise InputError(f"{message.target.device} tells no times of operators.", "Time the file without them.")
        file = Path(self._path(message.sha256, message.suffix))
        arrays = Path(self._path(message.arrays, ".npz")) if message.arrays else None
        choices = Choices(workspace=self._place)
        self._say(Operators(kind.time_operators(message.target, choices, file, message.shapes, arrays)))


_SAME_VERSION = f"Install the same version at both ends: pip install fleetfront=={__version__}"
_NOT_TYPED = "Nobody types this command: `fleetfront profile --device ssh:HOST/cpu` on another machine starts it."


def serve_stdio(place: Workspace) -> int:
    """Be the agent on stdin and stdout until the controller is gone; what runtimes print goes to stderr."""
    writing = os.dup(1)
    os.dup2(2, 1)
    lines = Lines(0, writing, MOST_LINE_BYTES)
    say = _Mouth(lines)
    ear: _Ear | None = None
    with ExitStack() as stack:
        try:
            ear = _Ear(lines, say)
            host = Host(ear, say, place)
            stack.callback(_left, host, ear, say)
            if host.greet():
                host.serve()
        except _ControllerGone:
            return 0 if ear is None else ear.exit_code
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            say(Refused("DeviceError", f"The agent failed: {type(error).__name__}: {error}.", "Run the command again."))
    return 1


def _left(host: Host, ear: _Ear, say: _Mouth) -> None:
    ear.stop()
    try:
        host.close()
    except FleetfrontError as error:
        say(Note(f"The device could not be left as it was found: {error}"))

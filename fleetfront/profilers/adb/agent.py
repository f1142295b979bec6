"""Measure batches of visits on a device over ADB: carry out what ``machine`` decides, and leave the device as found.

``open_agent`` finds a device and makes an agent for it; how the pieces work is written in ``session`` and the runners.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.facts.conditions import Cooling, read_state
from fleetfront.profilers.adb.facts.cores import core_mask
from fleetfront.profilers.adb.facts.device import Device, read_device
from fleetfront.profilers.adb.facts.thermal import parse_wakefulness
from fleetfront.profilers.adb.heat import HeatWatch, Look, Note, Wait
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceReplaced
from fleetfront.profilers.adb.machine import (
    Abandoned,
    Begun,
    Connect,
    Connected,
    Done,
    EndScript,
    Event,
    GiveUp,
    Instruction,
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
from fleetfront.profilers.adb.runners.base import Runner
from fleetfront.profilers.adb.runners.script import run_script, session_script
from fleetfront.profilers.adb.runners.session import MeasuredElsewhere, ScriptEnded, Session, VisitRequest
from fleetfront.profilers.adb.visit_rows import Rows, VisitRows, describe_around
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock
from fleetfront.side_by_side import on_interrupt, pause
from fleetfront.targets import Target

_SETTING = "global stay_on_while_plugged_in"
#: On any charger, cable or wireless: https://developer.android.com/reference/android/provider/Settings.Global#STAY_ON_WHILE_PLUGGED_IN
_ALWAYS = 7
_KEY_SLEEP, _KEY_WAKE_UP = 223, 224
_RESTORE = "restore.sh"
#: What whoever measures a device holds there, beside the folders of all who do.
_LOCK = "fleetfront.lock"
#: A script that lost its connection puts settings back, which takes a second or two, before it lets the device go.
_OWN_ENDS_S = 15.0


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """Settings of an agent.

    Attributes:
        cooling: when to wait for the device to cool down.
        visit_timeout_s: a visit that takes longer is ended and becomes an error.
        reconnect_s: how long a lost device is waited for before the command gives up.
        keep_files: leave the pushed files on the device when the agent is closed.
        is_any_unit: another unit of the model goes on with what one began; rows say which unit each is of.
    """

    cooling: Cooling = field(default_factory=Cooling)
    visit_timeout_s: float = 120.0
    reconnect_s: float = 10.0
    keep_files: bool = False
    is_any_unit: bool = False


class AdbAgent:
    """Measures on one device. Used by one thread."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        connection: Connection,
        device: Device,
        runner: Runner,
        target: Target,
        *,
        cores: str,
        folder: str,
        owner: str = "unknown",
        lock: Callable[[], AbstractContextManager[None]] = nullcontext,
        options: AgentOptions | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """Take over a connected device; nothing is written to it before the first batch.

        Args:
            connect: connects to the same device again. Raises DeviceError.
            connection: to the device.
            device: what it is.
            runner: what times the files.
            target: what the measurements belong to.
            cores: ``big``, ``little``, ``all`` or a hexadecimal mask.
            folder: of this machine's own on the device; made when needed and removed by ``close``.
            owner: what other computers are told of us while they may not measure on it: letters, digits, ``.``, ``-``.
            lock: held from the first batch to ``close``, so that no two commands measure one device.
            options: see ``AgentOptions``.
            progress: told of waiting and reconnecting.

        Raises:
            InputError: the cores do not exist, or the runner does not serve the target.
        """
        self.target = target
        self.device = device
        self.mask = core_mask(cores, device.cores, target.threads)
        if self.mask and "taskset" not in device.tools and "taskset" in runner.command(target, self.mask):
            raise InputError(f"{device.model} has no taskset, which chooses cores.", "Use --cores all.")
        self._script = session_script("dumpsys" in device.tools)
        self._connect = connect
        self._connection: Connection | None = connection
        self._runner = runner
        self._lock = lock
        self._held = ExitStack()
        self._is_locked = False
        self._is_waiting = False
        self._folder = folder
        self._owner = owner
        self._held_as = f"{device.folder}/{_LOCK}"
        self._options = options or AgentOptions()
        self._progress = progress
        self._session: Session | None = None
        # From the first change on the device: one that was interrupted in the middle must be undone, too.
        self._is_touched = False
        heat = HeatWatch(
            target.device, device.cores, self.mask, self._options.cooling, is_told="dumpsys" in device.tools
        )
        rows = VisitRows(runner, target, device.cores, self.mask, heat.reason)
        self._machine = PhoneMachine(device, heat, rows, self._options.reconnect_s)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """The clocks that measurements come in, steadiest first."""
        return self._runner.clocks if self.target.threads == 1 else (Clock.WALL,)

    def describe(self) -> dict[str, Any]:
        """The device, its cores and the program that measures, without anything that changes by itself; and without the
        unit if any will do.
        """
        told = self._told()
        if self._options.is_any_unit:
            told.pop("unit", None)
        return told

    def _told(self) -> dict[str, Any]:
        return {**self.device.describe(), "cores": f"{self.mask:x}" if self.mask else "all", **self._runner.describe()}

    @property
    def changes(self) -> tuple[str, ...]:
        """Changes that the first batch will make on the device and ``close`` will undo, for people."""
        folder = f"files in {self._folder}, removed at the end"
        return (folder, "kept awake while it measures") if can_be_kept_awake(self.device) else (folder,)

    def run(self, batch: VisitBatch) -> Generator[Rows, None, None]:
        """See ``profilers.base.Agent``. Where a device tells of its heat, rows wait up to ``CHECK_EVERY_S`` for it."""
        if batch.target != self.target:
            raise InputError(f"This agent measures {self.target}, not {batch.target}.", "Open an agent for it.")
        events: Iterator[Event] = iter((Begun(batch),))
        waiting = ExitStack()
        try:
            while True:
                todo: Instruction | None = None
                for event in events:
                    for instruction in self._machine.handle(event, time.monotonic()):
                        match instruction:
                            case Keep(rows):
                                yield rows
                            case Note(text):
                                self._progress.note(text)
                            case GiveUp(error):
                                if isinstance(error, DeviceReplaced):
                                    # It is not ours to tidy up.
                                    self._forget_connection()
                                raise error
                            case _:
                                todo = instruction
                    if todo is not None:
                        break
                if todo is None:
                    return
                waits = isinstance(todo, Wait | Connect) or (isinstance(todo, Look) and self._machine.is_waiting)
                if not waits:
                    waiting.close()
                elif not self._is_waiting:
                    # A visit in flight is finished first; a device that cools down has none.
                    waiting.enter_context(on_interrupt(None))
                self._is_waiting = waits
                events = self._do(todo, batch)
        except GeneratorExit:
            # The caller stopped inside the batch: what the device still has to do of it must not run on.
            self._abandon()
            raise
        finally:
            self._is_waiting = False
            waiting.close()

    def close(self) -> None:
        """Restore what was changed and remove our folder. Does nothing to a device that is gone."""
        with self._held:
            self._leave()

    def _leave(self) -> None:
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            if self._session is not None:
                # A script that is gone is no reason to leave the rest; a device that is gone says so again.
                with suppress(ConnectionLost):
                    self._session.end()
            if self._is_touched:
                restore(connection, self._folder)
                lock = shlex.quote(self._held_as)
                # A script that was ended from here has not let go of it.
                connection.shell(f"grep -q ' {self._owner}$' {lock}/owner 2>/dev/null && rm -rf {lock}")
                if not self._options.keep_files:
                    connection.shell(f"rm -rf {shlex.quote(self._folder)}", timeout_s=60)
        except DeviceError as error:
            self._progress.note(
                f"{connection.serial} could not be left as it was found ({error.message}). "
                "The next command on it makes up for that."
            )
        finally:
            self._session = None
            connection.close()

    def _do(self, todo: Instruction, batch: VisitBatch) -> Iterator[Event]:
        """Carry out one instruction; what came of it. Raises DeviceError for what no repetition mends."""
        try:
            match todo:
                case Connect():
                    yield self._connect_again()
                case Prepare():
                    yield self._prepare(self._linked())
                case Push(files):
                    self._linked().push({f"{self._folder}/{_remote_name(f)}": Path(batch.files[f]) for f in files})
                    yield Done()
                case Look():
                    yield Looked(read_state(*self._running().check()))
                case MakeVisits(visits, seconds):
                    session = self._running()
                    yield from session.visits([_request(visit) for visit in visits], seconds)
                    yield Stopped(session.is_over)
                case EndScript():
                    if self._session is not None:
                        self._session.end()
                    yield Stopped(True)
                case Wait(seconds):
                    pause(seconds)
                    yield Done()
        except (ConnectionLost, ScriptEnded) as error:
            if isinstance(error, ConnectionLost):
                self._forget_connection()
            self._session = None
            yield Lost(error, time.time_ns())

    def _linked(self) -> Connection:
        if self._connection is None:
            raise ConnectionLost(self.target.device, "it was closed on this side")
        return self._connection

    def _running(self) -> Session:
        """The script on the device, started anew if it is over."""
        deadline = time.monotonic() + _OWN_ENDS_S
        while self._session is None or self._session.is_over:
            try:
                self._session = Session(
                    self._linked(),
                    self._folder,
                    self._script,
                    self._options.visit_timeout_s,
                    self._held_as,
                    self._owner,
                )
            except MeasuredElsewhere as held:
                # This computer's lock is ours, so a script of this name is one that lost its connection and is ending.
                if held.owner != self._owner or time.monotonic() > deadline:
                    raise
                pause(0.5)
        return self._session

    def _connect_again(self) -> Event:
        try:
            self._connection = self._connect()
            return Connected(read_device(self._connection))
        except DeviceError as error:
            self._forget_connection()
            return Refused(error)

    def _prepare(self, connection: Connection) -> Prepared:
        if not self._is_locked:
            self._held.enter_context(self._lock())
            self._is_locked = True
        self._is_touched = True
        folder = shlex.quote(self._folder)
        # A script of ours that outlived its connection would disturb every visit.
        connection.shell(
            f"mkdir -p {folder}/models; cd {folder} && [ -f pid ] && pid=$(cat pid) "
            "&& grep -q session.sh /proc/$pid/cmdline 2>/dev/null && { kill -9 -$pid || kill -9 $pid; }; rm -f pid"
        )
        self._session = None
        self._running()
        restore(connection, self._folder)
        self._runner.install(connection, self._folder)
        command = run_script(self._runner.command(self.target, self.mask))
        connection.push({f"{self._folder}/run.sh": command.encode()})
        screen = keep_awake(connection, self.device, self._folder)
        return Prepared(describe_around(self._told(), self.device.cores, connection.route, screen))

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._session = None

    def _abandon(self) -> None:
        session, self._session = self._session, None
        is_lost = False
        if session is not None and not session.is_over:
            try:
                session.kill()
            except DeviceError:
                self._forget_connection()
                is_lost = True
        self._machine.handle(Abandoned(is_lost), time.monotonic())


def can_be_kept_awake(device: Device) -> bool:
    """Tell whether it is a phone with a screen that falls asleep, and the programs to prevent that."""
    return {"settings", "input", "dumpsys"} <= device.tools


def keep_awake(connection: Connection, device: Device, folder: str) -> str | None:
    """Stop the phone from falling asleep; the screen's state as it was found, None where there is no screen.

    How to undo it is written into ``folder`` first, so that a later session can, if this one is cut off. A file that is
    there already holds the older, true state and is kept.
    """
    if not can_be_kept_awake(device):
        return None
    found = parse_wakefulness(connection.shell("dumpsys power | grep -m 1 mWakefulness=").out)
    before = connection.shell(f"settings get {_SETTING}").out.strip()
    if not re.fullmatch(r"\d+|null", before):
        return found
    undo = f"settings delete {_SETTING}" if before == "null" else f"settings put {_SETTING} {before}"
    if found is not None and found != "Awake":
        undo += f"; input keyevent {_KEY_SLEEP}"
    place = shlex.quote(f"{folder}/{_RESTORE}")
    connection.shell(f"[ -e {place} ] || echo {shlex.quote(undo)} > {place}")
    wake = f"settings put {_SETTING} {_ALWAYS}"
    if found is not None and found != "Awake":
        wake += f"; input keyevent {_KEY_WAKE_UP}"
    connection.shell(wake)
    return found


def restore(connection: Connection, folder: str) -> None:
    """Undo ``keep_awake``, of this or an earlier session."""
    place = shlex.quote(f"{folder}/{_RESTORE}")
    connection.shell(f"[ -e {place} ] && sh {place}; rm -f {place}")


def _request(visit: Visit) -> VisitRequest:
    return VisitRequest(visit.uuid, _remote_name(visit.file), visit.warm_runs, visit.timed_runs)


def _remote_name(sha256: str) -> str:
    return f"models/{sha256}.tflite"

"""The agent for devices over ADB: batches of visits as measurements, through heat, lost connections and crashes.

``opening`` finds a device and makes an agent for it; how the pieces work is written in ``session`` and the runners.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.awake import can_be_kept_awake, keep_awake, restore
from fleetfront.profilers.adb.facts.conditions import THROTTLED, Cooling, State, read_state
from fleetfront.profilers.adb.facts.cores import core_mask
from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.heat import HeatWatch
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.link.faults import ConnectionLost
from fleetfront.profilers.adb.runners.base import Runner
from fleetfront.profilers.adb.runners.script import session_script
from fleetfront.profilers.adb.runners.session import ScriptEnded, Session, Visited, VisitRequest
from fleetfront.profilers.adb.visit_rows import Rows, VisitRows, as_try, ended
from fleetfront.profilers.adb.waiting import ended_by_ctrl_c
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Measurement
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock
from fleetfront.targets import Target

#: The longest stretch of visits between two looks at the heat; what is taken in it waits for the second look.
CHECK_EVERY_S = 2.0
#: Losses of the connection in a row, with no visit made between them, before the agent gives up.
_MOST_LOSSES = 3

#: Times that the script may end in the middle of one visit before that visit becomes an error.
_MOST_ENDS = 2

#: What a shell returns for a program that it cannot start, or cannot find.
_NOT_STARTED = (126, 127)


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How an agent behaves.

    Attributes:
        cooling: when to wait for the device to cool down.
        visit_timeout_s: a visit that takes longer is ended and becomes an error.
        reconnect_s: how long a lost device is waited for before the command gives up.
        keep_files: leave the pushed files on the device when the agent is closed.
    """

    cooling: Cooling = field(default_factory=Cooling)
    visit_timeout_s: float = 120.0
    reconnect_s: float = 10.0
    keep_files: bool = False


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
        self._script = session_script(runner.command(target, self.mask), "dumpsys" in device.tools)
        self._connect = connect
        self._connection: Connection | None = connection
        self._runner = runner
        self._lock = lock
        self._held = ExitStack()
        self._is_locked = False
        self._folder = folder
        self._options = options or AgentOptions()
        self._progress = progress
        self._session: Session | None = None
        self._is_prepared = False
        # From the first change on the device: one that was interrupted in the middle must be undone, too.
        self._is_touched = False
        self._pushed: set[str] = set()
        self._round: tuple[str, int] | None = None
        self._screen: str | None = None
        self._losses = 0
        self._ended_by: Counter[str] = Counter()
        self._heat = HeatWatch(target.device, device.cores, self.mask, self._options.cooling, progress)
        self._rows = VisitRows(runner, target, device.cores, self.mask, self._heat.reason)
        self._throttled: dict[str, list[Measurement]] = {}

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """The clocks that measurements come in, steadiest first."""
        return self._runner.clocks if self.target.threads == 1 else (Clock.WALL,)

    def describe(self) -> dict[str, Any]:
        """The device, its cores and the program that measures, without anything that changes by itself."""
        return {**self.device.describe(), "cores": f"{self.mask:x}" if self.mask else "all", **self._runner.describe()}

    @property
    def changes(self) -> tuple[str, ...]:
        """What the first batch will change on the device and ``close`` will undo, for people."""
        folder = f"files in {self._folder}, removed at the end"
        return (folder, "kept awake while it measures") if can_be_kept_awake(self.device) else (folder,)

    def run(self, batch: VisitBatch) -> Generator[Rows, None, None]:
        """See ``profilers.base.Agent``. Where a device tells of its heat, rows wait up to ``CHECK_EVERY_S`` for it."""
        if batch.target != self.target:
            raise InputError(f"This agent measures {self.target}, not {batch.target}.", "Open an agent for it.")
        self._heat.wait_within(batch.seconds_left)
        left = {visit.uuid: visit for visit in batch.visits}
        try:
            while left:
                try:
                    for visit, rows in self._attempt(batch, tuple(left.values())):
                        del left[visit.uuid]
                        self._losses = 0
                        yield rows
                except (ConnectionLost, ScriptEnded) as error:
                    blamed = self._blamed(error, left)
                    if blamed is None:
                        self._mend(error)
                        continue
                    del left[blamed.uuid]
                    self._losses, self._session = 0, None
                    yield self._rows.of(batch, blamed, ended(blamed, error.message), read_state("", ""), None)
        except GeneratorExit:
            # The caller stopped inside the batch: what the device still has to do of it must not run on.
            self._abandon()
            raise

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

    def _attempt(self, batch: VisitBatch, visits: tuple[Visit, ...]) -> Iterator[tuple[Visit, Rows]]:
        """Make visits until all are made; stops early, without an error, if the session must be started anew."""
        session = self._ready(batch, visits)
        tries: dict[str, int] = {}
        left = {visit.uuid: visit for visit in visits}
        while left and not session.is_over:
            opening = self._heat.cooled(partial(_look, session))
            held: list[tuple[Visit, Visited]] = []
            try:
                for visited in session.visits([self._request(visit) for visit in left.values()], CHECK_EVERY_S):
                    visit = left[visited.id]
                    self._check_runner(visited)
                    if self._tells_heat:
                        held.append((visit, visited))
                    else:
                        del left[visit.uuid]
                        yield visit, self._rows.of(batch, visit, visited, opening, None)
                closing = self._heat.seen(_look(session)) if held and not session.is_over else None
            except (ConnectionLost, ScriptEnded):
                # Nothing that arrived is lost; what the heat was afterwards stays unknown.
                for visit, visited in held:
                    yield visit, self._rows.of(batch, visit, visited, opening, None)
                raise
            for visit, visited in held:
                rows = self._rows.of(batch, visit, visited, opening, closing)
                tries[visit.uuid] = tries.get(visit.uuid, 0) + 1
                if THROTTLED in rows[0].flags and tries[visit.uuid] <= self._heat.repeats:
                    self._throttled.setdefault(visit.uuid, []).extend(as_try(rows, visit, tries[visit.uuid]))
                else:
                    del left[visit.uuid]
                    yield visit, (*self._throttled.pop(visit.uuid, ()), *rows)

    @property
    def _tells_heat(self) -> bool:
        return "dumpsys" in self.device.tools

    def _ready(self, batch: VisitBatch, visits: tuple[Visit, ...]) -> Session:
        """A session with everything on the device that the visits need."""
        if self._connection is None:
            self._connection = self._connect()
        if not self._is_prepared:
            self._prepare(self._connection)
        self._push(self._connection, batch, visits)
        if self._session is None or self._session.is_over:
            self._session = Session(self._connection, self._folder, self._script, self._options.visit_timeout_s)
        if self._round != (batch.campaign, batch.round):
            self._heat.begin_round(is_first=self._round is None)
            self._round = (batch.campaign, batch.round)
            self._rows.look_around(self.describe(), self._connection.route, self._screen)
        return self._session

    def _prepare(self, connection: Connection) -> None:
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
        restore(connection, self._folder)
        self._runner.install(connection, self._folder)
        self._screen = keep_awake(connection, self.device, self._folder)
        self._is_prepared = True

    def _push(self, connection: Connection, batch: VisitBatch, visits: tuple[Visit, ...]) -> None:
        missing = dict.fromkeys(visit.file for visit in visits if visit.file not in self._pushed)
        files: Mapping[str, bytes | Path] = {
            f"{self._folder}/{_remote_name(sha256)}": Path(batch.files[sha256]) for sha256 in missing
        }
        if files:
            connection.push(files)
            self._pushed.update(missing)

    def _check_runner(self, visited: Visited) -> None:
        """A runner that is gone or cannot start is installed anew, which says why if it cannot be."""
        if visited.exit_code in _NOT_STARTED:
            self._is_prepared = False
            if self._session is not None:
                self._session.end()
            raise ScriptEnded(str(self.target.device), f"exit code {visited.exit_code}: {visited.text}")

    def _request(self, visit: Visit) -> VisitRequest:
        return VisitRequest(visit.uuid, _remote_name(visit.file), visit.warm_runs, visit.timed_runs)

    def _blamed(self, error: DeviceError, left: Mapping[str, Visit]) -> Visit | None:
        """The visit that ended the script on the device, if it did so before: it costs its own row, not the run."""
        visit = left.get(error.visit or "") if isinstance(error, ScriptEnded) else None
        if visit is None:
            return None
        self._ended_by[visit.uuid] += 1
        return visit if self._ended_by[visit.uuid] >= _MOST_ENDS else None

    def _mend(self, error: DeviceError) -> None:
        """Make the next attempt possible, or raise the error if the device does not come back."""
        self._losses += 1
        if self._losses > _MOST_LOSSES:
            raise error
        if isinstance(error, ScriptEnded):
            self._session = None
            return
        self._progress.note(f"{error.message} Waiting up to {self._options.reconnect_s:.0f} s for it to come back.")
        self._forget_connection()
        with ended_by_ctrl_c():
            self._connection = self._connected_again(error)

    def _connected_again(self, error: DeviceError) -> Connection:
        deadline = time.monotonic() + self._options.reconnect_s
        while True:
            try:
                return self._connect()
            except DeviceError as again:
                if time.monotonic() > deadline:
                    # Why it does not come back says more than that it went away.
                    error.remedy = f"{again.message} {again.remedy}"
                    raise error from None
                time.sleep(min(0.5, self._options.reconnect_s / 4))

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._session = None
        self._is_prepared = False
        # Files are checked by hash again: the device may have restarted in the middle of a write.
        self._pushed.clear()

    def _abandon(self) -> None:
        session, self._session = self._session, None
        if session is not None and not session.is_over:
            try:
                session.kill()
            except DeviceError:
                self._forget_connection()


def _look(session: Session) -> State:
    return read_state(*session.check())


def _remote_name(sha256: str) -> str:
    return f"models/{sha256}.tflite"

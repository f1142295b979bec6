"""Lead the running script on a device: make visits, check the heat, end it. ``machine`` decides what comes next."""

from __future__ import annotations

import math
import secrets
import shlex
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.link.connection import Connection
from fleetfront.profilers.adb.runners.script import MOST_OUTPUT, TOO_LARGE, Frame, parse_frame

#: How a shell tells of a program that was killed.
_KILLED = 128 + 9
#: Visits that wait on the device, so that it never waits for us.
_AHEAD = 2
_START_S = 20.0
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class VisitRequest:
    """One visit to be made: ``model`` is a path inside the session's folder."""

    id: str
    model: str
    warm_runs: int
    timed_runs: int


@dataclass(frozen=True, slots=True)
class Visited:
    """One visit as it was made.

    Attributes:
        id: of the request.
        text: what the runner printed.
        exit_code: how it ended.
        started_ns: this machine's wall clock when it began.
        elapsed_ns: how long it took with everything around it, seen from here.
        clocks_before, clocks_after: for ``cores.parse_clocks`` and ``conditions.load_facts``.
        error: why it was ended from here, or None.
    """

    id: str
    text: str
    exit_code: int
    started_ns: int
    elapsed_ns: int
    clocks_before: str
    clocks_after: str
    error: str | None = None


class ScriptEnded(DeviceError):
    """The script on the device ended although nobody asked it to. A new session can go on.

    ``visit`` is the id of the visit that it was in the middle of, if it was in one.
    """

    def __init__(self, serial: str, text: str) -> None:
        self.visit: str | None = None
        super().__init__(
            f"The measuring script on {serial} ended by itself ({text.strip()[-200:] or 'no output'}).",
            "Check that the device has memory and space left in its folder for temporary files.",
        )


class MeasuredElsewhere(DeviceError):
    """Another script holds the device; ``owner`` is whose, as ``Session`` was told of its own."""

    def __init__(self, serial: str, owner: str, process: int) -> None:
        self.owner = owner
        super().__init__(
            f"{serial} is being measured from elsewhere: by {owner} (process {process} on the device).",
            "Wait until that ends (or stop it), then run the same command again.",
        )


class Session:
    """One script process on the device. Raises ConnectionLost from every method if the device goes away."""

    def __init__(
        self,
        connection: Connection,
        folder: str,
        script: str,
        visit_timeout_s: float,
        lock: str = "lock",
        owner: str = "",
    ) -> None:
        """Start ``script`` inside ``folder`` and wait until it listens.

        Args:
            connection: to the device.
            folder: of ours on the device.
            script: the text of ``session_script``.
            visit_timeout_s: what takes longer is ended there.
            lock: the place on the device that whoever measures holds.
            owner: what others are told of us.

        Raises:
            MeasuredElsewhere: another computer, home or container measures on the device.
        """
        self._connection = connection
        self._token = secrets.token_hex(6)
        self._visit_timeout_s = visit_timeout_s
        self._lines: deque[tuple[str, int]] = deque()
        self._partial = b""
        self._asked: deque[VisitRequest] = deque()
        connection.push({f"{folder}/session.sh": script.encode()})
        words = [f"{folder}/session.sh", folder, self._token, str(math.ceil(visit_timeout_s)), lock, owner]
        self._process = connection.start(f"sh {shlex.join(words)}")
        self.is_over = False
        self._pid = ""
        ready, _ = self._soon("ready", _START_S)
        self._pid = ready.id
        #: When the last line came that was looked at, and when the script was last known to be idle (monotonic, ns).
        self._seen_ns = self._idle_ns = time.monotonic_ns()

    def visits(self, requests: Sequence[VisitRequest], seconds: float) -> Iterator[Visited]:
        """Make the visits in order, each as soon as the one before is done, beginning none after ``seconds``."""
        begun = time.monotonic()
        self._idle_ns = time.monotonic_ns()
        waiting = deque(requests)
        asked = self._asked
        while (waiting or asked) and not self.is_over:
            while waiting and len(asked) < _AHEAD and (not asked or time.monotonic() - begun < seconds):
                asked.append(waiting.popleft())
                self._ask(f"visit {asked[-1].id} {asked[-1].warm_runs} {asked[-1].timed_runs} {asked[-1].model}")
            visited = self._visited(asked[0])
            asked.popleft()
            yield visited
            if time.monotonic() - begun >= seconds:
                waiting.clear()

    def check(self, timeout_s: float = 30.0) -> tuple[str, str]:
        """Ask for heat and clocks: texts for ``thermal`` and ``cores``."""
        self._ask("check 0")
        self._soon("check", timeout_s)
        checked, text = self._soon("checked", timeout_s)
        return text, checked.clocks

    def end(self) -> None:
        """Let the script end; one that is in the middle of a visit is killed."""
        if self.is_over:
            return
        if self._asked:
            self.kill()
            return
        self.is_over = True
        try:
            self._ask("quit")
            deadline = time.monotonic() + _END_S
            while self._line(deadline) is not None:
                pass
        except TimeoutError:
            self.kill()
        finally:
            self._process.close()

    def kill(self) -> None:
        """End the script and what it runs, at once."""
        self.is_over = True
        try:
            if self._pid:
                # adbd starts every command in a process group of its own.
                self._connection.shell(f"kill -9 -{self._pid} 2>/dev/null || kill -9 {self._pid} 2>/dev/null")
        finally:
            # Only now: a script that lives when its input ends takes us for gone and undoes what we still need.
            self._process.close()

    def _visited(self, request: VisitRequest) -> Visited:
        error = None
        deadline = time.monotonic() + self._visit_timeout_s
        begin = end = Frame("end", request.id, 137, "")
        text = ""
        try:
            begin, _ = self._until("begin", deadline, request.id)
            end, text = self._until("end", deadline, request.id)
        except ScriptEnded as ended:
            ended.visit = request.id
            raise
        except TimeoutError:
            self.kill()
            error = self._too_long()
            self._seen_ns = time.monotonic_ns()
        # Lines of several visits may come at once; visits follow each other, so this one began when the last ended.
        elapsed_ns = self._seen_ns - self._idle_ns
        started_ns = time.time_ns() - (time.monotonic_ns() - self._idle_ns)
        self._idle_ns = self._seen_ns
        if error is None and end.code == _KILLED and elapsed_ns >= 1e9 * self._visit_timeout_s:
            error = self._too_long()
        elif error is None and (end.code == TOO_LARGE or len(text) >= MOST_OUTPUT):
            error = f"the program printed more than {MOST_OUTPUT >> 20} MiB and was ended; it began with: {text[:200]}"
        return Visited(request.id, text, end.code, started_ns, elapsed_ns, begin.clocks, end.clocks, error)

    def _too_long(self) -> str:
        return f"the visit took longer than {self._visit_timeout_s:.0f} s and was ended"

    def _ask(self, line: str) -> None:
        self._connection.send_to(self._process, f"{line}\n".encode())

    def _soon(self, word: str, seconds: float, visit: str | None = None) -> tuple[Frame, str]:
        try:
            return self._until(word, time.monotonic() + seconds, visit)
        except TimeoutError as error:
            self.kill()
            raise ScriptEnded(self._connection.serial, f"no answer within {seconds:.0f} s") from error

    def _until(self, word: str, deadline: float, visit: str | None = None) -> tuple[Frame, str]:
        """The next frame ``word`` (of ``visit``), and what was printed before it."""
        before: list[str] = []
        size = 0
        while True:
            line = self._line(deadline)
            if line is None:
                self.is_over = True
                raise ScriptEnded(self._connection.serial, "\n".join(before))
            frame = parse_frame(line, self._token)
            if frame is not None and frame.word == "held":
                self.is_over = True
                raise MeasuredElsewhere(self._connection.serial, frame.id, frame.code)
            if frame is not None and frame.word == word and visit in (None, frame.id):
                return frame, "\n".join(before)
            size += len(line)
            if size < MOST_OUTPUT:
                before.append(line)

    def _line(self, deadline: float) -> str | None:
        while not self._lines:
            output = self._connection.wait_for(self._process, deadline)
            if output is None:
                return None
            *whole, rest = (self._partial + output.data).split(b"\n")
            self._partial = rest[-MOST_OUTPUT:]
            now = time.monotonic_ns()
            self._lines.extend((line.decode(errors="replace").rstrip("\r"), now) for line in whole)
        line, self._seen_ns = self._lines.popleft()
        return line

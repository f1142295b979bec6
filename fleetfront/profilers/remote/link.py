"""The controller's end of a link: a process of the user's ssh, messages to the agent behind it, and signs of life."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence

from fleetfront import __version__
from fleetfront.errors import DeviceBusy, DeviceError, FileError, FleetfrontError, InputError, MissingDependency
from fleetfront.profilers.remote.lines import Lines, LinkEnded
from fleetfront.profilers.remote.messages import (
    BEAT_S,
    LEAVING_S,
    MOST_LINE_BYTES,
    PROTOCOL,
    SILENCE_S,
    Beat,
    ControllerLine,
    FromController,
    FromHost,
    Greeting,
    Hello,
    Note,
    Refused,
    from_host,
    to_line,
)
from fleetfront.profilers.remote.names import AGENT, DEFAULT_AGENT, SSH
from fleetfront.progress import SILENT, Progress

_REFUSALS: dict[str, type[FleetfrontError]] = {
    kind.__name__: kind for kind in (DeviceBusy, DeviceError, FileError, InputError, MissingDependency)
}
#: Lines that a shell's start-up files may print before the agent speaks.
_MOST_GREETINGS = 100
#: ssh's words for what no repetition mends: https://man.openbsd.org/ssh.1
_NEVER = ("Permission denied", "Host key verification failed", "IDENTIFICATION HAS CHANGED", "Bad configuration option")
#: The same as long as the host was never reached.
_NOT_YET = ("Could not resolve hostname", "Name or service not known", "Connection refused", "No route to host")
_NOT_FOUND = (126, 127)
#: Python's words where the command names a Python without fleetfront.
_NOT_INSTALLED = "No module named"
#: A process that closed its end is given so long to end.
_ENDS_IN_S = 2.0
#: Characters of a host's own words that fit into a sentence.
_SAID = 300
#: ssh's own failures; any other code is that of the command on the host.
_SSH_FAILED = 255


class Link:
    """A living link. What breaks it is a ``LinkEnded``, which a new link may mend."""

    def __init__(
        self,
        host: str,
        command: Sequence[str],
        controller: str,
        *,
        was_reached: bool = False,
        lists_devices: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        """Start ``command``, greet the agent that it leads to, and wait for its hello.

        Raises:
            LinkEnded: it broke, or the host does not answer.
            DeviceError: the host is refused or refuses us; ``was_reached`` says that it was there before.
            MissingDependency: there is no ssh here, or no fleetfront there.
        """
        self.host = host
        self._progress = progress
        self._was_reached = was_reached
        self._is_greeted = False
        self._closing = threading.Event()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in ``close``: it lives as long as the process)
        try:
            # A session of its own: Ctrl-C is for us alone, and no question reaches the terminal.
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise MissingDependency(
                f"{command[0]} cannot be started ({error.strerror}).",
                f"Correct {SSH}." if os.environ.get(SSH) else "Install OpenSSH's client.",
            ) from error
        reading, writing = (pipe.fileno() if pipe else -1 for pipe in (self._process.stdout, self._process.stdin))
        self._lines = Lines(reading, writing, MOST_LINE_BYTES)
        try:
            self.hello = self._greet(controller, lists_devices)
        except BaseException:
            self.close()
            raise
        #: Nanoseconds to add to the host's clock for ours, to some milliseconds.
        self.ahead_ns = time.time_ns() - self.hello.now_ns
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the ssh program."""
        return self._process.pid

    def say(self, message: FromController) -> None:
        """Send a message. Raises LinkEnded."""
        try:
            self._lines.write(to_line(ControllerLine(message)))
        except LinkEnded as end:
            raise self._explained(end) from end

    def hear(self) -> FromHost:
        """The next message that is no sign of life; notes go to the progress.

        Raises LinkEnded, and what the host refused with.
        """
        while True:
            try:
                message = from_host(self._lines.read(SILENCE_S))
            except LinkEnded as end:
                raise self._explained(end) from end
            except ValueError as error:
                raise LinkEnded(f"it sent what is no message ({error})") from error
            match message:
                case Beat():
                    continue
                case Note(text):
                    self._progress.note(f"{self.host}: {text}")
                case Refused(name, text, remedy):
                    raise _REFUSALS.get(name, DeviceError)(f"On {self.host}: {text}", remedy)
                case _:
                    return message

    def close(self) -> None:
        """End it; the host leaves its device as it was found, and what it says meanwhile is told."""
        if self._closing.is_set():
            return
        self._closing.set()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        until = time.monotonic() + LEAVING_S + 2.0
        with contextlib.suppress(LinkEnded, ValueError):
            while self._is_greeted and time.monotonic() < until:
                message = from_host(self._lines.read(max(0.0, until - time.monotonic())))
                if isinstance(message, Note):
                    self._progress.note(f"{self.host}: {message.text}")
        self._end()

    def drop(self) -> None:
        """End it at once: it broke."""
        self._closing.set()
        self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()
        self._stderr.close()

    def _greet(self, controller: str, lists_devices: bool) -> Hello:
        greeting = Greeting(PROTOCOL, __version__, controller, lists_devices)
        self.say(greeting)
        said = ""
        for _ in range(_MOST_GREETINGS):
            try:
                line = self._lines.read(SILENCE_S)
            except LinkEnded as end:
                raise self._unanswered(end, said) from end
            try:
                message = from_host(line)
            except ValueError:
                if line.strip() == to_line(ControllerLine(greeting)).strip():
                    raise self._unanswered(LinkEnded("it sends back what it is sent"), "what we say") from None
                said = line.decode(errors="replace").strip() or said
                continue
            if isinstance(message, Refused):
                raise DeviceError(f"On {self.host}: {message.message}", message.remedy)
            if not isinstance(message, Hello):
                continue
            if message.protocol != PROTOCOL:
                raise DeviceError(
                    f"fleetfront {message.fleetfront} on {self.host} speaks version {message.protocol} of the agent's "
                    f"protocol, and fleetfront {__version__} here version {PROTOCOL}.",
                    f"Install the same version at both ends: pip install fleetfront=={__version__}",
                )
            self._is_greeted = True
            return message
        raise self._unanswered(LinkEnded(f"it said {_MOST_GREETINGS} lines and no greeting"), said)

    def _unanswered(self, end: LinkEnded, said: str) -> Exception:
        """The error for a host that did not greet after saying ``said``. Raises what ``_explained`` raises."""
        explained = self._explained(end, said)
        said = said or (self._errors() or [""])[-1]
        if self._was_reached or not said or self._process.poll() == _SSH_FAILED:
            return explained
        return DeviceError(
            f"What answers on {self.host} is no agent of fleetfront ({end}): {said[:_SAID]}", self._way()
        )

    def _errors(self) -> list[str]:
        """The last lines that the process wrote to stderr, ssh's own or the command's."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4000))
        return [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]

    def _way(self) -> str:
        command = os.environ.get(AGENT) or DEFAULT_AGENT
        return (
            f"`ssh {self.host} {command}` must start fleetfront {__version__}: install it there, or say where it is, "
            f"e.g. {AGENT}='fleet/bin/fleetfront agent --stdio'; greetings of its shell belong into terminals alone."
        )

    def _explained(self, end: LinkEnded, said: str = "") -> LinkEnded:
        """The same with the process's last words, on stderr or else ``said``. Raises what no new link mends."""
        try:
            code = self._process.wait(timeout=_ENDS_IN_S)
        except subprocess.TimeoutExpired:
            return end
        words = self._errors()
        last = (words[-1] if words else said or str(end))[:_SAID]
        if code == _SSH_FAILED:
            known = _NEVER if self._was_reached else (*_NEVER, *_NOT_YET)
            if not self._is_greeted and any(text in " ".join(words) for text in known):
                raise DeviceError(
                    f"{self.host} cannot be reached: {last}", f"`ssh {self.host} true` must work without a question."
                )
            return LinkEnded(f"ssh ended: {last}")
        if not self._is_greeted and (code in _NOT_FOUND or _NOT_INSTALLED in last):
            raise MissingDependency(f"{self.host} has no agent of fleetfront: {last}", self._way())
        if not self._is_greeted and code >= 0 and not self._was_reached:
            raise DeviceError(f"The agent on {self.host} ended with code {code}: {last}", self._way())
        return LinkEnded(f"its process ended with code {code}: {last}")

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_S):
            try:
                self._lines.write(to_line(ControllerLine(Beat())))
            except LinkEnded:
                return

"""Work on one device over any transport: commands, verified pushes, pulls.

A heartbeat tells a busy device from a dead one.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from fleetfront.errors import DeviceError
from fleetfront.files import write_whole
from fleetfront.profilers.adb.link.faults import DeviceSilent
from fleetfront.profilers.adb.link.shell import Output, RemoteProcess, ShellResult
from fleetfront.profilers.adb.link.sync import RemoteFile, SyncSession
from fleetfront.profilers.adb.link.transport import Stream, Transport

#: Output that is not a text in UTF-8 is shown, not hidden.
_ERRORS = "replace"
#: Paths in one command line: the daemon takes one packet, at least 4096 bytes on the oldest devices.
_HASHED_AT_ONCE = 24

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """After ``idle_s`` without a byte the device is pinged; without an answer within ``answer_s`` it is silent."""

    idle_s: float = 1.0
    answer_s: float = 3.0

    @property
    def silent_s(self) -> float:
        """The longest that a dead device can go unnoticed."""
        return self.idle_s + self.answer_s


@dataclass(frozen=True, slots=True)
class Pushed:
    """The count of a push: files sent, files that were there already, and bytes sent."""

    sent: int
    skipped: int
    sent_bytes: int


class Connection:
    """One device. Used by one thread."""

    def __init__(self, transport: Transport, heartbeat: Heartbeat | None = None) -> None:
        self._transport = transport
        self._heartbeat = heartbeat or Heartbeat()
        self._silent: DeviceSilent | None = None

    @property
    def serial(self) -> str:
        """How the user calls the device."""
        return self._transport.serial

    @property
    def route(self) -> str:
        """How it is reached, for people."""
        return self._transport.route

    def start(self, command: str) -> RemoteProcess:
        """Start a command on the device."""
        self._check_not_silent()
        return RemoteProcess(self._transport, command)

    def wait_for(self, process: RemoteProcess, deadline: float | None = None) -> Output | None:
        """The next output of ``process``, or None when it has ended, however long it is quiet.

        Args:
            process: a running command.
            deadline: ``time.monotonic()`` at which to give up, or None.

        Raises:
            TimeoutError: the deadline passed, although the device is alive.
            ConnectionLost: the device is gone (noticed at once) or silent (noticed by the heartbeat).
        """
        return self._patiently(process.read, deadline)

    def send_to(self, process: RemoteProcess, data: bytes) -> None:
        """Write to the standard input of ``process``. Raises ConnectionLost."""
        self.write(process.stream, process.packed(data))

    def read(self, stream: Stream) -> bytes:
        """The next bytes of a stream, however long it is quiet; ``b""`` at its end. Raises ConnectionLost."""
        return self._patiently(stream.read, None)

    def write(self, stream: Stream, data: bytes) -> None:
        """Write everything to a stream, however slowly it is taken. Raises ConnectionLost."""
        view = memoryview(data)
        while view:
            taken = self._patiently(partial(stream.write_some, view), None)
            view = view[taken:]

    def shell(self, command: str, timeout_s: float = 30.0) -> ShellResult:
        """Run a command to its end. Raises DeviceError if it takes longer than ``timeout_s``, ConnectionLost."""
        process = self.start(command)
        deadline = time.monotonic() + timeout_s
        out: list[bytes] = []
        err: list[bytes] = []
        try:
            while (output := self.wait_for(process, deadline)) is not None:
                (err if output.is_error else out).append(output.data)
        except TimeoutError as error:
            raise DeviceError(
                f"{self.serial} did not finish a command within {timeout_s:.0f} s: {command[:120]}",
                "Restart the device if it hangs, then run the same command again.",
            ) from error
        finally:
            process.close()
        return ShellResult(process.code or 0, _text(out).removesuffix(process.added), _text(err))

    def stat(self, path: str) -> RemoteFile | None:
        """Look up ``path`` on the device; None if there is nothing."""
        with self._sync() as session:
            return session.stat(path)

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device; ``local`` is whole or untouched. Raises DeviceError if it cannot be read."""
        with self._sync() as session:
            data = session.receive(remote)
        write_whole(local, data)

    def push(
        self,
        files: Mapping[str, bytes | Path],
        mode: int = 0o644,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Pushed:
        """Put files on the device; what is there already with the same SHA-256 is not sent again.

        Args:
            files: path on the device -> bytes, or a local file with them.
            mode: permissions of the files.
            progress: called with each path once it is there.

        Raises:
            DeviceError: a file cannot be written, or differs in size or hash after it was written.
            ConnectionLost: the device went away; what was written stays and is checked by the next push.
        """
        wanted = {path: _hashed(content) for path, content in files.items()}
        present = self.hashes(files)
        missing = [path for path in files if present.get(path) != wanted[path][0]]
        for path in files:
            if path not in missing:
                progress(path)
        if missing:
            self._send({path: files[path] for path in missing}, mode, progress)
            self._verify(missing, wanted)
        sent_bytes = sum(wanted[path][1] for path in missing)
        return Pushed(len(missing), len(files) - len(missing), sent_bytes)

    def hashes(self, paths: Mapping[str, object] | list[str]) -> dict[str, str]:
        """SHA-256, as the device computes it, of those paths that are readable files."""
        found: dict[str, str] = {}
        ordered = list(paths)
        for begin in range(0, len(ordered), _HASHED_AT_ONCE):
            part = " ".join(shlex.quote(path) for path in ordered[begin : begin + _HASHED_AT_ONCE])
            listed = self.shell(f"sha256sum {part} 2>/dev/null", timeout_s=120.0).out
            found.update(
                (path, digest) for digest, path in re.findall(r"^([0-9a-f]{64})[ *]+(\S.*?)\r?$", listed, re.M)
            )
        return found

    def close(self) -> None:
        """Give the connection up."""
        self._transport.close()

    def _send(self, files: Mapping[str, bytes | Path], mode: int, progress: Callable[[str], None]) -> None:
        with self._sync() as session:
            for path, content in files.items():
                data = content if isinstance(content, bytes) else content.read_bytes()
                session.send(path, data, mode)
                found = session.stat(path)
                if found is None or not found.is_file or found.size != len(data) % (1 << 32):
                    raise self._damaged(path, f"{found.size if found else 0} of {len(data)} bytes")
                progress(path)

    def _verify(self, paths: list[str], wanted: Mapping[str, tuple[str, int]]) -> None:
        present = self.hashes(paths)
        for path in paths:
            if path not in present:
                raise DeviceError(
                    f"{self.serial} cannot compute the SHA-256 of {path}.",
                    "The device needs the command sha256sum (Android 6 and newer have it).",
                )
            if present[path] != wanted[path][0]:
                raise self._damaged(path, f"SHA-256 {present[path][:12]}... instead of {wanted[path][0][:12]}...")

    def _damaged(self, path: str, how: str) -> DeviceError:
        return DeviceError(
            f"{path} arrived damaged on {self.serial} ({how}).",
            "Check cable and free space, then run the same command again.",
        )

    @contextmanager
    def _sync(self) -> Iterator[SyncSession]:
        self._check_not_silent()
        session = SyncSession(self._transport.open("sync:"), self, self.serial)
        try:
            yield session
        finally:
            session.close()

    def _ping(self) -> None:
        try:
            self._transport.ping(self._heartbeat.answer_s)
        except DeviceSilent as silent:
            self._silent = silent
            raise

    def _check_not_silent(self) -> None:
        """A device that was silent once is not waited for again; whoever wants it back makes a new connection."""
        if self._silent is not None:
            raise self._silent

    def _patiently(self, read: Callable[[float], _Result], deadline: float | None) -> _Result:
        while True:
            try:
                return read(self._heartbeat.idle_s)
            except TimeoutError:
                self._ping()
                if deadline is not None and time.monotonic() > deadline:
                    raise


def _hashed(content: bytes | Path) -> tuple[str, int]:
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def _text(parts: list[bytes]) -> str:
    return b"".join(parts).decode(errors=_ERRORS).replace("\r\n", "\n")

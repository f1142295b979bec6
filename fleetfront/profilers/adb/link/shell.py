"""Run commands on a device: output as it comes, and always the exit code. Patience is written in ``connection``."""

from __future__ import annotations

import re
import secrets
import shlex
import struct
from collections import deque
from dataclasses import dataclass

from fleetfront.profilers.adb.link.faults import ConnectionLost
from fleetfront.profilers.adb.link.transport import Stream, Transport

#: Packet kinds of shell v2: https://android.googlesource.com/platform/packages/modules/adb, shell_protocol.h
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_HEADER = struct.Struct("<BI")


@dataclass(frozen=True, slots=True)
class Output:
    """Some bytes that a command wrote."""

    data: bytes
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ShellResult:
    """A command that has ended. Without shell v2, ``err`` is empty and ``out`` holds both."""

    code: int
    out: str
    err: str


class RemoteProcess:
    """A command that runs on the device. ``code`` is None until it has ended and everything was read."""

    def __init__(self, transport: Transport, command: str) -> None:
        self._serial = transport.serial
        self._ready: deque[Output] = deque()
        self.code: int | None = None
        self._decoder: _ShellV2 | _Appended
        if "shell_v2" in transport.features:
            self._decoder = _ShellV2()
            self._stream: Stream = transport.open(f"shell,v2,raw:{command}")
        else:
            self._decoder = _Appended(secrets.token_hex(8))
            self._stream = transport.open(f"exec:{self._decoder.wrap(command)}")

    def read(self, timeout_s: float) -> Output | None:
        """The next output, or None once the command has ended.

        Raises:
            TimeoutError: nothing came in time; call again.
            ConnectionLost: the output ended without an exit code.
        """
        while not self._ready:
            if self.code is not None:
                return None
            data = self._stream.read(timeout_s)
            outputs, code = self._decoder.feed(data) if data else self._decoder.end()
            self._ready.extend(outputs)
            if code is not None:
                self.code = code
                self._stream.close()
            elif not data:
                self._stream.close()
                raise ConnectionLost(self._serial, "the other side closed it while a command ran")
        return self._ready.popleft()

    @property
    def added(self) -> str:
        """The text that the way to get the exit code adds to the end of the output."""
        return "\n" if isinstance(self._decoder, _Appended) else ""

    @property
    def stream(self) -> Stream:
        """The stream that its input is written to, packed by ``packed``."""
        return self._stream

    def packed(self, data: bytes) -> bytes:
        """``data`` as this stream wants bytes for the command's standard input."""
        return self._decoder.encode(data)

    def close(self) -> None:
        """Stop listening. The command is told by the end of its standard input."""
        self._stream.close()


class _ShellV2:
    """Kind, length, bytes: with exit codes, and stderr apart."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def encode(self, data: bytes) -> bytes:
        return _HEADER.pack(_STDIN, len(data)) + data

    def feed(self, data: bytes) -> tuple[list[Output], int | None]:
        self._buffer += data
        outputs: list[Output] = []
        while len(self._buffer) >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._buffer)
            if len(self._buffer) < _HEADER.size + size:
                break
            body = bytes(self._buffer[_HEADER.size : _HEADER.size + size])
            del self._buffer[: _HEADER.size + size]
            if kind == _EXIT and body:
                return outputs, body[0]
            if kind in (_STDOUT, _STDERR) and body:
                outputs.append(Output(body, kind == _STDERR))
        return outputs, None

    def end(self) -> tuple[list[Output], int | None]:
        return [], None


class _Appended:
    """For daemons without shell v2: the shell prints the exit code after a word that the command cannot know."""

    def __init__(self, word: str) -> None:
        self._word = word.encode()
        self._mark = re.compile(rb"(?m)^%s=(\d{1,3})\r?\n" % self._word)
        self._kept = b""

    def wrap(self, command: str) -> str:
        return f"sh -c {shlex.quote(command)}; r=$?; echo; echo {self._word.decode()}=$r"

    def encode(self, data: bytes) -> bytes:
        return data

    def feed(self, data: bytes) -> tuple[list[Output], int | None]:
        self._kept += data
        found = self._mark.search(self._kept)
        if found:
            before, self._kept = self._kept[: found.start()], b""
            return ([Output(before)] if before else []), int(found.group(1))
        # The mark may have come in part: keep an unfinished last line that could be its beginning.
        begin = self._kept.rfind(b"\n") + 1
        last = self._kept[begin:]
        if not (self._word.startswith(last) or last.startswith(self._word)):
            begin = len(self._kept)
        ready, self._kept = self._kept[:begin], self._kept[begin:]
        return ([Output(ready)] if ready else []), None

    def end(self) -> tuple[list[Output], int | None]:
        rest, self._kept = self._kept, b""
        return ([Output(rest)] if rest else []), None

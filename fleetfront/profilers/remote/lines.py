"""Bounded lines over two descriptors, written whole by any thread and read by one."""

from __future__ import annotations

import os
import select
import threading
import time

_CHUNK = 1 << 16


class LinkEnded(Exception):
    """The other side is gone, or what it sent is no line; the message says how. Never leaves this package."""


class LineTooLong(LinkEnded):
    """The other side speaks, but no lines of ours."""


class Lines:
    """Lines to and from the other side."""

    def __init__(self, reading: int, writing: int, most_bytes: int) -> None:
        """``reading`` and ``writing`` are descriptors that the caller closes; a line has at most ``most_bytes``."""
        self._reading, self._writing = reading, writing
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        """Write a line that ends with its end. Raises LinkEnded."""
        view = memoryview(line)
        with self._lock:
            try:
                while view:
                    view = view[os.write(self._writing, view) :]
            except OSError as error:
                raise LinkEnded(f"it takes nothing more ({error.strerror})") from error

    def read(self, timeout_s: float) -> bytes:
        """The next line, without its end. Raises LinkEnded if there is none within ``timeout_s``, LineTooLong."""
        deadline = time.monotonic() + timeout_s
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._buffer)
            if len(self._buffer) > self._most_bytes:
                raise LineTooLong(f"it sent a line of more than {self._most_bytes:,} bytes")
            try:
                readable, _, _ = select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))
                if not readable:
                    raise LinkEnded(f"it was silent for {timeout_s:g} s")
                data = os.read(self._reading, _CHUNK)
            except OSError as error:
                raise LinkEnded(f"it cannot be read ({error.strerror})") from error
            if not data:
                raise LinkEnded("it closed its end")
            self._buffer += data

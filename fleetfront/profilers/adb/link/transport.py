"""Declare a way to a device: byte streams to services of its adb daemon, and a ping. Two ways implement it.

``link.server`` goes through a running adb server, ``link.direct`` speaks to the daemon itself.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from fleetfront.profilers.adb.link.faults import ConnectionLost

#: A peer that takes this long for one step of a hand-shake is silent.
STEP_S = 4.0
#: How long the person at the device may take to accept a new key.
AUTHORIZE_S = 30.0
_RECEIVE = 1 << 16

#: A socket with a time limit of zero does not wait at all and reports that as another error.
_LEAST_S = 1e-3

#: Linux only.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

#: A service that no adb daemon has: it answers by closing the stream, without starting a process.
PING_SERVICE = "fleetfront-ping:"


class Stream(Protocol):
    """Bytes to and from one service. Used by one thread."""

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, or ``b""`` at the end. Raises TimeoutError if nothing came, ConnectionLost if it broke."""

    def write_some(self, data: bytes | memoryview, timeout_s: float) -> int:
        """Send at least one byte; returns how many. Raises TimeoutError if none was taken, and ConnectionLost."""

    def close(self) -> None:
        """Give the stream up. Does not wait."""


class Transport(Protocol):
    """A way to one device. Used by one thread."""

    @property
    def serial(self) -> str:
        """How the user calls the device: its serial number or ``HOST:PORT``."""

    @property
    def features(self) -> frozenset[str]:
        """The features that the daemon names, e.g. ``shell_v2``."""

    @property
    def route(self) -> str:
        """How the device is reached, for people."""

    def open(self, service: str, timeout_s: float = STEP_S) -> Stream:
        """A stream to a service of the daemon. Raises DeviceError if it is refused, gone or silent."""

    def ping(self, timeout_s: float) -> None:
        """Return once the device has answered. Raises DeviceSilent or ConnectionLost if it does not."""

    def close(self) -> None:
        """Give the way up. Does not wait."""


class SocketPipe:
    """A TCP socket with deadlines: what was received before a timeout is kept and delivered by the next call."""

    def __init__(self, connected: socket.socket, serial: str) -> None:
        self._socket = connected
        self._serial = serial
        self._buffer = bytearray()
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_some(self, timeout_s: float) -> bytes:
        """Read what is there, at least one byte; ``b""`` at the end of the stream. Raises TimeoutError."""
        if not self._buffer and not self._fill(timeout_s):
            return b""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read_exactly(self, count: int, timeout_s: float) -> bytes:
        """``count`` bytes. Raises TimeoutError, and ConnectionLost if the stream ends before."""
        deadline = time.monotonic() + timeout_s
        while len(self._buffer) < count:
            if not self._fill(deadline - time.monotonic()):
                raise ConnectionLost(self._serial, "the other side closed it")
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def write_some(self, data: bytes | memoryview, timeout_s: float) -> int:
        """Send what the system takes now, at least one byte. Raises TimeoutError and ConnectionLost."""
        self._socket.settimeout(max(timeout_s, _LEAST_S))
        return self._attempt(self._socket.send, data)

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send everything; the time limit is for each step forward. Raises TimeoutError and ConnectionLost."""
        view = memoryview(data)
        while view:
            view = view[self.write_some(view, timeout_s) :]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _fill(self, timeout_s: float) -> bool:
        self._socket.settimeout(max(timeout_s, _LEAST_S))
        received = self._attempt(self._socket.recv, _RECEIVE)
        if _QUICK_ACK is not None:
            # Adb servers write small pieces with Nagle's algorithm on: each would wait 40 ms for our delayed answer.
            # The system forgets the option, so it is set anew after every read.
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        self._buffer += received
        return bool(received)

    def _attempt(self, call: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
        try:
            return call(argument)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionLost(self._serial, error.strerror or str(error)) from error


def connect_tcp(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connected socket. Raises OSError."""
    return socket.create_connection((host, port), timeout=timeout_s)

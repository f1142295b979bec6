"""Send files to a device and receive them, in the daemon's ``sync:`` service. ``connection`` decides what is worth it.

Source: SYNC.TXT in https://android.googlesource.com/platform/packages/modules/adb
"""

from __future__ import annotations

import stat
import struct
import time
from dataclasses import dataclass
from typing import Protocol

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceSilent
from fleetfront.profilers.adb.link.transport import Stream

#: The most that one DATA packet may hold.
CHUNK = 64 * 1024
_REQUEST = struct.Struct("<4sI")
_STAT = struct.Struct("<4sIII")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A path as the device tells of it. ``size`` is in bytes, modulo 2^32."""

    mode: int
    size: int

    @property
    def is_file(self) -> bool:
        """True if it is an ordinary file."""
        return stat.S_ISREG(self.mode)


class Patience(Protocol):
    """Reads from and writes to a stream as long as its device is alive."""

    def read(self, stream: Stream) -> bytes:
        """At least one byte, or ``b""`` at the end. Raises ConnectionLost."""

    def write(self, stream: Stream, data: bytes) -> None:
        """Send everything. Raises ConnectionLost."""


class SyncSession:
    """One open ``sync:`` stream."""

    def __init__(self, stream: Stream, patience: Patience, serial: str) -> None:
        self._stream = stream
        self._patience = patience
        self._serial = serial
        self._buffer = bytearray()

    def stat(self, path: str) -> RemoteFile | None:
        """Look up ``path``; None if there is nothing."""
        self._request(b"STAT", path.encode())
        kind, mode, size, _ = _STAT.unpack(self._read(_STAT.size))
        if kind != b"STAT":
            raise self._confused(kind)
        return RemoteFile(mode, size) if mode else None

    def send(self, path: str, data: bytes, mode: int) -> None:
        """Write a file. Raises DeviceError with the device's reason if it cannot be written."""
        broken: ConnectionLost | None = None
        try:
            self._request(b"SEND", f"{path},{stat.S_IFREG | mode}".encode())
            for begin in range(0, len(data), CHUNK):
                self._request(b"DATA", data[begin : begin + CHUNK])
            self._patience.write(self._stream, _REQUEST.pack(b"DONE", int(time.time()) & 0xFFFFFFFF))
        except DeviceSilent:
            raise
        except ConnectionLost as closed:
            # A daemon that cannot write says why and may then close the stream while we are still sending.
            broken = closed
        try:
            kind, size = _REQUEST.unpack(self._read(_REQUEST.size))
            reason = self._read(size).decode(errors="replace") if kind == b"FAIL" else ""
        except ConnectionLost as lost:
            raise broken or lost from lost
        if kind == b"FAIL":
            raise write_failed(self._serial, path, reason, len(data))
        if kind != b"OKAY":
            raise self._confused(kind)

    def receive(self, path: str) -> bytes:
        """The bytes of a file. Raises DeviceError if it cannot be read."""
        self._request(b"RECV", path.encode())
        parts: list[bytes] = []
        while True:
            kind, size = _REQUEST.unpack(self._read(_REQUEST.size))
            if kind == b"DONE":
                return b"".join(parts)
            if kind == b"FAIL":
                reason = self._read(size).decode(errors="replace")
                raise DeviceError(f"{path} cannot be read from {self._serial} ({reason}).", "Check the path.")
            if kind != b"DATA":
                raise self._confused(kind)
            parts.append(self._read(size))

    def close(self) -> None:
        """End the session."""
        self._stream.close()

    def _request(self, kind: bytes, body: bytes) -> None:
        self._patience.write(self._stream, _REQUEST.pack(kind, len(body)) + body)

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._patience.read(self._stream)
            if not data:
                raise ConnectionLost(self._serial, "the other side closed it during a file transfer")
            self._buffer += data
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _confused(self, kind: bytes) -> DeviceError:
        return DeviceError(
            f"{self._serial} answered {kind!r} during a file transfer.",
            "Reconnect the device and run the command again.",
        )


def write_failed(serial: str, path: str, reason: str, size: int) -> DeviceError:
    """The error for a file that the device could not write."""
    reason = reason.strip()
    if "No space left" in reason or "Disk quota" in reason:
        return DeviceError(
            f"{serial} has no space left for {path} ({size} bytes).",
            "Free some space on the device and run the same command again; everything measured so far is kept.",
        )
    if "Read-only" in reason or "Permission denied" in reason:
        return DeviceError(f"{serial} does not let us write {path} ({reason}).", "Name another folder on the device.")
    return DeviceError(f"{path} cannot be written on {serial} ({reason}).", "Reconnect the device and try again.")

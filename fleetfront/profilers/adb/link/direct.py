"""The way to a device without an adb server: streams over one TCP or USB connection to its daemon.

Keys and the USB driver come from adb-shell. Its own connection is not used: it notices a closed peer only after a
timeout and loses exit codes and features.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from pathlib import Path

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceSilent, ServiceClosed
from fleetfront.profilers.adb.link.keys import load_or_create_key
from fleetfront.profilers.adb.link.packets import (
    CLSE,
    OKAY,
    OPEN,
    WRTE,
    Packet,
    PacketLink,
    Pipe,
    shake_hands,
)
from fleetfront.profilers.adb.link.transport import PING_SERVICE, STEP_S, SocketPipe, connect_tcp
from fleetfront.profilers.adb.link.usb import UsbPipe
from fleetfront.progress import SILENT, Progress

#: How long the person at the device may take to accept a new key.
AUTHORIZE_S = 30.0


class DirectTransport:
    """A connection to an adb daemon that carries many streams. Used by one thread: whoever waits moves all packets."""

    def __init__(
        self,
        pipe: Pipe,
        serial: str,
        route: str,
        *,
        key: Path | None = None,
        authorize_s: float = AUTHORIZE_S,
        progress: Progress = SILENT,
    ) -> None:
        """Shake hands over ``pipe``. Raises DeviceRefused or ConnectionLost, and closes the pipe then."""
        self._link = PacketLink(pipe, serial)
        self._serial = serial
        self._route = route
        self._streams: dict[int, DirectStream] = {}
        self._last_id = 0
        self._lost: ConnectionLost | None = None
        try:
            greeting = shake_hands(
                self._link,
                serial,
                lambda: load_or_create_key(key, progress),
                step_s=STEP_S,
                authorize_s=authorize_s,
                ask_user=lambda: progress.note(
                    f"{serial} waits for you: accept 'Allow USB debugging?' on its screen ({authorize_s:.0f} s)."
                ),
            )
        except BaseException:
            self._link.close()
            raise
        self._features = greeting.features
        self.max_payload = greeting.max_payload

    @property
    def serial(self) -> str:
        return self._serial

    @property
    def features(self) -> frozenset[str]:
        return self._features

    @property
    def route(self) -> str:
        return self._route

    def open(self, service: str, timeout_s: float = STEP_S) -> DirectStream:
        stream = self._begin(service, timeout_s)
        deadline = time.monotonic() + timeout_s
        while not stream.is_open:
            if stream.is_closed:
                del self._streams[stream.local_id]
                raise ServiceClosed(self._serial)
            self._expect(deadline, timeout_s)
        return stream

    def ping(self, timeout_s: float) -> None:
        stream = self._begin(PING_SERVICE, timeout_s)
        deadline = time.monotonic() + timeout_s
        while not (stream.is_closed or stream.is_open):
            self._expect(deadline, timeout_s)
        stream.close()

    def close(self) -> None:
        self._lost = self._lost or ConnectionLost(self._serial, "it was closed on this side")
        self._link.close()

    def move_one(self, timeout_s: float) -> None:
        """Receive one packet and hand it to its stream. Raises TimeoutError or ConnectionLost."""
        if self._lost is not None:
            raise self._lost
        try:
            packet = self._link.receive(timeout_s)
        except ConnectionLost as lost:
            self._lost = lost
            raise
        stream = self._streams.get(packet.second)
        if packet.command == OPEN or (packet.command == WRTE and stream is None):
            # We serve nothing, and nobody reads this any more.
            self.send(Packet(CLSE, 0 if packet.command == OPEN else packet.second, packet.first))
        elif stream is not None:
            stream.accept(packet)

    def send(self, packet: Packet, timeout_s: float = STEP_S) -> None:
        """Send one packet. A peer that takes nothing for so long is silent."""
        if self._lost is not None:
            raise self._lost
        try:
            self._link.send(packet, timeout_s)
        except TimeoutError as error:
            # A part of the packet may be on its way, so the connection cannot go on.
            self._lost = DeviceSilent(self._serial, timeout_s)
            raise self._lost from error
        except ConnectionLost as lost:
            self._lost = lost
            raise

    def forget(self, local_id: int) -> None:
        """A stream that needs no more packets."""
        self._streams.pop(local_id, None)

    def _begin(self, service: str, timeout_s: float) -> DirectStream:
        self._last_id += 1
        stream = DirectStream(self, self._last_id)
        self._streams[self._last_id] = stream
        self.send(Packet(OPEN, self._last_id, 0, service.encode() + b"\0"), timeout_s)
        return stream

    def _expect(self, deadline: float, timeout_s: float) -> None:
        try:
            self.move_one(deadline - time.monotonic())
        except TimeoutError as error:
            raise DeviceSilent(self._serial, timeout_s) from error


class DirectStream:
    """One stream of a ``DirectTransport``. Every packet sent must be acknowledged before the next."""

    def __init__(self, transport: DirectTransport, local_id: int) -> None:
        self._transport = transport
        self.local_id = local_id
        self._remote_id = 0
        self._inbox: deque[bytes] = deque()
        self._may_send = False
        self.is_open = False
        self.is_closed = False

    def accept(self, packet: Packet) -> None:
        """Take a packet that the transport received for this stream."""
        if packet.command == OKAY:
            self._remote_id, self.is_open, self._may_send = packet.first, True, True
        elif packet.command == WRTE:
            self._inbox.append(packet.data)
            self._transport.send(Packet(OKAY, self.local_id, packet.first))
        elif packet.command == CLSE:
            self.is_closed = True

    def read(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while not self._inbox and not self.is_closed:
            self._transport.move_one(deadline - time.monotonic())
        return self._inbox.popleft() if self._inbox else b""

    def write_some(self, data: bytes | memoryview, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while not self._may_send and not self.is_closed:
            self._transport.move_one(deadline - time.monotonic())
        if self.is_closed:
            raise ServiceClosed(self._transport.serial)
        part = bytes(data[: self._transport.max_payload])
        self._may_send = False
        self._transport.send(Packet(WRTE, self.local_id, self._remote_id, part))
        return len(part)

    def close(self) -> None:
        if self.is_open and not self.is_closed:
            with contextlib.suppress(ConnectionLost):
                self._transport.send(Packet(CLSE, self.local_id, self._remote_id))
        self.is_closed = True
        self._transport.forget(self.local_id)


def open_tcp(
    host: str,
    port: int,
    *,
    key: Path | None = None,
    authorize_s: float = AUTHORIZE_S,
    progress: Progress = SILENT,
) -> DirectTransport:
    """Connect to a daemon in the network. Raises DeviceError."""
    serial = f"{host}:{port}"
    try:
        connected = connect_tcp(host, port, STEP_S)
    except OSError as error:
        raise DeviceError(
            f"No device answers at {serial} ({error.strerror or error}).",
            "Check the address, that both are in one network, and that debugging over the network is on.",
        ) from error
    pipe = SocketPipe(connected, serial)
    return DirectTransport(pipe, serial, "direct TCP", key=key, authorize_s=authorize_s, progress=progress)


def open_usb(
    serial: str, *, key: Path | None = None, authorize_s: float = AUTHORIZE_S, progress: Progress = SILENT
) -> DirectTransport:
    """Claim the ADB interface of the USB device with this serial number. Raises DeviceError and MissingDependency."""
    pipe = UsbPipe(serial)
    return DirectTransport(pipe, serial, "direct USB", key=key, authorize_s=authorize_s, progress=progress)

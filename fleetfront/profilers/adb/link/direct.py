"""Speak to a device without an adb server: streams over one TCP or USB connection to its daemon, with adb-shell.

People with pip alone (containers, boards without Android's platform tools) have no adb server. adb-shell makes keys,
hand-shake, packets and USB transfers. Its ``shell``, ``streaming_shell``, ``push`` and ``pull`` are not used. Against
Android's own daemon (adb-shell 0.4.4) they have no standard input, by which the measuring script is led and knows that
somebody listens; a command that is quiet for longer than the read timeout is lost for good; a daemon that was killed is
noticed after that timeout only, at full CPU; exit codes are lost; a refused push hangs; each command takes 46 ms.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adb_shell import constants, exceptions
from adb_shell.adb_device import AdbDevice
from adb_shell.adb_message import AdbMessage, unpack
from adb_shell.transport.base_transport import BaseTransport

from fleetfront.errors import DeviceError, MissingDependency
from fleetfront.profilers.adb.link.faults import (
    ConnectionLost,
    DeviceRefused,
    DeviceSilent,
    ServiceClosed,
    refused,
    remedy,
)
from fleetfront.profilers.adb.link.key import load_key
from fleetfront.profilers.adb.link.transport import PING_SERVICE, STEP_S, SocketPipe, connect_tcp
from fleetfront.progress import Progress

if TYPE_CHECKING:
    from adb_shell.transport.usb_transport import UsbTransport

#: Follows ``host::``; adb-shell announces no features of its own.
_BANNER = b"features=shell_v2,cmd,stat_v2"
#: No daemon was seen to send more in one packet: MAX_PAYLOAD of AOSP's adb.h.
_MOST_BYTES = 1 << 20
#: What a daemon asks to be signed: AUTH in AOSP's protocol.txt.
_TOKEN_BYTES = 20
_NO_DAEMON = exceptions.InvalidCommandError, exceptions.InvalidChecksumError, exceptions.InvalidResponseError


class _Pipe(BaseTransport):  # type: ignore[misc]
    """Bytes to and from a device as adb-shell wants a transport; ``last`` is what was read last.

    Over TCP it is not adb-shell's own, which notices a closed peer only by a timeout.
    """

    def __init__(self, serial: str, attach: Callable[[float], SocketPipe | _UsbPipe]) -> None:
        self._serial = serial
        self._attach = attach
        self._pipe: SocketPipe | _UsbPipe | None = None
        self.last = b""

    def connect(self, transport_timeout_s: float) -> None:
        self._pipe = self._attach(transport_timeout_s)

    def bulk_read(self, numbytes: int, transport_timeout_s: float) -> bytes:
        """Exactly ``numbytes``; what came before a timeout is kept. Raises TimeoutError or ConnectionLost."""
        if numbytes > _MOST_BYTES:
            raise _not_a_daemon(self._serial, f"a packet of {numbytes} bytes")
        self.last = self._attached().read_exactly(numbytes, transport_timeout_s)
        return self.last

    def bulk_write(self, data: bytes, transport_timeout_s: float) -> int:
        """Send everything. Raises TimeoutError or ConnectionLost."""
        self._attached().write(data, transport_timeout_s)
        return len(data)

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def _attached(self) -> SocketPipe | _UsbPipe:
        if self._pipe is None:
            raise ConnectionLost(self._serial, "it was never opened")
        return self._pipe


class _UsbPipe:
    """Transfers to the ADB interface of one USB device, through adb-shell's driver."""

    def __init__(self, serial: str, timeout_s: float) -> None:
        """Claim the interface. Raises MissingDependency or DeviceRefused."""
        driver, usb_error = _usb_driver()
        self._serial = serial
        self._buffer = bytearray()
        try:
            self._device: UsbTransport = driver.find_adb(serial=serial)
            self._device.connect(timeout_s)
        except exceptions.UsbDeviceNotFoundError as error:
            raise DeviceRefused(f"The device {serial} is not attached by USB.", remedy("absent")) from error
        except usb_error as error:
            raise DeviceRefused(
                f"The USB device {serial} cannot be used ({error}).", remedy("no permissions")
            ) from error

    def read_exactly(self, count: int, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while len(self._buffer) < count:
            left_s = deadline - time.monotonic()
            try:
                # libusb takes a time limit of zero as none at all.
                with self._errors():
                    self._buffer += self._device.bulk_read(count - len(self._buffer), max(left_s, 1e-3))
            except TimeoutError:
                if left_s <= 0:
                    raise
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def write(self, data: bytes, timeout_s: float) -> None:
        with self._errors():
            self._device.bulk_write(data, timeout_s)

    def close(self) -> None:
        self._device.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.UsbReadFailedError, exceptions.UsbWriteFailedError) as error:
            reason = str(error.usb_error)
            if "TIMEOUT" in reason.upper():
                raise TimeoutError(reason) from error
            raise ConnectionLost(self._serial, reason) from error


class DirectTransport:
    """A connection to an adb daemon that carries many streams. Used by one thread: whoever waits moves all packets."""

    def __init__(self, pipe: _Pipe, serial: str, route: str) -> None:
        """Take over a pipe that has not been spoken through; ``shake_hands`` comes next."""
        self._pipe = pipe
        self.serial = serial
        self.route = route
        self._streams: dict[int, DirectStream] = {}
        self._last_id = 0
        self._lost: ConnectionLost | None = None
        self._header: tuple[int, int, int, int] | None = None
        self.max_payload: int = constants.MAX_PUSH_DATA
        self.features: frozenset[str] = frozenset()

    def shake_hands(self, key: Path | None, authorize_s: float, progress: Progress) -> None:
        """Prove who we are. Raises DeviceRefused or ConnectionLost, and closes the pipe then.

        Args:
            key: the user's ADB key; None takes ``adb``'s own.
            authorize_s: how long the person at the device may take to accept an unknown key.
            progress: told when that person must act.
        """
        serial, pipe = self.serial, self._pipe
        device = AdbDevice(pipe, banner=_BANNER)
        is_asked = False

        def ask(_: AdbDevice) -> None:
            nonlocal is_asked
            is_asked = True
            progress.note(f"{serial} waits for you: accept 'Allow USB debugging?' on its screen ({authorize_s:.0f} s).")

        try:
            device.connect([load_key(key, progress)], STEP_S, authorize_s, STEP_S, ask)
        except BaseException as error:
            pipe.close()
            if is_asked or (isinstance(error, ConnectionLost) and len(pipe.last) == _TOKEN_BYTES):
                raise refused(serial, "unauthorized") from error
            if isinstance(error, TimeoutError | exceptions.AdbTimeoutError):
                raise DeviceSilent(serial, STEP_S) from error
            if isinstance(error, exceptions.InvalidCommandError) and "STLS" in str(error):
                raise DeviceRefused(
                    f"The device {serial} wants an encrypted connection.",
                    "Pair it with an adb server (adb pair HOST:PORT, adb connect HOST:PORT), then run this command "
                    "again.",
                ) from error
            if isinstance(error, _NO_DAEMON):
                raise _not_a_daemon(serial, str(error)[:80]) from error
            raise
        self.max_payload = device.max_chunk_size
        self.features = _features(pipe.last)

    def open(self, service: str, timeout_s: float = STEP_S) -> DirectStream:
        self._last_id += 1
        stream = self._streams[self._last_id] = DirectStream(self, self._last_id)
        self.send(constants.OPEN, stream.local_id, 0, service.encode() + b"\0", timeout_s)
        deadline = time.monotonic() + timeout_s
        while not stream.is_open:
            if stream.is_closed:
                self.forget(stream.local_id)
                raise ServiceClosed(self.serial)
            try:
                self.move_one(deadline - time.monotonic())
            except TimeoutError as error:
                raise DeviceSilent(self.serial, timeout_s) from error
        return stream

    def ping(self, timeout_s: float) -> None:
        # A daemon has no such service and closes the stream: that is its answer.
        with contextlib.suppress(ServiceClosed):
            self.open(PING_SERVICE, timeout_s).close()

    def close(self) -> None:
        self._lost = self._lost or ConnectionLost(self.serial, "it was closed on this side")
        self._pipe.close()

    def move_one(self, timeout_s: float) -> None:
        """Receive one packet and hand it to its stream. Raises TimeoutError or ConnectionLost."""
        with self._remember_loss():
            command, remote_id, local_id, data = self._receive(timeout_s)
        stream = self._streams.get(local_id)
        if stream is not None:
            stream.accept(command, remote_id, data)
        elif command == constants.WRTE:
            # Nobody reads this any more.
            self.send(constants.CLSE, local_id, remote_id)

    def send(self, command: bytes, first: int, second: int, data: bytes = b"", timeout_s: float = STEP_S) -> None:
        """Send one packet. A peer that takes nothing for so long is silent."""
        message = AdbMessage(command, first, second, data)
        with self._remember_loss():
            try:
                # USB devices expect header and payload as two transfers.
                self._pipe.bulk_write(message.pack(), timeout_s)
                if data:
                    self._pipe.bulk_write(data, timeout_s)
            except TimeoutError as error:
                # A part of the packet may be on its way, so the connection cannot go on.
                raise DeviceSilent(self.serial, timeout_s) from error

    @contextlib.contextmanager
    def _remember_loss(self) -> Iterator[None]:
        if self._lost is not None:
            raise self._lost
        try:
            yield
        except ConnectionLost as lost:
            self._lost = lost
            raise

    def forget(self, local_id: int) -> None:
        """A stream that needs no more packets."""
        self._streams.pop(local_id, None)

    def _receive(self, timeout_s: float) -> tuple[bytes | None, int, int, bytes]:
        """The next packet; one of which a part has come is waited for by the next call. Raises TimeoutError."""
        if self._header is None:
            self._header = unpack(self._pipe.bulk_read(constants.MESSAGE_SIZE, timeout_s))[:4]
        wire, first, second, size = self._header
        data = self._pipe.bulk_read(size, timeout_s) if size else b""
        self._header = None
        return constants.WIRE_TO_ID.get(wire), first, second, data


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

    def accept(self, command: bytes | None, remote_id: int, data: bytes) -> None:
        """Take a packet that the transport received for this stream."""
        if command == constants.OKAY:
            self._remote_id, self.is_open, self._may_send = remote_id, True, True
        elif command == constants.WRTE:
            self._inbox.append(data)
            self._transport.send(constants.OKAY, self.local_id, remote_id)
        elif command == constants.CLSE:
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
        self._transport.send(constants.WRTE, self.local_id, self._remote_id, part)
        return len(part)

    def close(self) -> None:
        if self.is_open and not self.is_closed:
            with contextlib.suppress(ConnectionLost):
                self._transport.send(constants.CLSE, self.local_id, self._remote_id)
        self.is_closed = True
        self._transport.forget(self.local_id)


def open_tcp(host: str, port: int, key: Path | None, authorize_s: float, progress: Progress) -> DirectTransport:
    """Connect to a daemon in the network. Raises DeviceError."""
    serial = f"{host}:{port}"

    def attach(timeout_s: float) -> SocketPipe:
        try:
            return SocketPipe(connect_tcp(host, port, timeout_s), serial)
        except OSError as error:
            raise DeviceError(
                f"No device answers at {serial} ({error.strerror or error}).",
                "Check the address, that both are in one network, and that debugging over the network is on.",
            ) from error

    transport = DirectTransport(_Pipe(serial, attach), serial, "direct TCP")
    transport.shake_hands(key, authorize_s, progress)
    return transport


def open_usb(serial: str, key: Path | None, authorize_s: float, progress: Progress) -> DirectTransport:
    """Claim the ADB interface of the USB device with this serial number. Raises DeviceError and MissingDependency."""
    transport = DirectTransport(_Pipe(serial, partial(_UsbPipe, serial)), serial, "direct USB")
    transport.shake_hands(key, authorize_s, progress)
    return transport


def usb_devices() -> tuple[list[str], int]:
    """Serial numbers of the USB devices with an ADB interface, and how many more there are that may not be opened.

    Raises:
        MissingDependency: adb-shell[usb] or libusb is not installed.
    """
    driver, usb_error = _usb_driver()
    serials, closed = [], 0
    for device in driver.find_all_adb_devices():
        try:
            serials.append(str(device.serial_number))
        except usb_error:
            closed += 1
    return serials, closed


def _usb_driver() -> tuple[type[UsbTransport], type[Exception]]:
    try:
        import usb1
        from adb_shell.transport.usb_transport import UsbTransport
    except (ImportError, OSError) as error:
        raise MissingDependency(
            "Reaching a USB device without an adb server needs the package adb-shell[usb] and libusb.",
            "Start an adb server (adb start-server), or run: pip install 'fleetfront[mobile]'.",
        ) from error
    return UsbTransport, usb1.USBError


def _features(banner: bytes) -> frozenset[str]:
    """The features that the device names: ``device::name=value;...;features=a,b``."""
    words = banner.rstrip(b"\0").decode(errors="replace").split("::", 1)[-1].split(";")
    named = next((word for word in words if word.startswith("features=")), "features=")
    return frozenset(filter(None, named.removeprefix("features=").split(",")))


def _not_a_daemon(serial: str, what: str) -> DeviceError:
    return DeviceError(
        f"What answers at {serial} is not an adb daemon ({what}).",
        "Check host and port; Android shows the port under 'Wireless debugging'.",
    )

"""The packets of the ADB wire protocol and the hand-shake that opens a connection. Streams are in ``link.direct``.

Source: protocol.txt in https://android.googlesource.com/platform/packages/modules/adb
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceRefused, DeviceSilent, refused
from fleetfront.profilers.adb.link.keys import Signer

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE, STLS = b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"STLS"
_COMMANDS = frozenset({CNXN, AUTH, OPEN, OKAY, WRTE, CLSE, STLS})
_HEADER = struct.Struct("<4s5I")

#: From this version on the sum of the payload is no longer checked.
VERSION = 0x01000001
#: The most that is announced; a daemon may announce less.
MAX_PAYLOAD = 256 * 1024

_AUTH_TOKEN, _AUTH_SIGNATURE, _AUTH_PUBLIC_KEY = 1, 2, 3
_BANNER = b"host::features=shell_v2,cmd,stat_v2"


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: a command, two numbers whose meaning depends on it, and bytes."""

    command: bytes
    first: int
    second: int
    data: bytes = b""


class Pipe(Protocol):
    """Exact reads and writes to a device, over TCP or USB. What was read before a timeout is not lost."""

    def read_exactly(self, count: int, timeout_s: float) -> bytes:
        """``count`` bytes. Raises TimeoutError or ConnectionLost."""

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send everything. Raises TimeoutError or ConnectionLost."""

    def close(self) -> None:
        """Give it up."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the device says of itself when it lets us in."""

    features: frozenset[str]
    properties: dict[str, str]
    max_payload: int


class PacketLink:
    """Packets over a pipe. A packet of which a part has come stays in here until the rest does."""

    def __init__(self, pipe: Pipe, serial: str) -> None:
        self._pipe = pipe
        self._serial = serial
        self._header: tuple[bytes, int, int, int] | None = None

    def send(self, packet: Packet, timeout_s: float) -> None:
        """Raises TimeoutError or ConnectionLost."""
        magic = int.from_bytes(packet.command, "little") ^ 0xFFFFFFFF
        checksum = sum(packet.data) & 0xFFFFFFFF
        header = _HEADER.pack(packet.command, packet.first, packet.second, len(packet.data), checksum, magic)
        # USB devices expect header and payload as two transfers.
        self._pipe.write(header, timeout_s)
        if packet.data:
            self._pipe.write(packet.data, timeout_s)

    def receive(self, timeout_s: float) -> Packet:
        """The next packet. Raises TimeoutError, ConnectionLost, and DeviceError if it is not one."""
        if self._header is None:
            fields = _HEADER.unpack(self._pipe.read_exactly(_HEADER.size, timeout_s))
            command, first, second, size, _, magic = fields
            if magic != int.from_bytes(command, "little") ^ 0xFFFFFFFF or command not in _COMMANDS:
                raise self._not_a_daemon(f"a packet begins with {command!r}")
            if size > 4 * MAX_PAYLOAD:
                raise self._not_a_daemon(f"a packet of {size} bytes")
            self._header = (command, first, second, size)
        command, first, second, size = self._header
        data = self._pipe.read_exactly(size, timeout_s) if size else b""
        self._header = None
        return Packet(command, first, second, data)

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()

    def _not_a_daemon(self, what: str) -> DeviceError:
        return DeviceError(
            f"What answers at {self._serial} is not an adb daemon ({what}).",
            "Check host and port; Android shows the port under 'Wireless debugging'.",
        )


def shake_hands(
    link: PacketLink,
    serial: str,
    signer: Callable[[], Signer],
    *,
    step_s: float,
    authorize_s: float,
    ask_user: Callable[[], None],
) -> Greeting:
    """Open the connection, proving who we are if the device asks.

    Args:
        link: packets to a device that has not been spoken to.
        serial: what to call the device in messages.
        signer: gives the user's key; called only if the device asks for it.
        step_s: how long one answer may take.
        authorize_s: how long the person at the device may take to accept an unknown key.
        ask_user: called when the device begins to wait for that person.

    Raises:
        DeviceRefused: the key was not accepted in time, or the device wants an encrypted connection.
        ConnectionLost: the device closed the connection or does not answer.
    """
    key: Signer | None = None
    is_public_sent = False
    wait_s = step_s
    link.send(Packet(CNXN, VERSION, MAX_PAYLOAD, _BANNER), step_s)
    while True:
        try:
            packet = link.receive(wait_s)
        except TimeoutError as error:
            raise (refused(serial, "unauthorized") if is_public_sent else DeviceSilent(serial, wait_s)) from error
        except ConnectionLost as error:
            if key is not None:
                raise refused(serial, "unauthorized") from error
            raise
        if packet.command == CNXN:
            return _greeting(packet)
        if packet.command == STLS:
            raise DeviceRefused(
                f"The device {serial} wants an encrypted connection.",
                "Pair it with an adb server (adb pair HOST:PORT, adb connect HOST:PORT), then run this command again.",
            )
        if packet.command != AUTH or packet.first != _AUTH_TOKEN:
            raise ConnectionLost(serial, f"it answered {packet.command!r} during the hand-shake")
        if key is None:
            key = signer()
            link.send(Packet(AUTH, _AUTH_SIGNATURE, 0, key.Sign(packet.data)), step_s)
        elif not is_public_sent:
            public = key.GetPublicKey()
            ask_user()
            raw = public.encode() if isinstance(public, str) else public
            link.send(Packet(AUTH, _AUTH_PUBLIC_KEY, 0, raw + b"\0"), step_s)
            is_public_sent, wait_s = True, authorize_s
        else:
            raise refused(serial, "unauthorized")


def _greeting(packet: Packet) -> Greeting:
    banner = packet.data.rstrip(b"\0").decode(errors="replace")
    pairs = (part.split("=", 1) for part in banner.split("::", 1)[-1].split(";") if "=" in part)
    properties = dict(pairs)
    features = frozenset(name for name in properties.pop("features", "").split(",") if name)
    return Greeting(features, properties, min(packet.second, MAX_PAYLOAD))

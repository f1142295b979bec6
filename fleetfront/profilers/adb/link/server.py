"""Reach a device through a running adb server, in the server's own protocol. No ``adb`` binary is needed.

Requests are four hexadecimal digits of length and a text; answers are OKAY or FAIL with a reason. See SERVICES.TXT and
OVERVIEW.TXT in https://android.googlesource.com/platform/packages/modules/adb
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections import Counter
from dataclasses import dataclass, replace

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.link.faults import (
    REMEDIES,
    DeviceRefused,
    DeviceSilent,
    ServerSilent,
    ServiceClosed,
    explain_failure,
    refused,
    remedy,
)
from fleetfront.profilers.adb.link.transport import PING_SERVICE, STEP_S, SocketPipe, connect_tcp

DEFAULT_PORT = 5037
#: A server that runs answers its version in well under a millisecond, on a busy machine in a second or two. Where none
#: runs, the port refuses at once.
_PROBE_S = 4.0
#: Connecting to a network device takes the server this long before it gives up.
_CONNECT_S = 12.0
#: Looks at the list after a connect before connecting once more.
_LOOKS, _LOOK_EVERY_S = 20, 0.05

_STATES = "|".join(["device(?!:)", "host", *(state for state in REMEDIES if state not in ("device", "no permissions"))])
#: ``append_transport`` of AOSP's adb/transport.cpp: serial numbers may hold blanks; libusb's paths have no ``usb:``.
_LISTED = re.compile(
    rf"(?P<serial>\S.*?)\s+(?P<state>{_STATES}|no permissions(?: \([^)]*\))?(?:; see \[[^]]*\])?)"
    r"(?P<rest>(?:\s+(?:[a-z_]+:\S*|[\w.]+-[\w.\-]+))*)\s*"
)
#: What this program does not know yet.
_OTHER = re.compile(
    r"(?!List of devices )(?P<serial>\S+)\s+(?P<state>[^:\s]+(?: [^:\s]+)*)(?P<rest>(?:\s+[a-z_]+:\S*)*)\s*"
)
_BY_ID = "transport_id:"
#: ``SERIAL@HOST`` or ``SERIAL@HOST:PORT``; behind the same sign stands where one of twins is plugged in.
_HOSTED = re.compile(
    r"(?P<device>.*)@(?P<host>(?!usb:|transport_id:)[A-Za-z0-9][A-Za-z0-9.\-]*)(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """One line of the server's list. ``remedy`` is what to do if ``state`` is not ``device``.

    Attributes:
        serial: number that the device itself tells, of which not all are unique.
        state: ``device`` if it is ready.
        model: for people.
        path: where it is plugged in, ``usb:3-4``; empty in the network.
        id: of the connection; another after each reconnect.
        is_twin: whether another device has the same serial number.
    """

    serial: str
    state: str
    model: str = ""
    path: str = ""
    id: str = ""
    is_twin: bool = False

    @property
    def name(self) -> str:
        """The serial number, of twins with the path."""
        return f"{self.serial}@{self.path or _BY_ID + self.id}" if self.is_twin else self.serial

    @property
    def remedy(self) -> str:
        """The remedy for it; empty if it is ready."""
        return remedy(self.state)


def parse_devices(text: str) -> list[ListedDevice]:
    """The answer to ``host:devices-l``. Lines that are not a device's are left out."""
    devices = []
    for line in text.splitlines():
        match = _LISTED.fullmatch(line.strip()) or _OTHER.fullmatch(line.strip())
        if match is None:
            continue
        words = match.group("rest").split()
        facts = dict(word.split(":", 1) for word in words if ":" in word)
        path = f"usb:{facts['usb']}" if "usb" in facts else next((f"usb:{w}" for w in words if ":" not in w), "")
        model, number = facts.get("model", "").replace("_", " "), facts.get("transport_id", "")
        devices.append(ListedDevice(match.group("serial"), match.group("state"), model.strip(), path, number))
    count = Counter(device.serial for device in devices)
    return [replace(device, is_twin=count[device.serial] > 1) for device in devices]


def is_address(serial: str) -> bool:
    """Tell whether it is ``HOST:PORT`` rather than the name of a device that is plugged in."""
    return bool(re.fullmatch(r".+:\d+", serial)) and "@usb:" not in serial and _BY_ID not in serial


def split_host(device: str) -> tuple[str, str]:
    """A device's name without the host whose adb server has it, and that host as ``@HOST`` or ``@HOST:PORT``; the
    latter is empty where the device is this machine's.

    Raises InputError for a port that cannot be.
    """
    match = _HOSTED.fullmatch(device)
    if match is None:
        return device, ""
    port = int(match.group("port") or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise InputError(
            f"{device} names the port {port}, which cannot be.", "Ports are 1 to 65535; adb's own is 5037."
        )
    return match.group("device"), f"@{match.group('host')}{'' if port == DEFAULT_PORT else f':{port}'}"


class AdbServer:
    """An adb server, mostly on this machine. Each request has its own connection, as the protocol wants.

    ``named`` is the host as users write it behind a device, ``@HOST:PORT``; empty for the server of this machine.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = DEFAULT_PORT, named: str = "") -> None:
        self._host = host
        self._port = port
        self.named = named

    @classmethod
    def at(cls, named: str) -> AdbServer:
        """The server of a host of ``split_host``; the configured one for none."""
        if not named:
            return cls.configured()
        host, _, port = named.removeprefix("@").partition(":")
        return cls(host, int(port or DEFAULT_PORT), named)

    @classmethod
    def configured(cls) -> AdbServer:
        """The server that ``adb`` would use: ``ADB_SERVER_SOCKET``, ``ANDROID_ADB_SERVER_PORT``, else 5037.

        Raises:
            InputError: one of the variables is set to something else than a TCP port.
        """
        address = os.environ.get("ADB_SERVER_SOCKET", "")
        port = os.environ.get("ANDROID_ADB_SERVER_PORT", str(DEFAULT_PORT))
        host = "127.0.0.1"
        if address:
            match = re.fullmatch(r"tcp:(?:(?P<host>[^:]+|\[[^]]+\]):)?(?P<port>\d+)", address)
            if match is None:
                raise InputError(f"ADB_SERVER_SOCKET is {address!r}.", "Set it to tcp:PORT or tcp:HOST:PORT.")
            host, port = (match.group("host") or host).strip("[]"), match.group("port")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(f"ANDROID_ADB_SERVER_PORT is {port!r}.", "Set it to a port number, e.g. 5037.")
        return cls(host, int(port))

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return f"{self._host}:{self._port}"

    def is_running(self) -> bool:
        """Tell whether an adb server answers. Raises ServerSilent for one that holds the port and says nothing."""
        try:
            return bool(re.fullmatch(r"[0-9a-fA-F]{4}", self.ask("host:version", _PROBE_S)))
        except ServerSilent:
            raise
        except DeviceError:
            return False

    def devices(self) -> list[ListedDevice]:
        """Everything attached, whatever its state. Raises DeviceError if the server is not there."""
        return parse_devices(self.ask("host:devices-l"))

    def connect(self, address: str) -> None:
        """Let the server connect to the network device ``HOST:PORT``. Raises DeviceError if it cannot."""
        answer = self.ask(f"host:connect:{address}", _CONNECT_S)
        if not re.match(r"(already )?connected to", answer):
            raise DeviceError(
                f"The adb server cannot connect to {address} ({answer.strip()}).",
                "Check the address, that both are in one network, and that 'Wireless debugging' is on.",
            )

    def disconnect(self, address: str) -> None:
        """Let the server forget a network device. Raises DeviceError if it does not know it."""
        self.ask(f"host:disconnect:{address}")

    def ask(self, request: str, timeout_s: float = STEP_S, about: str = "") -> str:
        """The text that the server answers to one request, ``about`` a device if it names one."""
        pipe = self._request(request, about or self.address, timeout_s)
        try:
            size = int(pipe.read_exactly(4, timeout_s), 16)
            return pipe.read_exactly(size, timeout_s).decode(errors="replace")
        except TimeoutError as error:
            raise ServerSilent(self.address, timeout_s) from error
        except ValueError as error:
            raise _not_a_server(self.address) from error
        finally:
            pipe.close()

    def open(self, device: ListedDevice, service: str, timeout_s: float) -> SocketPipe:
        """A connection to a service of one device."""
        serial = device.name
        which = f"host:transport-id:{device.id}" if device.is_twin else f"host:transport:{serial}"
        pipe = self._request(which, serial, timeout_s)
        try:
            _exchange(pipe, service, serial, timeout_s)
        except (DeviceError, TimeoutError) as error:
            pipe.close()
            if isinstance(error, TimeoutError):
                raise DeviceSilent(serial, timeout_s) from error
            raise
        return pipe

    def _start_remedy(self) -> str:
        if not self.named:
            return "Run: adb start-server"
        return (
            f"Run `adb start-server` on {self._host} and lead its port here: ssh -N -L 5038:localhost:{self._port} "
            f"{self._host}, then name the device @localhost:5038."
        )

    def _request(self, request: str, serial: str, timeout_s: float) -> SocketPipe:
        try:
            pipe = SocketPipe(connect_tcp(self._host, self._port, timeout_s), serial)
        except TimeoutError as error:
            raise ServerSilent(self.address, timeout_s) from error
        except OSError as error:
            raise DeviceError(
                f"No adb server answers at {self.address} ({error.strerror or error}).", self._start_remedy()
            ) from error
        try:
            _exchange(pipe, request, serial, timeout_s)
        except TimeoutError as error:
            pipe.close()
            raise ServerSilent(self.address, timeout_s) from error
        except BaseException:
            pipe.close()
            raise
        return pipe


class ServerTransport:
    """One device of an adb server."""

    def __init__(self, server: AdbServer, serial: str) -> None:
        """Look the device up. Raises DeviceError, with the remedy, if it is not there or not ready."""
        self._server = server
        self.serial = serial
        self.route = f"adb server at {server.address}"
        listed = _listed(server)
        if is_address(serial) and _is_away(listed.get(serial)):
            listed = _connected(server, serial)
        twins = [
            shlex.quote(f"adb:{device.name}{server.named}")
            for device in listed.values()
            if device.is_twin and device.serial == serial
        ]
        if twins:
            raise DeviceRefused(
                f"{len(twins)} devices have the serial number {serial}.",
                f"Say which by where it is plugged in: {' or '.join(f'--device {name}' for name in twins)}",
            )
        if serial not in listed:
            near = f" (attached: {', '.join(sorted(listed))})" if listed else ""
            raise explain_failure(serial, f"device '{serial}' not found{near}")
        if listed[serial].state != "device":
            raise refused(serial, listed[serial].state)
        device = self._device = listed[serial]
        which = f"host-transport-id:{device.id}" if device.is_twin else f"host-serial:{serial}"
        self.features = frozenset(server.ask(f"{which}:features", about=serial).split(","))

    def open(self, service: str, timeout_s: float = STEP_S) -> ServerStream:
        return ServerStream(self._server.open(self._device, service, timeout_s))

    def ping(self, timeout_s: float) -> None:
        try:
            self._server.open(self._device, PING_SERVICE, timeout_s).close()
        except ServiceClosed:
            # The daemon has no such service and closes the stream: that is its answer.
            return

    def close(self) -> None:
        return None


class ServerStream:
    """A connection that the adb server has joined to a service of the device."""

    def __init__(self, pipe: SocketPipe) -> None:
        self._pipe = pipe

    def read(self, timeout_s: float) -> bytes:
        return self._pipe.read_some(timeout_s)

    def write_some(self, data: bytes | memoryview, timeout_s: float) -> int:
        return self._pipe.write_some(data, timeout_s)

    def close(self) -> None:
        self._pipe.close()


def _listed(server: AdbServer) -> dict[str, ListedDevice]:
    return {device.name: device for device in server.devices()}


def _is_away(device: ListedDevice | None) -> bool:
    return device is None or device.state in ("offline", "connecting")


def _connected(server: AdbServer, serial: str) -> dict[str, ListedDevice]:
    """The list after connecting to a network device, which the server calls connected before it has shaken hands."""
    deadline = time.monotonic() + STEP_S
    while True:
        if serial in _listed(server):
            # The server would try again by itself, but only every ten seconds.
            server.disconnect(serial)
        server.connect(serial)
        for _ in range(_LOOKS):
            listed = _listed(server)
            if not _is_away(listed.get(serial)) or time.monotonic() > deadline:
                return listed
            time.sleep(_LOOK_EVERY_S)


def _exchange(pipe: SocketPipe, request: str, serial: str, timeout_s: float) -> None:
    text = request.encode()
    pipe.write(b"%04x%s" % (len(text), text), timeout_s)
    status = pipe.read_exactly(4, timeout_s)
    if status == b"OKAY":
        return
    if status != b"FAIL":
        raise _not_a_server(serial)
    try:
        size = int(pipe.read_exactly(4, timeout_s), 16)
    except ValueError as error:
        raise _not_a_server(serial) from error
    raise explain_failure(serial, pipe.read_exactly(size, timeout_s).decode(errors="replace"))


def _not_a_server(address: str) -> DeviceError:
    return DeviceError(
        f"What answers for {address} does not speak the protocol of an adb server.",
        "Set ANDROID_ADB_SERVER_PORT to the port of the adb server.",
    )

"""Speak to a scripted peer, for what a genuine daemon here never does: ask for a key, misbehave, or sit on USB."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from adb_shell.exceptions import UsbReadFailedError, UsbWriteFailedError

from fleetfront.errors import DeviceError, InputError, MissingDependency
from fleetfront.profilers.adb.link import direct
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceRefused, DeviceSilent
from fleetfront.profilers.adb.link.key import load_key
from fleetfront.profilers.adb.open_agent import connect, full_name, list_adb_devices, why_none_attached
from fleetfront.progress import Silent

HEADER = struct.Struct("<4s5I")
TOKEN = bytes(range(20))


class Packet(NamedTuple):
    """One packet of the protocol."""

    command: bytes
    first: int
    second: int
    data: bytes


class Peer:
    """The other end of one connection."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def receive(self) -> Packet:
        command, first, second, size, _, _ = HEADER.unpack(self._exactly(HEADER.size))
        return Packet(command, first, second, self._exactly(size))

    def send(self, command: bytes, first: int = 0, second: int = 0, data: bytes = b"") -> None:
        magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        self.socket.sendall(HEADER.pack(command, first, second, len(data), sum(data), magic) + data)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def play() -> Iterator[Callable[[Callable[[Peer], None]], str]]:
    """Play a script to whoever connects to the address returned."""
    listeners: list[socket.socket] = []

    def begin(script: Callable[[Peer], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connected, _ = listener.accept()
            with connected:
                try:
                    script(Peer(connected))
                    connected.recv(1)
                except (EOFError, OSError):
                    return

        threading.Thread(target=serve, daemon=True).start()
        return f"adb:127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    for listener in listeners:
        listener.close()


def refuse(peer: Peer) -> None:
    """A phone on which nobody accepts the key: it asks, is not convinced, and waits for its user for ever."""
    assert peer.receive().command == b"CNXN"
    peer.send(b"AUTH", 1, 0, TOKEN)
    assert peer.receive().first == 2
    peer.send(b"AUTH", 1, 0, TOKEN)
    assert peer.receive().first == 3
    peer.receive()


def test_a_refused_key_says_what_to_do(play: Callable[..., str], tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(DeviceRefused, match="unauthorized") as caught:
        connect(play(refuse), authorize_s=0.5, progress=notes)
    assert "Allow USB debugging" in caught.value.remedy
    assert caught.value.exit_code == 3
    assert any("accept 'Allow USB debugging?' on its screen" in note for note in notes.notes)


def test_a_phone_that_hangs_up_on_the_key_has_refused_it(play: Callable[..., str]) -> None:
    def hang_up(peer: Peer) -> None:
        peer.receive()
        peer.send(b"AUTH", 1, 0, TOKEN)
        peer.receive()
        peer.socket.shutdown(socket.SHUT_RDWR)

    with pytest.raises(DeviceRefused, match="unauthorized"):
        connect(play(hang_up))


def test_a_known_key_opens_the_device_and_the_daemon_can_check_it(play: Callable[..., str], tmp_path: Path) -> None:
    import rsa

    path = tmp_path / "keys" / "adbkey"
    signed: list[bytes] = []

    def ask_once(peer: Peer) -> None:
        peer.receive()
        peer.send(b"AUTH", 1, 0, TOKEN)
        signed.append(peer.receive().data)
        peer.send(b"CNXN", 0x01000001, 4096, b"device::ro.product.model=Fake;features=shell_v2,cmd\0")
        while True:
            packet = peer.receive()
            if packet.command == b"OPEN":
                peer.send(b"OKAY", 9, packet.first)
                body = b"fine"
                peer.send(b"WRTE", 9, packet.first, b"\1\4\0\0\0" + body + b"\3\1\0\0\0\5")
                peer.send(b"CLSE", 9, packet.first)

    notes = Notes()
    connection = connect(play(ask_once), key=path, progress=notes)
    result = connection.shell("anything")
    assert (result.code, result.out) == (5, "fine")
    connection.close()
    assert any("Made a new ADB key" in note for note in notes.notes)
    assert path.stat().st_mode & 0o077 == 0
    # The public file has the modulus in ADB's form: words, n0inv, then 256 little-endian bytes.
    import base64

    raw = base64.b64decode(path.with_name("adbkey.pub").read_bytes().split()[0])
    public = rsa.PublicKey(int.from_bytes(raw[8:264], "little"), 65537)
    decrypted = pow(int.from_bytes(signed[0], "big"), public.e, public.n).to_bytes(256, "big")
    assert decrypted.endswith(TOKEN)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "adbkey"
    notes = Notes()
    first = load_key(path, notes)
    second = load_key(path, notes)
    assert first.Sign(TOKEN) == second.Sign(TOKEN)
    assert first.GetPublicKey() == second.GetPublicKey()
    assert len(notes.notes) == 1
    path.write_text("not a key")
    with pytest.raises(InputError, match="cannot be used"):
        load_key(path, notes)


def test_devices_met_at_once_share_the_key_that_the_first_makes(tmp_path: Path) -> None:
    path, notes, at_once = tmp_path / "android" / "adbkey", Notes(), threading.Barrier(8)

    def load() -> bytes:
        at_once.wait()
        signed = load_key(path, notes).Sign(TOKEN)
        assert isinstance(signed, bytes)
        return signed

    with ThreadPoolExecutor(8) as pool:
        signed = [future.result() for future in [pool.submit(load) for _ in range(8)]]
    assert len(set(signed)) == len(notes.notes) == 1
    assert [(found.name, oct(found.stat().st_mode & 0o777)) for found in sorted(path.parent.glob("adbkey"))] == [
        ("adbkey", "0o600")
    ]
    assert len(list(path.parent.iterdir())) == 2


def test_an_encrypted_connection_is_refused_with_the_way_to_pair(play: Callable[..., str]) -> None:
    def want_tls(peer: Peer) -> None:
        peer.receive()
        peer.send(b"STLS", 0x01000000)

    with pytest.raises(DeviceRefused, match="encrypted") as caught:
        connect(play(want_tls))
    assert "adb pair" in caught.value.remedy


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 64, HEADER.pack(b"CNXN", 1, 1, 1 << 30, 0, 0xB1A7B1BC)]
)
def test_what_is_no_packet_is_refused(play: Callable[..., str], answer: bytes) -> None:
    with pytest.raises(DeviceError, match="not an adb daemon"):
        connect(play(lambda peer: [peer.receive(), peer.socket.sendall(answer), peer.receive()]))


def test_a_peer_that_never_answers_is_silent(play: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetfront.profilers.adb.link.direct.STEP_S", 0.3)
    with pytest.raises(DeviceSilent):
        connect(play(lambda peer: [peer.receive(), peer.receive()]))


class UsbError(Exception):
    """What the driver raises for a device that may not be opened."""


class Plugged:
    """A device on USB."""

    def __init__(self, serial: str | None) -> None:
        self._serial = serial

    @property
    def serial_number(self) -> str:
        if self._serial is None:
            raise UsbError("LIBUSB_ERROR_ACCESS")
        return self._serial


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Attach devices by USB, by serial number; None may not be opened."""

    def attach(*serials: str | None) -> None:
        driver = SimpleNamespace(find_all_adb_devices=lambda: [Plugged(serial) for serial in serials])
        monkeypatch.setattr(direct, "_usb_driver", lambda: (driver, UsbError))

    return attach


def test_phones_on_usb_are_listed_with_what_to_do(plug: Any) -> None:
    plug("R58", None)
    first, second = list_adb_devices()
    assert (first.name, first.state, first.remedy, first.is_ready) == ("adb:R58", "device", "", True)
    assert (second.name, second.state, second.is_ready) == ("adb", "no permissions", False)
    assert "apt install android-sdk-platform-tools-common" in second.remedy


def test_the_only_phone_has_a_name_of_its_own(plug: Any) -> None:
    plug("R58")
    assert full_name("adb") == full_name("adb:") == "adb:R58"
    assert full_name("adb:other") == "adb:other"
    plug("R58", "R59")
    with pytest.raises(DeviceError, match="Several devices are attached: R58, R59") as several:
        full_name("adb")
    assert "--devices adb:R58,adb:R59" in several.value.remedy
    plug(None)
    with pytest.raises(DeviceRefused, match="may not be opened") as closed:
        full_name("adb")
    assert "apt install" in closed.value.remedy


def test_where_was_looked(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plug()
    assert list_adb_devices() == []
    assert why_none_attached().startswith("No phone is attached by USB: plug a phone in")

    def missing() -> Any:
        raise MissingDependency("It needs libusb.", "Start an adb server.")

    monkeypatch.setattr(direct, "_usb_driver", missing)
    assert list_adb_devices() == []
    assert why_none_attached().startswith("No adb server runs, so phones on USB cannot be seen. Start an adb server.")


def test_without_adb_shell_its_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fleetfront.profilers.adb.link.direct", raising=False)
    monkeypatch.setitem(sys.modules, "adb_shell", None)
    with pytest.raises(MissingDependency, match=r"adb-shell.*pip install 'fleetfront\[mobile\]'"):
        connect("adb:127.0.0.1:9")


def test_without_the_driver_its_pip_line_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("usb1", "adb_shell.transport.usb_transport"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=r"adb-shell\[usb\].*pip install 'fleetfront\[mobile\]'"):
        direct.open_usb("R58", tmp_path / "adbkey", 1.0, Silent())


class UsbOverTcp:
    """adb-shell's transport of a USB device whose cable leads to a daemon on loopback, with libusb's errors."""

    def __init__(self, port: int) -> None:
        self._port = port

    def connect(self, timeout_s: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout_s)

    def bulk_read(self, size: int, timeout_s: float) -> bytes:
        try:
            self._socket.settimeout(timeout_s)
            data = self._socket.recv(size)
        except TimeoutError as error:
            raise UsbReadFailedError("no data", "LIBUSB_ERROR_TIMEOUT [-7]") from error
        if not data:
            raise UsbReadFailedError("no device", "LIBUSB_ERROR_NO_DEVICE [-4]")
        return data

    def bulk_write(self, data: bytes, timeout_s: float) -> int:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise UsbWriteFailedError("no device", "LIBUSB_ERROR_NO_DEVICE [-4]") from error
        return len(data)

    def close(self) -> None:
        self._socket.close()


def test_the_way_over_usb_to_a_genuine_daemon(daemon: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = SimpleNamespace(find_adb=lambda serial: UsbOverTcp(daemon.port))
    monkeypatch.setattr(direct, "_usb_driver", lambda: (driver, UsbError))
    connection = connect("adb:R58")
    assert connection.route == "direct USB"
    assert connection.shell("sleep 1.2; echo out; exit 7").code == 7
    data = os.urandom(300_000)
    connection.push({"/data/local/tmp/file": data})
    connection.pull("/data/local/tmp/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data
    process = connection.start("echo ready; sleep 60")
    assert connection.wait_for(process) is not None
    daemon.kill()
    with pytest.raises(ConnectionLost, match="NO_DEVICE"):
        connection.wait_for(process)
    connection.close()

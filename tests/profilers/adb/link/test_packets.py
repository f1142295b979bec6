"""The wire protocol against a scripted peer, for what a genuine daemon here never does: ask for a key, or misbehave."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceRefused, DeviceSilent
from fleetfront.profilers.adb.link.keys import load_or_create_key
from fleetfront.profilers.adb.link.packets import MAX_PAYLOAD, Packet, PacketLink
from fleetfront.profilers.adb.opening import connect
from fleetfront.progress import Silent

HEADER = struct.Struct("<4s5I")
TOKEN = bytes(range(20))


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
    first = load_or_create_key(path, notes)
    second = load_or_create_key(path, notes)
    assert first.Sign(TOKEN) == second.Sign(TOKEN)
    assert first.GetPublicKey() == second.GetPublicKey()
    assert len(notes.notes) == 1
    path.write_text("not a key")
    with pytest.raises(InputError, match="cannot be used"):
        load_or_create_key(path)


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


class Loop:
    """A pipe that gives back what was written, in pieces and with timeouts in between."""

    def __init__(self, piece: int) -> None:
        self.data = b""
        self.allowed = 0
        self.piece = piece

    def read_exactly(self, count: int, timeout_s: float) -> bytes:
        if self.allowed < count <= len(self.data):
            self.allowed += self.piece
            raise TimeoutError
        if len(self.data) < count:
            raise ConnectionLost("loop", "ended")
        self.allowed -= count
        data, self.data = self.data[:count], self.data[count:]
        return data

    def write(self, data: bytes, timeout_s: float) -> None:
        self.data += data

    def close(self) -> None:
        self.data = b""


packets = st.builds(
    Packet,
    st.sampled_from([b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE"]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=200),
)


@settings(max_examples=60)
@given(st.lists(packets, max_size=5), st.integers(1, 64))
def test_packets_survive_any_interruption(sent: list[Packet], piece: int) -> None:
    link = PacketLink(Loop(piece), "loop")
    for packet in sent:
        link.send(packet, 1)
    received: list[Packet] = []
    while len(received) < len(sent):
        try:
            received.append(link.receive(1))
        except TimeoutError:
            continue
    assert received == sent


@settings(max_examples=60)
@given(st.binary(min_size=24, max_size=80))
def test_noise_is_never_taken_for_a_packet(noise: bytes) -> None:
    loop = Loop(1 << 20)
    loop.data = noise
    link = PacketLink(loop, "loop")
    for _ in range(4):
        try:
            packet = link.receive(1)
        except TimeoutError:
            continue
        except DeviceError:
            break
        magic = int.from_bytes(packet.command, "little") ^ 0xFFFFFFFF
        assert struct.unpack_from("<I", noise, 20) == (magic,)
        assert len(packet.data) <= 4 * MAX_PAYLOAD
        break

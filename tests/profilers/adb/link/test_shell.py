"""Output and exit codes do not depend on how the network cuts the bytes."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.profilers.adb.link.faults import ConnectionLost
from fleetfront.profilers.adb.link.shell import RemoteProcess
from fleetfront.profilers.adb.runners.script import parse_frame


class Canned:
    """A transport whose one stream gives prepared pieces."""

    serial = "adb:canned"
    route = "canned"

    def __init__(self, features: frozenset[str]) -> None:
        self.features = features
        self.pieces: list[bytes] = []
        self.service = ""

    def open(self, service: str, timeout_s: float = 1.0) -> Canned:
        self.service = service
        return self

    def read(self, timeout_s: float) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def write_some(self, data: bytes | memoryview, timeout_s: float) -> int:
        return len(data)

    def ping(self, timeout_s: float) -> None:
        return None

    def close(self) -> None:
        return None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def read_all(process: RemoteProcess) -> tuple[bytes, bytes]:
    out, err = b"", b""
    while (output := process.read(1.0)) is not None:
        if output.is_error:
            err += output.data
        else:
            out += output.data
    return out, err


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=6),
    st.integers(0, 255),
    st.lists(st.integers(0, 500), max_size=8),
)
def test_shell_v2_in_any_pieces(outputs: list[tuple[int, bytes]], code: int, places: list[int]) -> None:
    transport = Canned(frozenset({"shell_v2"}))
    data = b"".join(struct.pack("<BI", kind, len(body)) + body for kind, body in [*outputs, (3, bytes([code]))])
    process = RemoteProcess(transport, "command")
    transport.pieces = cut(data, places)
    expected = tuple(b"".join(body for kind, body in outputs if kind == which) for which in (1, 2))
    assert read_all(process) == expected
    assert process.code == code


def test_packets_that_are_no_output_and_output_of_nothing_are_passed_over() -> None:
    transport = Canned(frozenset({"shell_v2"}))
    packets = [(1, b"a"), (4, b"24x80"), (1, b""), (2, b"b"), (3, b"\x07")]
    transport.pieces = [b"".join(struct.pack("<BI", kind, len(body)) + body for kind, body in packets)]
    process = RemoteProcess(transport, "command")
    read = []
    while (output := process.read(1.0)) is not None:
        read.append((output.data, output.is_error))
    assert (read, process.code) == ([(b"a", False), (b"b", True)], 7)


@settings(max_examples=60)
@given(st.binary(max_size=60), st.integers(0, 255), st.lists(st.integers(0, 200), max_size=8))
def test_an_appended_exit_code_in_any_pieces(body: bytes, code: int, places: list[int]) -> None:
    transport = Canned(frozenset())
    process = RemoteProcess(transport, "command")
    word = transport.service.rsplit(" ", 1)[1].split("=")[0].encode()
    transport.pieces = cut(body + b"\n" + word + f"={code}\r\n".encode(), places)
    assert read_all(process)[0] == body + process.added.encode()
    assert process.code == code


@settings(max_examples=30)
@given(st.binary(max_size=60), st.booleans())
def test_an_end_without_a_code_is_a_lost_connection(body: bytes, has_v2: bool) -> None:
    transport = Canned(frozenset({"shell_v2"}) if has_v2 else frozenset())
    process = RemoteProcess(transport, "command")
    transport.pieces = [struct.pack("<BI", 1, len(body)) + body if has_v2 else body] if body else []
    with pytest.raises(ConnectionLost, match="while a command ran"):
        read_all(process)
    assert process.code is None


@pytest.mark.parametrize(
    ("line", "word", "code", "clocks"),
    [
        ("@t0k end ab12 7 0:100:200 4::300", "end", 7, " 0:100:200 4::300"),
        ("@t0k begin ab12", "begin", 0, ""),
        ("@t0k ready 4711\r", "ready", 0, ""),
        ("@t0k checked 0 0 0:1:2", "checked", 0, " 0:1:2"),
    ],
)
def test_frames_of_the_script(line: str, word: str, code: int, clocks: str) -> None:
    frame = parse_frame(line, "t0k")
    assert frame is not None
    assert (frame.word, frame.code, frame.clocks) == (word, code, clocks)


@given(st.text())
def test_other_lines_are_no_frames(line: str) -> None:
    assert parse_frame(line, "t0k") is None or line.startswith("@t0k ")
    assert parse_frame(f"@other {line}", "t0k") is None

"""Talk to the agent as a strange controller would: other versions, damaged and endless messages, silence, prints."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import FileError
from fleetfront.files import device_lock
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.remote.host import Host
from fleetfront.profilers.remote.lines import Lines, LinkEnded
from fleetfront.profilers.remote.messages import (
    MOST_LINE_BYTES,
    PROTOCOL,
    ControllerLine,
    Greeting,
    HostLine,
    Note,
    OfferedFile,
    Part,
    from_controller,
    from_host,
    to_line,
)
from fleetfront.profilers.remote.outbox import Outbox
from fleetfront.profilers.remote.received import ReceivedFiles
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice
from fleetfront.workspace import Workspace

GREETING = {"kind": "greeting", "protocol": PROTOCOL, "fleetfront": "9.9", "controller": "abcd"}


class Talk:
    """The agent's two ends; messages are plain values."""

    def __init__(self, program: list[str], home: Path) -> None:
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "FLEETFRONT_HOME": str(home)},
        )  # fmt: skip

    def say(self, message: dict[str, Any] | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(message if isinstance(message, bytes) else json.dumps({"message": message}).encode())
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            message: dict[str, Any] = json.loads(self.process.stdout.readline())["message"]
            if message["kind"] != "beat":
                return message

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=20)

    def drop(self) -> bytes:
        """End it; what it wrote to stderr."""
        self.process.kill()
        self.process.wait()
        told = b"" if self.process.stderr is None else self.process.stderr.read()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return told


@pytest.fixture
def talk(hosts: Path, tmp_path: Path) -> Iterator[Talk]:
    one = Talk([sys.executable, "-m", "fleetfront", "agent", "--stdio"], tmp_path / "home")
    yield one
    one.drop()


def test_another_version_is_refused_with_what_to_install(talk: Talk) -> None:
    talk.say({**GREETING, "protocol": PROTOCOL + 1})
    refused = talk.hear()
    assert refused["kind"] == "refused"
    assert (
        f"version {PROTOCOL} of the agent's protocol, and fleetfront 9.9 here version {PROTOCOL + 1}"
        in refused["message"]
    )
    assert refused["remedy"].startswith("Install the same version at both ends: pip install fleetfront==")
    assert talk.process.wait(timeout=20) == 1


def test_newer_keys_are_passed_over_and_every_message_is_typed(talk: Talk) -> None:
    talk.say({**GREETING, "colour": "blue"})
    assert talk.hear()["protocol"] == PROTOCOL
    talk.say({"kind": "open", "target": "simulated:a/litert/fp32/t1/b1", "device": "simulated:a"})
    assert talk.hear()["kind"] == "ready"
    visit = {"uuid": "u", "role": "block", "key": "k", "file": "../../etc/passwd"}
    batch = {"target": "simulated:a/litert/fp32/t1/b1", "space": "", "campaign": "c", "round": 0, "visits": [visit]}
    talk.say({"kind": "measure", "number": 1, "batch": {**batch, "files": {"../../etc/passwd": ""}}})
    assert "is no name of a file" in talk.hear()["message"]
    talk.say({"kind": "measure", "number": "one", "batch": batch})
    assert "cannot be read" in talk.hear()["message"]
    assert talk.end() == 2


@pytest.mark.parametrize("line", [b"no json", b'{"message": {"kind": "shell", "command": "ls"}}', b"\xff\xfe"])
def test_what_is_no_message_ends_the_session(talk: Talk, line: bytes) -> None:
    talk.say(GREETING)
    talk.hear()
    talk.say(line)
    assert "A message of the controller cannot be read" in talk.hear()["message"]
    assert talk.process.wait(timeout=20) == 2


def test_a_line_without_end_is_refused_before_it_fills_the_memory(talk: Talk) -> None:
    with contextlib.suppress(OSError):
        talk.say(b"x" * (MOST_LINE_BYTES + (1 << 20)))
    assert f"it sent a line of more than {MOST_LINE_BYTES:,} bytes" in talk.hear()["message"]
    assert talk.process.wait(timeout=20) == 2


def test_a_message_out_of_its_turn_is_refused(talk: Talk) -> None:
    talk.say({"kind": "offer", "files": []})
    assert talk.hear()["message"] == "The controller did not greet."
    assert talk.process.wait(timeout=20) == 1


def test_prints_of_runtimes_do_not_reach_the_pipe(hosts: Path, tmp_path: Path) -> None:
    noisy = (
        "import os, sys; from pathlib import Path\n"
        "import fleetfront.testing.simulated_kind as kind\n"
        "made = kind._device\n"
        "def loud(name):\n"
        "    os.write(1, b'native words\\n'); print('words of Python', flush=True); return made(name)\n"
        "kind._device = loud\n"
        "from fleetfront.profilers.remote.host import serve_stdio\n"
        "from fleetfront.workspace import Workspace\n"
        "sys.exit(serve_stdio(Workspace.default()))\n"
    )
    talk = Talk([sys.executable, "-c", noisy], tmp_path / "home")
    talk.say(GREETING)
    assert talk.hear()["kind"] == "hello"
    talk.say({"kind": "open", "target": "simulated:a/litert/fp32/t1/b1", "device": "simulated:a"})
    assert talk.hear()["kind"] == "ready"
    assert talk.end() == 0
    told = talk.drop()
    assert b"native words\n" in told
    assert b"words of Python\n" in told


def test_a_request_to_end_leaves_the_device(talk: Talk, tmp_path: Path) -> None:
    talk.say(GREETING)
    talk.hear()
    talk.say({"kind": "open", "target": "simulated:a/litert/fp32/t1/b1", "device": "simulated:a"})
    talk.hear()
    talk.process.send_signal(signal.SIGTERM)
    assert talk.process.wait(timeout=20) == 0
    with device_lock(tmp_path / "home" / "locks", "simulated:a"):
        pass


def test_a_silent_controller_frees_the_device_and_a_long_visit_does_not(hosts: Path, tmp_path: Path) -> None:
    quick = (
        "import sys, time\n"
        "import fleetfront.profilers.remote.host as host\n"
        "import fleetfront.testing.simulated_kind as kind\n"
        "from fleetfront.workspace import Workspace\n"
        "host.SILENCE_S, host.BEAT_S, kind.VISIT_S = 1.2, 0.1, 2.0\n"
        "sys.exit(host.serve_stdio(Workspace.default()))\n"
    )
    talk = Talk([sys.executable, "-c", quick], tmp_path / "home")
    beating = threading.Event()
    beating.set()

    def beat() -> None:
        while beating.is_set():
            talk.say({"kind": "beat"})
            time.sleep(0.1)

    talk.say(GREETING)
    talk.hear()
    talk.say({"kind": "open", "target": "simulated:a/litert/fp32/t1/b1", "device": "simulated:a"})
    talk.hear()
    thread = threading.Thread(target=beat)
    thread.start()
    sha256 = "0" * 64
    visit = {"uuid": "u", "role": "block", "key": "k", "file": sha256}
    batch = {"target": "simulated:a/litert/fp32/t1/b1", "space": "", "campaign": "c", "round": 0, "visits": [visit]}
    talk.say({"kind": "measure", "number": 1, "batch": {**batch, "files": {sha256: ""}}})
    assert talk.hear()["kind"] == "rows"
    assert talk.hear()["kind"] == "done"
    beating.clear()
    thread.join()
    assert talk.process.wait(timeout=20) == 0
    with device_lock(tmp_path / "home" / "locks", "simulated:a"):
        pass
    talk.drop()


def test_an_agent_is_heard_out_so_that_its_process_lives_on_to_the_next_batch(tmp_path: Path) -> None:
    """Whoever closes an agent's answers early abandons the batch, and the CPU's agent then begins a new process."""
    ends = []

    class Told(SimulatedDevice):
        def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
            yield from super().run(batch)
            ends.append(len(self.visits))

    visits = tuple(Visit(name, Role.BLOCK, name, "f") for name in ("a", "b"))
    batch = VisitBatch(Target("simulated:a", "litert"), "", "c", 0, visits, {"f": ""})
    outbox = Outbox(Workspace(tmp_path), "c", batch.target)
    made = list(Host._made(Told({"a": 1.0, "b": 2.0}), outbox, batch, visits))
    assert [visit.key for visit, _ in made] == ["a", "b"]
    assert [rows[0].key for _, rows in made] == ["a", "b"]
    assert ends == [2]


def test_files_arrive_whole_or_not_at_all(tmp_path: Path) -> None:
    files = ReceivedFiles(Workspace(tmp_path))
    data = os.urandom(3000)
    sha256 = hashlib.sha256(data).hexdigest()
    offered = OfferedFile(sha256, ".onnx", len(data))

    def part(piece: bytes, *, is_last: bool) -> Part:
        return Part(sha256, base64.b64encode(piece).decode(), is_last)

    assert files.lacking((offered,)) == (sha256,)
    with pytest.raises(FileError, match="did not arrive as it was sent"):
        files.take(part(data[:-1], is_last=True))
    files.take(part(data[:2000], is_last=False))
    files.take(part(data[2000:], is_last=True))
    assert files.path(sha256, ".onnx").read_bytes() == data
    assert files.lacking((offered,)) == ()
    with pytest.raises(FileError, match="nobody offered"):
        files.take(part(data, is_last=True))
    longer = OfferedFile(sha256, ".tflite", 10)
    files.lacking((longer,))
    with pytest.raises(FileError, match="longer than the 10 bytes offered"):
        files.take(part(data, is_last=True))
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {".in-use", f"{sha256}.onnx"}


def test_files_of_another_agent_of_the_host_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several devices of one host are measured at once; the agent of each makes room when it begins."""
    monkeypatch.setattr(FileCache, "prune", partialmethod(FileCache.prune, 0))
    first, data = ReceivedFiles(Workspace(tmp_path)), b"model"
    sha256 = hashlib.sha256(data).hexdigest()
    first.lacking((OfferedFile(sha256, ".onnx", len(data)),))
    first.take(Part(sha256, base64.b64encode(data).decode(), True))
    second = ReceivedFiles(Workspace(tmp_path))
    assert second.path(sha256, ".onnx").is_file()
    for one in (first, second):
        one._in_use.close()
    assert not ReceivedFiles(Workspace(tmp_path)).path(sha256, ".onnx").is_file()


def test_lines_are_bounded_and_told_apart() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading, writing, 10)
    lines.write(b"one\ntwo\n")
    assert [lines.read(1.0), lines.read(1.0)] == [b"one", b"two"]
    with pytest.raises(LinkEnded, match=r"silent for 0\.01 s"):
        lines.read(0.01)
    lines.write(b"x" * 20)
    with pytest.raises(LinkEnded, match="more than 10 bytes"):
        lines.read(1.0)
    os.close(writing)
    with pytest.raises(LinkEnded, match="closed its end"):
        Lines(reading, reading, 100).read(1.0)
    os.close(reading)


def test_messages_are_read_back_equal() -> None:
    greeting = Greeting(PROTOCOL, "1.0", "abcd")
    assert from_controller(to_line(ControllerLine(greeting))) == greeting
    note = Note("a\nb")
    line = to_line(HostLine(note))
    assert line.count(b"\n") == 1
    assert from_host(line) == note
    with pytest.raises(ValueError, match="number"):
        from_controller(b'{"message": {"kind": "abandon", "number": NaN}}')

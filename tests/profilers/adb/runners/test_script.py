"""Run the session's script under the shells that devices have, where nobody listens any more, and where others do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.profilers.adb.facts.conditions import load_facts
from fleetfront.profilers.adb.facts.cores import Core
from fleetfront.profilers.adb.runners.script import FILE_MISSING, TOO_LARGE, parse_frame, run_script, session_script

SHELLS = [name for name in ("dash", "mksh", "bash") if shutil.which(name)]
#: ``settings put`` of a phone takes a moment; it must not be ended half-way.
RESTORE = "sleep 0.1; echo x >> restored\n"


class Script:
    """A script in a folder of its own."""

    def __init__(self, shell: str, folder: Path, runner: str, limit_s: int = 60, owner: str = "me") -> None:
        self.folder = folder
        self.files = folder / owner
        self.files.mkdir()
        (self.files / "session.sh").write_text(session_script(has_thermal=False))
        (self.files / "run.sh").write_text(run_script(runner))
        (self.files / "restore.sh").write_text(RESTORE)
        (self.files / "model").write_text("")
        words = [shell, str(self.files / "session.sh"), str(self.files), "t0k", str(limit_s), f"{folder}/lock", owner]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def ask(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def read_until(self, word: str) -> tuple[int, str]:
        """Exit code of the next frame ``word`` and the text before it."""
        assert self.process.stdout is not None
        text = ""
        while line := self.process.stdout.readline():
            frame = parse_frame(line.rstrip("\n"), "t0k")
            if frame is not None and frame.word == word:
                self.clocks = frame.clocks
                return frame.code, text
            text += line
        raise EOFError(text)


@pytest.fixture(params=SHELLS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """Start scripts under each of the shells; what is left of them is ended."""
    started: list[Script] = []

    def begin(runner: str, **options: object) -> Script:
        (tmp_path / str(len(started))).mkdir(exist_ok=True)
        started.append(Script(request.param, tmp_path, runner, **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for script in started:
        script.process.kill()
        script.process.wait()


def gone(path: Path, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not path.exists()


def test_a_visit_has_its_output_and_exit_code(start: Callable[..., Script]) -> None:
    script = start("sh -c 'echo $warm $timed $model; echo to stderr >&2; exit 7'")
    script.read_until("ready")
    script.ask("visit ab 1 3 model")
    script.read_until("begin")
    assert script.read_until("end") == (7, "1 3 model\nto stderr\n")
    script.ask("visit cd 1 3 nothing")
    assert script.read_until("end")[0] == FILE_MISSING
    script.ask("quit")
    assert script.process.wait(10) == 0
    assert not (script.folder / "lock").exists()
    assert (script.files / "restore.sh").exists()


def test_what_others_compute_is_told_around_a_visit(start: Callable[..., Script]) -> None:
    """The runner's own work is not that of others: it is what the shell says of its children."""
    cores = tuple(Core(number) for number in range(os.cpu_count() or 1))
    script = start("sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done'")
    told = []
    for number in range(2):
        script.ask(f"visit v{number} 1 1 model")
        script.read_until("begin")
        told.append((script.clocks, load_facts(script.clocks, cores)))
        script.read_until("end")
        told.append((script.clocks, load_facts(script.clocks, cores)))
    assert all(facts["online_cores"] == len(cores) for _, facts in told)
    ours = [float(words.split("/")[1].partition("m")[2].rstrip("s").replace(",", ".")) for words, _ in told]
    assert ours[0] < ours[1] <= ours[2] < ours[3]


def test_a_hung_program_is_ended_by_the_device(start: Callable[..., Script]) -> None:
    script = start("sleep 1000", limit_s=1)
    script.read_until("ready")
    begun = time.monotonic()
    script.ask("visit ab 1 3 model")
    assert script.read_until("end")[0] == 137
    assert time.monotonic() - begun < 10


def test_a_flooding_program_is_ended_by_the_device(start: Callable[..., Script]) -> None:
    script = start("yes so many words")
    script.read_until("ready")
    script.ask("visit ab 1 3 model")
    script.read_until("begin")
    code, text = script.read_until("end")
    assert code == TOO_LARGE == 128 + signal.SIGXFSZ
    assert 0 < len(text) < 100_000


@pytest.mark.parametrize("how", ["broken pipe", "hang-up", "end of input", "hang-up while idle"])
def test_settings_are_restored_whenever_nobody_listens_any_more(start: Callable[..., Script], how: str) -> None:
    # Other tests' programs sleep at the same time, for as long as nobody else's.
    forever = 100_000 + os.getpid()
    for number in range(4):
        script = start("sh -c 'echo words; exec sleep $timed'", owner=f"me{number}")
        script.read_until("ready")
        if how != "hang-up while idle":
            # A pipe breaks when the visit is over and is written of; a hang-up comes while it runs.
            script.ask(f"visit ab 1 {0.2 if how == 'broken pipe' else forever} model")
            time.sleep(0.05 * number)
        if how == "broken pipe":
            script.process.stdout.close()  # type: ignore[union-attr]
        elif how == "end of input":
            os.kill(script.process.pid, signal.SIGTERM)
            script.process.stdin.close()  # type: ignore[union-attr]
        else:
            os.kill(script.process.pid, signal.SIGHUP)
        assert script.process.wait(10) == 1
        assert (script.files / "restored").read_text() == "x\n"
        assert gone(script.files / "restore.sh")
        assert not (script.folder / "lock").exists()
    assert subprocess.run(["pgrep", "-f", f"sleep {forever}"], capture_output=True, check=False).stdout == b""


def test_a_device_is_held_by_one_script_at_a_time(start: Callable[..., Script]) -> None:
    first = start("true", owner="one")
    first.read_until("ready")
    second = start("true", owner="two")
    pid, _ = second.read_until("held")
    assert pid == first.process.pid
    assert second.process.wait(10) == 0
    assert (second.files / "restore.sh").exists()
    # A script that was killed holds nothing any more.
    first.process.kill()
    first.process.wait()
    third = start("true", owner="three")
    third.read_until("ready")
    assert (third.folder / "lock" / "owner").read_text() == f"{third.process.pid} three\n"

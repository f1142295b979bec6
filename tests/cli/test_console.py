"""Talk on terminals of all kinds. Verbs have tests of their own."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fleetfront.cli
from fleetfront.cli.console import hint, print_table, printable, progress
from fleetfront.cli.fit_text import _show_worst
from fleetfront.cli.main import main
from fleetfront.cli.profile.space import percent_or_unknown


class _Terminal:
    """A stream that says that it is a terminal, and keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def _work(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What work says on a terminal."""
    terminal = _Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | environment).items():
        monkeypatch.setenv(name, value)
    # Not in a fixture: pytest sets the stream anew for the call.
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress() as shown:
        shown.start("Working", 4)
        for _ in range(3):
            shown.advance(1, "a detail that is long enough to push everything else off a narrow terminal")
    return terminal.text


@pytest.mark.parametrize(("columns", "has_bar"), [("120", True), ("40", False)])
def test_a_narrow_terminal_keeps_counts_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, columns: str, has_bar: bool
) -> None:
    text = _work(monkeypatch, COLUMNS=columns)
    assert "Working" in text
    assert "3/4" in text
    assert ("━" in text) is has_bar


def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _work(monkeypatch, TERM="dumb") == "Working ...\n"


def _error_on_a_terminal(**environment: str) -> str:
    """What a mistyped verb says on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    base = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "fleetfront.cli.main", "serach"]
    run = subprocess.run(command, env=base | environment, stdout=theirs, stderr=theirs, check=False)
    os.close(theirs)
    text = os.read(ours, 4096).decode()
    os.close(ours)
    assert run.returncode == 2
    return text


def test_a_percentage_that_nobody_knows_is_not_nan() -> None:
    assert percent_or_unknown(float("nan"), ".2f") == "unknown"
    assert percent_or_unknown(1.234, "+.1f") == "+1.2 %"


def test_colour_is_left_out_where_nobody_wants_it() -> None:
    assert "\x1b[" in _error_on_a_terminal()
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in _error_on_a_terminal(**environment)


EVIL = "in\x1b]0;owned\x07put\x1b[2J\r\x9b31m\u202efdp"


def _is_harmless(text: str) -> bool:
    return not any((ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in text)


def test_names_in_files_cannot_drive_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(EVIL) == "in\\x1b]0;owned\\x07put\\x1b[2J\\r\\x9b31m\\u202efdp"
    print_table((EVIL, "b"), [(EVIL, "1")])
    hint(EVIL)
    for command in ([EVIL], ["--" + EVIL], ["predict", "--space", EVIL], ["report", "--store", EVIL]):
        assert main(command) == 2
    said = capsys.readouterr()
    assert _is_harmless(said.out + said.err)
    assert "owned" in said.out


def test_progress_escapes_what_it_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as shown:
        shown.start(f"Reading {EVIL} [bold]x", 2)
        shown.advance(1, EVIL)
        shown.note(EVIL)
    assert "\x1b]0;owned" not in terminal.text
    assert "\x1b[2J" not in terminal.text
    assert "[bold]x" in terminal.text


def test_commands_print_through_the_console_alone() -> None:
    folder = Path(fleetfront.cli.__file__).parent
    others = [path for path in folder.rglob("*.py") if path.name != "console.py"]
    assert [path.name for path in others if re.search(r"click\.s?echo|\bprint\(", path.read_text())] == []


def test_microseconds_are_not_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    network = {"arch": "a", "measured_ms": 0.000312, "predicted_ms": 4.2e-7, "error": -0.5}
    block = {"key": "b", "ms": 2.5e-5, "relative_std": 0.1, "filled": "measured"}
    _show_worst({"worst_networks": [network], "worst_blocks": [block], "unit": "ms"})
    said = capsys.readouterr().err
    assert "0.000312 ms measured, 4.2e-07 predicted" in said
    assert "2.5e-05 ms" in said
    assert "0.000 " not in said

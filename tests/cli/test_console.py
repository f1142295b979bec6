"""How commands talk on terminals of all kinds. Verbs have tests of their own."""

import os
import pty
import subprocess
import sys

import pytest

from fleetfront.cli.console import progress
from fleetfront.cli.profile.family import percent_or_unknown


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

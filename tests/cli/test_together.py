"""Several devices that speak at once, and who of them may be measured at once."""

from __future__ import annotations

import io
import re
import sys

import pytest

from fleetfront.cli.console import echo, kept_output, progress, speak_through, warn
from fleetfront.cli.profile.many import lanes_of
from fleetfront.cli.together import Together
from fleetfront.side_by_side import run_side_by_side


def test_devices_that_share_cores_take_turns() -> None:
    names = ["cpu", "ssh:pi/cpu", "ssh:me@pi/cuda:0", "ssh:pi/adb:X", "adb:Y", "cuda:0", "ssh:desk/cpu", "nothing"]
    elsewhere, here = lanes_of(names)
    assert here == ["cpu", "cuda:0"]
    assert elsewhere == [
        ["ssh:pi/cpu", "ssh:me@pi/cuda:0"],
        ["ssh:pi/adb:X"],
        ["adb:Y"],
        ["ssh:desk/cpu"],
        ["nothing"],
    ]


def test_each_line_names_its_device(capsys: pytest.CaptureFixture[str]) -> None:
    together = Together(["a", "b"], keeps_output=False)

    def speak() -> None:
        speak_through(together.voices["a"])
        with kept_output() as kept:
            echo("kept")
            warn("two\nlines")
        echo(kept)

    run_side_by_side([speak])
    together.close()
    said = capsys.readouterr()
    assert said.out == "[a] ['kept']\n"
    assert said.err == "[a] Warning: two\n[a] lines\n"


def test_a_task_that_ends_alone_says_nothing_of_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fleetfront.cli.together.LINE_EVERY_S", 0.0)
    together = Together(["a", "b"], keeps_output=True)
    learning = together.voices["a"].progress()
    # Of one step, nobody knows how long it takes.
    learning.start("Learning", 1)
    learning.finish()
    assert "left" not in capsys.readouterr().err
    learning.start("Profiling", 2)
    learning.advance(1)
    assert "about" in capsys.readouterr().err
    learning.advance(1)
    learning.finish()
    together.close()


def test_one_line_tells_how_long_all_take(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fleetfront.cli.together.LINE_EVERY_S", 0.0)
    together = Together(["a", "b", "c"], keeps_output=True)
    together.voices["c"].is_over = True
    slow, quick = (together.voices[name].progress() for name in "ab")
    slow.start("Profiling", 1000)
    quick.start("Profiling", 10)
    quick.advance(9)
    slow.advance(1, "round 1")
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(r"3 devices, 1 of them done: about .+ left \(a 1/1000 round 1\)\.", last)
    quick.finish()
    slow.advance(1, "round 1")
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(r"3 devices, 1 of them done: about .+ left of those that run; 1 wait \(a 2/.+\)\.", last)


def test_a_task_that_ends_where_no_other_runs_is_told_in_no_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A campaign that ends says so to its progress: what fails there would cost its end."""
    monkeypatch.setattr("fleetfront.cli.together.LINE_EVERY_S", 0.0)
    together = Together(["a", "b"], keeps_output=True)
    one, other = (together.voices[name].progress() for name in "ab")
    one.start("Profiling", 10)
    one.advance()
    other.start("Fitting")
    told = capsys.readouterr().err
    one.finish()
    other.advance()
    other.finish()
    assert "devices: about" in told
    assert "devices: about" not in capsys.readouterr().err


def test_a_terminal_has_a_row_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", terminal)
    together = Together(["a", "b"], keeps_output=True)
    for name in "ab":
        together.voices[name].start("Profiling", 4)
        together.voices[name].advance(3)
    # What others do to the streams meanwhile touches nothing.
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    together.voices["a"].note("hot")
    together.voices["a"].finish()
    together.close()
    assert sys.stderr is terminal
    assert "a: Profiling" in terminal.getvalue()
    assert "b: Profiling" in terminal.getvalue()
    assert "3/4" in terminal.getvalue()
    assert "[a] hot" in terminal.getvalue()


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    together = Together(["a"], keeps_output=True)
    speak_through(together.voices["a"])
    try:
        with progress(quiet=True) as shown:
            shown.start("Profiling", 4)
    finally:
        speak_through(None)
    assert capsys.readouterr().err == ""

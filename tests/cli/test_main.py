import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from fleetfront.cli.main import COMMANDS, main
from fleetfront.cli.outcome import TRACEBACK, UNEXPECTED

HEAVY = (
    "numpy",
    "torch",
    "tensorflow",
    "pymoo",
    "xgboost",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "sklearn",
    "scipy",
    "pydantic",
)


@pytest.mark.parametrize("statement", ["import fleetfront", "from fleetfront.cli.main import main; main(['--help'])"])
def test_the_door_is_light(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_verb_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text
    assert f"fleetfront {name}" in text


def test_a_mistyped_verb_gets_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serach"]) == 2
    assert "'search'" in capsys.readouterr().err


def test_an_unknown_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fleetfront ")


def _unread() -> IO[bytes]:
    """A pipe to write to whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb")


def _run(arguments: list[str], home: Path, **streams: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FLEETFRONT_HOME": str(home)}
    command = [sys.executable, "-m", "fleetfront.cli.main", *arguments]
    return subprocess.run(command, env=environment, text=True, check=False, **streams)


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["devices", "--json"]])
def test_a_reader_that_went_away_is_no_missed_bar(arguments: list[str], tmp_path: Path) -> None:
    with _unread() as nobody:
        run = _run(arguments, tmp_path, stdout=nobody, stderr=subprocess.PIPE)
    assert (run.returncode, run.stderr) == (0, "")


def test_an_error_keeps_its_exit_code_where_nobody_reads_it(tmp_path: Path) -> None:
    with _unread() as nobody:
        assert _run(["fit"], tmp_path, stdout=nobody, stderr=nobody).returncode == 2


def _fail_in_doctor(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("fleetfront.cli.doctor.print_table", failing)


def test_a_pipe_that_breaks_elsewhere_is_not_taken_for_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_in_doctor(monkeypatch, BrokenPipeError(32, "of a worker"))
    assert main(["doctor"]) == UNEXPECTED
    assert "BrokenPipeError: [Errno 32] of a worker" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stdout_is_said(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        run = _run(["devices", "--json"], tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert run.returncode == 2
    assert run.stderr == (
        "Error: Writing failed (No space left on device).\nFree some disk space and run the same command again.\n"
    )


def test_what_the_disk_refuses_names_the_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_in_doctor(monkeypatch, PermissionError(13, "Permission denied", "/some/folder"))
    assert main(["doctor"]) == 2
    assert "Cannot use /some/folder (Permission denied)." in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(9, "Bad file descriptor"), ZeroDivisionError("a\nb"), RecursionError()])
def test_what_nobody_foresaw_has_a_code_of_its_own_and_says_how_to_report_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_in_doctor(monkeypatch, error)
    assert main(["doctor"]) == UNEXPECTED == 70
    lines = capsys.readouterr().err.splitlines()[-2:]
    assert type(error).__name__ in lines[0]
    assert "doctor.py:" in lines[0]
    assert f"{TRACEBACK}=1" in lines[1]
    assert "Traceback" not in "".join(lines)
    monkeypatch.setenv(TRACEBACK, "1")
    assert main(["doctor"]) == UNEXPECTED
    assert "Traceback (most recent call last)" in capsys.readouterr().err

import subprocess
import sys

import pytest

from fleetfront.cli.main import COMMANDS, main

HEAVY = (
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

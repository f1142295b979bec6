"""The Dockerfile and the action name what exists, and the action's script tells slower from equal."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest, untrained

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_is_built_from_what_is_there() -> None:
    steps = instructions()
    known = {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT", "CMD"}
    assert steps[0] == ("FROM", "python:3.11-slim")
    assert {word for word, _ in steps} <= known
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in steps:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source in kept, source
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list)
    (installed,) = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    extras = re.search(r"\.\[([a-z,-]+)\]", installed)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(EXTRAS)
    assert "torch" not in extras[1]


def test_the_action_hands_every_input_to_its_script() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    text = (ROOT / "action.yml").read_text()
    assert all(f"inputs.{name}" in text for name in action["inputs"])
    step = action["runs"]["steps"][-1]
    script = (ROOT / ".ci" / "measure-file").read_text()
    assert all(f"{name}" in script for name in step["env"])
    assert {f"steps.measure.outputs.{name}" in one["value"] for name, one in action["outputs"].items()} == {True}
    assert os.access(ROOT / ".ci" / "measure-file", os.X_OK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fleetfront.deploy.writers.onnx.writer import write_onnx

    folder = tmp_path_factory.mktemp("action")
    space = ofa_mbv3_mini()
    (folder / "net.onnx").write_bytes(write_onnx(untrained(space, 0).graph(smallest(space))))
    (folder / "bin").mkdir()
    program = folder / "bin" / "fleetfront"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fleetfront.cli.main "$@"\n')
    program.chmod(0o755)
    return folder


def act(folder: Path, out: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {
        "PATH": path,
        "FILE": str(folder / "net.onnx"),
        "OUT": str(folder / out),
        "FLEETFRONT_HOME": str(folder / "home"),
    }
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "FAIL_ON": "latency:+noise", **more}
    command = ["bash", str(ROOT / ".ci" / "measure-file")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_the_action_fails_where_a_file_got_slower_than_noise_explains(folder: Path) -> None:
    outputs = folder / "outputs"
    absent = str(folder / "absent.json")
    first = act(folder, "out", GITHUB_OUTPUT=str(outputs), GITHUB_ACTIONS="true", BASELINE=absent)
    assert first.returncode == 0, first.stderr
    assert f"`{absent}` does not exist" in first.stdout
    assert f"::warning title=fleetfront::There is no baseline {absent}" in first.stderr
    told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    assert Path(told["comment"]).read_text() == first.stdout
    measured = json.loads(Path(told["result"]).read_text())
    # Half of what it takes now is what it took then: any machine sees that.
    faster = {**measured, "latency_ms": measured["latency_ms"] / 2, "latency_std_ms": measured["latency_ms"] / 100}
    (folder / "baseline.json").write_text(json.dumps(faster))
    slower = act(folder, "out", BASELINE=str(folder / "baseline.json"))
    assert slower.returncode == 1, slower.stderr
    assert "FAILED latency:+noise" in slower.stdout
    assert "| net.onnx on cpu/onnxruntime/fp32/t1/b1" in slower.stdout
    # A second step of the same job keeps what the first has measured: it may be its baseline.
    assert json.loads(Path(told["result"]).read_text()) == measured

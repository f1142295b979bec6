"""Every command of README and docs is run, or has a reason why not; FLEETFRONT_RUN_DOCUMENTED=1 runs them, minutes.

The quick suite holds that the list is whole; CI runs the commands in a step of its own (``.ci/run``).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import largest, smallest, untrained
from tests.test_documentation import PAGES, commands_of

ROOT = Path(__file__).parents[1]
LISTED: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "documented_commands.yaml").read_text())
RUNS: dict[str, str] = LISTED["runs"]

NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    stem = (nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
    net = nn.Sequential(*stem, nn.Flatten(), nn.Linear(128, 10))
    with torch.no_grad():
        net[-1].weight *= 30
    return net
"""


def documented() -> set[str]:
    return {command.split(" #")[0].strip() for page in PAGES for command in commands_of(page)}


def reasons(command: str) -> list[str]:
    return [reason for reason, patterns in LISTED["needs"].items() if any(re.search(p, command) for p in patterns)]


def test_every_command_is_run_or_has_a_reason_why_not() -> None:
    commands = documented()
    assert sorted(one for one in commands if one not in RUNS and not reasons(one)) == []
    assert sorted(set(RUNS) - commands) == [], "no page shows these any more"
    patterns = [pattern for some in LISTED["needs"].values() for pattern in some]
    assert [p for p in patterns if not any(re.search(p, one) for one in commands)] == []
    assert len(RUNS) > 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands name: model files, photos, networks of torch, results of searches."""
    from PIL import Image

    from fleetfront.datasets import load_images
    from fleetfront.deploy.writers.onnx.writer import write_onnx
    from fleetfront.deploy.writers.tflite.writer import write_tflite

    folder, space = tmp_path_factory.mktemp("documented"), ofa_mbv3_mini()
    graphs = [untrained(space, 0).graph(one(space)) for one in (smallest, largest)]
    for name, graph in zip(("model", "net", "a", "b"), (*graphs, *graphs), strict=True):
        (folder / f"{name}.onnx").write_bytes(write_onnx(graph))
    (folder / "model.tflite").write_bytes(write_tflite(graphs[0]))
    for name in ("net.py", "mynet.py"):
        (folder / name).write_text(NETWORK)
    images = load_images("digits", 32)
    for place, label in enumerate(images.labels[:200].tolist()):
        one = folder / "photos" / f"digit-{label}" / f"{place}.png"
        one.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.images[place].transpose(1, 2, 0)).save(one)
    setup = "fleetfront search --space ofa-mbv3-w1.2 --devices pixel3 --evaluations 300 --quiet --out"
    for command in (
        f"{setup} old",
        f"{setup} new",
        f"{setup} main",
        f"{setup} fronts-fp32",
        f"{setup} fronts-joint --precisions fp32",
        "fleetfront profile --file model.onnx --json > baseline.json",
    ):
        assert run(folder, command).returncode == 0
    (folder / "new.json").write_text((folder / "baseline.json").read_text())
    assert run(folder, "fleetfront export --torch net.py:make --name net --out . --size 64 --quiet").returncode == 0
    return folder


def run(folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "FLEETFRONT_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    typed = command.replace("fleetfront", f"{sys.executable} -m fleetfront.cli.main", 1)
    return subprocess.run(
        ["bash", "-c", typed], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.skipif("FLEETFRONT_RUN_DOCUMENTED" not in os.environ, reason="a step of CI runs documented commands")
@pytest.mark.parametrize("command", sorted(RUNS, key=lambda one: ("report" in one, one)))
def test_a_documented_command_does_what_its_page_says(command: str, folder: Path) -> None:
    # Two pages may export into the folder that is called after the same factory.
    shutil.rmtree(folder / "bundles", ignore_errors=True)
    done = run(folder, command)
    said = done.stdout + ("" if RUNS[command] == "^$" else done.stderr)
    assert "Traceback" not in done.stderr
    assert re.search(RUNS[command], said), f"exit code {done.returncode}: {said[-2000:]}"

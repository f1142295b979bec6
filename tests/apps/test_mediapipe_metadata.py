"""TFLite files tell MediaPipe Tasks one mean and one standard deviation, and no colours that it cannot feed."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import IMAGENET_MEAN, IMAGENET_STD
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import parse_formats
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.pipelines.deploy.records import Recipe
from fleetfront.pipelines.deploy.weights import Weights

SIDE = 32
LABELS = ("red", "green", "blue")
COLOURS = np.array([[200, 40, 40], [30, 190, 60], [20, 60, 210], [120, 90, 80]], np.uint8)


def run(python: str, folder: Path, contract: InputContract) -> subprocess.CompletedProcess[str]:
    builder = GraphBuilder("network")
    image = builder.input("image", (1, 3, SIDE, SIDE), layout="NCHW")
    weight = builder.weight("weight", np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1))
    mean = builder.add("global_average_pool", [builder.conv2d(image, weight)])
    graph = builder.build([builder.add("flatten", [mean], "scores")])
    weights = Weights(None, labels=LABELS)
    assert weights.preprocessing(SIDE).mean == IMAGENET_MEAN
    assert weights.preprocessing(SIDE).std == IMAGENET_STD
    (file,) = write_network(graph, weights, parse_formats("tflite"), Recipe(contract=contract), folder).files
    pixels = np.repeat(COLOURS[:, None], SIDE * SIDE, axis=1)
    (folder / "images.bin").write_bytes(pixels.tobytes())
    script = Path(__file__).with_name("run_in_mediapipe.py")
    command = [python, str(script), str(file.path), str(folder / "images.bin"), str(len(COLOURS))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("contract", [InputContract(), InputContract(input="uint8")])
def test_imagenets_values_are_taken(contract: InputContract, mediapipe_python: str, tmp_path: Path) -> None:
    done = run(mediapipe_python, tmp_path, contract)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["red", "green", "blue", "red"]


@pytest.mark.parametrize("contract", [InputContract(channels="bgr"), InputContract("uint8", "bgr")])
def test_files_for_bgr_are_refused(contract: InputContract, mediapipe_python: str, tmp_path: Path) -> None:
    done = run(mediapipe_python, tmp_path, contract)
    assert done.returncode != 0
    assert "Only RGB color space is supported" in done.stderr

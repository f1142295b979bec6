"""TFLite files are fed by MediaPipe Tasks what their network was trained on, or refused by it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import IMAGENET_MEAN, IMAGENET_STD
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import parse_formats
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.pipelines.deploy.records import Recipe
from fleetfront.pipelines.deploy.weights import Weights
from fleetfront.runtimes.catalogue import load_runtime

SIDE = 32
LABELS = ("red", "green", "blue")
COLOURS = np.array([[200, 40, 40], [30, 190, 60], [20, 60, 210], [120, 90, 80]], np.uint8)


def strongest_colour() -> Graph:
    """Means of the colours behind a padded convolution, whose border tells in front of what an image is scaled."""
    builder = GraphBuilder("network")
    image = builder.input("image", (1, 3, SIDE, SIDE), layout="NCHW")
    kernel = np.full((3, 3, 3, 3), 0.02, np.float32)
    kernel[range(3), range(3), 1, 1] += 1
    weight = builder.weight("weight", kernel)
    mean = builder.add("global_average_pool", [builder.conv2d(image, weight, padding=1)])
    return builder.build([builder.add("flatten", [mean], "scores")])


def run(python: str, folder: Path, contract: InputContract) -> subprocess.CompletedProcess[str]:
    weights = Weights(None, labels=LABELS)
    assert weights.preprocessing(SIDE).mean == IMAGENET_MEAN
    assert weights.preprocessing(SIDE).std == IMAGENET_STD
    recipe = Recipe(contract=contract)
    (file,) = write_network(strongest_colour(), weights, parse_formats("tflite"), recipe, folder).files
    pixels = np.repeat(COLOURS[:, None], SIDE * SIDE, axis=1)
    (folder / "images.bin").write_bytes(pixels.tobytes())
    script = Path(__file__).with_name("run_in_mediapipe.py")
    command = [python, str(script), str(file.path), str(folder / "images.bin"), str(len(COLOURS))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def in_torch() -> list[float]:
    """The highest logit of each image, fed as ImageNet networks are."""
    pixels = np.broadcast_to(COLOURS[:, :, None, None], (len(COLOURS), 3, SIDE, SIDE))
    session, preprocessing = load_runtime("torch").open(strongest_colour().to_bytes()), Weights().preprocessing(SIDE)
    found = [float(session.run({"image": preprocessing.inputs(one[None])})["scores"].max()) for one in pixels]
    session.close()
    return found


@pytest.mark.parametrize("kind", ["unit", "uint8"])
def test_imagenets_values_are_taken(kind: str, mediapipe_python: str, tmp_path: Path) -> None:
    done = run(mediapipe_python, tmp_path, InputContract(input=kind))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [label for label, _ in found] == ["red", "green", "blue", "red"]
    assert np.allclose([score for _, score in found], in_torch(), atol=1e-4)


def test_floats_that_it_would_scale_otherwise_are_refused(mediapipe_python: str, tmp_path: Path) -> None:
    """It knows one mean and one deviation for all channels; ImageNet's differ."""
    done = run(mediapipe_python, tmp_path, InputContract(input="float"))
    assert done.returncode != 0
    assert "NormalizationOptions" in done.stderr


@pytest.mark.parametrize("contract", [InputContract(channels="bgr"), InputContract("uint8", "bgr")])
def test_files_for_bgr_are_refused(contract: InputContract, mediapipe_python: str, tmp_path: Path) -> None:
    done = run(mediapipe_python, tmp_path, contract)
    assert done.returncode != 0
    assert "Only RGB color space is supported" in done.stderr

"""Bundles of a network that knows its digits, and the programs that apps would run them with."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import Dataset, load_images
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import parse_formats
from fleetfront.pipelines.deploy.deploy import Pick, Recipe, Weights, deploy_picks
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest
from tests.apps.browser import chromium
from tests.knowing_supernet import knowing_supernet

HERE = Path(__file__).parent
IMAGES = 60

CONTRACTS = {
    "floats": InputContract(),
    "bytes": InputContract(input="uint8", softmax=True, batch="batch"),
    "bgr-bytes": InputContract(input="uint8", channels="bgr", onnx_layout="NHWC"),
}


#: Bundles whose snippets run something else than a float file: name -> precision, formats.
OTHERS = {"int8": ("int8", "onnx,tflite"), "ort": ("fp32", "ort")}


@dataclass(frozen=True)
class Bundles:
    """``root`` holds the bundles by name, the raw bytes of held-out images and the packages of ``node_modules``."""

    root: Path
    pixels: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="session")
def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: apt-get install nodejs npm")
    return program


@pytest.fixture(scope="session")
def packages() -> Path:
    folder = HERE / "node_modules"
    if not folder.is_dir():
        pytest.skip("the packages of tests/apps are not installed: npm ci --ignore-scripts --prefix tests/apps")
    return folder


@pytest.fixture(scope="session")
def browser() -> str:
    program = chromium()
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    return program


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_images("digits", 32)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Bundles:
    root = tmp_path_factory.mktemp("apps")
    space = ofa_mbv3_mini()
    weights = Weights(knowing_supernet(space, digits), digits)
    arch = space.arch_id(smallest(space))
    for name, contract in CONTRACTS.items():
        recipe = Recipe(precisions=("fp32", "int8"), contract=contract, test_images=100)
        (one,) = deploy_picks([Pick(name, arch)], space, weights, parse_formats("onnx,tflite"), root, recipe=recipe)
        assert one.error is None, one.error
    for name, (precision, formats) in OTHERS.items():
        recipe = Recipe(precisions=(precision,), contract=InputContract(input="uint8"), test_images=100)
        (one,) = deploy_picks([Pick(name, arch)], space, weights, parse_formats(formats), root, recipe=recipe)
        assert one.error is None, one.error
    rows = digits.split["test"][:IMAGES]
    pixels = np.ascontiguousarray(digits.images[rows].transpose(0, 2, 3, 1))
    (root / "images.bin").write_bytes(pixels.tobytes())
    shutil.copy(HERE / "page.html", root / "page.html")
    if (HERE / "node_modules").is_dir():
        (root / "node_modules").symlink_to(HERE / "node_modules", target_is_directory=True)
    return Bundles(root, pixels, digits.labels[rows])


@pytest.fixture(scope="session")
def mediapipe_python() -> str:
    """A Python with MediaPipe, which wants packages of its own."""
    program = os.environ.get("FLEETFRONT_MEDIAPIPE_PYTHON", "")
    if not program or subprocess.run([program, "-c", "import mediapipe"], capture_output=True).returncode:
        pytest.skip("no Python with MediaPipe: set FLEETFRONT_MEDIAPIPE_PYTHON")
    return program

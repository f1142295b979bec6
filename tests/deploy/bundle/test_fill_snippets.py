"""Snippets as an app's developer pastes them: beside the model, or where the bundle has them."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.bundle.fill_snippets import fill_snippets
from fleetfront.deploy.bundle.manifest import BundleFile, PortDescription
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.catalogue import all_facts

SIDE = 8
LABELS = ("red", "green", "blue")


def strongest_channel() -> Graph:
    builder = GraphBuilder("network")
    image = builder.input("image", (1, 3, SIDE, SIDE), layout="NCHW")
    weight = builder.weight("weight", np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1))
    mean = builder.add("global_average_pool", [builder.conv2d(image, weight)])
    return builder.build([builder.add("flatten", [mean], "scores")])


def snippets(*formats: str) -> dict[str, str]:
    shapes = {"NCHW": (1, 3, SIDE, SIDE), "NHWC": (1, SIDE, SIDE, 3)}
    files = []
    for name in formats:
        layout = ALL_FORMATS[name].layout
        image = PortDescription("image", shapes[layout], "float32", layout)
        scores = PortDescription("scores", (1, 3), "float32")
        files.append(BundleFile(f"network.{name}", name, "fp32", image, scores, {}, "any"))
    preprocessing = Preprocessing(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1.0)
    return fill_snippets(files, preprocessing, InputContract(), LABELS)


def test_every_runtime_has_the_snippets_that_its_record_names() -> None:
    made = snippets("onnx", "tflite")
    named = {name for facts in all_facts().values() for name in facts.snippets}
    assert {Path(path).name for path in made} == named
    assert not [path for path, text in made.items() if "@include" in text or "@FILE@" in text]
    assert "network.ort" in snippets("ort")["snippets/node.mjs"]


@pytest.mark.parametrize("is_beside", [True, False])
@pytest.mark.parametrize(("format_name", "snippet"), [("onnx", "classify_onnx.py"), ("tflite", "classify_tflite.py")])
def test_python_finds_the_model(tmp_path: Path, format_name: str, snippet: str, is_beside: bool) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    Image = pytest.importorskip("PIL.Image")
    folder = tmp_path if is_beside else tmp_path / "snippets"
    folder.mkdir(exist_ok=True)
    (folder / snippet).write_text(snippets(format_name)[f"snippets/{snippet}"])
    (tmp_path / f"network.{format_name}").write_bytes(ALL_FORMATS[format_name].write(strongest_channel()))
    Image.new("RGB", (20, 20), (10, 200, 30)).save(tmp_path / "photo.png")
    command = [sys.executable, str(folder / snippet), str(tmp_path / "photo.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["1", "green"]


@pytest.mark.parametrize("is_beside", [True, False])
def test_node_finds_the_model_and_prints_the_class(tmp_path: Path, is_beside: bool) -> None:
    node, packages = shutil.which("node"), Path(__file__).parents[2] / "apps" / "node_modules"
    if node is None or not packages.is_dir():
        pytest.skip("node is not installed, or the packages of tests/apps are not")
    folder = tmp_path if is_beside else tmp_path / "snippets"
    folder.mkdir(exist_ok=True)
    (tmp_path / "node_modules").symlink_to(packages, target_is_directory=True)
    (folder / "node.mjs").write_text(snippets("onnx")["snippets/node.mjs"])
    (tmp_path / "network.onnx").write_bytes(ALL_FORMATS["onnx"].write(strongest_channel()))
    (tmp_path / "photo.rgb").write_bytes(bytes([10, 20, 200] * SIDE * SIDE))
    command = [node, str(folder / "node.mjs"), str(tmp_path / "photo.rgb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["2", "blue"]

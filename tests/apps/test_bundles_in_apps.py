"""Bundles in the programs that apps run them with: the snippets as they were written, images as raw bytes."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fleetfront.deploy.bundle.manifest import read_manifest
from tests.apps.browser import run_page
from tests.apps.conftest import CONTRACTS, IMAGES, Bundles

EACH = pytest.mark.parametrize("name", sorted(CONTRACTS))


def load(snippet: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(snippet.stem, snippet)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_python(bundles: Bundles, name: str, snippet: str) -> list[tuple[int, str, float]]:
    module = load(bundles.root / name / "snippets" / snippet)
    return [module.classify(image) for image in bundles.pixels]


def check(found: list[dict[str, object]], bundles: Bundles, name: str, snippet: str) -> None:
    """Same classes and labels as Python, scores to rounding, and mostly right: the network knows its digits."""
    want = in_python(bundles, name, snippet)
    assert [one["index"] for one in found] == [index for index, _, _ in want]
    assert [one["label"] for one in found] == [label for _, label, _ in want]
    assert np.allclose([one["score"] for one in found], [score for _, _, score in want], rtol=1e-3, atol=1e-3)


@EACH
@pytest.mark.parametrize("snippet", ["classify_onnx.py", "classify_tflite.py"])
def test_python_knows_the_digits(bundles: Bundles, name: str, snippet: str) -> None:
    found = in_python(bundles, name, snippet)
    labels = read_manifest(bundles.root / name)["labels"]
    assert np.mean([labels[index] == label for index, label, _ in found]) == 1
    assert np.mean([index for index, _, _ in found] == bundles.labels) > 0.9


@EACH
def test_node(bundles: Bundles, name: str, node: str, packages: Path) -> None:
    check(in_node(bundles, name, node), bundles, name, "classify_onnx.py")


def in_node(bundles: Bundles, name: str, node: str) -> list[dict[str, object]]:
    script, snippet = Path(__file__).with_name("run_in_node.mjs"), bundles.root / name / "snippets" / "node.mjs"
    command = [node, "--preserve-symlinks", str(script), str(snippet), str(bundles.root / "images.bin"), str(IMAGES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def in_browser(bundles: Bundles, name: str, snippet: str) -> list[dict[str, object]]:
    page = f"page.html?snippet=/{name}/snippets/{snippet}&images=/images.bin&count={IMAGES}"
    result = run_page(bundles.root, page)
    assert "error" not in result, result["error"]
    found: list[dict[str, object]] = result["found"]
    return found


def check_int8(found: list[dict[str, object]], bundles: Bundles, snippet: str) -> None:
    """Each processor rounds to its own 256 steps, so that close calls may fall differently."""
    want = in_python(bundles, "int8", snippet)
    assert np.mean([one["index"] == index for one, (index, _, _) in zip(found, want, strict=True)]) > 0.95
    assert np.mean([one["index"] for one in found] == bundles.labels) > 0.9


def test_int8_in_node(bundles: Bundles, node: str, packages: Path) -> None:
    check_int8(in_node(bundles, "int8", node), bundles, "classify_onnx.py")


@pytest.mark.parametrize(
    ("snippet", "reference"),
    [("browser-onnx.mjs", "classify_onnx.py"), ("browser-litert.mjs", "classify_tflite.py")],
)
def test_int8_in_a_browser(bundles: Bundles, snippet: str, reference: str, packages: Path, browser: str) -> None:
    check_int8(in_browser(bundles, "int8", snippet), bundles, reference)


def test_ort_files_in_node_and_a_browser(bundles: Bundles, node: str, packages: Path, browser: str) -> None:
    check(in_node(bundles, "ort", node), bundles, "ort", "classify_onnx.py")
    check(in_browser(bundles, "ort", "browser-onnx.mjs"), bundles, "ort", "classify_onnx.py")


@EACH
@pytest.mark.parametrize(
    ("snippet", "reference"),
    [("browser-onnx.mjs", "classify_onnx.py"), ("browser-litert.mjs", "classify_tflite.py")],
)
def test_browser(bundles: Bundles, name: str, snippet: str, reference: str, packages: Path, browser: str) -> None:
    if not (bundles.root / name / "snippets" / snippet).exists():
        assert (CONTRACTS[name].batch, snippet) == ("batch", "browser-litert.mjs")
        return
    check(in_browser(bundles, name, snippet), bundles, name, reference)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", [name for name, contract in sorted(CONTRACTS.items()) if contract.channels == "rgb"])
def test_mediapipe_reads_the_labels_and_feeds_the_image(
    bundles: Bundles, name: str, precision: str, mediapipe_python: str
) -> None:
    script = Path(__file__).with_name("run_in_mediapipe.py")
    file = bundles.root / name / ("network.tflite" if precision == "fp32" else "network-int8.tflite")
    command = [mediapipe_python, str(script), str(file), str(bundles.root / "images.bin"), str(IMAGES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    labels = read_manifest(bundles.root / name)["labels"]
    agreeing = np.mean([one == labels[index] for (one, _), index in zip(found, bundles.labels, strict=True)])
    assert agreeing > 0.9


@EACH
def test_snippets_compare_with_the_test_vectors(bundles: Bundles, name: str, node: str, packages: Path) -> None:
    folder = bundles.root / name / "snippets"
    commands = [[sys.executable, str(folder / file)] for file in ("classify_onnx.py", "classify_tflite.py")]
    for command in (*commands, [node, "--preserve-symlinks", str(folder / "node.mjs")]):
        done = subprocess.run([*command, "--check"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
        assert float(said["input"].split()[-1]) < 1e-5
        index, _, torchs = said["class"].partition(" torch's: ")
        assert index == torchs
        cut = said.get("crop and resize", "off by 0")
        assert float(cut.split()[2]) < 3


def test_snippets_are_programs_and_find_the_file_beside_them(
    bundles: Bundles, node: str, packages: Path, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(packages, target_is_directory=True)
    (tmp_path / "digit.rgb").write_bytes(bundles.pixels[0].tobytes())
    Image.fromarray(bundles.pixels[0]).save(tmp_path / "digit.png")
    for file in ("network.onnx", "snippets/classify_onnx.py", "snippets/node.mjs"):
        shutil.copy(bundles.root / "bytes" / file, tmp_path)
    want = str(in_python(bundles, "bytes", "classify_onnx.py")[0][1])
    for command in (
        [sys.executable, "classify_onnx.py", "digit.png"],
        [node, "--preserve-symlinks", "node.mjs", "digit.rgb"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[1] == want


def test_the_python_snippet_reads_image_files(bundles: Bundles, tmp_path: Path) -> None:
    module = load(bundles.root / "bytes" / "snippets" / "classify_onnx.py")
    Image.fromarray(bundles.pixels[0]).save(tmp_path / "digit.png")
    assert np.array_equal(module.pixels_of(tmp_path / "digit.png"), bundles.pixels[0])
    with pytest.raises(ValueError, match="expected uint8"):
        module.classify(bundles.pixels[0][:5])

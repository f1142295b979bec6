"""``fleetfront profile --file``: what means nothing there, and whose word counts on the file's precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetfront.graphs.graph import GraphBuilder
from tests.cli.typed_commands import left_behind

pytestmark = pytest.mark.usefixtures("no_adb_server")

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def half_model(tmp_path: Path) -> str:
    """A TensorFlow Lite file with weights in float16."""
    import numpy as np

    from fleetfront.deploy.quantise.precisions import half_weights
    from fleetfront.deploy.writers.tflite.writer import write_tflite

    builder = GraphBuilder("conv")
    image = builder.input("image", (1, 4, 8, 8), layout="NCHW")
    weight = builder.weight("weight", np.ones((8, 4, 3, 3), np.float32))
    path = tmp_path / "half.tflite"
    path.write_bytes(write_tflite(half_weights(builder.build([builder.conv2d(image, weight, name="out")]))))
    return str(path)


# Nothing answers there: it is refused before any device is looked for.
@pytest.mark.parametrize("device", ["cpu", "adb:127.0.0.1:1"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--budget", "quick"),
        ("--target-error", "3"),
        ("--few", "5"),
        ("--calibration", "5"),
        ("--validation", "50"),
    ],
)
def test_what_means_nothing_with_a_file_is_refused(device: str, option: str, value: str, told: Told) -> None:
    code, out, err = told("profile", "--device", device, "--file", "x.tflite", option, value)
    assert (code, out) == (2, "")
    said, what_to_do = err.strip().splitlines()
    assert f"{option}: for profiles of a space" in said
    assert "Leave it out" in what_to_do
    assert "leave out --file" in what_to_do


def test_all_that_means_nothing_is_said_at_once(told: Told) -> None:
    code, _, err = told("profile", "--file", "x.onnx", "--budget", "quick", "--few", "5", "--dry-run")
    assert code == 2
    assert "--budget, --few: for profiles of a space" in err
    assert "Leave them out" in err


@pytest.mark.parametrize("device", ["cpu", "adb:127.0.0.1:1"])
def test_several_batches_of_one_file_are_refused(device: str, told: Told) -> None:
    code, _, err = told("profile", "--device", device, "--file", "x.tflite", "--batch", "1,8")
    assert code == 2
    assert "one batch at a time" in err
    assert "--batch 8" in err


def test_a_batch_is_what_the_open_size_becomes(told: Told, tmp_path: Path) -> None:
    from tests.pipelines.measure.test_file_inputs import convolution

    (tmp_path / "open.onnx").write_bytes(convolution("batch", 3, 8, 8))
    (tmp_path / "two.onnx").write_bytes(convolution(2, 3, 8, 8))
    asked = ("profile", "--batch", "4", "--file")
    code, out, _ = told(*asked, str(tmp_path / "open.onnx"), "--json")
    assert code == 0
    assert json.loads(out)["target"].endswith("/b4")
    assert json.loads(out)["inputs"] == [{"name": "x", "shape": [4, 3, 8, 8], "dtype": "float32"}]
    code, _, err = told(*asked, str(tmp_path / "two.onnx"), "--dry-run")
    assert code == 2
    assert "hold a batch of 2, not 4" in err
    assert "write the file again" in err
    code, _, err = told(*asked, str(tmp_path / "open.onnx"), "--shape", "x=1,3,8,8", "--dry-run")
    assert code == 2
    assert "hold a batch of 1, not 4" in err
    assert "Say that batch in what --shape or --inputs give, too" in err


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--operators",)])
def test_a_batch_of_one_is_a_word_like_any_other(more: tuple[str, ...], told: Told, tmp_path: Path) -> None:
    from tests.pipelines.measure.test_file_inputs import convolution

    (tmp_path / "eight.onnx").write_bytes(convolution(8, 3, 8, 8))
    code, out, err = told("profile", "--file", str(tmp_path / "eight.onnx"), "--batch", "1", *more)
    assert (code, out) == (2, "")
    assert "hold a batch of 8, not 1" in err
    assert "Leave --batch out" in err
    code, out, _ = told("profile", "--file", str(tmp_path / "eight.onnx"), "--dry-run", "--json")
    assert (code, json.loads(out)["target"]) == (0, "cpu/onnxruntime/fp32/t1/b8")


def test_what_is_typed_counts_for_each_of_several_files(told: Told, tmp_path: Path) -> None:
    from tests.pipelines.measure.test_file_inputs import convolution

    (tmp_path / "open.onnx").write_bytes(convolution("batch", 3, 8, 8))
    (tmp_path / "two.onnx").write_bytes(convolution(2, 3, 8, 8))
    asked = ("profile", "--file", str(tmp_path), "--dry-run")
    code, out, err = told(*asked, "--batch", "4", "--json")
    assert code == 2
    assert "hold a batch of 2, not 4" in err
    assert "1 of 2 files could not be timed" in err
    opened, two = json.loads(out)
    assert opened["target"] == "cpu/onnxruntime/fp32/t1/b4"
    assert "not 4" in two["error"]
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(b"nothing")
    broken = [str(tmp_path / f"{name}.onnx") for name in ("a", "b")]
    code, _, err = told("profile", "--file", broken[0], "--file", broken[1])
    assert (code, "None of 2 files could be timed." in err) == (2, True), err
    starts = [line.split(":")[0] for line in err.splitlines()]
    assert (starts.count("Warning"), starts.count("Error")) == (2, 1)
    for name in broken:
        Path(name).unlink()
    for more, said in ((("--precision", "int8"), "are fp32, not int8"), (("--budget", "quick"), "for profiles of a")):
        code, _, err = told(*asked, *more)
        assert code == 2
        assert said in err


def test_a_gpu_times_files_of_its_runtimes(told: Told, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"")
    gpu = ("profile", "--device", "cuda:0", "--file", str(tmp_path / "x.onnx"), "--dry-run")
    code, out, _ = told(*gpu, "--runtime", "tensorrt", "--json")
    assert (code, json.loads(out)["target"]) == (0, "cuda:0/tensorrt/fp32/t1/b?")
    code, _, err = told(*gpu)
    assert code == 2
    assert "torch opens .graph files, not x.onnx" in err


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_word_that_the_file_contradicts_is_refused(
    more: tuple[str, ...], daemon: Any, model: str, half_model: str, told: Told
) -> None:
    for device in ("cpu", f"adb:{daemon.address}"):
        for file, has, word in ((model, "fp32", "int8"), (model, "fp32", "fp16"), (half_model, "fp16", "fp32")):
            code, out, err = told("profile", "--device", device, "--file", file, "--precision", word, *more)
            assert (code, out) == (2, "")
            said, what_to_do = err.strip().splitlines()
            assert f"are {has}, not {word}." in said
            assert f"--precision {has}" in what_to_do
    assert left_behind(daemon) == []


def test_without_a_word_the_file_tells(daemon: Any, model: str, half_model: str, told: Told) -> None:
    for file, precision in ((model, "fp32"), (half_model, "fp16")):
        for device, runtime in (("cpu", "litert"), (f"adb:{daemon.address}", "tflite-cpu")):
            code, out, _ = told("profile", "--device", device, "--file", file, "--dry-run", "--json")
            assert code == 0
            assert json.loads(out)["target"] == f"{device}/{runtime}/{precision}/t1/b1"


def test_a_delegate_is_asked_for_half_precision_as_ever(phone: Any, model: str, told: Told) -> None:
    gpu = ("profile", "--device", f"adb:{phone.address}", "--runtime", "tflite-gpu", "--file", model, "--dry-run")
    code, out, _ = told(*gpu, "--precision", "fp16", "--json")
    assert code == 0
    assert json.loads(out)["target"].endswith("/tflite-gpu/fp16/t1/b1")
    assert told(*gpu, "--precision", "int8")[0] == 2


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("model.onnx",), "--file model.onnx"),
        (("cpu",), "--device cpu"),
        (("nasbench201", "cpu"), "--space nasbench201"),
    ],
)
def test_a_word_behind_no_option_is_told_its_option(words: tuple[str, ...], meant: str, told: Told) -> None:
    code, out, err = told("profile", *words)
    assert (code, out) == (2, "")
    assert f"Did you mean: fleetfront profile {meant}?" in err


@pytest.mark.parametrize("option", ["--file", "--space"])
def test_a_runtime_of_other_devices_is_no_misspelt_one(option: str, tmp_path: Path, told: Told) -> None:
    (tmp_path / "x.onnx").write_bytes(b"")
    what = {"--file": str(tmp_path / "x.onnx"), "--space": "nasbench201"}[option]
    code, _, err = told("profile", "--device", "cpu", "--runtime", "tensorrt", option, what)
    assert code == 2
    assert "tensorrt does not run on cpu." in err
    assert "onnxruntime" in err

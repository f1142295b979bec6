"""Type devices narrowed to a target, ``cpu/int8``: what there is serves, a slip is named, and the remedy runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import writer_of
from fleetfront.predictors.operators.cost_files import save_costs
from fleetfront.predictors.operators.samples import Sample
from fleetfront.predictors.table.fit_files import save_fit
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.pipelines.predict.test_files import CONV, costs_of
from tests.predictors.synthetic_device import SyntheticDevice

Told = Callable[..., tuple[int, str, str]]
SPACE = load_space("ofa-mbv3-mini")
OF_SPACE = ("--space", SPACE.name)


@pytest.fixture
def arch() -> str:
    """A network of the space, which has models on a CPU and a phone, in float and int8."""
    model = fit_model(SPACE, SyntheticDevice(SPACE).observe()).model
    for device, precision in product(("cpu", "pixel3"), ("fp32", "int8")):
        save_fit(replace(model, target=Target(device, "onnxruntime", precision)), Workspace.default())
    Store(Workspace.default().store).close()
    return SPACE.arch_ids(SPACE.sample(1, np.random.default_rng(0)))[0]


@pytest.mark.parametrize(
    "command",
    [("fit",), ("fit", "--recalibrate"), ("predict",), ("profile", "--dry-run")],
)
def test_a_slip_in_a_part_is_named(command: tuple[str, ...], arch: str, told: Told) -> None:
    words = (arch, "--accuracy", "none") if command == ("predict",) else ()
    code, _, err = told(*command, *words, "--device", "cpu/int9", *OF_SPACE)
    assert (code, "Unknown runtime or precision 'int9'." in err, "Did you mean 'int8'?" in err) == (2, True, True), err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("fit",), "fleetfront profile --device cpu --precision int8 --space"),
        (("fit", "--runtime", "litert"), "fleetfront profile --device cpu --runtime litert --precision int8 --space"),
        (("profile", "--dry-run"), "Write --device cpu --precision int8."),
    ],
)
def test_what_is_not_there_has_a_remedy_that_can_be_typed(
    command: tuple[str, ...], said: str, arch: str, told: Told
) -> None:
    code, _, err = told(*command, "--device", "cpu/int8", *OF_SPACE)
    assert (code, said in err) == (2, True), err


def test_the_next_search_keeps_the_runtime_and_clock(arch: str, told: Told) -> None:
    narrowed = ("--device", "pixel3/int8", "--runtime", "onnxruntime", "--clock", "wall")
    code, out, err = told("predict", arch, *narrowed, *OF_SPACE, "--accuracy", "none")
    assert (code, "onnxruntime" in out) == (0, True), err
    assert "search --devices pixel3/int8 --runtime onnxruntime --clock wall --space" in err


@pytest.mark.parametrize(
    ("device", "metric", "said"),
    [
        ("cpu", "energy", "It cannot be measured on cpu, only on: cuda, adb."),
        ("pixel3", "peak_memory", "It cannot be measured on pixel3, only on: cpu."),
        ("adb:1", "energy", "fleetfront profile --device adb:1 --space ofa-mbv3-mini --energy 3m"),
    ],
)
def test_a_metric_that_is_not_known_says_where_it_can_be_had(
    device: str, metric: str, said: str, arch: str, told: Told
) -> None:
    code, _, err = told("predict", arch, "--device", device, "--metric", metric, *OF_SPACE, "--accuracy", "none")
    assert (code, said in err, "Known of it: ofa-mbv3-mini" in err) == (2, True, False), err


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A float file, and operator costs that know it."""
    save_costs(replace(costs_of("onnxruntime"), target=Target("cpu", "onnxruntime")), Workspace.default())
    (tmp_path / "net.onnx").write_bytes(writer_of("onnx")(Sample.parse(CONV).graph()))
    return str(tmp_path / "net.onnx")


def test_a_float_file_is_not_sent_to_measure_what_is_there(file: str, told: Told) -> None:
    assert told("predict", "--file", file, "--device", "cpu")[0] == 0
    code, _, err = told("predict", "--file", file, "--device", "cpu/int8", "--runtime", "onnxruntime")
    assert (code, "this file computes in fp32" in err, "Ask for cpu/onnxruntime" in err) == (2, True, True), err
    assert "--operators" not in err
    code, _, err = told("predict", "--file", file, "--device", "cpu/int9")
    assert (code, "Did you mean 'int8'?" in err) == (2, True), err


def test_a_module_is_written_in_int8_first(file: str, told: Told, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\ndef make(): return torch.nn.Conv2d(32, 32, 1)\n")
    spec = f"{tmp_path / 'net.py'}:make"
    code, _, err = told("predict", "--torch", spec, "--shape", "1,32,28,28", "--device", "cpu/int8")
    assert (code, "this module computes in fp32" in err) == (2, True), err
    assert f"fleetfront export --torch {spec} --precisions int8 --images FOLDER" in err


def test_one_comma_too_many_is_told(told: Told) -> None:
    code, _, err = told("profile", "--device", "cpu", "--precision", "fp32,", "--dry-run")
    assert (code, "'fp32,' has a comma too many" in err) == (2, True), err


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda:0/b64", "To make one: fleetfront fit --device cuda:0/torch/fp32/t1/b64 --space"),
        ("cuda:0/torch/b8", "To make one: fleetfront profile --device cuda:0 --runtime torch --batch 8 --space"),
    ],
)
def test_what_was_measured_is_sent_to_fit_and_what_was_not_to_profile(
    device: str, said: str, arch: str, told: Told
) -> None:
    with Store(Workspace.default().store) as store:
        target = Target("cuda:0", "torch", batch=64)
        store.append([Measurement(target, SPACE.name, Role.BLOCK, "b", Clock.DEVICE, (5,), "c", 0, 1)])
    code, _, err = told("predict", arch, "--device", device, *OF_SPACE, "--accuracy", "none")
    assert (code, said in err) == (2, True), err

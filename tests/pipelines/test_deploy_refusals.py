"""See what `deploy` refuses before any work, and what it knows of fetched weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.bundling import with_times_of
from fleetfront.pipelines.deploy.deploy import Pick, Weights, deploy_picks
from fleetfront.pipelines.deploy.weights import recorded_provenance
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest

BOTH = parse_formats("onnx,tflite")


def arch() -> str:
    space = ofa_mbv3_mini()
    return space.arch_id(smallest(space))


def test_an_existing_bundle_stops_everything_before_any_work(tmp_path: Path) -> None:
    space = ofa_mbv3_mini()
    other = space.arch_id(space.sample(1, np.random.default_rng(0))[0])
    picks = [Pick("a", arch()), Pick("b", arch())]
    deploy_picks([Pick("b", other)], ofa_mbv3_mini(), Weights(), BOTH, tmp_path)
    with pytest.raises(InputError, match="--force"):
        deploy_picks(picks, ofa_mbv3_mini(), Weights(), BOTH, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["b-random-weights"]
    done = deploy_picks(picks, ofa_mbv3_mini(), Weights(), BOTH, tmp_path, force=True)
    assert all(one.error is None for one in done)


@pytest.mark.parametrize("name", ["../up", "a/b", "/root", "", "a\\b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        deploy_picks([Pick(name, arch())], ofa_mbv3_mini(), Weights(), BOTH, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_was_recorded_beside_fetched_weights_is_known(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    assert recorded_provenance(weights) is None
    (tmp_path / "w.pth.json").write_text('{"source": "https://example.org", "licence": "MIT", "sha256": "0"}')
    provenance = recorded_provenance(weights)
    assert provenance is not None
    assert (provenance.source, provenance.licence) == ("https://example.org", "MIT")
    (tmp_path / "w.pth.json").write_text("[]")
    with pytest.raises(InputError, match="not a record"):
        recorded_provenance(weights)


def test_times_of_int8_files_are_handed_out_with_int8_files_alone(tmp_path: Path) -> None:
    times = {"target": "cpu/litert/int8/t1/b1", "ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall"}
    with pytest.raises(InputError, match="times of int8 files") as caught:
        deploy_picks([Pick("a", arch(), latency=(times,))], ofa_mbv3_mini(), Weights(), BOTH, tmp_path / "out")
    assert "--precisions int8" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "files"),
    [
        ("cpu/litert/int8/t1/b1", ("tflite fp32",)),
        ("cpu/litert/fp32/t1/b1", ("tflite int8",)),
        ("cpu/litert/fp32/t1/b1", ("onnx fp32", "ort fp32")),
        ("cpu/litert/int8/t1/b1", ("tflite fp32", "onnx int8")),
        ("cpu/onnxruntime/fp32/t1/b1", ("tflite fp32",)),
        ("cpu/torch/fp32/t1/b1", ("onnx fp32", "tflite fp32")),
        ("adb:1/tflite-gpu/fp16/t1/b1", ("onnx fp32",)),
        ("pixel3/tflite/fp32/t1/b1", ("onnx fp32",)),
    ],
)
def test_times_without_their_files_are_left_out(target: str, files: tuple[str, ...]) -> None:
    pick, left_out = with_times_of(Pick("a", arch(), latency=(_time(target),)), _files(*files))
    assert (pick.latency, left_out) == ((), (target,))


@pytest.mark.parametrize(
    ("target", "files"),
    [
        ("cpu/litert/int8/t1/b1", ("tflite fp32", "tflite int8")),
        ("cpu/litert/fp32/t1/b1", ("onnx fp32", "tflite fp32")),
        ("cpu/onnxruntime/fp32/t1/b1", ("ort fp32",)),
        ("cuda:0/tensorrt/fp16/t1/b1", ("onnx fp32",)),
        ("adb:1/tflite-gpu/fp16/t1/b1", ("tflite fp32",)),
        ("pixel3/tflite/fp32/t1/b1", ("tflite fp32",)),
        ("", ("onnx fp32",)),
    ],
)
def test_times_of_files_that_are_there_stay(target: str, files: tuple[str, ...]) -> None:
    pick, left_out = with_times_of(Pick("a", arch(), latency=(_time(target),)), _files(*files))
    assert (pick.latency, left_out) == ((_time(target),), ())


def test_published_times_in_an_unknown_runtime_say_that_they_are_not_of_the_files() -> None:
    known = _time("1080ti_1/pytorch/fp32/t1/b1")
    pick, left_out = with_times_of(Pick("a", arch(), latency=(known,)), _files("onnx fp32"))
    assert (pick.latency, left_out) == (({**known, "is_of_files": False},), ())


def test_a_bundle_of_another_runtime_carries_no_time(tmp_path: Path) -> None:
    known = Pick("a", arch(), latency=(_time("cpu/litert/fp32/t1/b1"),), max_latency_ms=5)
    (done,) = deploy_picks([known], ofa_mbv3_mini(), Weights(), parse_formats("onnx"), tmp_path)
    assert done.without_files == ("cpu/litert/fp32/t1/b1",)
    assert done.folder is not None
    assert read_manifest(done.folder)["latency"] == []
    assert "Neither predicted nor measured." in (done.folder / "model-card.md").read_text()


def _time(target: str) -> dict[str, object]:
    return {"target": target, "ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall"}


def _files(*spelled: str) -> list[Any]:
    named = (one.split() for one in spelled)
    return [SimpleNamespace(kind=parse_formats(name)[0], precision=precision) for name, precision in named]


def test_clusters_and_numbers_of_workers_that_cannot_be_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetfront.pipelines.accuracy_workers._ANSWERS_IN_S", 0.2)
    archs = ["--space", ofa_mbv3_mini().name, "--arch", arch()]
    command = ["deploy", *archs, "--random-weights", "--workers"]
    assert main([*command, "dask://farm.example:8786"]) == 2
    assert "Whoever reads along between here and farm.example" in capsys.readouterr().err
    assert main([*command, "dask://127.0.0.1:1", "--trust-network"]) == 3
    assert "No Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
    assert main([*command, "0"]) == 2
    assert "--workers 0 is not between 1 and 256" in capsys.readouterr().err

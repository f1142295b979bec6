"""Deploying plans: refused without TensorRT, and bound to a machine in the manifest where they are written."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.formats import ALL_FORMATS, parse_formats
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tensorrt import writer as tensorrt_writer
from fleetfront.errors import InputError
from fleetfront.graphs.batch import with_batch
from fleetfront.pipelines.deploy.deploy import Pick, Weights, deploy_picks
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest

BOUND_TO = {"tensorrt": "11.4.0", "gpu": "NVIDIA Test", "compute_capability": "9.0", "driver": "570.1", "cuda": "12.8"}


def test_without_tensorrt_deploy_ends_with_the_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    space = ofa_mbv3_mini()
    arch = space.arch_id(smallest(space))
    arguments = ["--arch", arch, "--space", space.name, "--random-weights", "--out", str(tmp_path / "out")]
    assert main(["deploy", *arguments, "--formats", "onnx,trt", "-q"]) == 4
    assert "pip install 'fleetfront[tensorrt]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_plan_is_bound_to_its_machine_in_the_manifest_and_other_files_to_none(tmp_path: Path) -> None:
    # An ONNX file stands in for the plan: what is tested is what the bundle says of it.
    plan = replace(
        ALL_FORMATS["trt"],
        runtime="onnxruntime",
        write=write_onnx,
        minimum_runtime=lambda _: "tensorrt 11.4.0 on NVIDIA Test, and no other",
        check=lambda: None,
        bound_to=lambda: BOUND_TO,
    )
    space = ofa_mbv3_mini()
    pick = Pick("net", space.arch_id(smallest(space)))
    (one,) = deploy_picks([pick], space, Weights(), [*parse_formats("onnx"), plan], tmp_path)
    assert one.error is None
    assert one.folder is not None
    onnx, trt = json.loads((one.folder / "manifest.json").read_text())["files"]
    assert "bound_to" not in onnx
    assert trt["bound_to"] == BOUND_TO
    assert trt["path"].endswith(".trt")
    assert trt["minimum_runtime"].startswith("tensorrt 11.4.0 on NVIDIA Test")
    assert trt["checks"]["passed"]


def test_what_plans_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ofa_mbv3_mini().block_graph(ofa_mbv3_mini().vocabulary[0])
    monkeypatch.setattr(tensorrt_writer, "check_tensorrt", lambda: None)
    with pytest.raises(InputError, match="no fixed shape"):
        tensorrt_writer.write_plan(with_batch(graph, "batch"))
    with pytest.raises(InputError, match="int8"):
        ALL_FORMATS["trt"].int8(graph)


def test_torch_networks_are_not_exported_as_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--torch", "net.py:make", "--formats", "onnx,trt", "--out", str(tmp_path)]) == 2
    assert "trtexec --onnx" in capsys.readouterr().err

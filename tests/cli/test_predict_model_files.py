"""``predict --file`` and ``--torch`` as typed: one that fails is a row beside the others, with what to type next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.deploy.formats import writer_of
from fleetfront.predictors.operators.samples import Sample
from tests.graphs.readers.files import node, write_onnx_nodes

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "chain.onnx"
    path.write_bytes(writer_of("onnx")(Sample.parse("1x16x14x14|conv:32x3x3x1x1|relu|conv:16x1x1x1x1").graph()))
    return str(path)


def test_files_that_fail_are_rows_and_the_others_go_on(told: Told, file: str, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    code, out, err = told("predict", "--file", str(tmp_path), "--device", "pixel3", "--json")
    assert code == 2
    rows = {Path(row["file"]).name: row for row in json.loads(out)}
    assert rows["chain.onnx"]["latency_ms"] > 0
    assert "too high or too low" in rows["chain.onnx"]["warnings"][0]
    assert rows["chain.onnx"]["warnings"][0] in err
    broken = rows["broken.onnx"]
    assert (broken["device"], broken["latency_ms"]) == (None, None)
    assert "no ONNX file" in broken["error"]
    assert broken["remedy"] in err
    code, out, _ = told("predict", "--file", str(tmp_path), "--device", "pixel3")
    assert code == 2
    assert [line.split()[-2] for line in out.splitlines()[1:]] == ["estimated", "failed"]
    code, out, err = told("predict", "--file", str(tmp_path / "broken.onnx"), "--device", "pixel3", "--json")
    assert (code, out) == (2, "")


def test_devices_that_are_refused_are_rows(told: Told, file: str) -> None:
    code, out, err = told("predict", "--file", file, "--devices", "pixel3,gold_6226", "--json")
    assert code == 2
    good, refused = json.loads(out)
    assert (good["device"], refused["device"], refused["latency_ms"]) == ("pixel3", "gold_6226", None)
    assert "cannot be defended" in refused["error"]
    assert refused["error"].rstrip(".") in err
    assert refused["remedy"].endswith(f"fleetfront profile --device cpu --file {file}")
    code, out, err = told("predict", "--file", file, "--devices", "all")
    assert code == 0
    assert "refused" in next(line for line in out.splitlines() if " gold_6226 " in line)


def test_a_file_that_is_refused_everywhere_has_a_row_for_each_device(told: Told, file: str, tmp_path: Path) -> None:
    write_onnx_nodes(tmp_path / "det.onnx", [node("Det", ["x"], ["y"])], {"x": (1, 64, 64)})
    shutil.copy(file, tmp_path / "good.onnx")
    for devices, others in (("pixel3,raspi4", {"pixel3", "raspi4"}), ("all", {"pixel3", "gold_6226"})):
        code, out, err = told("predict", "--file", str(tmp_path), "--devices", devices, "--json")
        assert code == 2
        refused = [row for row in json.loads(out) if row["file"].endswith("det.onnx")]
        assert others <= {row["device"] for row in refused}
        assert all(row["latency_ms"] is None and row["error"] for row in refused)
        assert "det.onnx" in err.splitlines()[-2]


def test_without_a_device_a_file_is_predicted_on_the_cpu(told: Told, file: str) -> None:
    for runtime in ([], ["--runtime", "onnxruntime"]):
        code, _, err = told("predict", "--file", file, *runtime)
        assert code == 2
        assert "'cpu" in err
        assert f"profile --device cpu{' '.join(['', *runtime])} --operators" in err
    code, out, _ = told("predict", "--file", file, "--devices", "all", "--runtime", "tflite", "--json")
    assert code == 0
    assert {row["target"].split("/")[1] for row in json.loads(out)} == {"tflite"}
    code, _, err = told("predict", "--file", file, "--device", "pixel3", "--runtime", "onnxruntime")
    assert code == 2
    assert "without a runtime" in err


def test_modules_that_are_refused_are_exported_first(told: Told, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "net.py").write_text("import torch\ndef make(): return torch.nn.LSTM(8, 8)\n")
    spec = f"{tmp_path / 'net.py'}:make"
    code, _, err = told("predict", "--torch", spec, "--shape", "5,1,8", "--device", "pixel3")
    assert code == 2
    assert f"fleetfront export --torch {spec} --measure" in err


def test_the_end_names_a_few_of_many_files_that_failed(told: Told, file: str, tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"broken{number}.onnx").write_bytes(b"nothing")
    code, _, err = told("predict", "--file", str(tmp_path), "--device", "pixel3")
    assert code == 2
    (last,) = (line for line in err.splitlines() if "9 of what was asked" in line)
    assert "broken5.onnx and 3 more" in last
    assert "broken6.onnx" not in last
    assert all(f"broken{number}.onnx is no ONNX file" in err for number in range(9))

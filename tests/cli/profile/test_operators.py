"""``profile --file --operators`` and ``predict --file``, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.deploy.formats import writer_of
from fleetfront.predictors.operators.samples import Sample

pytestmark = pytest.mark.usefixtures("no_adb_server")

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "chain.onnx"
    path.write_bytes(writer_of("onnx")(Sample.parse("1x16x14x14|conv:32x3x3x1x1|relu|conv:16x1x1x1x1").graph()))
    return str(path)


def test_operators_of_a_file_sum_to_its_undisturbed_time(told: Told, file: str) -> None:
    code, out, _ = told("profile", "--file", file, "--operators", "--json", "-q")
    assert code == 0
    found = json.loads(out)
    assert sum(row["ms"] for row in found["operators"]) == pytest.approx(found["undisturbed_ms"])
    assert found["profiled_ms"] > 0
    assert {"Conv"} <= {row["kind"] for row in found["operators"]}
    (fused,) = (row for row in found["operators"] if row["fused"])
    assert len(fused["covers"]) == 2
    # What was timed answers from then on.
    code, out, _ = told("predict", "--file", file, "--device", "cpu", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["tier"], row["known_share"], row["sha256"]) == ("measured", 1.0, found["sha256"])


def test_predictions_of_a_folder_are_one_table(told: Told, file: str) -> None:
    code, out, _ = told("predict", "--file", str(Path(file).parent), "--device", "pixel3", "--by", "operator")
    assert code == 0
    assert "chain.onnx" in out
    assert "conv2d" in out


def test_architectures_and_a_file_are_not_predicted_together(told: Told, file: str) -> None:
    code, _, err = told("predict", "k3", "--file", file)
    assert code == 2
    assert "one of them" in err


def test_files_of_a_folder_are_timed_into_one_table(told: Told, file: str, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    code, out, err = told("profile", "--file", str(tmp_path), "--json", "-q")
    assert code == 2
    rows = {Path(row["path"]).name: row for row in json.loads(out)}
    assert rows["chain.onnx"]["latency_ms"] > 0
    assert rows["chain.onnx"]["peak_bytes"] > 0
    assert "error" in rows["broken.onnx"]
    assert "broken.onnx" in err

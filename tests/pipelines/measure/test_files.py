from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.measure.files import profile_file
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target

pytest.importorskip("onnxruntime")


def gather_onnx(weight_bytes: int) -> bytes:
    """Integer indices of a symbolic length into a table: inputs that are neither images nor floats."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    table = np.zeros((4, weight_bytes // 16), dtype=np.float32)
    node = helper.make_node("Gather", ["table", "indices"], ["rows"])
    indices = helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch"])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", table.shape[1]])
    graph = helper.make_graph([node], "g", [indices], [rows], [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def test_a_file_of_any_inputs_is_measured_and_stored(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gather_onnx(64_000_000))
    with Store(tmp_path / "store.sqlite") as store:
        found = profile_file(path, store=store, seconds=0.2)
        assert found.inputs == (("indices", (1,), "int64"),)
        assert found.target == Target("cpu", "onnxruntime")
        assert 0 < found.fastest_ms <= found.median_ms <= found.p90_ms <= found.p95_ms <= found.p99_ms
        assert found.cold_start_ms > found.load_ms > 0
        assert found.peak_bytes is not None
        assert found.peak_bytes > 64_000_000
        rows = list(store.measurements(role=Role.FILE, key=found.sha256, metric=None))
    assert {(row.metric, row.unit, row.clock) for row in rows} == {
        ("cold_start", "ns", Clock.WALL),
        ("load", "ns", Clock.WALL),
        ("latency", "ns", Clock.WALL),
        ("latency", "ns", Clock.THREAD_CPU),
        ("peak_memory", "bytes", Clock.UNKNOWN),
    }
    assert sum(row.metric == "cold_start" for row in rows) == 3
    assert json.loads(json.dumps(found.to_json()))["runs"] == found.runs >= 20
    assert any("peak memory" in row for row in found.rows())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_file_of_images_says_its_batch(tmp_path: Path, batch: int) -> None:
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3, 8, 8]) for name in ("image", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["out"])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with Store(tmp_path / "store.sqlite") as store:
        found = profile_file(path, store=store, seconds=0.05)
        assert {row.target.batch for row in store.measurements(role=Role.FILE, metric=None)} == {batch}
    assert found.target == Target("cpu", "onnxruntime", batch=batch)
    assert found.to_json()["tier"] == "measured"


def test_a_busy_machine_is_told_from_a_slow_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gather_onnx(64))
    found = profile_file(path, seconds=0.05)
    calm = replace(found, thread_cpu_median_ms=1.0, median_ms=1.1, p95_ms=1.2, runs=500)
    assert calm.warnings == ()
    assert "waiting for a core" in replace(calm, median_ms=3.0).warnings[0]
    assert "One run in twenty" in replace(calm, p95_ms=9.0).warnings[0]
    assert "99th" in replace(calm, runs=30).warnings[0]


@pytest.mark.parametrize(
    ("name", "content", "target", "words"),
    [
        ("model.onnx", b"not a model", None, "not a model"),
        ("model.txt", b"", None, "No runtime here opens"),
        ("model.onnx", b"", Target("cpu", "litert"), "opens .tflite"),
        ("model.onnx", None, None, "cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_explained(
    tmp_path: Path, name: str, content: bytes | None, target: Target | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        profile_file(tmp_path / name, target)
    assert caught.value.remedy

"""Files of strangers run in a process of their own: what they give, and what they cannot do."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import FileError, InputError
from fleetfront.runtimes.run_apart import run_apart

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def doubling(batch: int) -> bytes:
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [make.make_node("Add", ["x", "x"], ["y"])]
    ports = [make.make_tensor_value_info(name, kind, [batch, 3]) for name in ("x", "y")]
    return _model(make.make_graph(nodes, "double", ports[:1], ports[1:]))


def endless() -> bytes:
    make, kind = onnx.helper, onnx.TensorProto
    body = make.make_graph(
        [make.make_node("Identity", ["go"], ["on"]), make.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            make.make_tensor_value_info("i", kind.INT64, []),
            make.make_tensor_value_info("go", kind.BOOL, []),
            make.make_tensor_value_info("v", kind.FLOAT, [1, 3]),
        ],
        [make.make_tensor_value_info("on", kind.BOOL, []), make.make_tensor_value_info("w", kind.FLOAT, [1, 3])],
    )
    loop = make.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body)
    constants = [make.make_tensor("trips", kind.INT64, [], [2**62]), make.make_tensor("yes", kind.BOOL, [], [True])]
    ports = [make.make_tensor_value_info(name, kind.FLOAT, [1, 3]) for name in ("x", "y")]
    return _model(make.make_graph([loop], "endless", ports[:1], ports[1:], constants))


def _model(graph: object) -> bytes:
    imports = [onnx.helper.make_opsetid("", 17)]
    data: bytes = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
    return data


@pytest.mark.parametrize("batch", [1, 4])
def test_outputs_come_back_of_every_inference(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a module of a name that runtimes import lies in the present folder."""
    (tmp_path / "net.onnx").write_bytes(doubling(batch))
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    feeds = [{"x": np.full((1, 3), value, np.float32)} for value in (1, 2)]
    first, second = run_apart(Path("net.onnx"), "onnxruntime", feeds)
    assert np.array_equal(first["y"], np.full((1, 3), 2, np.float32))
    assert np.array_equal(second["y"], np.full((1, 3), 4, np.float32))


def test_what_does_not_end_is_ended(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(endless())
    with pytest.raises(FileError, match="did not end in 2 s"):
        run_apart(tmp_path / "net.onnx", "onnxruntime", [{"x": np.zeros((1, 3), np.float32)}], 2)


def spreading(count: int) -> bytes:
    """Gives ``count`` rows of three numbers, of a file of a hundred bytes."""
    make, kind = onnx.helper, onnx.TensorProto
    constant = make.make_tensor("shape", kind.INT64, [2], [count, 3])
    ports = [make.make_tensor_value_info(name, kind.FLOAT, shape) for name, shape in (("x", [1, 3]), ("y", [count, 3]))]
    node = make.make_node("Expand", ["x", "shape"], ["y"])
    return _model(make.make_graph([node], "spreading", ports[:1], ports[1:], [constant]))


@pytest.mark.parametrize(
    ("count", "said"), [(6_000_000, "gives 72,000,000 bytes of outputs"), (2_000_000_000, "cannot be run")]
)
def test_memory_is_bounded(count: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(spreading(count))
    with pytest.raises(InputError, match=said):
        run_apart(tmp_path / "net.onnx", "onnxruntime", [{"x": np.zeros((1, 3), np.float32)}])


@pytest.mark.parametrize("data", [b"no model", doubling(1)], ids=["no model", "wrong shape"])
def test_what_cannot_be_run_says_why(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(InputError, match=r"net\.onnx|was fed"):
        run_apart(tmp_path / "net.onnx", "onnxruntime", [{"x": np.zeros((1, 7), np.float32)}])

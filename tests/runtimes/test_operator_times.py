"""Times of a file's operators as the runtimes of this machine tell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import writer_of
from fleetfront.errors import InputError
from fleetfront.predictors.operators.samples import Sample
from fleetfront.profilers.cpu.file_operators import time_file_operators
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.onnxruntime.operator_times import read_profile

CHAIN = "1x32x28x28|conv:64x3x3x1x1|relu|conv:64x1x1x1x1|hard_swish"


@pytest.fixture(params=["onnx", "tflite"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"chain.{request.param}"
    path.write_bytes(writer_of(request.param)(Sample.parse(CHAIN).graph()))
    return path


def test_every_operator_has_a_time(file: Path) -> None:
    runtime = load_runtime({".onnx": "onnxruntime", ".tflite": "litert"}[file.suffix])
    found = time_file_operators(runtime, file)
    assert all(one.ms > 0 for one in found.operators)
    kinds = " ".join(one.kind.upper() for one in found.operators)
    assert kinds.count("CONV") >= 2
    # ONNX Runtime makes a hard sigmoid and a product of it.
    assert "HARD" in kinds
    # The 3 x 3 convolution has nine times the work of the other.
    largest = max(found.operators, key=lambda one: one.ms)
    assert "CONV" in largest.kind.upper()
    assert largest is next(one for one in found.operators if "CONV" in one.kind.upper())


def test_fused_operators_are_marked() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "dur": 30},
        {"cat": "Node", "name": "a_kernel_time", "dur": 20, "args": {"op_name": "FusedConv"}},
        {"cat": "Node", "name": "reorder_kernel_time", "dur": 5, "args": {"op_name": "ReorderInput"}},
        {"cat": "Node", "name": "c_kernel_time", "dur": 4, "args": {"op_name": "Mul"}},
        {"cat": "Node", "name": "a_fence_before", "dur": 99, "args": {"op_name": "FusedConv"}},
    ]
    found = read_profile(events, {"a": ("Conv", "x"), "b": ("Relu", "y"), "c": ("Mul", "z")})
    assert [(one.name, one.ms, one.is_fused) for one in found.operators] == [
        ("a", 0.02, True),
        ("reorder", 0.005, False),
        ("c", 0.004, False),
    ]
    assert (found.total_ms, found.taken_in) == (0.03, ("b",))


def test_operators_in_the_runtimes_own_layout_are_found_by_their_outputs() -> None:
    events = [
        {"cat": "Node", "name": f"{name}_nchwc_kernel_time", "dur": 9, "args": {"op_name": "Conv"}}
        for name in ("conv_out", "relu_out")
    ]
    nodes = {"conv": ("Conv", "conv_out"), "second": ("Conv", "inner"), "relu": ("Relu", "relu_out")}
    found = read_profile(events, nodes)
    # The second convolution took the activation in, and goes by its output.
    assert [(one.name, one.is_fused) for one in found.operators] == [("conv", False), ("relu", True)]
    assert found.taken_in == ("second",)


def test_a_profile_without_operators_is_refused() -> None:
    with pytest.raises(InputError, match="no operator"):
        read_profile([{"cat": "Session", "name": "model_run", "dur": 30}], {})


def test_a_damaged_file_cannot_be_taken_apart() -> None:
    from fleetfront.runtimes.litert.operator_times import time_operators

    with pytest.raises(InputError, match="taken apart"):
        time_operators(b"TFL3 nothing", lambda data: load_runtime("litert").open(data), 3)


def test_a_cut_operator_computes_what_it_did(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from fleetfront.runtimes.litert.operator_times import cut_operator

    data = writer_of("tflite")(Sample.parse("1x8x6x6|conv:4x1x1x1x1").graph())
    session, cut = (
        load_runtime("litert").open(one) for one in (data, cut_operator(schema.ModelT.InitFromPackedBuf(data, 0), 0))
    )
    feed = np.random.default_rng(0).standard_normal((1, 6, 6, 8)).astype(np.float32)
    whole = session.run({session.inputs[0].name: feed})
    alone = cut.run({cut.inputs[0].name: feed})
    np.testing.assert_array_equal(next(iter(whole.values())), next(iter(alone.values())))

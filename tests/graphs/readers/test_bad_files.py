"""Damaged and hostile files are refused in a sentence, within bounds of time and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fleetfront.errors import FileError, FleetfrontError
from fleetfront.graphs.costs import operator_costs, peak_activation_bytes
from fleetfront.graphs.readers.file import read_graph
from tests.graphs.readers.files import OPSETS, node, write_onnx_nodes

MATMUL = [node("MatMul", ["x", "w"], ["y"])]
LIGHT = Path(onnx.__file__).parent / "backend/test/data"


def tensor(dims: list[int], location: str = "") -> TensorProto:
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if location:
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
    return made


def function(name: str, *calls: str) -> onnx.FunctionProto:
    names = ["a", *(f"t{place}" for place in range(1, len(calls))), "b"]
    nodes = [
        node(call, [names[place]], [names[place + 1]], domain="" if call == "Relu" else "com.example")
        for place, call in enumerate(calls)
    ]
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_function("com.example", name, ["a"], ["b"], nodes, opsets)


def many(numbers: list[int], kind: str) -> list[onnx.NodeProto]:
    constants = [node("Constant", [], [f"c{i}"], value_int=number) for i, number in enumerate(numbers)]
    return [*constants, node(kind, [f"c{i}" for i in range(len(numbers))], ["r"])]


BAD: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "a slice by steps of 0": (
        "cannot run",
        lambda p: write_onnx_nodes(
            p,
            [node("Slice", ["x", "b", "e", "a", "s"], ["y"])],
            {"x": [4, 8]},
            {name: np.array([number]) for name, number in (("b", 0), ("e", 8), ("a", 1), ("s", 0))},
        ),
    ),
    "a sum of shapes that do not fit": (
        "cannot run",
        lambda p: write_onnx_nodes(
            p, [node("Add", ["x", "w"], ["y"])], {"x": [4, 8]}, {"w": np.zeros((4, 7), np.float32)}
        ),
    ),
    "an input of 2^80 numbers": (
        "no machine can hold",
        lambda p: write_onnx_nodes(p, [node("Relu", ["x"], ["y"])], {"x": [2**40, 2**40]}),
    ),
    "a weight of 2^62 numbers": (
        "no machine can hold",
        lambda p: write_onnx_nodes(p, MATMUL, {"x": [1, 4]}, tensors=[tensor([2**31, 2**31])]),
    ),
    "a negative size": (
        "Negative dimension",
        lambda p: write_onnx_nodes(p, MATMUL, {"x": [1, 4]}, tensors=[tensor([-5, 4])]),
    ),
    "a circle": (
        "topologically sorted",
        lambda p: write_onnx_nodes(
            p, [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])], {"x": [1]}
        ),
    ),
    "weights above the folder": (
        "outside the file's folder",
        lambda p: write_onnx_nodes(p, MATMUL, {"x": [1, 4]}, tensors=[tensor([4, 4], "../w.bin")]),
    ),
    "weights anywhere": (
        "outside the file's folder",
        lambda p: write_onnx_nodes(p, MATMUL, {"x": [1, 4]}, tensors=[tensor([4, 4], "/etc/passwd")]),
    ),
    "an opset to come": (
        "opset 99",
        lambda p: write_onnx_nodes(p, [node("Relu", ["x"], ["y"])], {"x": [1]}, opset=99),
    ),
    "functions that double 24 times": (
        "functions written out",
        lambda p: write_onnx_nodes(
            p,
            [node("F23", ["x"], ["y"], domain="com.example")],
            {"x": [1]},
            functions=[
                function("F0", "Relu", "Relu"),
                *(function(f"F{i}", f"F{i - 1}", f"F{i - 1}") for i in range(1, 24)),
            ],
        ),
    ),
    "a function that calls itself": (
        "call themselves",
        lambda p: write_onnx_nodes(
            p, [node("R", ["x"], ["y"], domain="com.example")], {"x": [1]}, functions=[function("R", "R")]
        ),
    ),
    "a range of 2^60 numbers": (
        "no machine can hold",
        lambda p: write_onnx_nodes(
            p,
            [*many([0, 2**60, 1], "Range"), node("Cast", ["r"], ["f"], to=1), node("Mul", ["f", "x"], ["y"])],
            {"x": [1]},
        ),
    ),
    "a chain of concatenations, each twice as long": (
        "no machine can hold",
        lambda p: write_onnx_nodes(
            p,
            [
                node("Concat", ["x" if i == 0 else f"h{i}"] * 2, ["y" if i == 99 else f"h{i + 1}"], axis=0)
                for i in range(100)
            ],
            {"x": [1, 4]},
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_means_harm_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    said, make = BAD[name]
    with pytest.raises(FileError, match=said) as caught:
        read_graph(make(tmp_path / "m.onnx"))
    assert caught.value.remedy


def test_a_format_newer_than_the_installed_onnx_asks_for_a_newer_onnx(tmp_path: Path) -> None:
    path = write_onnx_nodes(tmp_path / "new.onnx", [node("Relu", ["x"], ["y"])], {"x": [2, 3]})
    model = onnx.load(path)
    model.ir_version = 99
    onnx.save(model, path)
    with pytest.raises(FileError, match=f"version 99 of ONNX's format.* up to {onnx.IR_VERSION}") as refused:
        read_graph(path)
    assert "Update onnx" in refused.value.remedy


def test_links_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(64))
    (tmp_path / "inside" / "w.bin").symlink_to(tmp_path / "w.bin")
    path = write_onnx_nodes(tmp_path / "inside" / "m.onnx", MATMUL, {"x": [1, 4]}, tensors=[tensor([4, 4], "w.bin")])
    with pytest.raises(FileError, match="outside"):
        read_graph(path)
    # Beside the file it is not even looked at: the shape is all that is needed.
    (tmp_path / "inside" / "w.bin").unlink()
    assert read_graph(path).weights["w.10"].shape == (4, 4)


@pytest.mark.parametrize(
    "data", [b"", bytes(1000), b"hello world" * 100, b"PK\x03\x04" + b"a" * 1000, b"\x1c\0\0\0TFL3"]
)
@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(data)
    with pytest.raises(FileError) as caught:
        read_graph(path)
    assert str(path) in caught.value.message


def test_a_graph_that_claims_more_than_the_file_has_is_not_read(tmp_path: Path) -> None:
    """Four thousand million bytes of nothing, in a file that takes no disk."""
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(b"\x3a\xff\xff\xff\xff\x0f")
        os.truncate(file.fileno(), 2**32)
    with pytest.raises(FileError, match="no ONNX file"):
        read_graph(path)


@cache
def sources() -> tuple[tuple[str, bytes], ...]:
    """Real files to be damaged, with the suffix of each."""
    shared = Path(os.environ.get("FLEETFRONT_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    files = [*sorted((shared / "model_files").glob("*.tflite"))[:6], *sorted(LIGHT.glob("pytorch-*/*/model.onnx"))[::9]]
    files += [LIGHT / "light" / "light_squeezenet.onnx"]
    return tuple((path.suffix, path.read_bytes()) for path in files)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A real file with a few bytes changed, or cut off, or with a piece left out or written over another."""
    suffix, whole = draw(st.sampled_from(sources()))
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 12))):
        place, value = draw(st.integers(0, len(data) - 1)), draw(st.sampled_from((0, 1, 127, 128, 255)))
        data[place] = value
    match draw(st.sampled_from(("as it is", "cut off", "left out", "doubled"))):
        case "cut off":
            del data[draw(st.integers(0, len(data) - 1)) :]
        case "left out":
            place = draw(st.integers(0, len(data) - 1))
            del data[place : place + draw(st.integers(1, 64))]
        case "doubled":
            place = draw(st.integers(0, len(data) - 1))
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
    return suffix, bytes(data)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@settings(max_examples=400, deadline=None)
@given(damaged())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[str, bytes]
) -> None:
    suffix, data = case
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(data)
    refused, graph = None, None
    try:
        graph = read_graph(path)
    except FleetfrontError as error:
        refused = error
    if graph is None:
        assert refused is not None
        assert refused.message
        assert refused.remedy
    else:
        assert all(np.isfinite(cost.macs) and cost.moved_bytes >= 0 for cost in operator_costs(graph))
        assert peak_activation_bytes(graph) >= 0


@pytest.mark.parametrize(("count", "kinds"), [(10**4, ["Add"]), (10**9, ["Range", "ReduceSum", "Add"])])
def test_constants_too_large_to_be_kept_are_computed_at_each_run(count: int, kinds: list[str], tmp_path: Path) -> None:
    nodes = [node("Range", ["a", "b", "c"], ["r"]), node("ReduceSum", ["r"], ["s"], keepdims=0)]
    numbers = {name: np.array(number, np.float32) for name, number in (("a", 0), ("b", count), ("c", 1))}
    path = write_onnx_nodes(tmp_path / "range.onnx", [*nodes, node("Add", ["x", "s"], ["y"])], {"x": [1, 8]}, numbers)
    assert [one.origin.kind for one in read_graph(path).operators if one.origin] == kinds

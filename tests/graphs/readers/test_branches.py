"""An ``If`` whose condition is a constant is the branch that is taken; of others nobody knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from fleetfront.graphs.readers.file import read_graph
from tests.graphs.readers.files import node, port, write_onnx_nodes

BIG = np.ones((96, 96), np.float32)


def choice(condition: str) -> list[object]:
    """Either branch reads what is made outside of it, and calls what it makes alike."""
    then = helper.make_graph(
        [node("MatMul", ["h", "w"], ["t"]), node("Relu", ["t"], ["out"])],
        "then",
        [],
        [port("out", None)],
        [numpy_helper.from_array(BIG, "w")],
    )
    other = helper.make_graph([node("Sigmoid", ["h"], ["t"])], "else", [], [port("t", None)])
    return [node("If", [condition], ["y"], "choose", then_branch=then, else_branch=other)]


@pytest.mark.parametrize(("is_then", "families"), [(True, ["relu", "linear", "relu"]), (False, ["relu", "sigmoid"])])
def test_the_taken_branch_stands_in_its_place(tmp_path: Path, is_then: bool, families: list[str]) -> None:
    nodes = [node("Relu", ["x"], ["h"]), *choice("c")]
    path = write_onnx_nodes(tmp_path / "m.onnx", nodes, {"x": [4, 96]}, {"c": np.array(is_then)})
    graph = read_graph(path)
    assert [operator.family for operator in graph.operators] == families
    assert graph.tensors[graph.outputs[0]].shape == (4, 96)


def test_a_condition_that_shapes_decide_is_a_constant(tmp_path: Path) -> None:
    shape = [node("Shape", ["h"], ["sizes"]), node("ReduceProd", ["sizes"], ["count"], keepdims=0)]
    asked = [*shape, node("Greater", ["count", "limit"], ["c"])]
    nodes = [node("Relu", ["x"], ["h"]), *asked, *choice("c")]
    path = write_onnx_nodes(tmp_path / "m.onnx", nodes, {"x": [4, 96]}, {"limit": np.array(10)})
    assert [operator.family for operator in read_graph(path).operators] == ["relu", "linear", "relu"]


def test_a_condition_that_is_computed_stays_unknown(tmp_path: Path) -> None:
    asked = [node("ReduceSum", ["x"], ["sum"], keepdims=0), node("Greater", ["sum", "limit"], ["c"])]
    nodes = [node("Relu", ["x"], ["h"]), *asked, *choice("c")]
    path = write_onnx_nodes(tmp_path / "m.onnx", nodes, {"x": [4, 96]}, {"limit": np.array(0.0, np.float32)})
    assert "If" in [operator.attributes.get("kind") for operator in read_graph(path).operators]

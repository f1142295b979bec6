"""Graphs say their layouts, may have several outputs, keep what nobody knows as such, and change through rewrite."""

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Graph, GraphBuilder, Operator, Rewriter, Tensor
from fleetfront.graphs.operators.catalogue import FAMILIES, family_of, graph_macs


def small(layout: str = "NCHW") -> Graph:
    b = GraphBuilder("small")
    x = b.input("x", (1, 4, 6, 6), layout=layout)
    first, second = b.add_all("split", [b.add("relu", [x], "active")], ["first", "second"], axis=1, sizes=(1, 3))
    y = b.add("multiply", [first, second], "product")
    return b.build([b.add("add", [y, b.weight("shift", np.ones((3, 1, 1), np.float32))], "y"), second], {"a": "b"})


def test_layouts_come_from_declarations_and_not_from_ranks() -> None:
    assert {tensor.layout for tensor in small().tensors.values()} == {"NCHW"}
    assert {tensor.layout for tensor in small(layout="").tensors.values()} == {""}
    b = GraphBuilder("g")
    last = b.input("x", (1, 5, 6, 3), layout="NHWC")
    assert b.value(b.add("transpose", [last], permutation=(0, 3, 1, 2))).layout == "NCHW"
    assert b.value(b.add("transpose", [last], permutation=(0, 1, 3, 2))).layout == ""
    assert b.value(b.add("reshape", [last], shape=(1, 3, 5, 6))).layout == ""
    assert b.value(b.add("reshape", [last], shape=(1, 3, 5, 6), layout="NCHW")).layout == "NCHW"


@pytest.mark.parametrize("family", ["conv2d", "max_pool2d", "global_average_pool"])
def test_what_needs_an_image_refuses_tensors_that_are_not_declared_one(family: str) -> None:
    b = GraphBuilder("g")
    operands = [b.input("x", (1, 4, 6, 6))] + ([b.weight("w", np.ones((2, 4, 1, 1)))] if family == "conv2d" else [])
    with pytest.raises(InputError, match="does not say its layout") as caught:
        b.add(family, operands, stride=(1, 1), padding=(0,) * 4, kernel=(1, 1), groups=1)
    assert "layout='NCHW'" in caught.value.remedy


def test_images_of_two_layouts_are_not_combined() -> None:
    b = GraphBuilder("g")
    operands = [b.input("x", (1, 4, 4, 4), layout="NCHW"), b.input("y", (1, 4, 4, 4), layout="NHWC")]
    with pytest.raises(InputError, match="NCHW and NHWC"):
        b.add("add", operands)


def test_the_serial_form_keeps_several_outputs() -> None:
    graph = small()
    read = Graph.from_bytes(graph.to_bytes())
    assert read.operators == graph.operators
    assert read.content_hash == graph.content_hash
    with pytest.raises(ValueError, match="too many values"):
        _ = graph.operators[1].output


def test_rewriting_walks_through_inputs_weights_operators_and_outputs() -> None:
    graph = small()

    def declare(writer: Rewriter, tensor: Tensor) -> str:
        return writer.add("cast", [writer.redeclare(tensor, dtype="uint8")], "float", dtype="float32")

    def change(writer: Rewriter, operator: Operator) -> None:
        if operator.family == "relu":
            writer.stand_in(operator.output, writer.now(operator.inputs[0]))
        else:
            writer.keep(operator, [f"{name}/new" for name in operator.outputs])

    def give(writer: Rewriter, name: str) -> str:
        return writer.add("sigmoid", [writer.now(name)], name)

    changed = graph.rewrite(change, inputs=declare, weights=lambda name, array: array * 2, outputs=give)
    assert [operator.family for operator in changed.operators] == [
        "cast", "split", "multiply", "add", "sigmoid", "sigmoid",
    ]  # fmt: skip
    assert changed.outputs == graph.outputs
    assert changed.labels == graph.labels
    assert changed.tensors["x"].dtype == "uint8"
    assert changed.operators[1].inputs == ("float",)
    assert float(changed.weights["shift"].max()) == 2.0
    assert graph.rewrite().content_hash == graph.content_hash


def test_weights_that_nothing_reads_any_more_are_left_out() -> None:
    def skip(writer: Rewriter, operator: Operator) -> None:
        if operator.family == "add":
            writer.stand_in(operator.output, writer.now(operator.inputs[0]))
        else:
            writer.keep(operator)

    assert not small().rewrite(skip).weights


def test_unknown_families_are_refused_with_the_nearest_known_one() -> None:
    b = GraphBuilder("g")
    with pytest.raises(InputError, match="'reluu'") as caught:
        b.add("reluu", [b.input("x", (1, 4))])
    assert "relu" in caught.value.remedy


def opaque() -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", (1, 4))
    y = b.add("opaque", [x], kind="com.example.Fancy", shapes=((1, 4),), dtypes=("float32",), layouts=("",))
    return b.build([b.add("relu", [y])])


def test_opaque_operators_are_kept_and_refused_by_whoever_would_have_to_know_them() -> None:
    graph = opaque()
    assert Graph.from_bytes(graph.to_bytes()).operators[0].attributes["kind"] == "com.example.Fancy"
    for use in (write_onnx, write_tflite, graph_macs):
        with pytest.raises(InputError, match=r"Fancy .*known by its name alone"):
            use(graph)
    with pytest.raises(InputError, match="Fancy makes of another batch"):
        with_batch(graph, 4)


def test_every_family_says_everything() -> None:
    for name in FAMILIES:
        family = family_of(name)
        assert family.reads
        # Some that readers find are written as ONNX alone, so that they can be timed.
        assert family.onnx is not None or family.tflite is None

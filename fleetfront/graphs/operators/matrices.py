"""Families that multiply activations with activations, or one weight with many steps: matmul, attention, recurrence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fleetfront.graphs.operators.base import (
    Attributes,
    OperatorFamily,
    Shape,
    Value,
    Work,
    declared,
    described,
    elements,
    number,
    refuse,
)
from fleetfront.graphs.operators.pointwise import broadcast_shapes

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Graph, Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter


def _sides(values: Sequence[Value], attributes: Attributes) -> tuple[Shape, Shape]:
    """Both operands as they are multiplied, each of two dimensions at least."""
    left, right = values[0].shape, values[1].shape
    left, right = (1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right
    if attributes.get("transpose_left"):
        left = (*left[:-2], left[-1], left[-2])
    if attributes.get("transpose_right"):
        right = (*right[:-2], right[-1], right[-2])
    return left, right


def _multiplied(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    if not (values[0].shape and values[1].shape):
        refuse("A matrix product reads a single number.", "Multiply it instead.")
    left, right = _sides(values, attributes)
    if left[-1] != right[-2]:
        refuse(f"Matrices {values[0].shape} and {values[1].shape} do not fit.", "Their inner dimensions must be equal.")
    shape = broadcast_shapes(left[:-2], right[:-2])
    shape += (left[-2],) * (len(values[0].shape) > 1) + (right[-1],) * (len(values[1].shape) > 1)
    return [Value(shape, attributes.get("dtype", values[0].dtype))]


def _multiplied_work(graph: Graph, operator: Operator) -> Work:
    left, _ = _sides([graph.value(name) for name in operator.inputs[:2]], operator.attributes)
    output = elements(graph.tensors[operator.output].shape)
    return Work("matrix", output * number(left[-1]))


def _attended(values: Sequence[Value], _: Attributes) -> Sequence[Value]:
    query, key, value = (one.shape for one in values[:3])
    if min(len(query), len(key), len(value)) < 2 or query[-1] != key[-1] or key[-2] != value[-2]:
        refuse(f"Attention reads query {query}, key {key} and value {value}, which do not fit.", "Check their shapes.")
    return [values[0]._replace(shape=(*query[:-1], value[-1]))]


def _attended_work(graph: Graph, operator: Operator) -> Work:
    """Scores of every query with every key, and their sum of values; a causal mask saves nothing that is counted."""
    query, key, value = (graph.value(name).shape for name in operator.inputs[:3])
    return Work("attention", elements(query[:-1]) * number(key[-2]) * (number(query[-1]) + number(value[-1])))


def _recurrent_work(graph: Graph, operator: Operator) -> Work:
    """Every step multiplies with every element of the matrices once."""
    steps = elements(graph.value(operator.inputs[0]).shape[:-1])
    matrices = operator.inputs[1 : 1 + operator.attributes["matrices"]]
    return Work("recurrent", steps * sum(math.prod(map(number, graph.value(name).shape)) for name in matrices))


def _cell(name: str) -> OperatorFamily:
    says = "(data (steps, batch, features) in any order of the first two, matrices, anything else): matrices, their "
    reads = f"{says}number; shapes, dtypes and layouts, one an output"
    return described(name, reads, declared, _recurrent_work, _onnx_cell)


def _onnx_cell(file: OnnxEmitter, operator: Operator) -> None:
    """Operands and results are ONNX's own: matrices (directions, gates x hidden, ...), steps first, zeros as the first
    state. A gru resets what its matrix gave, as torch's does, where ONNX would reset what the matrix reads."""
    matrix = file.value(operator.inputs[2]).shape
    biases = [file.value(name).shape for name in operator.inputs[3:]]
    if len(matrix) != 3 or len(biases) > 1 or any(shape != (matrix[0], 2 * number(matrix[1])) for shape in biases):
        refuse(
            f"{operator.family} {operator.outputs[0]!r} does not read just a sequence and matrices in ONNX's order.",
            "Use the file or module that it came from.",
        )
    directions, _, hidden = matrix
    said: dict[str, Any] = {"direction": "bidirectional"} if directions == 2 else {}
    if operator.family == "gru":
        said["linear_before_reset"] = 1
    file.node(operator.family.upper(), operator.inputs, operator.outputs, hidden_size=int(hidden), **said)


def _check_type(file: OnnxEmitter | TfliteEmitter, operator: Operator) -> None:
    """Products of quantised matrices say another type than their operands', and are other operators in files."""
    types = {file.value(name).dtype for name in (*operator.inputs[:2], operator.output)}
    if len(types) > 1:
        words = ", ".join(sorted(types))
        refuse(f"Matrix product {operator.output!r} mixes {words}, which is not written.", "Use the file it came from.")


def _onnx_multiplied(file: OnnxEmitter, operator: Operator) -> None:
    if any(operator.attributes.get(side) for side in ("transpose_left", "transpose_right")):
        refuse(f"Matrix product {operator.output!r} turns an operand.", "Transpose it before.")
    _check_type(file, operator)
    file.node("MatMul", operator.inputs[:2], operator.outputs)


def _tflite_multiplied(file: TfliteEmitter, operator: Operator, _: str) -> None:
    _check_type(file, operator)
    if min(len(file.value(name).shape) for name in operator.inputs[:2]) < 2:
        refuse(f"Matrix product {operator.output!r} reads a vector, which TFLite's does not.", "Reshape it before.")
    operands = [file.read(name, operator, "") for name in operator.inputs[:2]]
    turned = {side: bool(operator.attributes.get(name)) for side, name in (("adjX", _LEFT), ("adjY", _RIGHT))}
    file.operator("BATCH_MATMUL", operands, (file.output(operator.output),), table="BatchMatMulOptions", **turned)


_LEFT, _RIGHT = "transpose_left", "transpose_right"

FAMILIES = (
    described(
        "matmul",
        "(left, right), broadcast as numpy does: transpose_left, transpose_right, dtype where it is not the left one's",
        _multiplied,
        _multiplied_work,
        _onnx_multiplied,
        _tflite_multiplied,
    ),
    described(
        "contract",
        "(left, right), a product of any axes: shape, and summed, the number of products in one sum",
        lambda values, attributes: [Value(tuple(attributes["shape"]), values[0].dtype)],
        lambda graph, operator: Work(
            "matrix", elements(graph.tensors[operator.output].shape) * operator.attributes["summed"]
        ),
    ),
    described("attention", "(query, key, value[, mask]): softmax(query key^T) value", _attended, _attended_work),
    *map(_cell, ("lstm", "gru", "rnn")),
)

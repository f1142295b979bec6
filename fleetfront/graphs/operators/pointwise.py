"""Families that treat every element alike: activations, batch-norm, sums and products, casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.graphs.channels_last import stored
from fleetfront.graphs.operators.base import (
    Attributes,
    OnnxRule,
    OperatorFamily,
    Running,
    Shape,
    TfliteRule,
    Value,
    as_first,
    one_node,
    plain_work,
    refuse,
)

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.graph import Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter

_WORK = plain_work("elementwise")


def _activation(
    name: str, function: str, onnx: OnnxRule, tflite: TfliteRule | str, fused_as: str = ""
) -> OperatorFamily:
    """A family of one operand; ``function`` is torch's name of it."""

    def torch_rule(operands: Sequence[Tensor], _: Operator, __: Running) -> Tensor:
        from torch.nn import functional

        result: Tensor = getattr(functional, function)(operands[0])
        return result

    rule = _one_operator(tflite) if isinstance(tflite, str) else tflite
    return OperatorFamily(name, "(data)", as_first, torch_rule, onnx, rule, _WORK, fused_as=fused_as)


def _one_operator(kind: str) -> TfliteRule:
    table = "HardSwishOptions" if kind == "HARD_SWISH" else ""

    def write(file: TfliteEmitter, operator: Operator, _: str) -> None:
        data = file.read(operator.inputs[0], operator, file.value(operator.output).layout)
        file.operator(kind, (data,), (file.output(operator.output),), table=table)

    return write


def _onnx_relu6(file: OnnxEmitter, operator: Operator) -> None:
    dtype = file.value(operator.output).dtype
    bounds = [file.constant(name, np.array(value, dtype)) for name, value in (("zero", 0), ("six", 6))]
    file.node("Clip", [*operator.inputs, *bounds], operator.outputs)


def _tflite_hard_sigmoid(file: TfliteEmitter, operator: Operator, _: str) -> None:
    """relu6(x + 3) / 6: TFLite has no operator of its own, and its delegates know this form."""
    output = operator.output
    value = file.value(output)
    three, sixth = (file.constant(str(number), np.array(number, dtype=value.dtype)) for number in (3, 1 / 6))
    shifted = file.between(output, "relu6", stored(value.shape, value.layout))
    data = file.read(operator.inputs[0], operator, value.layout)
    file.operator("ADD", (data, three), (shifted,), table="AddOptions", fusedActivationFunction="RELU6")
    place = file.output(output)
    file.operator("MUL", (shifted, sixth), (place,), table="MulOptions", fusedActivationFunction="NONE")


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that operands give together, as numpy has it. Raises InputError if they do not fit."""
    width = max(map(len, shapes))
    result: list[int | str] = [1] * width
    for shape in shapes:
        for place, size in enumerate(shape, width - len(shape)):
            if size != 1 and result[place] not in (1, size):
                words = " and ".join(map(str, shapes))
                refuse(f"Shapes {words} do not broadcast.", "Give operands of equal or unit dimensions.")
            result[place] = result[place] if size == 1 else size
    return tuple(result)


def _broadcast(values: Sequence[Value], _: Attributes) -> Sequence[Value]:
    shape = broadcast_shapes(*(value.shape for value in values))
    # A constant says no layout, so the operand that is as wide as the result does.
    layouts = {value.layout for value in values if len(value.shape) == len(shape)} - {""}
    if len(layouts) > 1:
        refuse(f"Operands of layouts {' and '.join(sorted(layouts))} are combined.", "Transpose one of them.")
    return [Value(shape, values[0].dtype, layouts.pop() if layouts else "")]


def _binary(name: str, combine: Callable[[Tensor, Tensor], Tensor], onnx: str, tflite: str) -> OperatorFamily:
    table = f"{tflite.capitalize()}Options"

    def write(file: TfliteEmitter, operator: Operator, activation: str) -> None:
        layout = file.value(operator.output).layout
        operands = [file.read(operand, operator, layout) for operand in operator.inputs]
        place = file.output(operator.output)
        file.operator(tflite, operands, (place,), table=table, fusedActivationFunction=activation)

    def torch_rule(operands: Sequence[Tensor], _: Operator, __: Running) -> Tensor:
        return combine(operands[0], operands[1])

    return OperatorFamily(name, "(left, right)", _broadcast, torch_rule, one_node(onnx), write, _WORK, fuses=True)


def _torch_cast(operands: Sequence[Tensor], operator: Operator, _: Running) -> Tensor:
    import torch

    return operands[0].to(getattr(torch, operator.attributes["dtype"]))


def _onnx_cast(file: OnnxEmitter, operator: Operator) -> None:
    file.node("Cast", operator.inputs, operator.outputs, to=file.element_type(operator.attributes["dtype"]))


def _tflite_cast(file: TfliteEmitter, operator: Operator, _: str) -> None:
    data, output = operator.inputs[0], operator.output
    before, after = file.value(data), file.value(output)
    if file.array(data) is not None and (before.dtype, after.dtype) == ("float16", "float32"):
        file.keep_half(output, data)
        return
    source = file.read(data, operator, after.layout)
    place = file.output(output)
    file.operator("CAST", (source,), (place,), table="CastOptions", inDataType=before.dtype, outDataType=after.dtype)


_HARD_SIGMOID = one_node("HardSigmoid", lambda _: {"alpha": 1 / 6, "beta": 0.5})

FAMILIES = (
    _activation("relu", "relu", one_node("Relu"), "RELU", "RELU"),
    _activation("relu6", "relu6", _onnx_relu6, "RELU6", "RELU6"),
    _activation("hard_swish", "hardswish", one_node("HardSwish"), "HARD_SWISH"),
    _activation("hard_sigmoid", "hardsigmoid", _HARD_SIGMOID, _tflite_hard_sigmoid),
    _activation("sigmoid", "sigmoid", one_node("Sigmoid"), "LOGISTIC"),
    _binary("add", lambda a, b: a + b, "Add", "ADD"),
    _binary("multiply", lambda a, b: a * b, "Mul", "MUL"),
    OperatorFamily(
        "batch_norm",
        "(data, scale, shift, mean, variance), each but data of dimension 1: epsilon, and whether it stays. Others are "
        "folded before files are written",
        as_first,
        lambda operands, operator, running: running.normalise(operator, *operands),
        one_node("BatchNormalization", lambda said: {"epsilon": said["epsilon"]}),
        None,
        _WORK,
    ),
    OperatorFamily(
        "cast",
        "(data): dtype, a numpy name, which is also that of its output",
        lambda values, attributes: [values[0]._replace(dtype=str(attributes["dtype"]))],
        _torch_cast,
        _onnx_cast,
        _tflite_cast,
        _WORK,
    ),
)

"""Families that pad an image, and that summarise windows of it or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.graphs.channels_last import padding_scheme, stored, window_shares
from fleetfront.graphs.operators.base import (
    IMAGE,
    Attributes,
    OperatorFamily,
    Running,
    Value,
    check_image,
    one_node,
    plain_work,
    refuse,
)
from fleetfront.graphs.operators.products import channels_of, like_image, spatial, torch_padded, windowed

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.graph import Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter

_WORK = plain_work("pooling")


def _pooled(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    check_image(values[0], "a pooling window", attributes)
    kernel, padding = attributes["kernel"], attributes["padding"]
    if any(pad >= kernel[place % len(kernel)] for place, pad in enumerate(padding)):
        refuse(
            f"Padding {tuple(padding)} reaches past a pooling window {tuple(kernel)}.",
            "Pad by less than the window, so that every window meets the image.",
        )
    return [windowed(values[0], channels_of(values[0]), kernel, attributes)]


def _torch_max(operands: Sequence[Tensor], operator: Operator, _: Running) -> Tensor:
    from torch.nn.functional import max_pool2d

    attributes = operator.attributes
    data = torch_padded(operands[0], attributes["padding"], float("-inf"))
    return max_pool2d(data, tuple(attributes["kernel"]), tuple(attributes["stride"]))


def _torch_average(operands: Sequence[Tensor], operator: Operator, _: Running) -> Tensor:
    import torch
    from torch.nn.functional import avg_pool2d

    attributes = operator.attributes
    kernel, stride, padding = tuple(attributes["kernel"]), tuple(attributes["stride"]), attributes["padding"]
    data = operands[0]
    averages = avg_pool2d(torch_padded(data, padding), kernel, stride)
    if not any(padding):
        return averages
    inside = torch_padded(torch.ones_like(data[:1, :1]), padding)
    return averages / avg_pool2d(inside, kernel, stride)


def _padded(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    check_image(values[0], "padding", attributes)
    (height, width), (top, left, bottom, right) = spatial(values[0]), attributes["padding"]
    return [like_image(values[0], channels_of(values[0]), (height + top + bottom, width + left + right))]


def _onnx_pad(file: OnnxEmitter, operator: Operator) -> None:
    top, left, bottom, right = operator.attributes["padding"]
    pads = file.constant(f"{operator.output}.pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    dtype = np.dtype(file.value(operator.inputs[0]).dtype)
    filling = file.constant(f"{operator.output}.filling", np.array(operator.attributes.get("value", 0.0), dtype))
    file.node("Pad", [operator.inputs[0], pads, filling], operator.outputs, mode="constant")


def _tflite_pad(file: TfliteEmitter, operator: Operator, _: str) -> None:
    file.padded(operator, operator.attributes.get("value"), file.output(operator.output))


def _onnx_attributes(attributes: Attributes) -> dict[str, Any]:
    return {
        "kernel_shape": list(attributes["kernel"]),
        "strides": list(attributes["stride"]),
        "pads": list(attributes["padding"]),
    }


def _scheme(file: TfliteEmitter, operator: Operator) -> str:
    attributes = operator.attributes
    size = spatial(file.value(operator.inputs[0]))
    return padding_scheme(size, attributes["kernel"], attributes["stride"], (1, 1), attributes["padding"])


def _pool(
    file: TfliteEmitter, kind: str, operator: Operator, source: int, place: int, scheme: str, activation: str
) -> None:
    (filter_height, filter_width), stride = operator.attributes["kernel"], operator.attributes["stride"]
    file.operator(
        kind,
        (source,),
        (place,),
        table="Pool2DOptions",
        padding=scheme,
        strideH=stride[0],
        strideW=stride[1],
        filterHeight=filter_height,
        filterWidth=filter_width,
        fusedActivationFunction=activation,
    )


def _tflite_max(file: TfliteEmitter, operator: Operator, activation: str) -> None:
    scheme = _scheme(file, operator)
    source = file.read(operator.inputs[0], operator, IMAGE) if scheme else file.padded(operator, float("-inf"))
    _pool(file, "MAX_POOL_2D", operator, source, file.output(operator.output), scheme or "VALID", activation)


def _tflite_average(file: TfliteEmitter, operator: Operator, activation: str) -> None:
    """TFLite leaves SAME padding out of an average; any other padding is counted in and then taken out again."""
    scheme, output = _scheme(file, operator), operator.output
    if scheme:
        source = file.read(operator.inputs[0], operator, IMAGE)
        _pool(file, "AVERAGE_POOL_2D", operator, source, file.output(output), scheme, activation)
        return
    attributes, value = operator.attributes, file.value(output)
    counted = file.between(output, "counted", stored(value.shape, IMAGE))
    _pool(file, "AVERAGE_POOL_2D", operator, file.padded(operator), counted, "VALID", "NONE")
    size = spatial(file.value(operator.inputs[0]))
    shares = window_shares(size, attributes["kernel"], attributes["stride"], attributes["padding"])
    factors = file.constant(f"{output}/shares", shares.astype(value.dtype))
    place = file.output(output)
    file.operator("MUL", (counted, factors), (place,), table="MulOptions", fusedActivationFunction=activation)


def _pooled_whole(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    check_image(values[0], "global_average_pool", attributes)
    return [like_image(values[0], channels_of(values[0]), (1, 1))]


def _tflite_whole(file: TfliteEmitter, operator: Operator, _: str) -> None:
    axes = file.constant("axes", np.array((1, 2), dtype=np.int32))
    place = file.output(operator.output)
    data = file.read(operator.inputs[0], operator, IMAGE)
    file.operator("MEAN", (data, axes), (place,), table="ReducerOptions", keepDims=True)


_READS = "(image): kernel, stride, padding (top, left, bottom, right), which never counts into an average"

FAMILIES = (
    OperatorFamily(
        "max_pool2d", _READS, _pooled, _torch_max, one_node("MaxPool", _onnx_attributes), _tflite_max, _WORK, fuses=True
    ),
    OperatorFamily(
        "average_pool2d",
        _READS,
        _pooled,
        _torch_average,
        one_node("AveragePool", lambda attributes: {**_onnx_attributes(attributes), "count_include_pad": 0}),
        _tflite_average,
        _WORK,
        fuses=True,
    ),
    OperatorFamily(
        "pad",
        "(image): padding as above; value, which is zero where it is left out",
        _padded,
        lambda operands, operator, _: torch_padded(
            operands[0], operator.attributes["padding"], operator.attributes.get("value", 0.0)
        ),
        _onnx_pad,
        _tflite_pad,
        plain_work("movement"),
    ),
    OperatorFamily(
        "global_average_pool",
        "(image)",
        _pooled_whole,
        lambda operands, _, __: operands[0].mean(dim=(2, 3), keepdim=True),
        one_node("GlobalAveragePool"),
        _tflite_whole,
        _WORK,
    ),
)

"""Families that multiply by weights: convolution and linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fleetfront.graphs.channels_last import TO_NHWC, conv_output, padding_scheme
from fleetfront.graphs.operators.base import (
    CHANNELS_LAST,
    IMAGE,
    Attributes,
    OperatorFamily,
    Running,
    Shape,
    Value,
    Work,
    check_image,
    elements,
    refuse,
)

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.graph import Graph, Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter

Sides = tuple[int, ...]


def spatial(value: Value) -> Sides:
    """Height and width of an image, or however many sides there are. Raises InputError if one is symbolic."""
    sides = value.shape[1:-1] if value.layout == CHANNELS_LAST else value.shape[2:]
    if not all(isinstance(side, int) for side in sides):
        refuse(f"Shape {value.shape} has symbolic image dimensions.", "Only the batch may be symbolic for images.")
    return tuple(int(side) for side in sides)


def channels_of(value: Value) -> int | str:
    """The channels of an image."""
    return value.shape[-1 if value.layout == CHANNELS_LAST else 1]


def like_image(data: Value, channels: int | str, sides: Sequence[int]) -> Value:
    """An image like ``data`` of other channels and sides."""
    last = data.layout == CHANNELS_LAST
    return data._replace(shape=(data.shape[0], *sides, channels) if last else (data.shape[0], channels, *sides))


def windowed(data: Value, channels: int | str, kernel: Sequence[int], attributes: Attributes) -> Value:
    """The image that a window gives which slides over ``data``; padding is all begins, then all ends."""
    sides, padding, stride = spatial(data), attributes["padding"], attributes["stride"]
    dilation = attributes.get("dilation") or (1,) * len(sides)
    ends = padding[len(sides) :]
    out = [conv_output(*one) for one in zip(sides, kernel, stride, padding, ends, dilation, strict=False)]
    if len(out) != len(sides) or min(out, default=0) < 1:
        refuse(f"A {tuple(kernel)} window does not fit into {data.shape}.", "Use a larger input or more padding.")
    return like_image(data, channels, out)


def torch_padded(data: Tensor, padding: Sequence[int], value: float = 0.0) -> Tensor:
    """An image with (top, left, bottom, right) more pixels of ``value``."""
    from torch.nn.functional import pad

    top, left, bottom, right = padding
    return pad(data, (left, right, top, bottom), value=value) if any(padding) else data


def _convolved(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    data, weight = values[0], values[1].shape
    check_image(data, "conv2d", attributes)
    groups = attributes["groups"]
    if channels_of(data) != int(weight[1]) * groups or int(weight[0]) % groups:
        refuse(f"A weight {weight} with {groups} groups does not fit {data.shape}.", "Check channels and groups.")
    return [windowed(data, weight[0], [int(k) for k in weight[2:]], attributes)]


def _torch_conv2d(operands: Sequence[Tensor], operator: Operator, _: Running) -> Tensor:
    from torch.nn.functional import conv2d

    from fleetfront.graphs.torch_depthwise import depthwise_conv2d, is_faster

    attributes = operator.attributes
    top, left, bottom, right = attributes["padding"]
    data, padding = operands[0], (top, left)
    if (top, left) != (bottom, right):
        data, padding = torch_padded(data, attributes["padding"]), (0, 0)
    bias = operands[2] if len(operands) > 2 else None
    stride, dilation = tuple(attributes["stride"]), tuple(attributes.get("dilation", (1, 1)))
    is_plain = bias is None and dilation == (1, 1) and stride[0] == stride[1] and padding[0] == padding[1]
    if is_plain and is_faster(data, operands[1], stride[0], padding[0], int(attributes["groups"])):
        return depthwise_conv2d(data, operands[1], stride[0], padding[0])
    return conv2d(data, operands[1], bias, stride, padding, dilation, int(attributes["groups"]))


def _onnx_conv2d(file: OnnxEmitter, operator: Operator) -> None:
    attributes = operator.attributes
    file.node(
        "Conv",
        operator.inputs,
        operator.outputs,
        kernel_shape=list(file.value(operator.inputs[1]).shape[2:]),
        strides=list(attributes["stride"]),
        pads=list(attributes["padding"]),
        dilations=list(attributes.get("dilation", (1, 1))),
        group=attributes["groups"],
    )


def _tflite_conv2d(file: TfliteEmitter, operator: Operator, activation: str) -> None:
    attributes, data = operator.attributes, file.value(operator.inputs[0])
    weight = file.weight(operator, 1)
    dilation = tuple(attributes.get("dilation", (1, 1)))
    stride, groups = attributes["stride"], attributes["groups"]
    scheme = padding_scheme(spatial(data), weight.shape[2:], stride, dilation, attributes["padding"])
    source = file.read(operator.inputs[0], operator, IMAGE) if scheme else file.padded(operator)
    options: dict[str, Any] = {
        "padding": scheme or "VALID",
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
        "fusedActivationFunction": activation,
    }
    bias = file.bias(operator, weight.shape[0])
    if groups > 1 and groups == data.shape[1]:
        kernel = file.store_weight(operator, 1, weight.transpose(1, 2, 3, 0))
        options["depthMultiplier"] = weight.shape[0] // groups
        kind, version, table = "DEPTHWISE_CONV_2D", 1 if dilation == (1, 1) else 2, "DepthwiseConv2DOptions"
    else:
        kernel = file.store_weight(operator, 1, weight.transpose(TO_NHWC))
        kind, version, table = "CONV_2D", 1 if groups == 1 else 6, "Conv2DOptions"
    place = file.output(operator.output)
    file.operator(kind, (source, kernel, bias), (place,), table=table, version=version, **options)


def conv2d_macs(graph: Graph, operator: Operator) -> float:
    """Every output element takes one multiply-accumulate a weight of its channel."""
    weight = graph.value(operator.inputs[1]).shape
    return elements(graph.tensors[operator.output].shape) * elements(weight[1:])


def _conv2d_work(graph: Graph, operator: Operator) -> Work:
    output, weight = graph.value(operator.output), graph.value(operator.inputs[1]).shape
    sides = spatial(output)
    is_depthwise = operator.attributes["groups"] > 1 and weight[1] == 1 and weight[0] == channels_of(output)
    kind = "vector" if all(side == 1 for side in sides) else "depthwise" if is_depthwise else "convolution"
    return Work(kind, conv2d_macs(graph, operator))


def _linear_work(graph: Graph, operator: Operator) -> Work:
    rows = elements(graph.tensors[operator.output].shape[:-1])
    return Work("vector" if rows == 1 else "matrix", conv2d_macs(graph, operator))


def _projected(values: Sequence[Value], _: Attributes) -> Sequence[Value]:
    data, weight = values[0], values[1].shape
    if data.shape[-1] != weight[1]:
        refuse(f"A linear weight {weight} does not fit {data.shape}.", "The last dimension must equal weight[1].")
    shape: Shape = (*data.shape[:-1], weight[0])
    return [Value(shape, data.dtype)]


def _torch_linear(operands: Sequence[Tensor], _: Operator, __: Running) -> Tensor:
    from torch.nn.functional import linear

    return linear(operands[0], operands[1], operands[2] if len(operands) > 2 else None)


def _onnx_linear(file: OnnxEmitter, operator: Operator) -> None:
    (data, weight, *bias), output = operator.inputs, operator.output
    if len(file.value(output).shape) == 2:
        file.node("Gemm", operator.inputs, operator.outputs, transB=1)
        return
    array = file.array(weight)
    if array is not None:
        transposed = file.constant(f"{output}.weight", array.T)
    else:
        transposed = file.free(f"{output}.weight")
        file.node("Transpose", [weight], [transposed], perm=[1, 0])
    product = file.free(f"{output}.product") if bias else output
    file.node("MatMul", [data, transposed], [product])
    if bias:
        file.node("Add", [product, bias[0]], [output])


def _tflite_linear(file: TfliteEmitter, operator: Operator, activation: str) -> None:
    shape = file.value(operator.output).shape
    operands = (
        *(file.read(name, operator, "") for name in operator.inputs[:2]),
        file.bias(operator, int(shape[-1])),
    )
    # A graph's linear keeps all dimensions but the last; TFLite's flattens them unless told otherwise.
    keeps = len(shape) != 2
    file.operator(
        "FULLY_CONNECTED",
        operands,
        (file.output(operator.output),),
        table="FullyConnectedOptions",
        version=5 if keeps else 1,
        keepNumDims=keeps,
        fusedActivationFunction=activation,
    )


FAMILIES = (
    OperatorFamily(
        "conv2d",
        "(data, weight OIHW[, bias]): stride, padding (top, left, bottom, right), dilation, groups",
        _convolved,
        _torch_conv2d,
        _onnx_conv2d,
        _tflite_conv2d,
        _conv2d_work,
        is_weighted=True,
        fuses=True,
    ),
    OperatorFamily(
        "linear",
        "(data, weight (out, in)[, bias])",
        _projected,
        _torch_linear,
        _onnx_linear,
        _tflite_linear,
        _linear_work,
        is_weighted=True,
        fuses=True,
    ),
)

"""Families that slide windows over sounds and volumes, or spread an image: 1-D, 3-D and transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleetfront.graphs.operators.base import (
    Attributes,
    Value,
    Work,
    described,
    elements,
    plain_work,
    refuse,
)
from fleetfront.graphs.operators.products import channels_of, conv2d_macs, like_image, spatial, windowed

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Graph, Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter

_SAYS = "stride, padding (all begins, all ends), dilation, groups"


def _convolved(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    data, weight = values[0], values[1].shape
    groups = attributes["groups"]
    if len(weight) != len(data.shape) or channels_of(data) != int(weight[1]) * groups or int(weight[0]) % groups:
        refuse(f"A weight {weight} with {groups} groups does not fit {data.shape}.", "Check channels and groups.")
    return [windowed(data, weight[0], [int(side) for side in weight[2:]], attributes)]


def _convolved_work(graph: Graph, operator: Operator) -> Work:
    weight = graph.value(operator.inputs[1]).shape
    is_depthwise = operator.attributes["groups"] > 1 and weight[1] == 1
    return Work("depthwise" if is_depthwise else "convolution", conv2d_macs(graph, operator))


def _spread(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    data, weight = values[0], values[1].shape
    sides, padding = spatial(data), attributes["padding"]
    kernel, rank = [int(side) for side in weight[2:]], len(sides)
    if len(kernel) != rank or channels_of(data) != weight[0]:
        refuse(f"A weight {weight} does not fit {data.shape}.", "Its first dimension is the image's channels.")
    zeros = (0,) * rank
    out = [
        (side - 1) * stride - begin - end + dilation * (width - 1) + 1 + extra
        for side, stride, begin, end, dilation, width, extra in zip(
            sides,
            attributes["stride"],
            padding[:rank],
            padding[rank:],
            attributes.get("dilation") or (1,) * rank,
            kernel,
            attributes.get("output_padding") or zeros,
            strict=True,
        )
    ]
    if min(out, default=0) < 1:
        refuse(f"Nothing is left of {data.shape} behind padding {tuple(padding)}.", "Pad less.")
    return [like_image(data, int(weight[1]) * attributes["groups"], out)]


def _spread_work(graph: Graph, operator: Operator) -> Work:
    """Every input element is multiplied with all the weights of its channel."""
    weight = graph.value(operator.inputs[1]).shape
    macs = elements(graph.value(operator.inputs[0]).shape) * elements(weight[1:])
    return Work("depthwise" if operator.attributes["groups"] > 1 and weight[1] == 1 else "convolution", macs)


def _onnx_convolved(file: OnnxEmitter, operator: Operator) -> None:
    said = operator.attributes
    window = {"strides": said["stride"], "pads": said["padding"], "dilations": said["dilation"]}
    lists = {name: list(numbers) for name, numbers in window.items()}
    file.node("Conv", operator.inputs, operator.outputs, group=said["groups"], **lists)


def _onnx_spread(file: OnnxEmitter, operator: Operator) -> None:
    said = operator.attributes
    names = {"strides": "stride", "pads": "padding", "dilations": "dilation", "output_padding": "output_padding"}
    lists = {word: list(said[name]) for word, name in names.items() if said.get(name)}
    file.node("ConvTranspose", operator.inputs, operator.outputs, group=said["groups"], **lists)


def _pooled(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    return [windowed(values[0], channels_of(values[0]), attributes["kernel"], attributes)]


def _onnx_pooled(file: OnnxEmitter, operator: Operator) -> None:
    said = operator.attributes
    if said["function"] != "max":
        refuse(f"Window {operator.outputs[0]!r} is not written.", "Use the file that it came from.")
    names = {"kernel_shape": "kernel", "strides": "stride", "pads": "padding", "dilations": "dilation"}
    lists = {word: list(said[name]) for word, name in names.items() if said.get(name)}
    file.node("MaxPool", operator.inputs, operator.outputs, **lists)


FAMILIES = (
    described(
        "conv1d",
        f"(data NCL, weight (out, in / groups, length)[, bias]): {_SAYS}",
        _convolved,
        _convolved_work,
        _onnx_convolved,
    ),
    described("conv3d", f"(data NCDHW, weight (out, in / groups, ...)[, bias]): {_SAYS}", _convolved, _convolved_work),
    described(
        "conv_transpose",
        f"(data, weight (in, out / groups, ...)[, bias]), of any number of sides: {_SAYS}, output_padding",
        _spread,
        _spread_work,
        _onnx_spread,
    ),
    described(
        "pool",
        "(data), windows that max_pool2d and average_pool2d cannot say: function, kernel, stride, padding (all begins, "
        "all ends), dilation",
        _pooled,
        plain_work("pooling"),
        _onnx_pooled,
    ),
)

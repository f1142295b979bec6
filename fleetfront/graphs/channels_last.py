"""Translate between channels-last images and a graph's channels-first ones: axes, shapes, padding, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.graphs.operators.base import IMAGE, Shape

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Array, Graph, Operator, Rewriter

#: Axes of a graph's image in the order that channels-last files store them, and the way back.
TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)
_WINDOWS = ("conv2d", "max_pool2d", "average_pool2d")


def conv_output(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Output length of one spatial dimension of a convolution or pooling window."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def stored(shape: Shape, layout: str) -> Shape:
    """The shape that TFLite stores: images as NHWC, others as they are."""
    return permuted(shape, TO_NHWC) if layout == IMAGE else shape


def stored_axis(axis: int, rank: int, layout: str) -> int:
    """Where an axis of a graph's tensor lies in the stored tensor; negative axes count from the end."""
    axis %= rank
    return TO_NHWC.index(axis) if layout == IMAGE else axis


def permuted(shape: Shape, permutation: Sequence[int]) -> Shape:
    """The shape after a transpose."""
    return tuple(shape[axis] for axis in permutation)


def keeps_order(shape: Shape, permutation: Sequence[int]) -> bool:
    """Tell whether a transpose moves no element, as it only moves dimensions of 1; a symbol may be anything."""
    moved = [axis for axis in permutation if shape[axis] != 1]
    return moved == sorted(moved)


def aligned(array: Array) -> Array:
    """A constant operand of broadcasting, as it is stored beside an image."""
    return array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(TO_NHWC)


def padding_scheme(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Sequence[int]
) -> str:
    """``VALID``, ``SAME``, or "" if the window's padding (top, left, bottom, right) is neither.

    SAME gives ceil(size / stride) outputs and, of an odd padding, the larger half to the end (TensorFlow's rule).
    """
    if not any(padding):
        return "VALID"
    for axis in (0, 1):
        extent = dilation[axis] * (kernel[axis] - 1) + 1
        total = max((-(-size[axis] // stride[axis]) - 1) * stride[axis] + extent - size[axis], 0)
        if (padding[axis], padding[axis + 2]) != (total // 2, total - total // 2):
            return ""
    return "SAME"


def window_shares(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> Array:
    """Window area over the number of elements that lie inside the image, float32[1, out height, out width, 1].

    It turns an average over zero padding into one that leaves the padding out.
    """
    counts = []
    for axis in (0, 1):
        before, after = padding[axis], padding[axis + 2]
        outputs = conv_output(size[axis], kernel[axis], stride[axis], before, after)
        starts = np.arange(outputs) * stride[axis] - before
        counts.append(np.minimum(starts + kernel[axis], size[axis]) - np.maximum(starts, 0))
    inside = np.outer(counts[0], counts[1])
    return (kernel[0] * kernel[1] / inside).astype(np.float32).reshape(1, *inside.shape, 1)


def pad_apart(graph: Graph) -> Graph:
    """The same graph as channels-last files hold it: what their windows cannot pad is padded by an operator before.

    Raises InputError if an image's sides are symbolic.
    """
    return graph.rewrite(_window_apart) if any(_padded_apart(graph, one) for one in graph.operators) else graph


def _window_apart(writer: Rewriter, operator: Operator) -> None:
    if not _padded_apart(writer.graph, operator):
        writer.keep(operator)
        return
    attributes, image = operator.attributes, writer.graph.value(operator.inputs[0]).shape
    filling = {"value": float("-inf")} if operator.family == "max_pool2d" else {}
    padded = writer.free(f"{operator.output}.padded")
    writer.add("pad", (writer.now(operator.inputs[0]),), padded, padding=attributes["padding"], **filling)
    names = (padded, *(writer.now(name) for name in operator.inputs[1:]))
    said = {**attributes, "padding": (0, 0, 0, 0)}
    if operator.family != "average_pool2d":
        writer.add_all(operator.family, names, operator.outputs, operator.origin, **said)
        return
    counted = writer.add(operator.family, names, writer.free(f"{operator.output}.counted"), **said)
    size = (int(image[2]), int(image[3]))
    shares = window_shares(size, attributes["kernel"], attributes["stride"], attributes["padding"])
    factors = writer.weight(writer.free(f"{operator.output}.shares"), shares.transpose(TO_NCHW))
    writer.add("multiply", (counted, factors), operator.output)


def _padded_apart(graph: Graph, operator: Operator) -> bool:
    attributes = operator.attributes
    if operator.family not in _WINDOWS or attributes.get("channels_last") or not any(attributes["padding"]):
        return False
    kernel = [int(side) for side in attributes.get("kernel") or graph.value(operator.inputs[1]).shape[2:]]
    height, width = (int(side) for side in graph.value(operator.inputs[0]).shape[2:])
    dilation = attributes.get("dilation") or (1, 1)
    return not padding_scheme((height, width), kernel, attributes["stride"], dilation, attributes["padding"])

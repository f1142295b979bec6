"""The operator families a Graph may hold and the shape each one gives. What they compute is written in ``runtimes``
(torch) and in the writers of ``deploy``; the three are held together by property tests.

Images are described channels first (N, C, H, W) whatever layout a file uses. A dimension is an int or a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fleetfront.errors import InputError

Shape = tuple[int | str, ...]
Attributes = Mapping[str, Any]


def conv_output(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Output length of one spatial dimension of a convolution or pooling window."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def _same(shapes: Sequence[Shape], _: Attributes) -> Shape:
    return shapes[0]


def _broadcast(shapes: Sequence[Shape], _: Attributes) -> Shape:
    left, right = shapes
    width = max(len(left), len(right))
    padded = [(1,) * (width - len(shape)) + shape for shape in (left, right)]
    result: list[int | str] = []
    for a, b in zip(*padded, strict=True):
        if a != b and 1 not in (a, b):
            raise InputError(
                f"Shapes {left} and {right} do not broadcast.", "Give operands of equal or unit dimensions."
            )
        result.append(b if a == 1 else a)
    return tuple(result)


def _number(dimension: int | str) -> int:
    if isinstance(dimension, str):
        raise InputError(f"The symbolic dimension {dimension!r} cannot be added or multiplied up.", "Give it a number.")
    return int(dimension)


def _spatial(shape: Shape) -> tuple[int, int]:
    height, width = shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(f"Shape {shape} has symbolic image dimensions.", "Only the batch may be symbolic for images.")
    return height, width


def _windowed(shape: Shape, channels: int | str, kernel: Sequence[int], attributes: Attributes) -> Shape:
    height, width = _spatial(shape)
    top, left, bottom, right = attributes["padding"]
    stride_h, stride_w = attributes["stride"]
    dilation_h, dilation_w = attributes.get("dilation", (1, 1))
    out_h = conv_output(height, kernel[0], stride_h, top, bottom, dilation_h)
    out_w = conv_output(width, kernel[1], stride_w, left, right, dilation_w)
    if out_h < 1 or out_w < 1:
        raise InputError(f"A {tuple(kernel)} window does not fit into {shape}.", "Use a larger input or more padding.")
    return (shape[0], channels, out_h, out_w)


def _conv2d(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    data, weight = shapes[0], shapes[1]
    groups = attributes["groups"]
    if data[1] != int(weight[1]) * groups or int(weight[0]) % groups:
        raise InputError(f"A weight {weight} with {groups} groups does not fit {data}.", "Check channels and groups.")
    return _windowed(data, weight[0], [int(k) for k in weight[2:]], attributes)


def _pool2d(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    kernel, padding = attributes["kernel"], attributes["padding"]
    if any(pad >= kernel[place % 2] for place, pad in enumerate(padding)):
        raise InputError(
            f"Padding {tuple(padding)} reaches past a pooling window {tuple(kernel)}.",
            "Pad by less than the window, so that every window meets the image.",
        )
    return _windowed(shapes[0], shapes[0][1], attributes["kernel"], attributes)


def _global_pool(shapes: Sequence[Shape], _: Attributes) -> Shape:
    return (*shapes[0][:2], 1, 1)


def _linear(shapes: Sequence[Shape], _: Attributes) -> Shape:
    data, weight = shapes[0], shapes[1]
    if data[-1] != weight[1]:
        raise InputError(f"A linear weight {weight} does not fit {data}.", "The last dimension must equal weight[1].")
    return (*data[:-1], weight[0])


def _concat(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    first = shapes[0]
    axis = attributes["axis"] % len(first)
    if any(s[:axis] != first[:axis] or s[axis + 1 :] != first[axis + 1 :] for s in shapes):
        raise InputError(f"Shapes {list(shapes)} differ outside axis {axis}.", "Concatenate tensors equal elsewhere.")
    return (*first[:axis], sum(_number(s[axis]) for s in shapes), *first[axis + 1 :])


def _reshape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    target = tuple(attributes["shape"])
    known = [d for d in shapes[0] if isinstance(d, int)]
    if len(known) == len(shapes[0]) and math.prod(known) != math.prod(target):
        raise InputError(f"{shapes[0]} cannot be reshaped to {target}.", "The number of elements must stay.")
    return target


def _flatten(shapes: Sequence[Shape], _: Attributes) -> Shape:
    return (shapes[0][0], math.prod(_number(d) for d in shapes[0][1:]))


def _transpose(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    return tuple(shapes[0][axis] for axis in attributes["permutation"])


#: Family -> shape of the output from the shapes of the inputs and the attributes. A family's inputs and attributes:
#: conv2d (data, weight OIHW[, bias]): stride, padding (top, left, bottom, right), dilation, groups;
#: linear (data, weight (out, in)[, bias]); batch_norm (data, scale, shift, mean, variance): epsilon;
#: max_pool2d / average_pool2d (data): kernel, stride, padding (padding never counts into an average);
#: softmax (data): axis; concat: axis; reshape: shape; transpose: permutation; cast (data): dtype, a numpy name, which
#: is also that of its output; the rest have no attributes.
#: Negative axes count from the end.
FAMILIES: dict[str, Callable[[Sequence[Shape], Attributes], Shape]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _same,
    "relu": _same,
    "relu6": _same,
    "hard_swish": _same,
    "hard_sigmoid": _same,
    "sigmoid": _same,
    "add": _broadcast,
    "multiply": _broadcast,
    "max_pool2d": _pool2d,
    "average_pool2d": _pool2d,
    "global_average_pool": _global_pool,
    "softmax": _same,
    "concat": _concat,
    "reshape": _reshape,
    "flatten": _flatten,
    "transpose": _transpose,
    "cast": _same,
}

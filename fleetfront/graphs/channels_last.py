"""Translate between channels-last images and a graph's channels-first ones: axes, shapes, padding, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.graphs.operators.base import IMAGE, Shape

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Array

#: Axes of a graph's image in the order that channels-last files store them, and the way back.
TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)


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

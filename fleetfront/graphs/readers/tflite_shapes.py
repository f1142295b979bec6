"""Arithmetic on shapes works out what TFLite files leave open: small constants, and sizes of rearranged tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fleetfront.graphs.graph import Array
from fleetfront.graphs.operators.base import Shape
from fleetfront.graphs.readers.node import WRONG, Node
from fleetfront.graphs.readers.outline import MOST_LOOKED_AT, dtype_of


def fold(node: Node, dtypes: Sequence[str]) -> list[Array] | None:
    """The small constants that an operator makes of small constants, in their types; None if it is not known here."""
    kernel = _KERNELS.get(node.kind)
    if kernel is None or any(name not in node.constants for name in node.inputs if name):
        return None
    try:
        with np.errstate(all="ignore"):
            given = kernel(node, [node.constants[name] for name in node.inputs if name])
        made = [np.asarray(one) for one in (given if isinstance(given, list) else [given])]
    except WRONG:
        # The operator stays, and says its own shape.
        return None
    if len(made) != len(dtypes) or any(one.size > MOST_LOOKED_AT for one in made):
        return None
    return [one.astype(dtype_of(dtype)) for one, dtype in zip(made, dtypes, strict=True)]


def worked_out(node: Node) -> tuple[Shape, ...]:
    """The shapes of what an operator gives, from its operands. Raises LookupError, ValueError or such if nothing here
    knows them."""
    return tuple(tuple(int(size) for size in shape) for shape in _SIZES[node.kind](node))


def _cut(node: Node, data: Array) -> Array:
    """Cut what a STRIDED_SLICE takes."""
    said = node.attributes
    if said.get("EllipsisMask") or said.get("NewAxisMask"):
        raise ValueError("a slice with new axes")
    index: list[Any] = []
    for axis, (begin, end, step) in enumerate(zip(*(node.numbers(place) for place in (1, 2, 3)), strict=True)):
        bit = 1 << axis
        low = None if said.get("BeginMask", 0) & bit else begin
        high = None if said.get("EndMask", 0) & bit else end
        index.append(begin if said.get("ShrinkAxisMask", 0) & bit else slice(low, high, step))
    made: Array = data[tuple(index)]
    return made


def _like(node: Node, place: int = 0) -> Array:
    """An array of an operand's shape that takes no memory."""
    return np.broadcast_to(np.zeros((), np.int8), [int(size) for size in node.shape(place)])


def _padded(node: Node) -> list[Sequence[int]]:
    pads = np.reshape(node.numbers(1), (-1, 2)).sum(1)
    return [[int(size) + int(pad) for size, pad in zip(node.shape(), pads, strict=True)]]


def _sliced(node: Node) -> list[Sequence[int]]:
    begins, counts = node.numbers(1), node.numbers(2)
    sizes = [int(size) for size in node.shape()]
    parts = zip(sizes, begins, counts, strict=True)
    return [[size - begin if count < 0 else count for size, begin, count in parts]]


def _resized(node: Node) -> list[Sequence[int]]:
    batch, _, _, channels = (int(size) for size in node.shape())
    return [[batch, *node.numbers(1), channels]]


def _blocks(node: Node) -> list[Sequence[int]]:
    batch, height, width, channels = (int(size) for size in node.shape())
    block = int(node.attributes["BlockSize"])
    if node.kind == "DEPTH_TO_SPACE":
        return [[batch, height * block, width * block, channels // block**2]]
    return [[batch, height // block, width // block, channels * block**2]]


def _packed(node: Node) -> list[Sequence[int]]:
    sizes = [int(size) for size in node.shape()]
    axis = int(node.attributes["Axis"]) % (len(sizes) + 1)
    return [[*sizes[:axis], len(node.inputs), *sizes[axis:]]]


def _unpacked(node: Node) -> list[Sequence[int]]:
    sizes = [int(size) for size in node.shape()]
    axis = int(node.attributes["Axis"]) % len(sizes)
    return [sizes[:axis] + sizes[axis + 1 :]] * len(node.outputs)


def _transformed(node: Node) -> list[Sequence[int]]:
    """The frequencies of a real transform: half of its length, and the one that stands still."""
    *outside, _, _ = (int(size) for size in node.shape())
    height, width = node.numbers(1)
    return [[*outside, height, width // 2 + 1]]


def _counted(_: Node, given: list[Array]) -> Array:
    start, limit, step = (one.item() for one in given)
    if abs((limit - start) / step) > MOST_LOOKED_AT:
        raise ValueError("a long range")
    made: Array = np.arange(start, limit, step)
    return made


_SIZES: Mapping[str, Callable[[Node], Sequence[Sequence[int]]]] = {
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padded),
    "STRIDED_SLICE": lambda node: [_cut(node, _like(node)).shape],
    "SLICE": _sliced,
    "TILE": lambda node: [[int(a) * b for a, b in zip(node.shape(), node.numbers(1), strict=True)]],
    "BROADCAST_TO": lambda node: [node.numbers(1)],
    "FILL": lambda node: [node.numbers(0)],
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resized),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _blocks),
    "PACK": _packed,
    "UNPACK": _unpacked,
    "EXPAND_DIMS": lambda node: [np.expand_dims(_like(node), tuple(node.numbers(1))).shape],
    "REVERSE_V2": lambda node: [_like(node).shape],
    "SQUEEZE": lambda node: [np.squeeze(_like(node), tuple(node.attributes["SqueezeDims"])).shape],
    "RFFT2D": _transformed,
    "TRANSPOSE_CONV": lambda node: [node.numbers(0)],
}

_KERNELS: Mapping[str, Callable[[Node, list[Array]], Any]] = {
    "ADD": lambda _, given: given[0] + given[1],
    "SUB": lambda _, given: given[0] - given[1],
    "MUL": lambda _, given: given[0] * given[1],
    "FLOOR_DIV": lambda _, given: given[0] // given[1],
    "FLOOR_MOD": lambda _, given: given[0] % given[1],
    "DIV": lambda _, given: np.trunc(given[0] / given[1]),
    "MAXIMUM": lambda _, given: np.maximum(given[0], given[1]),
    "MINIMUM": lambda _, given: np.minimum(given[0], given[1]),
    "CAST": lambda _, given: given[0],
    "PACK": lambda node, given: np.stack(given, int(node.attributes["Axis"])),
    "CONCATENATION": lambda node, given: np.concatenate(given, int(node.attributes["Axis"])),
    "GATHER": lambda node, given: np.take(given[0], given[1], int(node.attributes["Axis"])),
    "STRIDED_SLICE": lambda node, given: _cut(node, given[0]),
    "RESHAPE": lambda _, given: given[0].reshape(given[1].ravel()),
    "EXPAND_DIMS": lambda _, given: np.expand_dims(given[0], tuple(given[1].ravel().tolist())),
    "RANGE": _counted,
    "REVERSE_V2": lambda _, given: np.flip(given[0], tuple(given[1].ravel().tolist())),
    "SPLIT_V": lambda _, given: list(np.split(given[0], np.cumsum(given[1])[:-1], int(given[2].item()))),
    "FILL": lambda _, given: np.full(given[0].tolist() if given[0].prod() <= MOST_LOOKED_AT else -1, given[1]),
    "SQUEEZE": lambda _, given: np.squeeze(given[0]),
    "REDUCE_PROD": lambda node, given: np.prod(
        given[0], axis=tuple(given[1].ravel().tolist()), keepdims=bool(node.attributes.get("KeepDims"))
    ),
}

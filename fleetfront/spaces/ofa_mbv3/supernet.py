"""Cut networks of the family out of a supernet's weights, and read once-for-all's names of them.

Cutting rules are those of the once-for-all project (https://github.com/mit-han-lab/once-for-all): a narrower block
takes the first channels of each layer, a smaller kernel is the centre of the larger one times a learnt matrix.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fleetfront.spaces.blocks import Block
from fleetfront.spaces.ofa_mbv3.layout import (
    MINI64_LAYOUT,
    MINI_LAYOUT,
    BlockShape,
    block_shape,
    full_layout,
    proxyless_layout,
)
from fleetfront.spaces.supernet.once_for_all import plain_name

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = Mapping[str, Tensor]

_SLOT = "slot"
_DEPTHWISE = "depthwise.conv.weight"

#: Once-for-all's name of a part of a block -> the name in a graph.
_LAYERS = {
    "inverted_bottleneck.": "expand.",
    "depth_conv.se.fc.": "se.",
    "depth_conv.": "depthwise.",
    "point_linear.": "project.",
}
_PARTS = {
    "first_conv.": "stem.",
    "blocks.0.conv.": "first.",
    "final_expand_layer.": "head.expand.",
    "feature_mix_layer.": "head.mix.",
    "classifier.linear.": "head.classifier.",
}


def with_matrices(shapes: Mapping[str, tuple[int, ...]], kernels: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the largest network's weights and, for every slot, of the matrices that shrink its kernel."""
    complete = dict(shapes)
    for name in shapes:
        if name.startswith(_SLOT) and name.endswith(_DEPTHWISE):
            for larger, smaller in _shrinks(kernels):
                complete[_matrix(name, larger, smaller)] = (smaller**2, smaller**2)
    return complete


def cut(tensors: Tensors, parts: Sequence[tuple[str, Block]], kernels: Sequence[int]) -> dict[str, Tensor]:
    """The weights of one network of ``parts`` (prefix of names, block). Views, except where a kernel shrinks."""
    by_part: dict[str, list[str]] = {}
    for name in tensors:
        by_part.setdefault(name.split(".", 1)[0], []).append(name)
    weights = {}
    for prefix, block in parts:
        shape = block_shape(block)
        for name in by_part[prefix]:
            layer = name.removeprefix(prefix + ".")
            if not prefix.startswith(_SLOT):
                weights[name] = tensors[name]
            elif shape.expansion == 1 and layer.startswith("expand."):
                # Such a block has no expansion of its own.
                continue
            elif layer == _DEPTHWISE:
                weights[name] = _shrunk(tensors, name, shape, kernels)
            elif not layer.startswith("depthwise.conv."):
                weights[name] = _narrowed(tensors[name], layer, shape)
    return weights


def _narrowed(tensor: Tensor, layer: str, shape: BlockShape) -> Tensor:
    """The first channels of one layer; what goes in and out of the block has the same width in all networks."""
    mid, reduced = shape.width_mid, shape.reduced
    if layer == "project.conv.weight":
        return _first(tensor, len(tensor), mid)
    if layer.startswith("project."):
        return tensor
    if layer == "se.reduce.weight":
        return _first(tensor, reduced, mid)
    if layer == "se.reduce.bias":
        return _first(tensor, reduced)
    if layer == "se.expand.weight":
        return _first(tensor, mid, reduced)
    return _first(tensor, mid)


def _first(tensor: Tensor, rows: int, columns: int | None = None) -> Tensor:
    # A slice of everything would cost as much in the backward pass as one that leaves something out.
    if columns is not None and columns < tensor.shape[1]:
        return tensor[:rows, :columns]
    return tensor if rows == len(tensor) else tensor[:rows]


def _shrunk(tensors: Tensors, name: str, shape: BlockShape, kernels: Sequence[int]) -> Tensor:
    from torch.nn.functional import linear

    kernel = _first(tensors[name], shape.width_mid)
    for larger, smaller in _shrinks(kernels):
        if larger <= shape.kernel:
            break
        edge = (larger - smaller) // 2
        centre = kernel[:, :, edge : edge + smaller, edge : edge + smaller].reshape(-1, smaller**2)
        kernel = linear(centre, tensors[_matrix(name, larger, smaller)]).view(-1, 1, smaller, smaller)
    return kernel


def _shrinks(kernels: Sequence[int]) -> list[tuple[int, int]]:
    """(larger, next smaller) kernel, from the largest: [(7, 5), (5, 3)]."""
    return list(itertools.pairwise(kernels[::-1]))


def _matrix(depthwise: str, larger: int, smaller: int) -> str:
    return f"{depthwise.removesuffix('weight')}{larger}to{smaller}"


def describe_misfit(tensors: Tensors) -> str:
    """Which member of the family weights belong to, judged by the two widths that no width multiplier shares."""
    expand, mix = tensors.get("head.expand.conv.weight"), tensors.get("head.mix.conv.weight")
    if expand is None and mix is not None and "head.mix.bn.scale" in tensors:
        is_known = len(mix) == proxyless_layout(1.3, ()).mix_width
        return " They seem to be of ofa-proxyless." if is_known else " They seem to be of ProxylessNAS blocks."
    if expand is None or mix is None:
        return ""
    widths = (len(expand), len(mix))
    for name, small in (("ofa-mbv3-mini", MINI_LAYOUT), ("ofa-mbv3-mini64", MINI64_LAYOUT)):
        if widths == (small.expand_width, small.mix_width):
            return f" They seem to be of the small space {name}."
    for tenths in range(2, 31):
        layout = full_layout(tenths / 10, ())
        if widths == (layout.expand_width, layout.mix_width):
            return f" They seem to be of width {tenths / 10}."
    return f" Their last layers are {widths[0]} and {widths[1]} channels wide, which no known width has."


def graph_name(name: str) -> str:
    """A name of a once-for-all state dict, in any of its published spellings, as a graph has it."""
    return plain_name(name, _in_graph)


def _in_graph(name: str) -> str:
    for theirs, ours in _PARTS.items():
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    else:
        name = re.sub(r"^blocks\.(\d+)\.conv\.", r"slot\1.", name)
    for theirs, ours in _LAYERS.items():
        name = re.sub(rf"^(first|slot\d+)\.{re.escape(theirs)}", rf"\1.{ours}", name)
    return name

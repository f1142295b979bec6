"""Describe what no gene of a once-for-all ResNet family changes, and count what its blocks cost.

Facts are those of the once-for-all project (https://github.com/mit-han-lab/once-for-all, OFAResNets): a ResNet-D whose
first stride is in the middle convolution of a bottleneck and whose shortcuts average before they project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fleetfront.errors import InputError
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.image_work import Work, halved, make_divisible, map_features

#: Block families of this space. ``bottleneck`` with ``project`` has a convolution in its shortcut.
STEM, BOTTLENECK, HEAD = "resnet_stem", "bottleneck", "resnet_head"


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about a family that no gene changes, and the choices of the genes in ascending order.

    Attributes:
        stem_width: of the stem's output at full width; its other convolutions have half of it.
        stage_widths: of each stage's output at full width.
        base_depths: blocks of each stage without the depth's.
        strides: of each stage's first block.
        widths: shares of the full widths.
        expansions: shares of a block's output width that its middle has.
        depths: blocks more in a stage. The stem has its middle convolution at the last of them alone.
    """

    stem_width: int
    stage_widths: tuple[int, ...]
    base_depths: tuple[int, ...]
    strides: tuple[int, ...]
    classes: int
    resolutions: tuple[int, ...]
    widths: tuple[float, ...] = (0.65, 0.8, 1.0)
    expansions: tuple[float, ...] = (0.2, 0.25, 0.35)
    depths: tuple[int, ...] = (0, 1, 2)

    @property
    def slots(self) -> int:
        """Block slots of the whole network at full depth."""
        return sum(self.base_depths) + len(self.base_depths) * self.depths[-1]

    def stem_widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Widths of the stem's first convolutions, and of its output."""
        out = [make_divisible(self.stem_width * share) for share in self.widths]
        return tuple(make_divisible(width // 2) for width in out), tuple(out)

    def widths_of(self, stage: int) -> tuple[int, ...]:
        """Output widths that a stage can have."""
        return tuple(make_divisible(self.stage_widths[stage] * share) for share in self.widths)


def resnet50_layout(resolutions: tuple[int, ...]) -> Layout:
    """The ImageNet family: 50 layers and up to eight blocks more, 1,000 classes."""
    return Layout(64, (256, 512, 1024, 2048), (2, 2, 4, 2), (1, 2, 2, 2), 1000, resolutions)


#: Networks of one to four milliseconds on a fast core. A wide stem on large maps costs the first of them whatever is
#: chosen. Behind it maps stay as large as they are: on smaller ones channels would cost next to nothing, and fast
#: networks would know as much as slow ones. Dense convolutions throughout, because batches of these train in a third of
#: the time, for the same latency, that depthwise ones take.
MINI_LAYOUT = Layout(
    stem_width=96,
    stage_widths=(192, 192, 192),
    base_depths=(1, 1, 1),
    strides=(1, 1, 1),
    classes=10,
    resolutions=(96,),
    widths=(0.85, 1.0),
    expansions=(0.05, 0.15, 0.36),
    depths=(0, 1),
)


def blocks_at(layout: Layout, resolution: int) -> list[Block]:
    """Every block that can occur at one resolution: stems (middle convolution or not, width inside, width out), for
    each stage its first block (width in, width out, expansion) and its later ones (width, expansion), heads.
    """
    inside, entering = layout.stem_widths()
    blocks = [
        Block.make(STEM, ((3, resolution, resolution),), deep=deep, mid=mid, out=out)
        for deep in (0, 1)
        for mid in inside
        for out in entering
    ]
    side = halved(halved(resolution, 2), 2)
    for stage, stride in enumerate(layout.strides):
        widths = layout.widths_of(stage)
        blocks += [
            _bottleneck(width, side, out, share, stride, 1)
            for width in entering
            for out in widths
            for share in layout.expansions
        ]
        side, entering = halved(side, stride), widths
        blocks += [_bottleneck(width, side, width, share, 1, 0) for width in widths for share in layout.expansions]
    return blocks + [Block.make(HEAD, ((width, side, side),), classes=layout.classes) for width in entering]


def _bottleneck(width: int, side: int, out: int, expansion: float, stride: int, project: int) -> Block:
    mid = make_divisible(round(out * expansion))
    return Block.make(BOTTLENECK, ((width, side, side),), mid=mid, out=out, s=stride, project=project)


class BlockShape(NamedTuple):
    """The integers that decide what a block computes; ``is_deep`` is of a stem, ``projects`` of a bottleneck."""

    family: str
    stride: int
    width_in: int
    width_mid: int
    width_out: int
    side_in: int
    side_out: int
    is_deep: bool
    projects: bool
    classes: int


def block_shape(block: Block) -> BlockShape:
    """Read a block. Raises InputError on a block of another family."""
    if block.family not in (STEM, BOTTLENECK, HEAD):
        raise InputError(f"{block.key} is not a block of a ResNet space.", "Take blocks from its vocabulary.")
    values = {name: int(value) for name, value in block.parameters}
    width, side, _ = block.inputs[0]
    if block.family == HEAD:
        return BlockShape(HEAD, 1, width, 0, 0, side, side, False, False, values["classes"])
    mid, out = values["mid"], values["out"]
    if block.family == STEM:
        return BlockShape(STEM, 2, width, mid, out, side, halved(side, 2), bool(values["deep"]), False, 0)
    stride = values["s"]
    return BlockShape(
        BOTTLENECK, stride, width, mid, out, side, halved(side, stride), False, bool(values["project"]), 0
    )


def block_work(shape: BlockShape) -> Work:
    """Convolutions and the linear layer count; biases and the rest do not. ``side_out`` of a stem is the side of its
    convolutions' output, before the pooling.
    """
    mid, out = shape.width_mid, shape.width_out
    if shape.family == HEAD:
        return Work(0, 0, shape.width_in * shape.classes)
    if shape.family == STEM:
        return Work(0, 9 * (shape.width_in * mid + shape.is_deep * mid**2 + mid * out), 0)
    return Work(shape.width_in * mid, 9 * mid**2 + mid * out + shape.projects * shape.width_in * out, 0)


def block_macs(block: Block) -> int:
    """Multiply-accumulate operations of one block."""
    shape = block_shape(block)
    return block_work(shape).macs(shape.side_in, shape.side_out)


def block_params(block: Block) -> int:
    """Trainable parameters of one block: weights, biases, and scale and shift of each batch-norm."""
    shape = block_shape(block)
    if shape.family == HEAD:
        return sum(block_work(shape)) + shape.classes
    normalised = shape.width_mid * (1 + shape.is_deep if shape.family == STEM else 2)
    return sum(block_work(shape)) + 2 * (normalised + shape.width_out * (1 + shape.projects))


def effective_side(block: Block) -> float:
    """See ``Work.effective_side``."""
    shape = block_shape(block)
    return block_work(shape).effective_side(shape.side_in, shape.side_out, shape.stride)


def block_features(block: Block) -> dict[str, float]:
    """Numbers that explain a block's latency, units as in the names."""
    shape = block_shape(block)
    pixels_in, pixels_out = shape.side_in**2, shape.side_out**2
    macs = block_macs(block)
    elements = shape.width_in * pixels_in + shape.width_mid * (pixels_in + pixels_out) + shape.width_out * pixels_out
    return {
        "is_stem": shape.family == STEM,
        "is_head": shape.family == HEAD,
        "is_deep": shape.is_deep,
        "projects": shape.projects,
        **map_features(shape),
        "macs": macs,
        "params": block_params(block),
        "activation_elements": elements,
        "macs_per_element": macs / elements,
    }

"""The fixed shape of each once-for-all MobileNetV3 family: widths, strides, activations, choices; and what a block
costs in multiply-accumulates, parameters and features. Architectures live in ``ofa_mbv3.space``, operators in
``ofa_mbv3.graph``.

Facts are those of the once-for-all project (https://github.com/mit-han-lab/once-for-all, OFAMobileNetV3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.spaces.blocks import Block

#: Block families of these spaces. ``mbconv`` with expansion 1 is the first block, which has no choices.
STEM, MBCONV, HEAD = "mbv3_stem", "mbconv", "mbv3_head"


def make_divisible(value: float, divisor: int = 8) -> int:
    """``value`` rounded to a multiple of ``divisor``, never down by more than 10 % (the MobileNet papers' rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width. The first slot has ``stride`` and no shortcut, the later ones stride 1 and a shortcut."""

    width: int
    stride: int
    activation: str
    has_se: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about a family that no gene changes, and the choices of the genes in ascending order."""

    stem_width: int
    first_width: int
    stages: tuple[Stage, ...]
    expand_width: int
    mix_width: int
    classes: int
    resolutions: tuple[int, ...]
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 4, 6)
    depths: tuple[int, ...] = (2, 3, 4)

    @property
    def slots_per_stage(self) -> int:
        """Block slots of a stage at full depth."""
        return self.depths[-1]

    @property
    def slots(self) -> int:
        """Block slots of the whole network at full depth."""
        return len(self.stages) * self.slots_per_stage

    @property
    def variants(self) -> int:
        """Kernel and expansion combinations of a slot."""
        return len(self.kernels) * len(self.expansions)


def full_layout(width_multiplier: float, resolutions: tuple[int, ...]) -> Layout:
    """The ImageNet family at a width multiplier: five stages of up to four slots, 1,000 classes."""

    def width(base: int) -> int:
        return make_divisible(base * width_multiplier)

    return Layout(
        stem_width=width(16),
        first_width=width(16),
        stages=(
            Stage(width(24), 2, "relu", False),
            Stage(width(40), 2, "relu", True),
            Stage(width(80), 2, "hard_swish", False),
            Stage(width(112), 1, "hard_swish", True),
            Stage(width(160), 2, "hard_swish", True),
        ),
        expand_width=width(960),
        mix_width=width(1280),
        classes=1000,
        resolutions=resolutions,
    )


#: Small enough that the whole supernet trains on 1,400 images in about two minutes on two slow cores.
MINI_LAYOUT = Layout(
    stem_width=8,
    first_width=8,
    stages=(
        Stage(8, 2, "relu", False),
        Stage(16, 2, "hard_swish", True),
        Stage(24, 1, "hard_swish", True),
    ),
    expand_width=96,
    mix_width=128,
    classes=10,
    resolutions=(32,),
)


def halved(side: int, stride: int) -> int:
    """Side of the map after a convolution that pads by half its odd kernel."""
    return -(-side // stride)


def stem_block(layout: Layout, resolution: int) -> Block:
    """The first convolution, three colour channels in."""
    return Block.make(STEM, ((3, resolution, resolution),), act="hard_swish", k=3, out=layout.stem_width, s=2)


def first_slot_block(width_in: int, side: int, kernel: int, expansion: int, stage: Stage) -> Block:
    """The first block of a stage, on a ``side`` x ``side`` map of the stage before."""
    return Block.make(
        MBCONV,
        ((width_in, side, side),),
        act=stage.activation,
        k=kernel,
        e=expansion,
        out=stage.width,
        s=stage.stride,
        se=int(stage.has_se),
    )


def later_slot_block(side: int, kernel: int, expansion: int, stage: Stage) -> Block:
    """A further block of a stage, on a ``side`` x ``side`` map."""
    return first_slot_block(stage.width, side, kernel, expansion, replace(stage, stride=1))


def first_block(layout: Layout, side: int) -> Block:
    """The block after the stem: 3 x 3, no expansion, no squeeze-and-excitation."""
    stage = Stage(layout.first_width, 1, "relu", False)
    return first_slot_block(layout.stem_width, side, 3, 1, stage)


def head_block(layout: Layout, side: int) -> Block:
    """Final expansion, global pooling, feature mix and classifier."""
    return Block.make(
        HEAD,
        ((layout.stages[-1].width, side, side),),
        act="hard_swish",
        classes=layout.classes,
        expand=layout.expand_width,
        mix=layout.mix_width,
    )


class BlockShape(NamedTuple):
    """The integers that decide what a block computes. ``reduced`` is the squeeze width, 0 without SE."""

    family: str
    kernel: int
    expansion: int
    stride: int
    width_in: int
    width_mid: int
    width_out: int
    side_in: int
    side_out: int
    reduced: int
    activation: str
    classes: int

    @property
    def has_shortcut(self) -> bool:
        """Whether the block adds its input to its output."""
        return self.family == MBCONV and self.stride == 1 and self.width_in == self.width_out


def block_shape(block: Block) -> BlockShape:
    """Read a block. Raises InputError on a block of another family."""
    if block.family not in (STEM, MBCONV, HEAD):
        raise InputError(f"{block.key} is not a block of a MobileNetV3 space.", "Take blocks from its vocabulary.")
    values = dict(block.parameters)
    width_in, side, _ = block.inputs[0]
    activation = str(values["act"])
    if block.family == STEM:
        out, stride = int(values["out"]), int(values["s"])
        kernel = int(values["k"])
        return BlockShape(STEM, kernel, 1, stride, width_in, 0, out, side, halved(side, stride), 0, activation, 0)
    if block.family == HEAD:
        expand, mix, classes = (int(values[name]) for name in ("expand", "mix", "classes"))
        return BlockShape(HEAD, 1, 1, 1, width_in, expand, mix, side, side, 0, activation, classes)
    kernel, expansion, stride, out, has_se = (int(values[name]) for name in ("k", "e", "s", "out", "se"))
    mid = make_divisible(width_in * expansion) if expansion > 1 else width_in
    reduced = make_divisible(mid // 4) if has_se else 0
    side_out = halved(side, stride)
    return BlockShape(MBCONV, kernel, expansion, stride, width_in, mid, out, side, side_out, reduced, activation, 0)


class Work(NamedTuple):
    """Multiply-accumulates of a block split by what they grow with: input pixels, output pixels, or nothing."""

    per_input_pixel: int
    per_output_pixel: int
    fixed: int


def block_work(shape: BlockShape) -> Work:
    """Convolutions and linear layers count, squeeze-and-excitation included; biases and the rest do not."""
    kernel_area = shape.kernel**2
    if shape.family == STEM:
        return Work(0, kernel_area * shape.width_in * shape.width_out, 0)
    if shape.family == HEAD:
        mix = shape.width_mid * shape.width_out + shape.width_out * shape.classes
        return Work(0, shape.width_in * shape.width_mid, mix)
    expand = shape.width_in * shape.width_mid if shape.expansion > 1 else 0
    return Work(expand, shape.width_mid * (kernel_area + shape.width_out), 2 * shape.width_mid * shape.reduced)


def block_macs(block: Block) -> int:
    """Multiply-accumulate operations of one block."""
    shape = block_shape(block)
    work = block_work(shape)
    return work.per_input_pixel * shape.side_in**2 + work.per_output_pixel * shape.side_out**2 + work.fixed


def block_params(block: Block) -> int:
    """Trainable parameters of one block: weights, biases, and scale and shift of each batch-norm."""
    shape = block_shape(block)
    work = block_work(shape)
    weights = sum(work)
    if shape.family == STEM:
        return weights + 2 * shape.width_out
    if shape.family == HEAD:
        return weights + 2 * shape.width_mid + shape.classes
    normalised = shape.width_mid * (2 if shape.expansion > 1 else 1) + shape.width_out
    return weights + 2 * normalised + (shape.reduced + shape.width_mid if shape.reduced else 0)


def effective_side(block: Block) -> float:
    """Side of the input map, in pixels, whose square the block's work is proportional to.

    It equals the side of the input where a stride divides it, and lies a little above where the output is rounded up
    (19 -> 10): so interpolation in its square stays right for odd maps.
    """
    shape = block_shape(block)
    work = block_work(shape)
    unrounded = work.per_input_pixel + work.per_output_pixel / shape.stride**2
    pixels = work.per_input_pixel * shape.side_in**2 + work.per_output_pixel * shape.side_out**2
    return float(np.sqrt(pixels / unrounded))


FEATURE_NAMES = (
    "is_stem",
    "is_head",
    "kernel",
    "expansion",
    "stride",
    "width_in",
    "width_mid",
    "width_out",
    "pixels_in",
    "pixels_out",
    "se_width",
    "is_hard_swish",
    "has_shortcut",
    "macs",
    "macs_depthwise",
    "params",
    "activation_elements",
    "macs_per_element",
)


def block_features(blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Numbers that explain a block's latency: float64[m, f] and the f names, units as in the names.

    ``activation_elements`` counts every map that is written plus the input that is read: with ``params`` the memory
    traffic in elements.
    """
    rows = np.empty((len(blocks), len(FEATURE_NAMES)), dtype=np.float64)
    for row, block in zip(rows, blocks, strict=True):
        shape = block_shape(block)
        pixels_in, pixels_out = shape.side_in**2, shape.side_out**2
        macs, params = block_macs(block), block_params(block)
        depthwise = shape.width_mid * shape.kernel**2 * pixels_out if shape.family == MBCONV else 0
        mid_maps = pixels_out + (pixels_in if shape.expansion > 1 else 0)
        out_pixels = 1 if shape.family == HEAD else pixels_out
        elements = shape.width_in * pixels_in + shape.width_mid * mid_maps + shape.width_out * out_pixels
        row[:] = (
            shape.family == STEM,
            shape.family == HEAD,
            shape.kernel,
            shape.expansion,
            shape.stride,
            shape.width_in,
            shape.width_mid,
            shape.width_out,
            pixels_in,
            pixels_out,
            shape.reduced,
            shape.activation == "hard_swish",
            shape.has_shortcut,
            macs,
            depthwise,
            params,
            elements,
            macs / elements,
        )
    return rows, FEATURE_NAMES

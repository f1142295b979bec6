"""Describe what no gene of a once-for-all family of MobileNet blocks changes, and count what its blocks cost.

Facts are those of the once-for-all project (https://github.com/mit-han-lab/once-for-all: OFAMobileNetV3,
OFAProxylessNASNets).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fleetfront.errors import InputError
from fleetfront.graphs.layers import EPSILON
from fleetfront.spaces.blocks import Block, Parameter
from fleetfront.spaces.image_work import Work, halved, make_divisible, map_features

#: Block families of these spaces. ``mbconv`` with expansion 1 is the first block, which has no choices.
STEM, MBCONV, HEAD = "mbv3_stem", "mbconv", "mbv3_head"


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width. The first slot has ``stride`` and no shortcut, the later ones stride 1 and a shortcut."""

    width: int
    stride: int
    activation: str
    has_se: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about a family that no gene changes, and the choices of the genes in ascending order.

    Attributes:
        expand_width: of the convolution before the pooling, ``mix_width`` of the one behind it; with 0 the mix is
            before the pooling, and normalised.
        tail: a last stage of one block that is always there.
        activation: of stem and head, ``first_activation`` of the block behind the stem.
        epsilon: of every batch-norm.
    """

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
    # Not in the spelling, by which files of trained weights are named.
    tail: Stage | None = field(default=None, repr=False)
    activation: str = field(default="hard_swish", repr=False)
    first_activation: str = field(default="relu", repr=False)
    epsilon: float = field(default=EPSILON, repr=False)

    @property
    def slots_per_stage(self) -> int:
        """Block slots of a stage at full depth."""
        return self.depths[-1]

    @property
    def slots(self) -> int:
        """Block slots of the whole network at full depth."""
        return len(self.stages) * self.slots_per_stage + (self.tail is not None)

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


def proxyless_layout(width_multiplier: float, resolutions: tuple[int, ...]) -> Layout:
    """The ImageNet family of ProxylessNAS blocks at a width multiplier: five stages of up to four slots and one block
    more, no squeeze-and-excitation, 1,000 classes.
    """

    def stage(base: int, stride: int) -> Stage:
        return Stage(make_divisible(base * width_multiplier), stride, "relu6", False)

    return Layout(
        stem_width=make_divisible(32 * width_multiplier),
        first_width=make_divisible(16 * width_multiplier),
        stages=tuple(stage(base, stride) for base, stride in ((24, 2), (40, 2), (80, 2), (96, 1), (192, 2))),
        tail=stage(320, 1),
        expand_width=0,
        mix_width=make_divisible(1280 * width_multiplier),
        classes=1000,
        resolutions=resolutions,
        activation="relu6",
        first_activation="relu6",
        epsilon=1e-3,
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


#: Twice the side, wider, and with choices far apart: what its networks take and know differs by factors, and the whole
#: supernet still trains on 1,080 images in about 70 s on one slow core.
MINI64_LAYOUT = Layout(
    stem_width=8,
    first_width=8,
    stages=(
        Stage(12, 2, "relu", False),
        Stage(24, 2, "hard_swish", False),
        Stage(40, 2, "hard_swish", True),
    ),
    expand_width=112,
    mix_width=128,
    classes=10,
    resolutions=(64,),
    expansions=(1, 3, 6),
    depths=(1, 2, 3),
)


def blocks_at(layout: Layout, resolution: int) -> list[Block]:
    """Every block that can occur at one resolution: stem, the block behind it (3 x 3, no expansion), the variants of
    each stage's first slot and of its later slots, those of the tail, head.
    """
    stem = Block.make(STEM, ((3, resolution, resolution),), act=layout.activation, k=3, out=layout.stem_width, s=2)
    width, side = layout.first_width, halved(resolution, 2)
    blocks = [stem, _mbconv(layout.stem_width, side, 3, 1, Stage(width, 1, layout.first_activation, False))]
    variants = [(kernel, expansion) for kernel in layout.kernels for expansion in layout.expansions]
    for stage in layout.stages:
        blocks += [_mbconv(width, side, *variant, stage) for variant in variants]
        width, side = stage.width, halved(side, stage.stride)
        blocks += [_mbconv(width, side, *variant, replace(stage, stride=1)) for variant in variants]
    if (tail := layout.tail) is not None:
        blocks += [_mbconv(width, side, *variant, tail) for variant in variants]
        width, side = tail.width, halved(side, tail.stride)
    head: dict[str, Parameter] = {
        "act": layout.activation,
        "classes": layout.classes,
        "expand": layout.expand_width,
        "mix": layout.mix_width,
    }
    return [*blocks, Block.make(HEAD, ((width, side, side),), **head)]


def _mbconv(width_in: int, side: int, kernel: int, expansion: int, stage: Stage) -> Block:
    """A block on a ``side`` x ``side`` map."""
    fixed: dict[str, Parameter] = {
        "act": stage.activation,
        "out": stage.width,
        "s": stage.stride,
        "se": int(stage.has_se),
    }
    return Block.make(MBCONV, ((width_in, side, side),), k=kernel, e=expansion, **fixed)


class BlockShape(NamedTuple):
    """The integers that decide what a block computes. ``reduced`` is the squeeze width, 0 without SE; a head has the
    ``width_out`` 0 if nothing is mixed behind its pooling.
    """

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
        """True if the block adds its input to its output."""
        return self.family == MBCONV and self.stride == 1 and self.width_in == self.width_out


def block_shape(block: Block) -> BlockShape:
    """Read a block. Raises InputError on a block of another family."""
    if block.family not in (STEM, MBCONV, HEAD):
        raise InputError(f"{block.key} is not a block of a MobileNet space.", "Take blocks from its vocabulary.")
    values = dict(block.parameters)
    width_in, side, _ = block.inputs[0]
    activation = str(values["act"])
    if block.family == STEM:
        out, stride = int(values["out"]), int(values["s"])
        kernel = int(values["k"])
        return BlockShape(STEM, kernel, 1, stride, width_in, 0, out, side, halved(side, stride), 0, activation, 0)
    if block.family == HEAD:
        expand, mix, classes = (int(values[name]) for name in ("expand", "mix", "classes"))
        if not expand:
            expand, mix = mix, 0
        return BlockShape(HEAD, 1, 1, 1, width_in, expand, mix, side, side, 0, activation, classes)
    kernel, expansion, stride, out, has_se = (int(values[name]) for name in ("k", "e", "s", "out", "se"))
    mid = make_divisible(width_in * expansion) if expansion > 1 else width_in
    reduced = make_divisible(mid // 4) if has_se else 0
    side_out = halved(side, stride)
    return BlockShape(MBCONV, kernel, expansion, stride, width_in, mid, out, side, side_out, reduced, activation, 0)


def block_work(shape: BlockShape) -> Work:
    """Convolutions and linear layers count, squeeze-and-excitation included; biases and the rest do not."""
    kernel_area = shape.kernel**2
    if shape.family == STEM:
        return Work(0, kernel_area * shape.width_in * shape.width_out, 0)
    if shape.family == HEAD:
        mix = shape.width_mid * shape.width_out + (shape.width_out or shape.width_mid) * shape.classes
        return Work(0, shape.width_in * shape.width_mid, mix)
    expand = shape.width_in * shape.width_mid if shape.expansion > 1 else 0
    return Work(expand, shape.width_mid * (kernel_area + shape.width_out), 2 * shape.width_mid * shape.reduced)


def block_macs(block: Block) -> int:
    """Multiply-accumulate operations of one block."""
    shape = block_shape(block)
    return block_work(shape).macs(shape.side_in, shape.side_out)


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
    """See ``Work.effective_side``."""
    shape = block_shape(block)
    return block_work(shape).effective_side(shape.side_in, shape.side_out, shape.stride)


def block_features(block: Block) -> dict[str, float]:
    """Numbers that explain a block's latency, units as in the names.

    ``activation_elements`` counts every map that is written plus the input that is read: with ``params`` the memory
    traffic in elements.
    """
    shape = block_shape(block)
    pixels_in, pixels_out = shape.side_in**2, shape.side_out**2
    macs, params = block_macs(block), block_params(block)
    depthwise = shape.width_mid * shape.kernel**2 * pixels_out if shape.family == MBCONV else 0
    mid_maps = pixels_out + (pixels_in if shape.expansion > 1 else 0)
    out_pixels = 1 if shape.family == HEAD else pixels_out
    elements = shape.width_in * pixels_in + shape.width_mid * mid_maps + shape.width_out * out_pixels
    return {
        "is_stem": shape.family == STEM,
        "is_head": shape.family == HEAD,
        "kernel": shape.kernel,
        "expansion": shape.expansion,
        **map_features(shape),
        "se_width": shape.reduced,
        "is_hard_swish": shape.activation == "hard_swish",
        "has_shortcut": shape.has_shortcut,
        "macs": macs,
        "macs_depthwise": depthwise,
        "params": params,
        "activation_elements": elements,
        "macs_per_element": macs / elements,
    }

"""Draw samples of operators that multiply, of windows, activations and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fleetfront.predictors.operators.samples import Sample, Stage
from fleetfront.predictors.operators.sizes import (
    MOST_ELEMENTS,
    MOST_POOLED,
    TOKENS,
    Draw,
    draw_any,
    draw_any_image,
    draw_channels,
    draw_heads,
    draw_image,
    draw_side,
    draw_tokens,
    fits,
    is_any,
    log_uniform,
)

#: Windows of pools that are not those of most networks, with their strides.
_WINDOWS = ((2, 1), (3, 3), (4, 4), (4, 2), (5, 2), (5, 3), (7, 7), (2, 3), (3, 4))
_NEAREST, _LINEAR, _CUBIC = range(3)
_DOUBLED, _AVERAGED, _INSIDE, _ALONG = range(1, 5)


def _conv(kernels: Sequence[tuple[int, float]], *, grouped: bool = False, step: int = 1) -> Draw:
    """``step``: what the channels of each group are multiples of."""
    sizes, shares = zip(*kernels, strict=True)

    def draw(rng: np.random.Generator) -> Sample:
        if step == 1 and is_any(rng):
            return _any_conv(rng, int(rng.choice(sizes, p=shares)), int(rng.choice((2, 3, 4, 8))) if grouped else 1)
        while True:
            kernel = int(rng.choice(sizes, p=shares))
            channels = draw_channels(rng, 3, 1536)
            is_stem = kernel > 1 and not grouped and rng.random() < 0.12
            if is_stem:
                channels = int(rng.choice((1, 3, 3, 3)))
            out = draw_channels(rng, max(8, channels // 6), min(2048, 12 + channels * 6))
            groups = 1
            if grouped:
                groups = int(rng.choice((2, 2, 3, 4, 8, 16, 32)))
                channels, out = (max(1, size // groups // step) * groups * step for size in (channels, out))
            side = int(rng.choice((49, 96, 112, 128, 160, 192, 224, 256))) if is_stem else draw_side(rng, channels)
            other = side if rng.random() < 0.85 else draw_side(rng, channels)
            stride = 2 if rng.random() < (0.7 if is_stem else 0.2) and side > 3 else 1
            macs = side * other * kernel**2 * channels * out / groups / stride**2
            moved = side * other * (channels + out / stride**2)
            if fits(macs, moved, kernel**2 * channels * out / groups):
                window = (kernel, kernel) if other > 1 else (kernel, 1)
                stage = Stage("conv", (out, *window, stride, groups))
                return Sample((1, channels, side, other), (stage,))

    return draw


def _of_group_width(rng: np.random.Generator) -> Sample:
    """In groups of so many channels, however many groups that makes: as networks of such blocks widen."""
    while True:
        width, groups = int(rng.choice((4, 8, 8, 16, 16, 16, 24, 32, 32, 48))), draw_any(rng, 2, 48)
        channels, stride = width * groups, int(rng.choice((1, 1, 1, 2)))
        side = draw_side(rng, channels, 4) * stride
        if fits(side**2 * 9 * channels * width / stride**2, side**2 * 2 * channels, 9 * channels * width):
            return Sample((1, channels, side, side), (Stage("conv", (channels, 3, 3, stride, groups)),))


def _any_conv(rng: np.random.Generator, kernel: int, groups: int) -> Sample:
    """Of any channels, a few results among them, on maps of any sides."""
    while True:
        _, channels, height, width = draw_any_image(rng, kernel)
        out, stride = draw_any(rng, 1, 12 if rng.random() < 0.4 else 512), int(rng.choice((1, 1, 2, 3)))
        channels, out = (max(1, size // groups) * groups for size in (channels, out))
        weights = kernel**2 * channels * out / groups
        if fits(height * width * weights / stride**2, height * width * (channels + out / stride**2), weights):
            return Sample((1, channels, height, width), (Stage("conv", (out, kernel, kernel, stride, groups)),))


def _uneven_conv(kernel: int) -> Draw:
    """Of channels that are no multiple of four, as hand-made and pruned networks have them."""

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            channels = draw_any(rng, 5, 96) * 4 + int(rng.choice((1, 2, 3, -2)))
            out = draw_any(rng, 1, 8) if rng.random() < 0.2 else draw_any(rng, max(8, channels // 4), channels * 4)
            side, stride = draw_side(rng, channels, kernel), int(rng.choice((1, 1, 1, 2)))
            weights = kernel**2 * channels * out
            if fits(side**2 * weights / stride**2, side**2 * (channels + out / stride**2), weights):
                stage = Stage("conv", (out, kernel, kernel, stride, 1))
                return Sample((1, channels, side, side), (stage,))

    return draw


def _to_few(rng: np.random.Generator) -> Sample:
    """To one result or a few, as maps of depth, of edges or of masks end."""
    while True:
        kernel, out = int(rng.choice((1, 3, 3, 5, 7))), int(rng.choice((1, 1, 2, 3, 4)))
        channels, side = draw_channels(rng, 4, 256), int(rng.choice((14, 28, 40, 56, 80, 112, 128)))
        if fits(side**2 * kernel**2 * channels * out, side**2 * channels):
            return Sample((1, channels, side, side), (Stage("conv", (out, kernel, kernel, 1, 1)),))


def _narrow_conv(rng: np.random.Generator) -> Sample:
    """Of few channels to few, as tiny networks have them throughout."""
    while True:
        channels, out, kernel = draw_any(rng, 2, 15), draw_any(rng, 2, 32), int(rng.choice((1, 3, 3, 5)))
        side, stride = draw_any(rng, 4, 96), int(rng.choice((1, 1, 2)))
        if fits(side**2 * kernel**2 * channels * out, side**2 * (channels + out)):
            return Sample((1, channels, side, side), (Stage("conv", (out, kernel, kernel, stride, 1)),))


def _patches(rng: np.random.Generator) -> Sample:
    """How an image becomes tokens: windows beside each other."""
    while True:
        patch, out = int(rng.choice((2, 4, 8, 14, 16, 32))), draw_channels(rng, 32, 768)
        channels = 3 if patch > 2 else draw_channels(rng, 32, 256)
        side = int(rng.choice((96, 128, 160, 192, 224))) if channels == 3 else int(rng.choice((14, 28, 56)))
        if fits((side / patch) ** 2 * patch**2 * channels * out, side**2 * channels, patch**2 * channels * out):
            return Sample((1, channels, side, side), (Stage("conv", (out, patch, patch, patch, 1)),))


def _depthwise(rng: np.random.Generator, *, is_odd: bool = False) -> Sample:
    while True:
        channels, kernel = draw_channels(rng, 8, 1600), int(rng.choice((3, 5, 7), p=(0.55, 0.3, 0.15)))
        channels = _odd(rng, channels) if is_odd else channels
        side = draw_side(rng, channels, 3)
        other = side if rng.random() < 0.9 else draw_side(rng, channels, 3)
        stride = int(rng.choice((1, 2, 3), p=(0.68, 0.28, 0.04)))
        if is_any(rng):
            _, drawn, side, other = draw_any_image(rng, 3)
            channels = _odd(rng, drawn) if is_odd else max(1, drawn // 4) * 4
        if fits(0, side * other * channels * 2):
            stage = Stage("conv", (channels, kernel, kernel, stride, channels))
            return Sample((1, channels, side, other), (stage,))


def _odd(rng: np.random.Generator, channels: int) -> int:
    """As many, or few more, that are no multiple of four."""
    return channels // 4 * 4 + int(rng.integers(1, 4))


def _uneven(rng: np.random.Generator, channels: int) -> int:
    """As many, or few more, that are no multiple of sixteen: of eight or four as often as of none."""
    return channels // 16 * 16 + int(rng.choice((1, 2, 3, 4, 5, 7, 8, 8, 12, 13)))


def _linear(rng: np.random.Generator, *, is_flat: bool = False) -> Sample:
    while True:
        rows, inner, out = int(rng.choice(TOKENS[1:])), draw_channels(rng, 16, 3072), draw_channels(rng, 10, 3072)
        if is_any(rng):
            rows, inner, out = draw_any(rng, 2, 1000), draw_any(rng, 4, 3072), draw_any(rng, 1, 3072)
        if fits(rows * inner * out, rows * (inner + out), inner * out):
            shape = (rows, inner) if is_flat else (1, rows, inner)
            return Sample(shape, (Stage("linear", (out,)),))


def _linear_row(rng: np.random.Generator) -> Sample:
    """Of one row, as classifiers end: weights are all that counts, and some do not fit into caches."""
    while True:
        inner, out = draw_channels(rng, 16, 25088 if rng.random() < 0.2 else 4096), draw_channels(rng, 10, 4096)
        if rng.random() < 0.3:
            inner, out = draw_channels(rng, 512, 4096), draw_channels(rng, 256, 4096)
        if is_any(rng):
            inner, out = draw_any(rng, 4, 4096), draw_any(rng, 1, 4096)
        if fits(inner * out, inner + out, inner * out / 4):
            return Sample((1, inner), (Stage("linear", (out,)),))


def _pool(name: str, *, is_odd: bool = False) -> Draw:
    def draw(rng: np.random.Generator) -> Sample:
        usual = ((2, 2), (3, 2), (3, 1), (2, 2))
        kernel, stride = (int(number) for number in rng.choice(_WINDOWS if rng.random() < 0.4 else usual))
        shape = draw_image(rng, max(4, kernel))
        channels = _uneven(rng, shape[1]) if is_odd else -(-shape[1] // 16) * 16
        if rng.random() < 0.8:
            shape = (1, channels, *shape[2:])
        return Sample(shape, (Stage(name, (kernel, stride)),))

    return draw


def _wide_pool(name: str) -> Draw:
    """Windows that look far around, as those that pool at several scales."""

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            kernel, shape = int(rng.choice((5, 5, 7, 9, 13))), draw_image(rng, 10)
            if shape[1] * shape[2] ** 2 * kernel**2 <= MOST_POOLED:
                return Sample(shape, (Stage(name, (kernel, 1)),))

    return draw


def _matmul_row(rng: np.random.Generator) -> Sample:
    """One token that asks many others, head by head or not."""
    heads, inner, columns = (
        int(rng.choice((1, 1, 4, 8, 12, 16))),
        draw_channels(rng, 16, 512),
        draw_channels(rng, 16, 512),
    )
    return Sample((1, heads, 1, inner), (Stage("matmul", (columns,)),))


def _matmul_wide(rng: np.random.Generator) -> Sample:
    """As linear layers whose weights are widened at each run."""
    sample = _linear(rng)
    return replace(sample, stages=(Stage("matmul", sample.stages[0].numbers),))


def _matmul(rng: np.random.Generator) -> Sample:
    heads, tokens, width = draw_heads(rng)
    if is_any(rng):
        tokens, width = draw_any(rng, 2, 320), draw_any(rng, 2, 320)
        return Sample((1, heads, tokens, width), (Stage("matmul", (draw_any(rng, 1, 320),)),))
    if rng.random() < 0.5:
        return Sample((1, heads, tokens, width), (Stage("matmul", (tokens,)),))
    return Sample((1, heads, tokens, tokens), (Stage("matmul", (width,)),))


def _conv1d(rng: np.random.Generator, *, is_depthwise: bool = False) -> Sample:
    while True:
        channels, length = draw_channels(rng, 1, 512), int(rng.choice((50, 64, 100, 128, 250, 400, 1000, 4000, 16000)))
        out, kernel = draw_channels(rng, 8, 512), int(rng.choice((1, 3, 5, 9, 15, 31)))
        is_split = is_depthwise or rng.random() < 0.2
        groups = channels if is_split and channels > 1 else 1
        if is_any(rng):
            channels, length, out = draw_any(rng, 1, 512), draw_any(rng, 40, 6000), draw_any(rng, 1, 512)
            kernel, groups = int(rng.choice((1, 3, 5, 7))), channels if is_split else 1
        out, stride = (channels if groups > 1 else out), int(rng.choice((1, 1, 2, 3, 4)))
        macs = length / stride * kernel * channels * out / groups
        if fits(macs, length * (channels + out / stride), kernel * channels * out / groups):
            return Sample((1, channels, length), (Stage("conv1d", (out, kernel, stride, groups)),))


def _multiplied(rng: np.random.Generator) -> Sample:
    """Several results for each channel."""
    while True:
        channels, times = draw_channels(rng, 3, 512), int(rng.choice((2, 2, 3, 4, 8)))
        kernel = int(rng.choice((1, 3, 3, 3, 5, 7)))
        side, stride = draw_side(rng, channels, 3), int(rng.choice((1, 2, 3), p=(0.6, 0.32, 0.08)))
        if is_any(rng):
            channels, side = draw_any(rng, 2, 256), draw_any(rng, 4, 160)
        if fits(side**2 * channels * times * kernel**2, side**2 * channels * (1 + times)):
            return Sample(
                (1, channels, side, side), (Stage("conv", (channels * times, kernel, kernel, stride, channels)),)
            )


def _spread(rng: np.random.Generator, *, is_grouped: bool = False) -> Sample:
    while True:
        channels, out = draw_channels(rng, 8, 512), draw_channels(rng, 3, 256)
        windows = ((2, 2), (4, 2), (3, 1), (2, 2), (4, 2), (3, 1), (5, 1), (6, 2), (3, 3))
        side, (kernel, stride) = draw_side(rng, channels), windows[int(rng.integers(len(windows)))]
        if is_any(rng):
            channels, out, side = draw_any(rng, 1, 256), draw_any(rng, 1, 128), draw_any(rng, 4, 96)
        groups: tuple[int, ...] = ()
        if is_grouped:
            groups = (channels,) if rng.random() < 0.5 else (int(rng.choice((2, 4, 8, 16))),)
            channels, out = (max(1, size // groups[0]) * groups[0] for size in (channels, out))
            out = channels if rng.random() < 0.5 else out
        weights = kernel**2 * channels * out / (groups[0] if groups else 1)
        if fits(side**2 * weights, (side * stride) ** 2 * out, weights):
            return Sample((1, channels, side, side), (Stage("conv_transpose", (out, kernel, stride, *groups)),))


def _resize(mode: int, how: int = 0) -> Draw:
    """Modes and what is done beside them by their numbers in ``samples``."""

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            shape, scale = draw_image(rng, 4), int(rng.choice((2, 2, 3, 4)))
            shape = (1, shape[2], shape[3], shape[1]) if how == _INSIDE else shape
            shape = (1, shape[1], shape[2] * shape[3]) if how == _ALONG else shape
            scale = 2 if how == _DOUBLED else scale
            more = {_AVERAGED: 1, _ALONG: scale}.get(how, scale**2)
            if np.prod(shape) * more <= MOST_ELEMENTS:
                return Sample(shape, (Stage("resize", (scale, mode, how) if how else (scale, mode)),))

    return draw


def _cell(name: str, *, is_both_ways: bool = False, is_batch: bool = False) -> Draw:
    directions = (2,) if is_both_ways else ()

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            steps, batch = int(log_uniform(rng, 10, 150)), int(rng.choice((2, 4, 8, 16))) if is_batch else 1
            features, hidden = draw_channels(rng, 16, 256), draw_channels(rng, 32, 320)
            if is_any(rng):
                steps, features, hidden = draw_any(rng, 2, 100), draw_any(rng, 4, 256), draw_any(rng, 4, 256)
            if batch == 1 or fits(steps * batch * 8 * hidden * (features + hidden), 0):
                return Sample((steps, batch, features), (Stage(name, (hidden, *directions)),))

    return draw


def _fed(draw: Draw) -> Draw:
    """With weights that are another input: what quantised files compute in floats widens them at each run."""

    def fed(rng: np.random.Generator) -> Sample:
        sample = draw(rng)
        (stage,) = sample.stages
        return replace(sample, stages=(Stage("conv", (*stage.numbers, 1)),))

    return fed


def narrowed(draw: Draw, *, is_unsigned: bool = False) -> Draw:
    """Draw the same in int8, with weights from 0 to 255 if ``is_unsigned``."""
    return lambda rng: replace(draw(rng), is_narrow=True, is_unsigned=is_unsigned)


def _on_images(name: str) -> Draw:
    return lambda rng: Sample(draw_image(rng), (Stage(name),))


def _filled(shape: tuple[int, ...], name: str) -> Sample:
    """Of channels that blocks of sixteen hold without rest."""
    return Sample((1, -(-shape[1] // 16) * 16, *shape[2:]), (Stage(name),))


def _on_both(name: str) -> Draw:
    return lambda rng: Sample(draw_image(rng) if rng.random() < 0.6 else draw_tokens(rng), (Stage(name),))


def _on_tokens(name: str) -> Draw:
    return lambda rng: Sample(draw_tokens(rng), (Stage(name),))


#: Kind -> what draws one of it.
COMPUTED: dict[str, Draw] = {
    "pointwise": _conv([(1, 1.0)]),
    "conv": _conv([(3, 0.75), (5, 0.13), (7, 0.12)]),
    "depthwise": _depthwise,
    "patches": _patches,
    "grouped": _conv([(1, 0.35), (3, 0.65)], grouped=True),
    "grouped_even": _conv([(1, 0.2), (3, 0.8)], grouped=True, step=16),
    "grouped_width": _of_group_width,
    "linear": _linear,
    "linear_flat": lambda rng: _linear(rng, is_flat=True),
    "max_pool": _pool("max_pool"),
    "average_pool": _pool("average_pool"),
    "max_pool_odd": _pool("max_pool", is_odd=True),
    "average_pool_odd": _pool("average_pool", is_odd=True),
    "depthwise_odd": lambda rng: _depthwise(rng, is_odd=True),
    "global_pool": _on_images("global_pool"),
    "global_pool_even": lambda rng: _filled(draw_image(rng), "global_pool"),
    "max_pool_wide": _wide_pool("max_pool"),
    "average_pool_wide": _wide_pool("average_pool"),
    "matmul": _matmul,
    "matmul_row": _matmul_row,
    "matmul_wide": _matmul_wide,
    "linear_row": _linear_row,
    "multiplied": _multiplied,
    "pointwise_fed": _fed(_conv([(1, 1.0)])),
    "conv_fed": _fed(_conv([(3, 0.75), (5, 0.13), (7, 0.12)])),
    "depthwise_fed": _fed(_depthwise),
    "layer_norm": _on_tokens("layer_norm"),
    "skip_norm": _on_tokens("skip_norm"),
    "conv1d": _conv1d,
    "conv1d_depthwise": lambda rng: _conv1d(rng, is_depthwise=True),
    "conv_uneven": _uneven_conv(3),
    "conv_uneven_wide": _uneven_conv(5),
    "pointwise_uneven": _uneven_conv(1),
    "conv_to_few": _to_few,
    "conv_narrow": _narrow_conv,
    "pool1d": lambda rng: Sample(
        (1, draw_channels(rng, 8, 512), int(log_uniform(rng, 30, 4000))),
        (Stage("pool1d", (int(rng.choice((2, 3, 4, 8))),)),),
    ),
    "conv_transpose": _spread,
    "transposed_grouped": lambda rng: _spread(rng, is_grouped=True),
    "resize": _resize(_NEAREST),
    "resize_linear": _resize(_LINEAR),
    "resize_cubic": _resize(_CUBIC),
    "resize_doubled": _resize(_NEAREST, _DOUBLED),
    "resize_averaged": _resize(_LINEAR, _AVERAGED),
    "resize_inside": _resize(_LINEAR, _INSIDE),
    "resize_nearest_inside": _resize(_NEAREST, _INSIDE),
    "resize_along": _resize(_NEAREST, _ALONG),
    "resize_linear_along": _resize(_LINEAR, _ALONG),
    "lstm": _cell("lstm"),
    "gru": _cell("gru"),
    "lstm_batch": _cell("lstm", is_batch=True),
    "gru_batch": _cell("gru", is_batch=True),
    "lstm_both_ways": _cell("lstm", is_both_ways=True),
    "gru_both_ways": _cell("gru", is_both_ways=True),
    **{name: _on_both(name) for name in ("gelu", "gelu_halved", "gelu_tanh", "tanh", "sub", "div", "leakyrelu")},
    **{name: _on_both(name) for name in ("relu", "sigmoid", "silu", "add", "multiply")},
    **{name: _on_images(name) for name in ("relu6", "hard_swish", "hard_sigmoid", "scale", "batch_norm")},
    **{name: _on_tokens(name) for name in ("erf", "exp", "sqrt")},
}

"""Draw samples of operators that move elements, combine them, or sum them up along axes."""

from __future__ import annotations

import numpy as np

from fleetfront.predictors.operators.samples import Sample, Stage
from fleetfront.predictors.operators.sizes import (
    MOST_ACROSS,
    MOST_ELEMENTS,
    Draw,
    draw_any,
    draw_any_image,
    draw_channels,
    draw_even,
    draw_heads,
    draw_image,
    draw_tokens,
    is_any,
    log_uniform,
)


def _pad(rng: np.random.Generator) -> Sample:
    """Before windows that move on by two pixels: of the photo itself, now and then."""
    shape = draw_image(rng, 4)
    if rng.random() < 0.25:
        side = int(rng.choice((96, 128, 160, 192, 224, 256)))
        shape = (1, 3, side, side)
    elif rng.random() < 0.2:
        # Rows of few channels are copied one by one.
        shape = (1, int(rng.integers(1, 9)), *draw_any_image(rng, 8)[2:])
    return Sample(shape, (Stage("pad", (int(rng.choice((1, 1, 2, 3))),)),))


def _transpose(rng: np.random.Generator) -> Sample:
    """Rows and columns of tokens or images change places, alone, of several images, or around whole rows."""
    batch = int(rng.choice((1, 1, 1, 2, 4)))
    if rng.random() < 0.45:
        heads, tokens, width = draw_heads(rng)
        permutation = ((0, 2, 1, 3), (0, 1, 3, 2), (0, 2, 3, 1))[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]
        return Sample((batch, tokens, heads, width), (Stage("transpose", permutation),))
    if rng.random() < 0.6:
        permutation = ((0, 2, 3, 1), (0, 3, 1, 2), (0, 2, 1, 3), (0, 1, 3, 2))[int(rng.integers(4))]
        return Sample(draw_image(rng, 4), (Stage("transpose", permutation),))
    return Sample((batch, *draw_tokens(rng)[1:]), (Stage("transpose", (0, 2, 1)),))


def _transpose_even(rng: np.random.Generator) -> Sample:
    """Rows of powers of two turn into columns, as maps of such sides do: few, and more than caches hold of them."""
    while True:
        rows, width = draw_channels(rng, 8, 1024), draw_even(rng, 256, 16384)
        if rng.random() < 0.25:
            rows, width = draw_even(rng), draw_even(rng)
        batch = int(rng.choice((1, 1, 2, 4, 8)))
        if batch * rows * width <= MOST_ELEMENTS:
            return Sample((batch, rows, width), (Stage("transpose", (0, 2, 1)),))


def _regroup(rng: np.random.Generator) -> Sample:
    """An image in windows of attention, with shuffled channels, with finer pixels, or with its sides swapped."""
    side, kind = int(rng.choice((8, 14, 16, 28, 32, 56))), int(rng.integers(4))
    shape: tuple[int, ...]
    if kind == 0:
        window = int(rng.choice([one for one in (2, 4, 7, 8) if side % one == 0]))
        shape = (1, side // window, window, side // window, window, draw_channels(rng, 16, 256))
        return Sample(shape, (Stage("transpose", (0, 1, 3, 2, 4, 5)),))
    if kind == 1:
        groups = int(rng.choice((2, 3, 4, 8)))
        shape = (1, groups, draw_channels(rng, 8, 128), side, side)
        return Sample(shape, (Stage("transpose", (0, 2, 1, 3, 4)),))
    if kind == 2:
        finer = int(rng.choice((2, 2, 3, 4)))
        shape = (1, int(rng.choice((1, 3, 8, 16, 32))), finer, finer, side, side)
        return Sample(shape, (Stage("transpose", (0, 1, 4, 2, 5, 3)),))
    return Sample((1, draw_channels(rng, 8, 256), side, side), (Stage("transpose", (0, 3, 2, 1)),))


def _unmoved(name: str) -> Draw:
    def draw(rng: np.random.Generator) -> Sample:
        _, rows, width = draw_tokens(rng)
        return Sample((1, rows, width), (Stage(name, (1, 0, 2) if name == "transpose" else (1, width, rows)),))

    return draw


def _over(rng: np.random.Generator) -> Sample:
    """Sums and products with a number for each channel, row, column or pixel, constant or not."""
    function, is_constant = int(rng.integers(2)), int(rng.integers(2))
    place = int(rng.integers(5))
    if place < 3:
        shape = draw_image(rng, 2)
        if place == 0:
            side = int(rng.choice((48, 96, 160, 224, 256)))
            shape = (1, int(rng.choice((1, 3, 3, 4))), side, side)
        other = (1, 1, *shape[2:]) if place == 2 else (1, shape[1], 1, 1)
    else:
        shape = draw_tokens(rng)
        other = (1, 1, shape[2]) if place == 3 else (1, shape[1], 1)
    return Sample(shape, (Stage("spread", (function, is_constant, *other)),))


def _divided(rng: np.random.Generator) -> Sample:
    shape = draw_tokens(rng)
    other = (1, 1, shape[2]) if rng.random() < 0.3 else (1, shape[1], 1)
    return Sample(shape, (Stage("spread", (2, 0, *other)),))


def _grown(rng: np.random.Generator) -> Sample:
    """Two operands that are smaller than their sum or product."""
    function = int(rng.integers(2))
    if rng.random() < 0.5:
        _, channels, height, width = draw_image(rng, 4)
        return Sample((1, channels, 1, 1), (Stage("spread", (function, 0, 1, 1, height, width)),))
    _, rows, width = draw_tokens(rng)
    return Sample((1, rows, 1), (Stage("spread", (function, 0, 1, 1, width)),))


def _expand(rng: np.random.Generator) -> Sample:
    if rng.random() < 0.5:
        _, channels, height, width = draw_image(rng, 4)
        return Sample((1, channels, 1, 1), (Stage("expand", (1, channels, height, width)),))
    _, rows, width = draw_tokens(rng)
    return Sample((1, 1, width), (Stage("expand", (1, rows, width)),))


def _by_number(rng: np.random.Generator) -> Sample:
    shape = draw_image(rng) if rng.random() < 0.5 else draw_tokens(rng)
    return Sample(shape, (Stage("spread", (int(rng.integers(2)), 1, 1)),))


def _divided_by_number(rng: np.random.Generator) -> Sample:
    shape = draw_image(rng) if rng.random() < 0.5 else draw_tokens(rng)
    return Sample(shape, (Stage("spread", (2, 1, 1)),))


def _flip(rng: np.random.Generator) -> Sample:
    """Images or tokens from back to front, along the last axis or the one before."""
    shape = draw_image(rng, 4) if rng.random() < 0.7 else draw_tokens(rng)
    axis = len(shape) - 1 if rng.random() < 0.6 else len(shape) - 2
    return Sample(shape, (Stage("flip", (axis,)),))


def _reduce(function: int) -> Draw:
    """Along the last axes, those before, those in the middle, the first one, or all."""

    def draw(rng: np.random.Generator) -> Sample:
        place = int(rng.integers(8))
        axes: tuple[int, ...] = ((1,), (2, 3), (2,), (2,), (1,), (0, 1, 2), (0,), (0,))[place]
        if place < 3:
            return Sample(draw_image(rng, 4), (Stage("reduce", (function, *axes)),))
        if place > 5:
            return Sample(
                (draw_channels(rng, 4, 256), int(log_uniform(rng, 64, 9000))), (Stage("reduce", (function, 0)),)
            )
        batch = int(rng.choice((1, 2, 8)))
        return Sample((batch, *draw_tokens(rng)[1:]), (Stage("reduce", (function, *axes)),))

    return draw


def _reduce_channels(function: int) -> Draw:
    """Over the channels of one image, or over its rows of tokens; steps of powers of two as often as others."""

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            channels = draw_channels(rng, 4, 512)
            width = draw_even(rng, 256, 16384) if rng.random() < 0.5 else draw_channels(rng, 64, 9000)
            if channels * width <= MOST_ELEMENTS / 4:
                return Sample((1, channels, width), (Stage("reduce", (function, 1)),))

    return draw


def _pick(before_last: int) -> Draw:
    """Some of an image's columns or of the numbers of tokens; of rows or tokens, an axis before."""

    def draw(rng: np.random.Generator) -> Sample:
        shape = draw_image(rng, 4) if rng.random() < 0.5 else (int(rng.choice((2, 4, 8))), *draw_tokens(rng)[1:])
        axis = len(shape) - 1 - before_last
        count = int(shape[axis] * rng.choice((0.25, 0.5, 1, 2))) + 1
        return Sample(shape, (Stage("pick", (axis, min(count, 4000))),))

    return draw


def _sliced(rng: np.random.Generator) -> Sample:
    """Every second or third along an axis."""
    shape = draw_image(rng, 4) if rng.random() < 0.7 else draw_tokens(rng)
    axis = len(shape) - 1 if rng.random() < 0.7 else len(shape) - 2
    return Sample(shape, (Stage("slice", (axis, int(rng.choice((2, 2, 3, 4))))),))


def _split(rng: np.random.Generator) -> Sample:
    """In two, as for the heads of attention, or in as many as groups are worked on apart."""
    shape = draw_image(rng, 4)
    while shape[1] < 2:
        shape = draw_image(rng, 4)
    parts = min(int(rng.choice((2, 2, 3, 4, 8, 16))), shape[1])
    return Sample(shape, (Stage("split", (1, *[parts] * (parts > 2))),))


def _concat(rng: np.random.Generator) -> Sample:
    """Of two maps, or of as many as dense networks join."""
    while True:
        shape, others = draw_image(rng), int(rng.choice((1, 1, 1, 2, 3, 7, 15)))
        if np.prod(shape) * (1 + others) <= MOST_ELEMENTS:
            return Sample(shape, (Stage("concat", (1, *[others] * (others > 1))),))


def _blocks(name: str, *order: int) -> Draw:
    """Channels that become finer pixels, as images are made larger, or pixels that become channels."""

    def draw(rng: np.random.Generator) -> Sample:
        block = int(rng.choice((2, 2, 3, 4)))
        while True:
            channels, side = int(rng.choice((1, 3, 3, 4, 8, 16, 32, 64))), int(log_uniform(rng, 6, 200))
            shape = (
                (1, channels * block**2, side, side) if name == "finer" else (1, channels, side * block, side * block)
            )
            if np.prod(shape) <= MOST_ELEMENTS:
                return Sample(shape, (Stage(name, (block, *order)),))

    return draw


def _typed(name: str) -> Draw:
    return lambda rng: Sample(
        draw_image(rng) if rng.random() < 0.6 else draw_tokens(rng), (Stage(name, (int(rng.integers(2)),)),)
    )


def _rows_joined(name: str) -> Draw:
    """Along the last axis, or along the channels of several images."""

    def draw(rng: np.random.Generator) -> Sample:
        if rng.random() < 0.3:
            batch, image = int(rng.choice((2, 4, 8))), draw_image(rng, 4)
            shape, axis = (batch, max(2, image[1] // batch), *image[2:]), 1
        elif rng.random() < 0.4:
            shape, axis = draw_image(rng, 4), 3
            if rng.random() < 0.4:
                # Of boxes, points or colours: a few numbers behind one another.
                shape, axis = (1, int(log_uniform(rng, 64, 16384)), int(rng.choice((2, 4, 6, 8)))), 2
        else:
            shape, axis = draw_tokens(rng), 2
        parts = min(int(rng.choice((2, 2, 3, 4))), shape[axis]) if name == "split" else 2
        return Sample(shape, (Stage(name, (axis, *[parts] * (parts > 2))),))

    return draw


def _softmax(rng: np.random.Generator) -> Sample:
    tokens = int(rng.choice((49, 50, 64, 65, 98, 128, 196, 197, 256)))
    if is_any(rng):
        return Sample((1, draw_any(rng, 1, 2000), draw_any(rng, 2, 1000)), (Stage("softmax"),))
    if rng.random() < 0.2:
        return Sample((1, draw_channels(rng, 4, 1200)), (Stage("softmax"),))
    return Sample((1, int(rng.integers(1, 17)), tokens, tokens), (Stage("softmax"),))


def _softmax_narrow(rng: np.random.Generator) -> Sample:
    """Of few classes or bins at each of many places."""
    width = int(rng.choice((4, 8, 10, 16, 17, 21, 32)))
    return Sample((1, int(log_uniform(rng, 300, MOST_ACROSS / width)), width), (Stage("softmax"),))


def _softmax_across(rng: np.random.Generator) -> Sample:
    """Over the channels of a map, or over bins of which the positions are last, near that axis or far from it."""
    shape: tuple[int, ...]
    while True:
        kind = rng.random()
        places = int(log_uniform(rng, 64, 9000))
        heads, bins = int(rng.choice((1, 4, 8))), int(rng.choice((16, 32, 64)))
        if is_any(rng):
            shape, axis = draw_any_image(rng), 1
        elif kind < 0.3:
            shape, axis = (1, draw_channels(rng, 4, 512), places), 1
        elif kind < 0.5:
            shape, axis = (1, bins, heads, places), 1
        elif kind < 0.8:
            shape, axis = (1, draw_channels(rng, 4, 512), *[int(rng.choice((10, 20, 28, 40, 56, 64, 80, 128)))] * 2), 1
        else:
            shape, axis = (1, heads, bins, places), 2
        if np.prod(shape) <= MOST_ACROSS * (2 if rng.random() < 0.1 else 1):
            return Sample(shape, (Stage("softmax", (axis,)),))


#: Kind -> what draws one of it.
MOVED: dict[str, Draw] = {
    "pad": _pad,
    "concat": _concat,
    "quantise": _typed("quantise"),
    "dequantise": _typed("dequantise"),
    "transpose": _transpose,
    "softmax": _softmax,
    "softmax_across": _softmax_across,
    "softmax_narrow": _softmax_narrow,
    "gather": lambda rng: Sample(
        (int(log_uniform(rng, 50, 5000)), draw_channels(rng, 16, 512)),
        (Stage("gather", (int(log_uniform(rng, 1, 300)),)),),
    ),
    "split": _split,
    "finer": _blocks("finer", 0),
    "finer_dcr": _blocks("finer", 1),
    "coarser": _blocks("coarser"),
    "slice": lambda rng: Sample(draw_tokens(rng), (Stage("slice", (int(rng.integers(1, 3)),)),)),
    "transpose_even": _transpose_even,
    "by_number": _by_number,
    "divided_by_number": _divided_by_number,
    "flip": _flip,
    "regroup": _regroup,
    "unmoved": _unmoved("transpose"),
    "copy": _unmoved("copy"),
    "over": _over,
    "divided": _divided,
    "grown": _grown,
    "expand": _expand,
    "reduce_sum": _reduce(1),
    "reduce_mean": _reduce(0),
    "reduce_max": _reduce(2),
    "reduce_channels_mean": _reduce_channels(0),
    "reduce_channels_max": _reduce_channels(2),
    "pick": _pick(0),
    "pick_blocks": _pick(1),
    "stepped": _sliced,
    "concat_rows": _rows_joined("concat"),
    "split_rows": _rows_joined("split"),
}

"""Draw the operators that a device's costs are learnt from, where networks have theirs; and pairs that show fusion.

Sizes follow what published vision, audio and text networks hold: maps of 4 to 256 pixels a side, wide where they are
small; rows of tokens by the dimensions of transformers. Everything is drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from fleetfront.predictors.operators.samples import Sample, Stage

Draw = Callable[[np.random.Generator], Sample]

#: Sides of maps, and multiply-accumulates and elements that one operator has at most: a visit takes 50 ms then.
_SIDES = (1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
_MOST_MACS, _MOST_ELEMENTS, _MOST_WEIGHTS = 4e8, 2.5e6, 3e6
#: Elements that windows look at, and that softmax is taken of across rows: each is dearer there.
_MOST_POOLED, _MOST_ACROSS = 1e7, 1e6
_TOKENS = (1, 1, 1, 16, 32, 49, 50, 64, 65, 98, 100, 128, 144, 196, 197, 256, 257, 384, 400, 784, 1024, 3136)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its parts: what ``whole`` saves against them is what a runtime fuses, or lays out once.

    ``asks`` as in ``rules.ChainTest``.
    """

    asks: str
    whole: Sample
    parts: tuple[Sample, ...]


def draw_singles(counts: dict[str, int], seed: int = 0) -> list[Sample]:
    """Distinct samples of one operator: so many of each kind in ``counts``, whose names are keys of ``DRAWS``."""
    found: dict[str, Sample] = {}
    for kind, count in counts.items():
        rng = np.random.default_rng([seed, sum(kind.encode())])
        wanted, tries = len(found) + count, 0
        while len(found) < wanted and tries < 50 * count:
            sample = DRAWS[kind](rng)
            found.setdefault(sample.key, sample)
            tries += 1
    return list(found.values())


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _channels(rng: np.random.Generator, low: int, high: int) -> int:
    """Mostly multiples of eight, as networks have them."""
    drawn = _log(rng, low, high)
    step = int(rng.choice((1, 2, 4, 8, 16, 32), p=(0.06, 0.06, 0.13, 0.4, 0.2, 0.15)))
    return max(1, round(drawn / step) * step) if drawn >= step else max(1, round(drawn))


def _side(rng: np.random.Generator, channels: int, fewest: int = 1) -> int:
    """A side that maps of so many channels have, now and then another."""
    usual = 56 * 64 / channels
    sides = np.array([side for side in _SIDES if side >= fewest])
    weight = np.exp(-0.5 * (np.log(sides / max(usual, fewest)) / 1.0) ** 2) + 0.02
    return int(rng.choice(sides, p=weight / weight.sum()))


def _fits(sample_macs: float, elements: float, weights: float = 0.0) -> bool:
    return sample_macs <= _MOST_MACS and elements <= _MOST_ELEMENTS and weights <= _MOST_WEIGHTS


def _conv(kernels: Sequence[tuple[int, float]], *, grouped: bool = False) -> Draw:
    sizes, shares = zip(*kernels, strict=True)

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            kernel = int(rng.choice(sizes, p=shares))
            channels = _channels(rng, 3, 1536)
            is_stem = kernel > 1 and not grouped and rng.random() < 0.12
            if is_stem:
                channels = int(rng.choice((1, 3, 3, 3)))
            out = _channels(rng, max(8, channels // 6), min(2048, 12 + channels * 6))
            groups = 1
            if grouped:
                groups = int(rng.choice((2, 2, 3, 4, 8, 16, 32)))
                channels, out = (max(1, size // groups) * groups for size in (channels, out))
            side = int(rng.choice((49, 96, 112, 128, 160, 192, 224, 256))) if is_stem else _side(rng, channels)
            other = side if rng.random() < 0.85 else _side(rng, channels)
            stride = 2 if rng.random() < (0.7 if is_stem else 0.2) and side > 3 else 1
            macs = side * other * kernel**2 * channels * out / groups / stride**2
            moved = side * other * (channels + out / stride**2)
            if _fits(macs, moved, kernel**2 * channels * out / groups):
                window = (kernel, kernel) if other > 1 else (kernel, 1)
                stage = Stage("conv", (out, *window, stride, groups))
                return Sample((1, channels, side, other), (stage,))

    return draw


def _patches(rng: np.random.Generator) -> Sample:
    """How an image becomes tokens: windows beside each other."""
    while True:
        patch, out = int(rng.choice((2, 4, 8, 14, 16, 32))), _channels(rng, 32, 768)
        channels = 3 if patch > 2 else _channels(rng, 32, 256)
        side = int(rng.choice((96, 128, 160, 192, 224))) if channels == 3 else int(rng.choice((14, 28, 56)))
        if _fits((side / patch) ** 2 * patch**2 * channels * out, side**2 * channels, patch**2 * channels * out):
            return Sample((1, channels, side, side), (Stage("conv", (out, patch, patch, patch, 1)),))


def _depthwise(rng: np.random.Generator) -> Sample:
    while True:
        channels, kernel = _channels(rng, 8, 1600), int(rng.choice((3, 5, 7), p=(0.55, 0.3, 0.15)))
        side = _side(rng, channels, 3)
        other = side if rng.random() < 0.9 else _side(rng, channels, 3)
        stride = 2 if rng.random() < 0.3 else 1
        if _fits(0, side * other * channels * 2):
            stage = Stage("conv", (channels, kernel, kernel, stride, channels))
            return Sample((1, channels, side, other), (stage,))


def _linear(rng: np.random.Generator) -> Sample:
    while True:
        rows, inner, out = int(rng.choice(_TOKENS)), _channels(rng, 16, 3072), _channels(rng, 10, 3072)
        if _fits(rows * inner * out, rows * (inner + out), inner * out):
            return Sample((1, inner) if rows == 1 else (1, rows, inner), (Stage("linear", (out,)),))


def _image(rng: np.random.Generator, fewest: int = 1) -> tuple[int, ...]:
    while True:
        channels = _channels(rng, 8, 1600)
        side = _side(rng, channels, fewest)
        if side * side * channels <= _MOST_ELEMENTS:
            return 1, channels, side, side


def _tokens(rng: np.random.Generator) -> tuple[int, ...]:
    while True:
        rows, width = int(rng.choice(_TOKENS)), _channels(rng, 16, 3072)
        if rows * width <= _MOST_ELEMENTS:
            return 1, rows, width


def _on_images(name: str) -> Draw:
    return lambda rng: Sample(_image(rng), (Stage(name),))


def _on_both(name: str) -> Draw:
    return lambda rng: Sample(_image(rng) if rng.random() < 0.6 else _tokens(rng), (Stage(name),))


def _pool(name: str) -> Draw:
    def draw(rng: np.random.Generator) -> Sample:
        kernel, stride = (int(number) for number in rng.choice(((2, 2), (3, 2), (3, 1), (3, 2))))
        return Sample(_image(rng, 4), (Stage(name, (kernel, stride)),))

    return draw


def _wide_pool(name: str) -> Draw:
    """Windows that look far around, as those that pool at several scales."""

    def draw(rng: np.random.Generator) -> Sample:
        while True:
            kernel, shape = int(rng.choice((5, 5, 7, 9, 13))), _image(rng, 10)
            if shape[1] * shape[2] ** 2 * kernel**2 <= _MOST_POOLED:
                return Sample(shape, (Stage(name, (kernel, 1)),))

    return draw


def _pad(rng: np.random.Generator) -> Sample:
    """Before windows that move on by two pixels: of the photo itself, now and then."""
    shape = _image(rng, 4)
    if rng.random() < 0.25:
        side = int(rng.choice((96, 128, 160, 192, 224, 256)))
        shape = (1, 3, side, side)
    return Sample(shape, (Stage("pad", (int(rng.choice((1, 1, 2, 3))),)),))


def _transpose(rng: np.random.Generator) -> Sample:
    if rng.random() < 0.4:
        heads, tokens, width = _heads(rng)
        permutation = ((0, 2, 1, 3), (0, 1, 3, 2))[int(rng.integers(2))]
        return Sample((1, tokens, heads, width), (Stage("transpose", permutation),))
    if rng.random() < 0.5:
        permutation = ((0, 2, 3, 1), (0, 2, 1, 3), (0, 1, 3, 2))[int(rng.integers(3))]
        return Sample(_image(rng, 4), (Stage("transpose", permutation),))
    return Sample(_tokens(rng), (Stage("transpose", (0, 2, 1)),))


def _on_tokens(name: str) -> Draw:
    return lambda rng: Sample(_tokens(rng), (Stage(name),))


def _heads(rng: np.random.Generator) -> tuple[int, int, int]:
    """Heads, tokens, and the width of one."""
    tokens = int(rng.choice((16, 32, 49, 50, 64, 65, 98, 128, 144, 196, 197, 256)))
    return int(rng.integers(1, 17)), tokens, int(rng.choice((16, 24, 32, 48, 64, 96)))


def _matmul(rng: np.random.Generator) -> Sample:
    heads, tokens, width = _heads(rng)
    if rng.random() < 0.5:
        return Sample((1, heads, tokens, width), (Stage("matmul", (tokens,)),))
    return Sample((1, heads, tokens, tokens), (Stage("matmul", (width,)),))


def _conv1d(rng: np.random.Generator) -> Sample:
    while True:
        channels, length = _channels(rng, 1, 512), int(rng.choice((50, 64, 100, 128, 250, 400, 1000, 4000, 16000)))
        out, kernel = _channels(rng, 8, 512), int(rng.choice((1, 3, 5, 9, 15, 31)))
        groups = channels if rng.random() < 0.3 and channels > 1 else 1
        out, stride = (channels if groups > 1 else out), int(rng.choice((1, 1, 2, 4)))
        macs = length / stride * kernel * channels * out / groups
        if _fits(macs, length * (channels + out / stride), kernel * channels * out / groups):
            return Sample((1, channels, length), (Stage("conv1d", (out, kernel, stride, groups)),))


def _spread(rng: np.random.Generator) -> Sample:
    while True:
        channels, out = _channels(rng, 8, 512), _channels(rng, 3, 256)
        side, (kernel, stride) = _side(rng, channels), ((2, 2), (4, 2), (3, 1))[int(rng.integers(3))]
        if _fits((side * kernel) ** 2 * channels * out, (side * stride) ** 2 * out, kernel**2 * channels * out):
            return Sample((1, channels, side, side), (Stage("conv_transpose", (out, kernel, stride)),))


def _resize(rng: np.random.Generator) -> Sample:
    while True:
        shape = _image(rng, 4)
        if shape[1] * shape[2] ** 2 * 4 <= _MOST_ELEMENTS:
            return Sample(shape, (Stage("resize", (2, int(rng.integers(2)))),))


def _cell(name: str) -> Draw:
    def draw(rng: np.random.Generator) -> Sample:
        steps, features, hidden = int(_log(rng, 10, 150)), _channels(rng, 16, 256), _channels(rng, 32, 320)
        return Sample((steps, 1, features), (Stage(name, (hidden,)),))

    return draw


def _softmax(rng: np.random.Generator) -> Sample:
    tokens = int(rng.choice((49, 50, 64, 65, 98, 128, 196, 197, 256)))
    if rng.random() < 0.2:
        return Sample((1, _channels(rng, 4, 1200)), (Stage("softmax"),))
    return Sample((1, int(rng.integers(1, 17)), tokens, tokens), (Stage("softmax"),))


def _softmax_across(rng: np.random.Generator) -> Sample:
    """Over the channels of a map, or over bins of which the positions are last."""
    while True:
        if rng.random() < 0.6:
            shape, axis = (1, _channels(rng, 4, 512), *[int(rng.choice((10, 20, 28, 40, 56, 64, 80, 128)))] * 2), 1
        else:
            shape, axis = (1, int(rng.choice((1, 4, 8))), int(rng.choice((16, 32, 64))), int(_log(rng, 64, 9000))), 2
        if np.prod(shape) <= _MOST_ACROSS:
            return Sample(shape, (Stage("softmax", (axis,)),))


def _narrowed(draw: Draw) -> Draw:
    return lambda rng: replace(draw(rng), is_narrow=True)


#: Kind -> what draws one of it.
DRAWS: dict[str, Draw] = {
    "pointwise": _conv([(1, 1.0)]),
    "conv": _conv([(3, 0.75), (5, 0.13), (7, 0.12)]),
    "depthwise": _depthwise,
    "patches": _patches,
    "grouped": _conv([(1, 0.35), (3, 0.65)], grouped=True),
    "linear": _linear,
    "max_pool": _pool("max_pool"),
    "average_pool": _pool("average_pool"),
    "global_pool": _on_images("global_pool"),
    "pad": _pad,
    "relu": _on_both("relu"),
    "relu6": _on_images("relu6"),
    "hard_swish": _on_images("hard_swish"),
    "hard_sigmoid": _on_images("hard_sigmoid"),
    "sigmoid": _on_both("sigmoid"),
    "silu": _on_both("silu"),
    "add": _on_both("add"),
    "multiply": _on_both("multiply"),
    "scale": _on_images("scale"),
    "concat": lambda rng: Sample(_image(rng), (Stage("concat", (1,)),)),
    "transpose": _transpose,
    "softmax": _softmax,
    "softmax_across": _softmax_across,
    "max_pool_wide": _wide_pool("max_pool"),
    "average_pool_wide": _wide_pool("average_pool"),
    "matmul": _matmul,
    "layer_norm": _on_tokens("layer_norm"),
    "mean": lambda rng: Sample(_tokens(rng), (Stage("mean", (int(rng.integers(1, 3)),)),)),
    "gather": lambda rng: Sample(
        (int(_log(rng, 50, 5000)), _channels(rng, 16, 512)), (Stage("gather", (int(_log(rng, 1, 300)),)),)
    ),
    "conv1d": _conv1d,
    "split": lambda rng: Sample(_image(rng, 4), (Stage("split", (1,)),)),
    "slice": lambda rng: Sample(_tokens(rng), (Stage("slice", (int(rng.integers(1, 3)),)),)),
    "pool1d": lambda rng: Sample((1, _channels(rng, 8, 512), int(_log(rng, 30, 4000))), (Stage("pool1d", (4,)),)),
    "conv_transpose": _spread,
    "resize": _resize,
    "lstm": _cell("lstm"),
    "gru": _cell("gru"),
    **{name: _on_both(name) for name in ("gelu", "gelu_halved", "tanh", "sub", "div", "leakyrelu")},
    **{name: _on_tokens(name) for name in ("erf", "exp", "sqrt")},
}

#: How many of each kind that files hold in int8.
_NARROW = {"pointwise": 60, "conv": 50, "depthwise": 45, "linear": 40} | dict.fromkeys(
    ("add", "max_pool", "average_pool", "global_pool", "softmax", "concat", "pad"), 9
)
DRAWS |= {f"int8 {kind}": _narrowed(DRAWS[kind]) for kind in _NARROW}

#: How many of each kind a profile starts with.
FIRST = (
    {
        "pointwise": 150,
        "conv": 150,
        "depthwise": 110,
        "grouped": 90,
        "linear": 100,
        "matmul": 50,
        "conv1d": 120,
        "patches": 30,
    }
    | dict.fromkeys(("max_pool", "average_pool", "global_pool", "add", "multiply", "scale", "concat", "softmax"), 16)
    | dict.fromkeys(("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "tanh", "gelu", "layer_norm"), 14)
    | dict.fromkeys(("erf", "exp", "sqrt", "sub", "div", "mean", "gather", "leakyrelu", "pool1d"), 9)
    | {"transpose": 80, "conv_transpose": 30, "resize": 16, "lstm": 32, "gru": 32, "split": 16, "slice": 16}
    | {"gelu_halved": 14, "silu": 14, "pad": 24, "softmax_across": 30, "max_pool_wide": 16, "average_pool_wide": 16}
    | {f"int8 {kind}": count for kind, count in _NARROW.items()}
)


def draw_chains(seed: int = 0, sizes: int = 5) -> Iterator[Chain]:
    """Chains of two and three operators with the operators alone, each at several sizes of map; then paddings."""
    rng = np.random.default_rng([seed, 2])
    for asks, names in _CHAINS:
        for _ in range(sizes):
            channels, side = int(rng.choice((32, 64, 96, 128, 256))), int(rng.choice((14, 28, 56)))
            while channels * side > 3600:
                side //= 2
            shape, stages = (1, channels, side, side), tuple(_LINKS[name](channels) for name in names)
            alone = [Stage("add") if stage.name == "residual" else stage for stage in stages]
            # What a tail adds to a longer chain is told by the chain without it.
            split = [stages[:-1], (alone[-1],)] if asks == "fused" else [(stage,) for stage in alone]
            yield Chain(asks, Sample(shape, stages), tuple(Sample(shape, part) for part in split))
    yield from _padded_chains(rng, sizes)


def _padded_chains(rng: np.random.Generator, sizes: int) -> Iterator[Chain]:
    """Windows that move on by two pixels, of a map with an even side: TensorFlow pads it otherwise than all others.

    With a side less by one they pad alike, and there is as much to do.
    """
    for name, is_narrow in (*product(("conv", "depthwise"), (False, True)), ("max_pool", False)):
        for _ in range(sizes):
            channels, side = int(rng.choice((16, 32, 64, 96))), int(rng.choice((28, 56, 80, 112)))
            groups = channels if name == "depthwise" else 1
            stage = Stage(name, (3, 2)) if name == "max_pool" else Stage("conv", (channels, 3, 3, 2, groups))
            even, odd = (Sample((1, channels, each, each), (stage,), is_narrow) for each in (side, side - 1))
            yield Chain("padded", even, (odd, replace(even, stages=(Stage("pad", (1,)),))))


def _plain_link(name: str) -> Callable[[int], Stage]:
    return lambda _: Stage(name)


#: What chains are made of, by the channels that flow through: all but pools at the end keep the size of the map.
_LINKS: dict[str, Callable[[int], Stage]] = {
    "conv": lambda channels: Stage("conv", (channels, 3, 3, 1, 1)),
    "pointwise": lambda channels: Stage("conv", (channels, 1, 1, 1, 1)),
    "depthwise": lambda channels: Stage("conv", (channels, 3, 3, 1, channels)),
    "max_pool": lambda _: Stage("max_pool", (3, 1)),
    "average_pool": lambda _: Stage("average_pool", (3, 1)),
    "global_pool": lambda _: Stage("global_pool"),
}
_ENDS = ("conv", "pointwise", "depthwise")
_MIDDLES = ("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "residual", "scale", "silu")
_LINKS |= {name: _plain_link(name) for name in _MIDDLES}

_CHAINS = (
    *(("fused", (head, tail)) for head in _ENDS[1:] for tail in _MIDDLES[:5]),
    *(("fused", ("pointwise", head, "residual")) for head in _ENDS[:2]),
    *(("layout", (head, tail)) for head in _ENDS for tail in (*_ENDS, "max_pool", "average_pool", "global_pool")),
    *(("through", ("pointwise", middle, "pointwise")) for middle in _MIDDLES),
)

"""Draw the operators that a device's costs are learnt from, where networks have theirs; and pairs that show fusion.

Everything is drawn from a seed; ``sizes`` says how large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from fleetfront.predictors.operators.draws_computed import COMPUTED, narrowed
from fleetfront.predictors.operators.draws_moved import MOVED
from fleetfront.predictors.operators.samples import Sample, Stage
from fleetfront.predictors.operators.sizes import Draw

#: What chains ask that tell what weights cost behind other work: no rule, but a scale of networks.
COLD = "cold"
#: What chains ask that tell of files which may pad as they like whether padding before windows vanishes.
PADS = "pads"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its parts: what ``whole`` saves against them is what a runtime fuses, or lays out once.

    ``is_followed``: something else stands behind the tail that is asked for, and behind its head alone.
    ``asks`` as in ``rules.ChainTest``, or ``COLD``, or ``PADS``.
    """

    asks: str
    whole: Sample
    parts: tuple[Sample, ...]
    is_followed: bool = False


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


#: Kind -> what draws one of it.
DRAWS: dict[str, Draw] = {**COMPUTED, **MOVED}

#: How many of each kind that files hold in int8.
_NARROW = (
    {"pointwise": 60, "conv": 50, "depthwise": 50, "linear": 40}
    | dict.fromkeys(("add", "global_pool", "softmax", "concat", "linear_row", "depthwise_odd"), 12)
    | {"max_pool": 20, "average_pool": 20, "pad": 34}
)
#: How many with weights from 0 to 255.
_UNSIGNED = {"pointwise": 30, "conv": 30, "depthwise": 24, "linear": 24, "linear_row": 9}
DRAWS |= {f"int8 {kind}": narrowed(DRAWS[kind]) for kind in _NARROW}
DRAWS |= {f"uint8 {kind}": narrowed(DRAWS[kind], is_unsigned=True) for kind in _UNSIGNED}

#: How many of each kind a profile starts with.
FIRST = (
    {
        "pointwise": 150,
        "conv": 140,
        "depthwise": 110,
        "grouped": 90,
        "grouped_even": 24,
        "grouped_width": 60,
        "linear": 80,
        "linear_flat": 50,
        "linear_row": 66,
        "matmul": 50,
        "matmul_row": 30,
        "matmul_wide": 20,
        "multiplied": 44,
        "depthwise_odd": 34,
        "pointwise_fed": 16,
        "conv_fed": 30,
        "depthwise_fed": 16,
        "batch_norm": 14,
        "conv1d": 90,
        "conv1d_depthwise": 40,
        "conv_uneven": 50,
        "conv_uneven_wide": 10,
        "pointwise_uneven": 40,
        "conv_to_few": 40,
        "conv_narrow": 50,
        "global_pool_even": 16,
        "skip_norm": 30,
        "patches": 30,
    }
    | dict.fromkeys(("max_pool", "average_pool"), 40)
    | dict.fromkeys(("max_pool_odd", "average_pool_odd"), 44)
    | dict.fromkeys(("global_pool", "add", "multiply", "scale", "softmax"), 16)
    | dict.fromkeys(("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "tanh", "gelu"), 14)
    | dict.fromkeys(("erf", "exp", "sqrt", "sub", "div", "gather", "leakyrelu", "pool1d", "gelu_tanh", "divided"), 9)
    | {"transpose": 70, "conv_transpose": 36, "lstm": 36, "gru": 36, "split": 36, "slice": 16, "layer_norm": 50}
    | {
        "transpose_even": 80,
        "by_number": 14,
        "concat": 24,
        "quantise": 18,
        "dequantise": 18,
        "divided_by_number": 9,
        "flip": 24,
    }
    | dict.fromkeys(("resize", "resize_linear", "resize_doubled", "resize_averaged"), 12)
    | {"resize_cubic": 24, "finer": 12, "finer_dcr": 12, "coarser": 12}
    | dict.fromkeys(
        ("resize_inside", "resize_nearest_inside", "resize_along", "resize_linear_along", "unmoved", "copy"), 8
    )
    | dict.fromkeys(("lstm_both_ways", "gru_both_ways", "grown", "expand", "concat_rows"), 14)
    | {
        "transposed_grouped": 44,
        "regroup": 60,
        "over": 60,
        "pick": 16,
        "pick_blocks": 12,
        "stepped": 24,
        "split_rows": 26,
    }
    | {"reduce_mean": 60, "reduce_sum": 30, "reduce_max": 50}
    | dict.fromkeys(("reduce_channels_mean", "reduce_channels_max"), 60)
    | {
        "gelu_halved": 14,
        "silu": 14,
        "pad": 36,
        "softmax_across": 44,
        "softmax_narrow": 14,
        "max_pool_wide": 16,
        "average_pool_wide": 16,
    }
    | {f"int8 {kind}": count for kind, count in _NARROW.items()}
    | {f"uint8 {kind}": count for kind, count in _UNSIGNED.items()}
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
            if asks == "fused":
                # What a tail adds to a longer chain is told by the chain without it: last of all it may run otherwise.
                last, tail = _LINKS["pointwise"](channels), Sample(shape, (alone[-1],))
                without = Sample(shape, (*stages[:-1], last))
                yield Chain(asks, Sample(shape, (*stages, last)), (without, tail), is_followed=True)
                continue
            parts = list[Sample]()
            for stage in alone:
                parts.append(Sample(_made(parts[-1]) if parts else shape, (stage,)))
            yield Chain(asks, Sample(shape, stages), tuple(parts))
    yield from _padded_chains(rng, sizes)
    yield from _small_chains(np.random.default_rng([seed, 3]))
    yield from _pads_chains(np.random.default_rng([seed, 4]))
    yield from _cold_chains()


def _pads_chains(rng: np.random.Generator) -> Iterator[Chain]:
    """Padding by itself, then windows, against the windows on as large a map, and the padding."""
    for name, _ in product(("conv", "depthwise", "max_pool", "average_pool"), range(_TAIL_SIZES)):
        channels, side, each = int(rng.choice((16, 32, 64))), int(rng.choice((14, 28, 56))), int(rng.choice((1, 2)))
        stage, pad, padded = _LINKS[name](channels), Stage("pad", (each,)), side + 2 * each
        window, shape = Sample((1, channels, padded, padded), (stage,)), (1, channels, side, side)
        yield Chain(PADS, Sample(shape, (pad, stage)), (window, Sample(shape, (pad,))))


def _made(sample: Sample) -> tuple[int, ...]:
    """The shape of what a sample makes."""
    graph = sample.graph()
    return tuple(int(size) for size in graph.tensors[graph.outputs[0]].shape)


def _small_chains(rng: np.random.Generator) -> Iterator[Chain]:
    """Pairs on maps so small that changes of layout cost the same whatever their size; activations behind operators
    that are no convolutions of images.
    """
    for names in product(_ENDS, repeat=2):
        channels, side = int(rng.choice((16, 32))), int(rng.choice((4, 5, 7)))
        stages, shape = [_LINKS[name](channels) for name in names], (1, channels, side, side)
        yield Chain("layout", Sample(shape, (*stages,)), tuple(Sample(shape, (stage,)) for stage in stages))
    for make, tails in _ACTIVATED:
        for tail, _ in product(tails, range(_TAIL_SIZES)):
            head = make(rng)
            whole = replace(head, stages=(*head.stages, Stage(tail)))
            yield Chain("fused", whole, (head, Sample(_made(head), (Stage(tail),))))


def _flat_link(rows: int | None) -> Callable[[np.random.Generator], Sample]:
    """A linear layer on one row, on a matrix, or where ``rows`` is None on a batch of one matrix."""

    def make(rng: np.random.Generator) -> Sample:
        inner, out, many = (int(rng.choice(sizes)) for sizes in ((32, 64, 256), (64, 256, 1024), (16, 64, 200)))
        return Sample(
            (1, many, inner) if rows is None else (rows if rows == 1 else many, inner), (Stage("linear", (out,)),)
        )

    return make


def _conv1d_link(rng: np.random.Generator) -> Sample:
    channels, length = int(rng.choice((16, 32, 64))), int(rng.choice((100, 400, 1000)))
    return Sample((1, channels, length), (Stage("conv1d", (channels, 3, 1, 1)),))


def _spread_link(rng: np.random.Generator) -> Sample:
    channels, side = int(rng.choice((16, 32, 64))), int(rng.choice((14, 20, 28)))
    return Sample((1, channels, side, side), (Stage("conv_transpose", (channels, 2, 2)),))


def _cold_chains() -> Iterator[Chain]:
    """Products of one row behind convolutions of few weights and of many, or of large maps, alone and without them."""
    for (repeats, channels, side, kernel), (width, outs) in product(_BODIES, _CLASSIFIERS):
        convs = [Stage("conv", (channels, kernel, kernel, 1, 1))] * repeats + [Stage("conv", (width, 1, 1, 1, 1))]
        convs[-1:-1] = [Stage("max_pool", (3, 2))] * (3 if kernel == 1 else 0)
        body = Sample((1, channels, side, side), (*convs, Stage("global_pool"), Stage("flat")))
        for out in outs:
            last = Stage("linear", (out,))
            whole = replace(body, stages=(*body.stages, last))
            yield Chain(COLD, whole, (body, Sample((1, width), (last,))))


def _padded_chains(rng: np.random.Generator, sizes: int) -> Iterator[Chain]:
    """Windows that move on by two pixels, of a map with an even side: TensorFlow pads it otherwise than all others.

    With a side less by one they pad alike, and there is as much to do.
    """
    for name, is_narrow in (*product(("conv", "depthwise"), (False, True)), ("max_pool", False), ("stem", False)):
        for _ in range(sizes):
            channels, side = int(rng.choice((16, 32, 64, 96))), int(rng.choice((28, 56, 80, 112)))
            stage = Stage("conv", (channels, 3, 3, 2, channels if name == "depthwise" else 1))
            if name == "stem":
                channels, side = 3, 2 * side
            elif name == "max_pool":
                stage = Stage(name, (3, 2))
            even, odd = (Sample((1, channels, each, each), (stage,), is_narrow) for each in (side, side - 1))
            yield Chain("padded", even, (odd, replace(even, stages=(Stage("pad", (1,)),))))


def _plain_link(name: str) -> Callable[[int], Stage]:
    return lambda _: Stage(name)


#: Convolutions of 0.1 to 10 million weights, or of as many results: how many, of how many channels, on maps of which
#: side, of which window; and the products behind them, by what they multiply and how many results they have.
_BODIES = (
    (1, 96, 14, 3),
    (2, 192, 7, 3),
    (3, 256, 7, 3),
    (3, 384, 4, 3),
    (4, 512, 4, 3),
    (4, 48, 80, 1),
    (6, 64, 96, 1),
)
_CLASSIFIERS = ((512, (1000,)), (1280, (400, 1000)), (2048, (1000,)))
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
#: Twice the side: pixels repeated, in two ways to say it, or between them.
_LARGER: dict[str, Callable[[int], Stage]] = {
    "repeated": lambda _: Stage("resize", (2, 0)),
    "doubled": lambda _: Stage("resize", (2, 0, 1)),
    "between": lambda _: Stage("resize", (2, 1)),
}
_LINKS |= _LARGER

#: What activations are tried behind, beside convolutions of images, and which.
_TAIL_SIZES = 4
_ACTIVATED: tuple[tuple[Callable[[np.random.Generator], Sample], tuple[str, ...]], ...] = (
    (_flat_link(1), ("relu", "sigmoid", "tanh")),
    (_flat_link(2), ("relu", "sigmoid", "tanh")),
    (_flat_link(None), ("relu", "tanh")),
    (_conv1d_link, ("relu",)),
    (_spread_link, ("relu",)),
)
_CHAINS = (
    *(("fused", (head, tail)) for head in _ENDS[1:] for tail in _MIDDLES[:5]),
    *(("fused", ("pointwise", head, "residual")) for head in _ENDS[:2]),
    *(("layout", (head, tail)) for head in _ENDS for tail in (*_ENDS, "max_pool", "average_pool", "global_pool")),
    *(("through", ("pointwise", middle, "pointwise")) for middle in (*_MIDDLES, *_LARGER)),
)

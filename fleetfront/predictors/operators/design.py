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


#: Kind -> what draws one of it.
DRAWS: dict[str, Draw] = {**COMPUTED, **MOVED}

#: How many of each kind that files hold in int8.
_NARROW = {"pointwise": 60, "conv": 50, "depthwise": 45, "linear": 40} | dict.fromkeys(
    ("add", "max_pool", "average_pool", "global_pool", "softmax", "concat", "pad", "linear_row"), 12
)
#: How many with weights from 0 to 255.
_UNSIGNED = {"pointwise": 30, "conv": 30, "depthwise": 24, "linear": 24, "linear_row": 9}
DRAWS |= {f"int8 {kind}": narrowed(DRAWS[kind]) for kind in _NARROW}
DRAWS |= {f"uint8 {kind}": narrowed(DRAWS[kind], is_unsigned=True) for kind in _UNSIGNED}

#: How many of each kind a profile starts with.
FIRST = (
    {
        "pointwise": 150,
        "conv": 150,
        "depthwise": 110,
        "grouped": 90,
        "linear": 90,
        "linear_row": 48,
        "matmul": 50,
        "matmul_row": 20,
        "multiplied": 20,
        "pointwise_fed": 16,
        "conv_fed": 30,
        "depthwise_fed": 16,
        "batch_norm": 14,
        "conv1d": 120,
        "patches": 30,
    }
    | dict.fromkeys(("max_pool", "average_pool"), 30)
    | dict.fromkeys(("global_pool", "add", "multiply", "scale", "softmax"), 16)
    | dict.fromkeys(("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "tanh", "gelu", "layer_norm"), 14)
    | dict.fromkeys(("erf", "exp", "sqrt", "sub", "div", "gather", "leakyrelu", "pool1d", "gelu_tanh", "divided"), 9)
    | {"transpose": 70, "conv_transpose": 30, "lstm": 32, "gru": 32, "split": 16, "slice": 16}
    | {
        "transpose_even": 44,
        "by_number": 14,
        "concat": 24,
        "quantise": 18,
        "dequantise": 18,
        "divided_by_number": 9,
        "flip": 24,
    }
    | dict.fromkeys(("resize", "resize_linear", "resize_cubic", "resize_doubled", "resize_averaged"), 9)
    | dict.fromkeys(("resize_inside", "resize_nearest_inside", "unmoved", "copy"), 8)
    | dict.fromkeys(("lstm_both_ways", "gru_both_ways", "grown", "expand", "concat_rows", "split_rows"), 14)
    | {"transposed_grouped": 44, "regroup": 40, "over": 60, "pick": 16, "pick_blocks": 12, "stepped": 24}
    | {"reduce_mean": 30, "reduce_sum": 16, "reduce_max": 30}
    | dict.fromkeys(("reduce_channels_mean", "reduce_channels_max"), 40)
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

"""Draw sizes as published vision, audio and text networks have them.

Maps are of 4 to 256 pixels a side, wide where they are small; rows of tokens have the dimensions of transformers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fleetfront.predictors.operators.samples import Sample

Draw = Callable[[np.random.Generator], Sample]

#: Sides of maps, and multiply-accumulates and elements that one operator has at most: a visit takes 50 ms then.
_SIDES = (1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
_MOST_MACS, MOST_ELEMENTS, _MOST_WEIGHTS = 4e8, 2.5e6, 3e6
_LARGE_SHARE, _LARGE_SIDES, _LARGE_ELEMENTS = 0.125, (56, 112, 128, 160, 224), 8e5
#: Of all samples so many are of any size: files are not only of published networks, and what lies between and beyond
#: their sizes runs on other code.
ANY_SHARE = 0.25
#: Elements that windows look at, and that softmax is taken of across rows: each is dearer there.
MOST_POOLED, MOST_ACROSS = 1e7, 1e6
TOKENS = (1, 2, 4, 8, 16, 32, 49, 50, 64, 65, 98, 100, 128, 144, 196, 197, 256, 257, 384, 400, 784, 1024, 3136)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Evenly on a scale of ratios."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_channels(rng: np.random.Generator, low: int, high: int) -> int:
    """Mostly multiples of eight, as networks have them."""
    drawn = log_uniform(rng, low, high)
    step = int(rng.choice((1, 2, 4, 8, 16, 32), p=(0.06, 0.06, 0.13, 0.4, 0.2, 0.15)))
    return max(1, round(drawn / step) * step) if drawn >= step else max(1, round(drawn))


def draw_any(rng: np.random.Generator, low: int, high: int) -> int:
    """Any number, evenly on a scale of ratios: odd ones as often as even ones."""
    return round(log_uniform(rng, low, high))


def is_any(rng: np.random.Generator) -> bool:
    """Tell whether a sample is to be of any size."""
    return bool(rng.random() < ANY_SHARE)


def draw_any_image(rng: np.random.Generator, fewest: int = 4, most: float = MOST_ELEMENTS) -> tuple[int, int, int, int]:
    """Shape of one image of any channels and sides."""
    while True:
        channels, height = draw_any(rng, 1, 512), draw_any(rng, fewest, 224)
        width = height if rng.random() < 0.6 else draw_any(rng, fewest, 224)
        if channels * height * width <= most:
            return 1, channels, height, width


def draw_side(rng: np.random.Generator, channels: int, fewest: int = 1) -> int:
    """A side that maps of so many channels have, now and then another."""
    usual = 56 * 64 / channels
    sides = np.array([side for side in _SIDES if side >= fewest])
    weight = np.exp(-0.5 * (np.log(sides / max(usual, fewest)) / 1.0) ** 2) + 0.02
    return int(rng.choice(sides, p=weight / weight.sum()))


def fits(sample_macs: float, elements: float, weights: float = 0.0) -> bool:
    """Tell whether an operator of so many multiply-accumulates, elements and weights is visited quickly."""
    return sample_macs <= _MOST_MACS and elements <= MOST_ELEMENTS and weights <= _MOST_WEIGHTS


def draw_image(rng: np.random.Generator, fewest: int = 1) -> tuple[int, ...]:
    """Shape of an image with square maps, channels first; one in eight is larger than caches are, others are any."""
    if is_any(rng):
        return draw_any_image(rng, max(fewest, 2))
    if rng.random() < _LARGE_SHARE:
        side = int(rng.choice(_LARGE_SIDES))
        return 1, max(1, int(log_uniform(rng, _LARGE_ELEMENTS, MOST_ELEMENTS)) // side**2), side, side
    while True:
        channels = draw_channels(rng, 8, 1600)
        side = draw_side(rng, channels, fewest)
        if side * side * channels <= MOST_ELEMENTS:
            return 1, channels, side, side


def draw_even(rng: np.random.Generator, least: int = 16, most: int = 1024) -> int:
    """A power of two: walks by as many elements meet few sets of caches."""
    return int(2 ** rng.integers(least.bit_length() - 1, most.bit_length()))


def draw_tokens(rng: np.random.Generator) -> tuple[int, ...]:
    """Shape of one sequence of tokens, now and then of any."""
    while True:
        if is_any(rng):
            rows, width = draw_any(rng, 1, 4000), draw_any(rng, 2, 3072)
        else:
            rows, width = int(rng.choice(TOKENS)), draw_channels(rng, 16, 3072)
        if rows * width <= MOST_ELEMENTS:
            return 1, rows, width


def draw_heads(rng: np.random.Generator) -> tuple[int, int, int]:
    """Heads, tokens, and the width of one."""
    tokens = int(rng.choice((16, 32, 49, 50, 64, 65, 98, 128, 144, 196, 197, 256)))
    return int(rng.integers(1, 17)), tokens, int(rng.choice((16, 24, 32, 48, 64, 96)))

"""A latency for every block of a space's vocabulary: measured, or filled in from the blocks that were.

How the missing ones are modelled is written in ``block_model``; how sums become networks in ``calibration``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.quantities import FloatArray

#: Relative error of a value interpolated between two resolutions where no third one was measured to check it. In the
#: once-for-all project's tables of a Galaxy Note 10 (83 blocks at 160..224 px) the inner resolutions are 1.5 % off
#: the line between the outer two; interpolation in the resolution instead of its square would be 2.1 % high on average.
DEFAULT_INTERPOLATION_STD = 0.015
#: A line through two noisy measurements may cross zero beyond them; the filled value stays above this share of what
#: scaling the nearest measurement by its pixels gives.
_LOWEST_SHARE = 0.5


class Filled(enum.StrEnum):
    """How an entry came to its value."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    MODELLED = "modelled"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A space's m blocks, as filling needs to know them.

    Attributes:
        keys: ``Block.key`` of each.
        groups: int[m]: blocks of one group differ in resolution alone.
        pixels: float64[m]: what latency is interpolated in, proportional to the square of the resolution.
        features: float64[m, f], non-negative; what a model of missing blocks may use.
    """

    keys: tuple[str, ...]
    groups: NDArray[np.intp]
    pixels: FloatArray
    features: FloatArray


@dataclass(frozen=True, slots=True)
class MeasuredBlock:
    """Milliseconds of one block alone, and the relative standard deviation of that number."""

    ms: float
    relative_std: float


#: No cost of a network in a metric's unit comes near, and the square of a sum of many is a number.
MOST_COST = 1e15


@dataclass(frozen=True, slots=True)
class LookupTable:
    """Milliseconds of m blocks in the order of a vocabulary.

    Attributes:
        keys: ``Block.key`` of each.
        ms: float64[m].
        relative_std: float64[m], of ``ms``.
        filled: how each came to be.
    """

    keys: tuple[str, ...]
    ms: FloatArray
    relative_std: FloatArray
    filled: tuple[Filled, ...]

    def __post_init__(self) -> None:
        """Raises ValueError if the columns differ in length or hold what no latency or deviation can be."""
        if not self.ms.shape == self.relative_std.shape == (len(self.keys),) == (len(self.filled),):
            raise ValueError("the columns of the lookup table differ in length")
        # Not a number is not within bounds either.
        if not np.all((self.ms > 0) & (self.ms < MOST_COST)):
            raise ValueError("the lookup table holds a latency that is not a positive number, or beyond all devices'")
        if not np.all((self.relative_std >= 0) & (self.relative_std < MOST_COST)):
            raise ValueError("the lookup table holds a deviation that is negative or no number")

    def count(self, how: Filled) -> int:
        """Entries that came to be in this way."""
        return self.filled.count(how)

    def reordered(self, keys: Sequence[str]) -> LookupTable:
        """The same entries in the order of another vocabulary. Raises InputError if one is not here."""
        position = {key: index for index, key in enumerate(self.keys)}
        absent = [key for key in keys if key not in position]
        if absent:
            raise InputError(
                f"{len(absent)} blocks of the space are not in the fitted table, the first is {absent[0]}.",
                "The space has changed since: profile and fit it again.",
            )
        order = [position[key] for key in keys]
        return LookupTable(
            tuple(keys), self.ms[order], self.relative_std[order], tuple(self.filled[index] for index in order)
        )


class BlockModel(Protocol):
    """Guesses blocks of groups with fewer than two measured members."""

    def __call__(
        self,
        features: FloatArray,
        ms: FloatArray,
        groups: NDArray[np.intp],
        wanted: FloatArray,
        wanted_groups: NDArray[np.intp],
    ) -> tuple[FloatArray, FloatArray]:
        """(ms[j], relative_std[j]) of missing blocks from features[k, f], ms[k] and groups[k] of measured ones."""


def fill_table(vocabulary: Vocabulary, measured: Mapping[str, MeasuredBlock], model: BlockModel) -> LookupTable:
    """A table with a value for every block of the vocabulary.

    A missing block is interpolated linearly in ``pixels`` between the nearest measured ones of its group (extrapolated
    along the two nearest outside them) if the group has two or more, else asked of ``model``.

    Raises:
        InputError: if no block of the vocabulary was measured.
    """
    known = np.array([key in measured for key in vocabulary.keys])
    if not known.any():
        raise InputError(
            "None of the space's blocks has been measured on this target.", "Run: fleetfront profile for it first."
        )
    m = len(vocabulary.keys)
    ms, std = np.full(m, np.nan), np.full(m, np.nan)
    for index in np.flatnonzero(known):
        entry = measured[vocabulary.keys[index]]
        ms[index], std[index] = entry.ms, entry.relative_std
    filled = np.where(known, Filled.MEASURED, Filled.MODELLED).astype(object)
    members = _members(vocabulary.groups)
    pixels, curvatures = vocabulary.pixels, _curvatures(vocabulary, members, known, ms)
    for group, curvature in zip(members, curvatures, strict=True):
        here, missing = group[known[group]], group[~known[group]]
        if len(here) >= 2 and len(missing):
            ms[missing], noise = interpolate(pixels[missing], pixels[here], ms[here], std[here])
            std[missing] = np.hypot(noise, curvature)
            filled[missing] = Filled.INTERPOLATED
    absent = np.flatnonzero(np.isnan(ms))
    if len(absent):
        here = np.flatnonzero(known)
        features, groups = vocabulary.features, vocabulary.groups
        ms[absent], std[absent] = model(features[here], ms[here], groups[here], features[absent], groups[absent])
    return LookupTable(vocabulary.keys, ms, std, tuple(Filled(how) for how in filled))


def interpolate(
    at: FloatArray, pixels: FloatArray, ms: FloatArray, relative_std: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Piecewise linear values float64[j] at ``at`` through k >= 2 points, and the relative noise they inherit."""
    order = np.argsort(pixels)
    pixels, ms, relative_std = pixels[order], ms[order], relative_std[order]
    right = np.clip(np.searchsorted(pixels, at), 1, len(pixels) - 1)
    left = right - 1
    share = (at - pixels[left]) / (pixels[right] - pixels[left])
    value = (1 - share) * ms[left] + share * ms[right]
    nearest = np.where(share < 0.5, left, right)
    value = np.maximum(value, _LOWEST_SHARE * ms[nearest] * np.minimum(at / pixels[nearest], 1.0))
    noise = np.hypot((1 - share) * ms[left] * relative_std[left], share * ms[right] * relative_std[right]) / value
    return value, noise


def _members(groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return np.split(order, starts)


def _curvatures(
    vocabulary: Vocabulary, members: list[NDArray[np.intp]], known: NDArray[np.bool_], ms: FloatArray
) -> FloatArray:
    """Relative error that interpolation makes in each group, beside noise.

    Leaving out a measured block between two others doubles the gap that is bridged, and the error of a straight line
    grows with the square of the gap (de Boor 2001, chapter III): a quarter of it is left with the block in place.
    Groups that nothing checks get the default, or the median of those that something does if that is more.
    """
    errors = np.full(len(members), np.nan)
    for number, group in enumerate(members):
        here = group[known[group]]
        here = here[np.argsort(vocabulary.pixels[here])]
        left_out = []
        for left, middle, right in zip(here, here[1:], here[2:], strict=False):
            ends = np.array([left, right])
            value, _ = interpolate(vocabulary.pixels[[middle]], vocabulary.pixels[ends], ms[ends], np.zeros(2))
            left_out.append(float(value[0] / ms[middle] - 1))
        if left_out:
            errors[number] = np.sqrt(np.mean(np.square(left_out)))
    if np.all(np.isnan(errors)):
        return np.full(len(members), DEFAULT_INTERPOLATION_STD)
    unchecked = max(DEFAULT_INTERPOLATION_STD, float(np.nanmedian(errors)))
    return np.where(np.isnan(errors), unchecked, errors / 4)

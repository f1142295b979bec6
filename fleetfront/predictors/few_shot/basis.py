"""Coordinates in which the latency of networks is linear on every device: operator work, scaled, without redundancy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.few_shot.posterior import found_step
from fleetfront.predictors.operators.work import DETAILED_NAMES, Mode, NetworkWork
from fleetfront.quantities import FloatArray
from fleetfront.spaces.base import Genotypes

#: Directions in which networks differ by less than this share of the largest difference carry no information.
_RANK_TOLERANCE = 1e-4
#: No network's work comes near.
_BEYOND = 1e18
#: With a smaller share of different values, networks that compute the same were measured once: of NAS-Bench-201's cells
#: 6,466 of 15,625 differ. With a much smaller one, or of few networks drawn at random, a clock is coarse or stuck.
_DISTINCT = (0.1, 0.7)
_FEWEST_REPEATED = 100


@dataclass(frozen=True, slots=True)
class WorkBasis:
    """``coordinates = [1, work / scale] @ directions``, the first coordinate being the constant.

    Attributes:
        scale: float64[w]: mean work of the reference networks, 1 for columns that they do not have.
        directions: float64[1 + w, r], the first row and column for the constant.
        centre: float64[w]: what is taken off the scaled work before ``directions``.
        work: names of the columns of work.
    """

    scale: FloatArray
    centre: FloatArray
    directions: FloatArray
    work: tuple[str, ...] = DETAILED_NAMES

    def __post_init__(self) -> None:
        """Raises ValueError unless the arrays fit together and count what this version counts."""
        if self.work != DETAILED_NAMES:
            raise ValueError("operators are counted in other classes than by this version")
        w = len(DETAILED_NAMES)
        if self.scale.shape != (w,) or self.centre.shape != (w,) or np.any(self.scale <= 0):
            raise ValueError("the basis has the wrong shape")
        if self.directions.ndim != 2 or len(self.directions) != w + 1:
            raise ValueError("the basis has the wrong shape")
        if not np.all((self.scale > 1 / _BEYOND) & (self.scale < _BEYOND)) or not all(
            np.all(np.abs(array) < _BEYOND) for array in (self.centre, self.directions)
        ):
            raise ValueError("the basis holds work beyond all networks'")

    @property
    def rank(self) -> int:
        """Number of coordinates, r."""
        return int(self.directions.shape[1])

    def coordinates(self, work: FloatArray) -> FloatArray:
        """float64[n, r] of work float64[n, w]."""
        scaled = np.column_stack([np.ones(len(work)), work / self.scale - self.centre])
        result: FloatArray = scaled @ self.directions
        return result


def make_basis(work: NetworkWork, reference: Genotypes) -> WorkBasis:
    """The basis in which n ``reference`` networks, in all modes of their space, are distinguishable."""
    by_mode = [work.detailed(reference, mode) for mode in work.modes]
    mean = np.mean([columns.mean(axis=0) for columns in by_mode], axis=0)
    scale = np.where(mean > 0, mean, 1.0)
    scaled = np.concatenate(by_mode) / scale
    centre = scaled.mean(axis=0)
    _, singular, right = np.linalg.svd(scaled - centre, full_matrices=False)
    kept = right[singular > _RANK_TOLERANCE * singular[0]]
    directions = np.zeros((scaled.shape[1] + 1, len(kept) + 1))
    directions[0, 0] = 1.0
    directions[1:, 1:] = kept.T
    return WorkBasis(scale, centre, directions)


def mode_coordinates(work: NetworkWork, basis: WorkBasis, genotypes: Genotypes) -> dict[Mode, FloatArray]:
    """Coordinates float64[n, r] in each mode of the space."""
    return {mode: basis.coordinates(work.detailed(genotypes, mode)) for mode in work.modes}


def count_once(ms: FloatArray) -> NDArray[np.intp]:
    """Rows of n networks that were measured, where others repeat their milliseconds to the last digit.

    All rows, unless many values of many networks are equal and no coarse or stuck clock made them so.
    """
    values, first = np.unique(ms, return_index=True)
    low, high = _DISTINCT
    if len(ms) < _FEWEST_REPEATED or not low * len(ms) <= len(values) <= high * len(ms) or found_step(ms):
        return np.arange(len(ms))
    measured: NDArray[np.intp] = np.sort(first)
    return measured

"""Genotypes as the zeros and ones that linear models and small networks read. Inactive genes are all zeros."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetfront.spaces.base import Genotypes, SearchSpace


@dataclass(frozen=True, slots=True)
class OneHot:
    """One feature for each value of each gene, genes in order and values ascending.

    Attributes:
        offset: int[v + 1]: where each gene's features begin; the last entry is their number f.
    """

    space: SearchSpace
    offset: NDArray[np.intp]

    @classmethod
    def of(cls, space: SearchSpace) -> OneHot:
        """The features of a space."""
        return cls(space, np.cumsum([0, *(len(values) for values in space.choices)]))

    @property
    def width(self) -> int:
        """Number of features f."""
        return int(self.offset[-1])

    def __call__(self, genotypes: Genotypes) -> NDArray[np.float32]:
        """float32[n, f] of canonical int8[n, v]; an inactive gene has no 1."""
        features = np.zeros((len(genotypes), self.width), dtype=np.float32)
        rows, genes = np.nonzero(self.space.active(genotypes))
        features[rows, self.offset[genes] + genotypes[rows, genes]] = 1.0
        return features

    def column(self, gene: int, value: int) -> int:
        """The feature that is 1 where ``gene`` is active and has the index ``value``."""
        return int(self.offset[gene]) + value

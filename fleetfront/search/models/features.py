"""Turn networks into the numbers that models of accuracy read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.one_hot import OneHot
from fleetfront.spaces.base import DescribesNetworks, Genotypes, HasPrecisions, SearchSpace, plain_space

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


class NetworkFeatures:
    """Numbers in groups that explain accuracy.

    ``DescribesNetworks.network_features`` where a space offers it; else its genes one by one, sums of genes that share
    their values (the total depth, for example), and its size.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._one_hot = OneHot.of(space)
        self._kinds = gene_kinds(space)

    def __call__(self, genotypes: Genotypes) -> tuple[FloatArray, ...]:
        """Groups float64[n, f_i] of n canonical genotypes int8[n, v]."""
        if isinstance(self._space, DescribesNetworks):
            return tuple(self._space.network_features(genotypes).values())
        size = np.stack([self._space.macs(genotypes), self._space.params(genotypes)], axis=1)
        genes = self._one_hot(genotypes).astype(np.float64)
        return genes, genes @ self._kinds, np.log(np.maximum(size, 1.0))


class FeaturesInFloat:
    """The features of networks in several precisions, whatever the precision: of a plain space, its own."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._own = NetworkFeatures(plain_space(space))

    def __call__(self, genotypes: Genotypes) -> tuple[FloatArray, ...]:
        """Groups float64[n, f_i] of n canonical genotypes int8[n, v]."""
        return self._own(self._space.without(genotypes) if isinstance(self._space, HasPrecisions) else genotypes)


def gene_kinds(space: SearchSpace) -> FloatArray:
    """float64[features, kinds]: adds up equal values of genes whose names differ in a number only, as kernel_3's."""
    names = [name.rstrip("0123456789_") for name in space.gene_names]
    labels = [(name, value) for name, values in zip(names, space.choices, strict=True) for value in values]
    kinds = list(dict.fromkeys(labels))
    table = np.zeros((len(labels), len(kinds)))
    table[np.arange(len(labels)), [kinds.index(label) for label in labels]] = 1.0
    return table

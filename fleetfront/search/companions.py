"""Tell which networks one accuracy is the answer for: a network in every precision, where what each costs is known.

The accuracy of a network in float says what it is in the others, so a budget is spent on networks, not on precisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.base import AccuracyModel, TellsTiers
from fleetfront.spaces.base import Genotypes, HasPrecisions, SearchSpace
from fleetfront.targets import FLOATS

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class Companions:
    """The precisions that one answer is for; none where every genotype is asked for by itself.

    Attributes:
        genes: int8[p], values of the last gene that may be searched; the first is that to ask for.
        lost: float64[p], points of accuracy that each costs more than the first.
    """

    genes: NDArray[np.int8]
    lost: FloatArray

    @classmethod
    def of(cls, space: SearchSpace, accuracy: AccuracyModel, allowed: Sequence[NDArray[np.bool_]]) -> Companions:
        """Those of a space whose genes may take the values ``allowed``, each bool[values]."""
        if not (isinstance(space, HasPrecisions) and isinstance(accuracy, TellsTiers)):
            return cls(np.zeros(0, np.int8), np.zeros(0))
        costs = accuracy.costs_of_precisions()
        # Networks in float are asked for where they may be: their accuracy is the one that is measured.
        genes = sorted(np.flatnonzero(allowed[-1]).tolist(), key=lambda gene: space.precisions[gene] not in FLOATS)
        points = [float(costs.get(space.precisions[gene], {}).get("points", 0.0)) for gene in genes]
        return cls(np.array(genes, np.int8), np.array(points) - points[0])

    @property
    def space_is_plain(self) -> bool:
        """True where every genotype is asked for by itself."""
        return not len(self.genes)

    def heads(self, genotypes: Genotypes) -> Genotypes:
        """The distinct networks among int8[n, v], each in the precision to ask for, in order of appearance."""
        if self.space_is_plain:
            return genotypes
        heads = genotypes.copy()
        heads[:, -1] = self.genes[0]
        _, first = np.unique(heads, axis=0, return_index=True)
        kept: Genotypes = heads[np.sort(first)]
        return kept

    def are_heads(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which are in the precision to ask for."""
        if self.space_is_plain:
            return np.ones(len(genotypes), np.bool_)
        found: NDArray[np.bool_] = genotypes[:, -1] == self.genes[0]
        return found

    def forms(self, heads: Genotypes) -> list[tuple[Genotypes, float]]:
        """n heads in each precision, int8[n, v], with the points that it loses against the head."""
        if self.space_is_plain:
            return [(heads, 0.0)]
        found = []
        for gene, lost in zip(self.genes, self.lost.tolist(), strict=True):
            rows = heads.copy()
            rows[:, -1] = gene
            found.append((rows, lost))
        return found

    def beside(self, genotypes: Genotypes) -> Genotypes:
        """The forms of networks int8[n, v] that an answer for these tells of; of all of them, one after another."""
        if self.space_is_plain:
            return genotypes[:0]
        return np.concatenate([rows for rows, _ in self.forms(self.heads(genotypes))])

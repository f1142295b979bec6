"""Carry what one task taught to the next: the order in which another data set's search puts networks.

After CATCH. Accuracies of another task are none of this one's, but who is good there is likely good here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.search.archive import Archive
from fleetfront.search.models.features import NetworkFeatures
from fleetfront.search.models.gaussian_process import GaussianProcess
from fleetfront.search.models.log_error import LogError
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Networks that it is learnt from, at least and at most: a fit costs the cube of them.
_LEAST, _MOST = 24, 700


@dataclass(frozen=True, slots=True)
class Prior:
    """The belief about networks that a search of the same space with another accuracy came to.

    Attributes:
        source: how that accuracy is spelled.
        known: int8[k, v], the networks that it evaluated.
    """

    source: str
    known: Genotypes
    features: NetworkFeatures
    process: GaussianProcess

    @classmethod
    def of(cls, space: SearchSpace, archive: Archive, source: str) -> Prior:
        """Learn from an archive's networks. Raises InputError if these are fewer than 24."""
        known = np.flatnonzero(np.isfinite(archive.accuracy_std))
        if len(known) < _LEAST:
            raise InputError(
                f"The archive of {source} holds {len(known)} accuracies, too few to learn from.",
                f"Start from a search of {_LEAST} evaluations or more, or leave --start-from out.",
            )
        chosen = np.sort(np.random.default_rng(0).permutation(known)[:_MOST])
        accuracy, features = archive.accuracy[chosen], NetworkFeatures(space)
        values = LogError.of(accuracy).values(accuracy)
        known_networks = archive.genotypes[known]
        return cls(source, known_networks, features, GaussianProcess.fit(features(archive.genotypes[chosen]), values))

    def __call__(self, genotypes: Genotypes) -> FloatArray:
        """float64[n]: the higher the better; in no unit, only order and spacing mean something."""
        return self.process.predict(self.features(genotypes))[0]


@dataclass(frozen=True, slots=True)
class FeaturesWithPrior:
    """A space's own features, and what a prior says in a group of its own, whose worth the process learns."""

    own: Callable[[Genotypes], tuple[FloatArray, ...]]
    prior: Prior

    def __call__(self, genotypes: Genotypes) -> tuple[FloatArray, ...]:
        """Groups float64[n, f_i] of n canonical genotypes int8[n, v]."""
        return (*self.own(genotypes), self.prior(genotypes)[:, None])

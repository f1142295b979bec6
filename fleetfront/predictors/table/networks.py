"""A cost model that looks whole networks up in a table, and refuses what is not in it. Nothing is fitted here."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.profilers.reading.observations import choose_statistic, read_observations, summarise
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import LATENCY, Clock, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.targets import Target

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.quantities import FloatArray

#: Spaces up to this size are looked up in a dense table of positions (64 MB), which is faster than a binary search.
_DENSE_LIMIT = 2**24

#: Spaces up to this size are counted network by network (some 20 ms).
_COUNTED = 40_000

#: Roles whose rows are whole networks.
_NETWORK_ROLES = (Role.NETWORK, Role.CALIBRATION, Role.VALIDATION)


def holds_whole_space(space: SearchSpace, networks: int) -> bool:
    """Tell whether a table of so many distinct networks holds a whole space. Of a large one, inactive genes count."""
    counts = [len(values) for values in space.choices]
    size = math.prod(counts)
    if networks >= size or size > _COUNTED:
        return networks >= size
    every = np.indices(counts).reshape(len(counts), size).T.astype(np.int8)
    return networks >= len(np.unique(space.canonical(every), axis=0))


class GenotypeIndex:
    """Finds rows of canonical genotypes in a set of n distinct ones."""

    def __init__(self, space: SearchSpace, genotypes: Genotypes) -> None:
        """``genotypes`` int8[n, v], canonical and distinct."""
        self._space = space
        counts = [len(values) for values in space.choices]
        self._radix = np.cumprod([1, *counts[:-1]], dtype=np.float64)
        self._is_dense = math.prod(counts) <= _DENSE_LIMIT
        if self._is_dense:
            self._dense = np.full(math.prod(counts), -1, dtype=np.int64)
            self._dense[self._codes(genotypes)] = np.arange(len(genotypes))
        else:
            names = self._names(genotypes)
            self._order = np.argsort(names)
            self._sorted = names[self._order]

    def find(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[m]: the row of each of m genotypes, -1 where it is not in the set."""
        canonical = self._space.canonical(genotypes)
        if self._is_dense:
            return self._dense[self._codes(canonical)]
        names = self._names(canonical)
        at = np.minimum(np.searchsorted(self._sorted, names), len(self._sorted) - 1)
        found: NDArray[np.int64] = np.where(self._sorted[at] == names, self._order[at], -1)
        return found

    def _codes(self, genotypes: Genotypes) -> NDArray[np.intp]:
        # Doubles hold codes below 2**53 exactly, and their matrix product is the fast one.
        codes: NDArray[np.intp] = (genotypes @ self._radix).astype(np.intp)
        return codes

    @staticmethod
    def _names(genotypes: Genotypes) -> NDArray[np.bytes_]:
        # All rows have one length, so that the trailing zeros which numpy strips from bytes cannot make two rows equal.
        return np.ascontiguousarray(genotypes).view(f"S{genotypes.shape[1]}").ravel()


@dataclass(frozen=True, slots=True)
class NetworkTable:
    """One metric, mostly latency in milliseconds, of the networks of a table. A CostModel.

    Attributes:
        ms: float64[n].
        std_ms: float64[n]: of repeated visits, or of rounding to the step in which the table was logged. The noise of a
            table that gives one number a network is not known and counts as 0.
        source: where the numbers come from, in words; empty if they were measured here.
    """

    space: SearchSpace
    target: Target
    clock: Clock
    genotypes: Genotypes
    ms: FloatArray
    std_ms: FloatArray
    source: str
    index: GenotypeIndex
    metric: Metric = LATENCY

    @property
    def tier(self) -> Tier:
        """Somebody measured these very networks."""
        return Tier.MEASURED

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Look up n genotypes int8[n, v].

        Raises InputError naming the first architecture that the table lacks.
        """
        rows = self.index.find(genotypes)
        if (rows < 0).any():
            lacking = int((rows < 0).sum())
            first = self.space.arch_id(self.space.canonical(genotypes[[int(np.argmax(rows < 0))]])[0])
            raise InputError(
                f"{first} is not among the {len(self.ms)} networks measured on {self.target} "
                f"({lacking} of {len(rows)} are not).",
                f"Learn the others: fleetfront fit --device {self.target.device} --space {self.space.name}",
            )
        return Estimate(self.ms[rows], self.std_ms[rows], Tier.MEASURED)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """The cost float32[n] of the likeliest networks of float32[n, f], with slopes from the table's neighbours.

        Raises InputError where the table lacks one.
        """
        from fleetfront.predictors.relaxed import by_look_up

        return by_look_up(self.space, lambda rows: self.predict(rows).mean, choice_probabilities)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which of n networks int8[n, v] the table holds."""
        return self.index.find(genotypes) >= 0

    def networks(self) -> Genotypes:
        """int8[k, v]: those of the table."""
        return self.genotypes


def load_network_table(
    store: Store,
    space: SearchSpace,
    target: Target,
    *,
    clock: Clock | None = None,
    resolution_ms: float | None = None,
    metric: Metric = LATENCY,
) -> NetworkTable:
    """The table of every whole network that the store holds of a space on a target under a clock, by default that of
    most of them.

    What was measured here is read as a fit reads it, by one statistic of the visits that count, those of all sittings
    together; repeated rows of an imported table become their median. Both with the standard error of several visits.
    ``resolution_ms`` is the step in which the numbers were logged; uniform rounding to it has a standard deviation of
    step / sqrt(12).

    Raises InputError if the store has none.
    """
    clock = clock or _clock_of_most(store, space, target, metric)
    campaigns = None if clock is Clock.UNKNOWN else [row.id for row in store.campaigns(target=target, space=space.name)]
    seen = read_observations(store, target, space.name, clock, campaigns, metric=metric)
    visits: dict[str, FloatArray] = {}
    for role in _NETWORK_ROLES:
        for key, values in seen.visits.get(role, {}).items():
            visits[key] = np.concatenate([visits[key], values]) if key in visits else values
    if not visits:
        raise _nothing_of(space, target)
    statistic = "median" if seen.clock is Clock.UNKNOWN else choose_statistic(seen)
    ms = np.array([summarise(v, statistic) if v.size > 1 else v[0] for v in visits.values()])
    noise = np.array([np.std(v, ddof=1) / math.sqrt(v.size) if v.size > 1 else 0.0 for v in visits.values()])
    rounding = (resolution_ms or 0.0) / math.sqrt(12)
    genotypes = space.parse(list(visits))
    source = "; ".join(f"{s.name} ({s.licence})" for s in store.sources(target, space.name))
    index = GenotypeIndex(space, genotypes)
    return NetworkTable(space, target, seen.clock, genotypes, ms, np.hypot(noise, rounding), source, index, metric)


def _clock_of_most(store: Store, space: SearchSpace, target: Target, metric: Metric) -> Clock:
    """The clock under which most networks are held; of equals the one that people wait by."""
    networks = Counter[Clock]()
    for held in store.holdings(target, space.name):
        if held.metric == metric.name and held.role in _NETWORK_ROLES:
            networks[held.clock] += held.keys
    if not networks:
        raise _nothing_of(space, target)
    # What one visit told under several clocks counts under each.
    return max(networks, key=lambda clock: (networks[clock], clock is not Clock.THREAD_CPU))


def _nothing_of(space: SearchSpace, target: Target) -> InputError:
    return InputError(
        f"The store holds no whole network of {space.name} on {target}.",
        "Import a table (fleetfront import table FILE --space NAME), or profile the device.",
    )

"""Count the block settings that members of fronts use, and say what measuring the others could be worth.

Dropping what no front uses is what AutoShrink does to a space; here it only tells what to measure first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.predictors.table.lookup import Filled, LookupTable
from fleetfront.quantities import FloatArray
from fleetfront.search.fronts_file import load_fronts
from fleetfront.spaces.base import Genotypes, Interpolable, MayDisconnect, SearchSpace


@dataclass(frozen=True, slots=True)
class FrontUse:
    """The block settings of a space that networks on fronts use.

    A setting is a block whatever the resolution of the input: a device's times of others are interpolated.

    Attributes:
        genotypes: int8[n, v], of the networks, each once.
        uses: int[settings], in how many of them a setting is.
        settings: int32[|V|], the setting of each block of the vocabulary.
    """

    genotypes: Genotypes
    uses: NDArray[np.intp]
    settings: NDArray[np.int32]

    @property
    def used(self) -> int:
        """How many settings the networks use."""
        return int(np.count_nonzero(self.uses))

    def first(self, space: SearchSpace) -> tuple[str, ...]:
        """Keys of the blocks of used settings, the most used first."""
        uses = self.uses[self.settings]
        order = np.argsort(-uses, kind="stable")
        return tuple(space.vocabulary[place].key for place in order if uses[place])


@dataclass(frozen=True, slots=True)
class RestWorth:
    """The part of a space's settings that fronts use, and what is known of it and of the rest.

    Attributes:
        networks: distinct ones on the fronts.
        settings, used, used_measured, rest_measured: numbers of block settings.
        gain_percent: the time that a front's network may be expected to lose if the rest were measured: the mean over
            the networks of what the best change of one gene promises that keeps at least as many MACs and leads to
            settings that were not measured, counting by how much it may be faster and how likely; None without a fit.
        most_percent: the largest of them.
    """

    networks: int
    settings: int
    used: int
    used_measured: int
    rest_measured: int
    gain_percent: float | None = None
    most_percent: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)

    def lines(self) -> list[str]:
        """In words."""
        rest = self.settings - self.used
        said = [
            f"{self.networks} networks on the fronts use {self.used} of {self.settings} block settings "
            f"({self.used / self.settings:.0%}); measured: {self.used_measured} of them and {self.rest_measured} of "
            f"the other {rest}."
        ]
        if self.gain_percent is not None and self.rest_measured < rest:
            said.append(
                f"Measuring the {rest - self.rest_measured} that are left may be worth {self.gain_percent:.1f} % of "
                f"the time of a front's network, at most {self.most_percent:.1f} %: what one change to them promises "
                "at no fewer MACs, which stand for accuracy."
            )
        return said


def read_front_use(space: SearchSpace, paths: Sequence[Path]) -> FrontUse:
    """Count what the networks of ``fronts.json`` files, or of the folders that hold them, use.

    Raises InputError for a file that is damaged, of another space, or without networks, and for a space of no blocks.
    """
    if not space.vocabulary:
        raise InputError(f"{space.name} has no blocks that could be measured.", "Leave --from-front out.")
    archs = [point.arch for path in paths for front in load_fronts(path, space).devices for point in front.points]
    if not archs:
        raise InputError(f"No network is on the fronts of {', '.join(map(str, paths))}.", "Search again.")
    return use_of(space, np.unique(space.parse(archs), axis=0))


def use_of(space: SearchSpace, genotypes: Genotypes) -> FrontUse:
    """Count the settings of networks int8[n, v]."""
    count = len(space.vocabulary)
    settings = space.interpolation_groups()[0] if isinstance(space, Interpolable) else np.arange(count, dtype=np.int32)
    found: Counter[int] = Counter()
    for row in space.block_indices(genotypes):
        found.update(set(settings[row[row >= 0]].tolist()))
    uses = np.zeros(int(settings.max()) + 1, dtype=np.intp)
    uses[list(found)] = list(found.values())
    return FrontUse(genotypes, uses, settings)


def rest_worth(space: SearchSpace, use: FrontUse, measured: Sequence[str], table: LookupTable | None) -> RestWorth:
    """Say what was measured (keys of blocks), and what the rest could be worth by a fitted ``table``."""
    places = {block.key: place for place, block in enumerate(space.vocabulary)}
    known = np.zeros(len(use.uses), dtype=bool)
    known[[use.settings[places[key]] for key in measured if key in places]] = True
    used = use.uses > 0
    gains = None if table is None else _gains(space, use, table)
    return RestWorth(
        len(use.genotypes),
        len(use.uses),
        use.used,
        int(np.count_nonzero(known & used)),
        int(np.count_nonzero(known & ~used)),
        None if gains is None else float(100 * gains.mean()),
        None if gains is None else float(100 * gains.max()),
    )


def _gains(space: SearchSpace, use: FrontUse, table: LookupTable) -> FloatArray:
    """float64[n]: the share of its time that each network may be expected to lose by its best change of one gene.

    Where a sum of blocks that were not measured has mean m and deviation s, what is below the time t of the network is
    expected to be s (z F(z) + f(z)) with z = (t - m) / s: the expected improvement of Mockus (1975).
    """
    from scipy.special import ndtr

    table = table.reordered([block.key for block in space.vocabulary])
    is_guess = np.array([how is Filled.MODELLED for how in table.filled])
    ms = block_sum(space, table.ms)
    variance = block_sum(space, np.where(is_guess, (table.relative_std * table.ms) ** 2, 0.0))
    gains = np.zeros(len(use.genotypes))
    for place, genotype in enumerate(use.genotypes):
        others = _neighbours(space, genotype)
        others = others[space.macs(others) >= space.macs(genotype[None])[0]]
        spread = np.sqrt(np.maximum(variance(others), 0.0))
        others, spread = others[spread > 0], spread[spread > 0]
        if len(others):
            own = float(ms(genotype[None])[0])
            z = (own - ms(others)) / spread
            expected = spread * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
            gains[place] = min(1.0, float(expected.max()) / own)
    return gains


def _neighbours(space: SearchSpace, genotype: Genotypes) -> Genotypes:
    """int8[k, v]: the networks that differ from int8[v] by one gene."""
    rows = []
    for gene, values in enumerate(space.choices):
        for value in range(len(values)):
            if value != genotype[gene]:
                row = genotype.copy()
                row[gene] = value
                rows.append(row)
    found = np.unique(space.canonical(np.array(rows, dtype=np.int8)), axis=0)
    return found[~space.disconnected(found)] if isinstance(space, MayDisconnect) else found

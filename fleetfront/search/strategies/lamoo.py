"""LaMOO: split the space by who dominates whom, again and again, and look where the fronts gain most.

After Zhao et al., "Multi-objective Optimization by Learning Space Partitions" (ICLR 2022; arXiv 2406.00291). A kernel
ridge of pairs of genes stands in for the support vector machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.front import hypervolume
from fleetfront.search.models.ridge import PairRidge
from fleetfront.search.problem import Problem
from fleetfront.search.run import reference_points
from fleetfront.search.strategies.base import Count, ReadsArchive, Share, State, dump_generator, load_generator
from fleetfront.search.strategies.candidates import Candidates
from fleetfront.search.strategies.cma_samples import draw_by_cma
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.search.strategies.surrogate import SurrogateSettings, SurrogateStrategy
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

Rows: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LamooSettings:
    """Settings.

    Attributes:
        first, batch: random networks before the first split, and networks of each step.
        leaf, nodes: a region of more networks is split, while there are fewer regions than ``nodes``.
        explore: weight of regions that were looked at little, as a share of the highest hypervolume known.
        selection: the best ``leaf`` anywhere, or the ``path`` that is best at each split.
        sampling: networks of the region are drawn at ``random``, by ``cma`` towards those that few others dominate, or
            chosen by the ``surrogate`` strategy.
        considered: random networks and children that are looked at for those in the region.
    """

    first: Count = 10
    batch: Count = 5
    leaf: Count = 15
    nodes: Count = 50
    explore: Share = 0.1
    selection: Literal["leaf", "path"] = "leaf"
    sampling: Literal["random", "cma", "surrogate"] = "surrogate"
    considered: Count = 1500


@dataclass(frozen=True, slots=True)
class _Region:
    """Networks known in a part of the space, and the splits that lead there: models, and on which side of each."""

    rows: Rows
    splits: tuple[tuple[PairRidge, bool], ...] = ()


class _Confined(Candidates):
    """Candidates of one region. Where too few are in it, the deepest split is dropped."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        super().__init__(problem, rng)
        self._one_hot = OneHot.of(problem.space)
        self.splits: Sequence[tuple[PairRidge, bool]] = ()

    def some(self, n: int) -> Genotypes:
        return self.inside(super().some(n))

    def children(self, parents: Genotypes, n: int) -> Genotypes:
        return self.inside(super().children(parents, n))

    def inside(self, rows: Genotypes, fewest: int = 5) -> Genotypes:
        """Those of ``rows`` in the region, or in the smallest one around it that holds enough."""
        kept, features = rows, self._one_hot(rows)
        for model, is_good in self.splits:
            on_side = (model(features) > 0) == is_good
            if on_side.sum() < fewest:
                break
            kept, features = kept[on_side], features[on_side]
        return kept


class Lamoo(ReadsArchive):
    """Regions are split again before each step, from all that is known."""

    def __init__(self, problem: Problem, seed: int, settings: LamooSettings | None = None) -> None:
        self._problem, self._settings = problem, settings or LamooSettings()
        self._rng = np.random.default_rng(seed)
        self._one_hot = OneHot.of(problem.space)
        self._references = reference_points(problem)
        self._candidates = _Confined(problem, self._rng)
        chosen = SurrogateSettings(first=1, batch=self._settings.batch)
        self._surrogate = SurrogateStrategy(problem, seed, chosen, self._candidates)

    @property
    def batch(self) -> int:
        left = self._settings.first - len(self._problem.archive)
        return left if left > 0 else self._settings.batch

    def ask(self, n: int) -> Genotypes:
        if len(self._problem.archive) < min(self._settings.first, 3):
            return fresh_sample(self._problem, n, self._rng)
        region = self._chosen()
        self._candidates.splits = region.splits
        if self._settings.sampling == "surrogate":
            return self._surrogate.ask(n)
        evolved = self._evolved(region)[:n] if self._settings.sampling == "cma" else self._problem.archive.genotypes[:0]
        drawn = self._drawn(region)
        few = self._problem.archive.unknown(np.concatenate([evolved, drawn[self._rng.permutation(len(drawn))[:n]]]))
        return few[:n]

    def _evolved(self, region: _Region) -> Genotypes:
        """Draws of CMA-ES inside a region whose networks it is told, with how many dominate each."""
        problem, rows = self._problem, region.rows
        known, counts = problem.archive.genotypes[rows], np.array(problem.free_choices)
        drawn = draw_by_cma(known, self._dominated(rows), counts, self._settings.considered, self._rng)
        return self._candidates.inside(problem.archive.unknown(problem.complete(drawn)))

    def _drawn(self, region: _Region) -> Genotypes:
        """Random networks of a region; of a large space also children of those known there."""
        drawn = self._candidates.some(self._settings.considered)
        if self._candidates.every is None:
            near = self._candidates.children(self._problem.archive.genotypes[region.rows], self._settings.considered)
            drawn = self._problem.archive.unknown(np.concatenate([drawn, near]))
        return drawn

    def dump(self) -> State:
        return {**self._surrogate.dump(), "rng": dump_generator(self._rng)}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._candidates = _Confined(self._problem, self._rng)
        self._surrogate.load(state, self._candidates)

    def _chosen(self) -> _Region:
        """The region of the highest upper confidence bound: of all leaves, or split by split."""
        whole = _Region(np.arange(len(self._problem.archive)))
        leaves: list[tuple[float, _Region]] = []
        pending, nodes = [whole], 1
        most = self._value(whole.rows)
        while pending:
            region = pending.pop(0)
            halves = self._split(region) if nodes < self._settings.nodes else None
            if halves is None:
                leaves.append((self._bound(region, len(whole.rows), most), region))
                continue
            nodes += 2
            bounds = [self._bound(half, len(region.rows), most) for half in halves]
            pending += halves if self._settings.selection == "leaf" else [halves[int(np.argmax(bounds))]]
        return max(leaves, key=lambda leaf: leaf[0])[1]

    def _split(self, region: _Region) -> list[_Region] | None:
        """The better and the worse half of a region by how many dominate a network; None where it stays whole."""
        if len(region.rows) <= self._settings.leaf:
            return None
        dominated = self._dominated(region.rows)
        good = np.zeros(len(region.rows), np.bool_)
        good[np.argsort(dominated, kind="stable")[: len(region.rows) // 2 + 1]] = True
        model = PairRidge.fit(self._one_hot(self._problem.archive.genotypes[region.rows]), np.where(good, 1.0, -1.0))
        return [_Region(region.rows[good == side], (*region.splits, (model, side))) for side in (True, False)]

    def _dominated(self, rows: Rows) -> FloatArray:
        """float64[k]: by how many of the others each is dominated, summed over devices."""
        total = np.zeros(len(rows))
        for target in range(len(self._problem.targets)):
            values = self._problem.objectives(target, rows)
            no_worse = np.all(values[None] <= values[:, None], axis=2)
            total += (no_worse & np.any(values[None] < values[:, None], axis=2)).sum(axis=1)
        return total

    def _value(self, rows: Rows) -> float:
        """The hypervolume of networks as a share of the box before the reference point, mean over devices."""
        shares = []
        for target, reference in enumerate(self._references):
            volume = hypervolume(self._problem.objectives(target, rows), reference)
            shares.append(volume / float(np.prod(reference)))
        return float(np.mean(shares))

    def _bound(self, region: _Region, parent: int, most: float) -> float:
        explore = 2 * self._settings.explore * most
        return self._value(region.rows) + explore * float(np.sqrt(2 * np.log(parent) / max(len(region.rows), 1)))

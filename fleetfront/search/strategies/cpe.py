"""CPE: learn which networks no representative of a front dominates, and ask for those that are likely so.

After Ma et al., "Pareto-wise Ranking Classifier for Multi-objective Evolutionary Neural Architecture Search" (arXiv
2109.07582), whose classifier tells good from bad and no more; so answers that only say pass or fail will do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.models.ridge import Features, PairRidge
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Count, ReadsArchive, Share, State, dump_generator, load_generator
from fleetfront.search.strategies.candidates import Candidates
from fleetfront.search.strategies.domination import label_good, representatives
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Costs enter the classifier as so many steps, each at a quantile of the known ones.
_COST_STEPS = 8
#: Known networks whose label the classifier is not fitted to, and that say how far to trust it: one in so many.
_HELD_OUT = 4
#: With fewer known nothing is said of its errors and it is believed. A choice is made among so many at least.
_FEWEST = 12
#: No classifier is surer than this of labels of -1 and 1.
_LEAST_DOUBT = 0.1


@dataclass(frozen=True, slots=True)
class CpeSettings:
    """Settings.

    Attributes:
        first, batch: random networks before the first classifier, and networks of each step.
        candidates: networks whose label is predicted in each step.
        least, most: the share of known networks that are called good is brought between these.
        keep: likelihood from which a candidate is kept.
        references: representatives of a front, at most.
        fitted: the newest networks that a classifier is fitted to, beside the fronts.
    """

    first: Count = 20
    batch: Count = 10
    candidates: Count = 3000
    least: Share = 0.3
    most: Share = 0.5
    keep: Share = 0.9
    references: Count = 10
    fitted: Count = 700


@dataclass(frozen=True, slots=True)
class _Classifier:
    """Tells how likely a network is good: 0 .. 1.

    Attributes:
        trust: 1 where held-out labels were told, -1 where they were told the wrong way round, else 0.
        doubt: root mean square of what held-out labels, of -1 and 1, were off.
    """

    model: PairRidge
    steps: FloatArray
    trust: int = 1
    doubt: float = 0.5

    def likely(self, genes: Features, cost: FloatArray) -> FloatArray:
        """float64[n]; chance's own half where it is not to be trusted."""
        from scipy.special import ndtr

        told = self.model(_read(genes, cost, self.steps))
        likelihood: FloatArray = ndtr(self.trust * told / self.doubt)
        return likelihood


class Cpe(ReadsArchive):
    """A classifier a device; devices take turns to choose. All share the archive.

    Where accuracies take no more than two values, a network is good if it has the higher one, one classifier serves all
    devices, and those are asked for whose chance to pass times what they would save is highest.
    """

    def __init__(self, problem: Problem, seed: int, settings: CpeSettings | None = None) -> None:
        self._problem, self._settings = problem, settings or CpeSettings()
        self._rng = np.random.default_rng(seed)
        self._one_hot = OneHot.of(problem.space)
        self._candidates = Candidates(problem, self._rng)
        self._turn = 0
        self._first = min(self._settings.first, max(2, (problem.budget or 4 * self._settings.first) // 4))

    @property
    def batch(self) -> int:
        left = self._first - len(self._problem.archive)
        return left if left > 0 else self._settings.batch

    def ask(self, n: int) -> Genotypes:
        if len(self._problem.archive) < self._first:
            return fresh_sample(self._problem, n, self._rng)
        rows = self._fitted_rows()
        is_two_valued = len(np.unique(self._problem.archive.accuracy)) <= 2
        classifiers = self._of_answers(rows) if is_two_valued else self._of_dominance(rows)
        pool = self._evolved(classifiers)
        if not len(pool):
            return fresh_sample(self._problem, n, self._rng)
        likely, cost = self._judged(pool, classifiers), self._problem.cost(pool)
        admitted = self._admitted(pool, cost)
        chosen: list[int] = []
        for _ in range(min(n, len(pool))):
            target, self._turn = self._turn, (self._turn + 1) % len(self._problem.targets)
            worth = self._worth(target, cost, likely[:, target]) if is_two_valued else None
            left = np.setdiff1d(np.arange(len(pool)), chosen)
            among = left[admitted[left, target]] if admitted[left, target].any() else left
            chosen.append(self._pick(among, likely[:, target], cost[:, target], target, chosen, worth))
        picked: Genotypes = pool[chosen]
        return picked

    def dump(self) -> State:
        return {"rng": dump_generator(self._rng), "turn": self._turn}

    def load(self, state: State) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._turn = range(len(self._problem.targets))[int(state["turn"])]
        self._candidates = Candidates(self._problem, self._rng)

    def _fitted_rows(self) -> NDArray[np.intp]:
        known = np.arange(len(self._problem.archive))
        fronts = [self._problem.front(target) for target in range(len(self._problem.targets))]
        return np.unique(np.concatenate([known[-self._settings.fitted :], *fronts]))

    def _of_answers(self, rows: NDArray[np.intp]) -> list[_Classifier]:
        """The one classifier of networks that pass, for every device."""
        accuracy = self._problem.archive.accuracy
        passes = accuracy[rows] > (accuracy.min() if np.ptp(accuracy) else 0.0)
        # There is nothing to fall back on: chance would ask for the cheapest networks, which fail.
        classifier = replace(self._classifier(rows, passes, None), trust=1)
        return [classifier] * len(self._problem.targets)

    def _of_dominance(self, rows: NDArray[np.intp]) -> list[_Classifier]:
        problem, settings = self._problem, self._settings
        found = []
        for target in range(len(problem.targets)):
            values = problem.objectives(target, rows)
            usable = problem.is_within(target, problem.archive.cost[rows], problem.archive.extras[rows])
            usable &= np.isfinite(problem.archive.accuracy_std[rows])
            front = np.flatnonzero(np.isin(rows, problem.front(target)))
            good = usable.copy()
            if len(front):
                references = values[front[representatives(values[front], settings.references)]]
                good &= label_good(values, references, settings.least, settings.most)
            found.append(self._classifier(rows, good, target))
        return found

    def _classifier(self, rows: NDArray[np.intp], good: NDArray[np.bool_], target: int | None) -> _Classifier:
        archive = self._problem.archive
        cost = np.zeros(len(rows)) if target is None else archive.cost[rows, target]
        steps = np.quantile(cost, np.linspace(0, 1, _COST_STEPS + 2)[1:-1]) if target is not None else np.zeros(0)
        features, labels = _read(self._one_hot(archive.genotypes[rows]), cost, steps), np.where(good, 1.0, -1.0)
        held_out = np.arange(len(rows)) % _HELD_OUT == 0
        model = PairRidge.fit(features, labels)
        if len(rows) < _FEWEST or not 0 < good[held_out].sum() < held_out.sum():
            return _Classifier(model, steps)
        told = PairRidge.fit(features[~held_out], labels[~held_out])(features[held_out])
        doubt = float(np.sqrt(np.mean(np.square(told - labels[held_out]))))
        return _Classifier(model, steps, _trust(told > 0, good[held_out], float(good.mean())), max(doubt, _LEAST_DOUBT))

    def _judged(self, genotypes: Genotypes, classifiers: list[_Classifier]) -> FloatArray:
        """float64[n, t]: how likely each network is good on each device."""
        genes, cost = self._one_hot(genotypes), self._problem.cost(genotypes)
        return np.stack([one.likely(genes, cost[:, target]) for target, one in enumerate(classifiers)], axis=1)

    def _evolved(self, classifiers: list[_Classifier]) -> Genotypes:
        """Unknown networks: all of a small space, else children of the fronts and of the likeliest of these."""
        if self._candidates.every is not None:
            return self._candidates.some(1)
        problem, share = self._problem, self._settings.candidates // 3
        fronts = np.concatenate([problem.front(target) for target in range(len(problem.targets))])
        parents = problem.archive.genotypes[np.unique(fronts)] if len(fronts) else problem.archive.genotypes
        found = self._candidates.some(max(share, 1))
        for _ in range(2):
            order = np.argsort(problem.cost(parents).mean(axis=1), kind="stable")
            children = self._candidates.children(parents[order], max(share, 1))
            found = np.unique(np.concatenate([found, children]), axis=0)
            best = np.argsort(-self._judged(found, classifiers).max(axis=1), kind="stable")[: max(share // 4, 2)]
            parents = np.concatenate([parents, found[best]])
        return found

    def _admitted(self, genotypes: Genotypes, cost: FloatArray) -> NDArray[np.bool_]:
        """bool[n, t]: which networks each device's limits allow."""
        extras = self._problem.extra_values(genotypes)
        within = [self._problem.is_within(target, cost, extras) for target in range(len(self._problem.targets))]
        return np.stack(within, axis=1)

    def _worth(self, target: int, cost: FloatArray, likely: FloatArray) -> FloatArray:
        """float64[n]: the chance to pass times by what share a network is cheaper than the cheapest that passed; where
        none did, the larger one.
        """
        archive, own = self._problem.archive, cost[:, target]
        passed = archive.cost[archive.accuracy > archive.accuracy.min(), target]
        saving: FloatArray = 1.0 - own / passed.min() if len(passed) else own / own.max()
        worth: FloatArray = np.where(saving > 0, saving * likely, saving)
        return worth

    def _pick(
        self,
        among: NDArray[np.intp],
        likely: FloatArray,
        cost: FloatArray,
        target: int,
        chosen: list[int],
        worth: FloatArray | None,
    ) -> int:
        """Of the likely good ones that whose cost is farthest from the front's and the batch's, in logarithms."""
        if worth is not None:
            return int(among[np.argmax(worth[among])])
        kept = among[likely[among] > self._settings.keep]
        if len(kept) < _FEWEST:
            kept = among[np.argsort(-likely[among], kind="stable")[:_FEWEST]]
        known = np.append(self._problem.archive.cost[self._problem.front(target), target], cost[chosen])
        if not len(known):
            return int(self._rng.choice(kept))
        tiny = np.finfo(np.float64).tiny
        apart = np.abs(np.log(np.maximum(cost[kept], tiny))[:, None] - np.log(np.maximum(known, tiny))[None])
        return int(kept[np.argmax(apart.min(axis=1))])


def _read(genes: Features, cost: FloatArray, steps: FloatArray) -> Features:
    """float32[n, f + steps]: the genes, and which steps the cost is above."""
    above = cost[:, None] > steps[None]
    return np.concatenate([genes, above.astype(np.float32)], axis=1)


def _trust(told: NDArray[np.bool_], good: NDArray[np.bool_], share: float) -> int:
    """Say if held-out labels were told (1), the wrong way round (-1), or neither (0).

    The rules of CSEA (Pan et al. 2019), from which CPE takes them: errors on good and on other networks, held against
    half the share of the rarer label.
    """
    missed = float((~told[good]).mean())
    false = float(told[~good].mean())
    rarer = 0.5 * min(share, 1.0 - share)
    if missed < 0.4 or (false < rarer and missed < 1.0 - rarer):
        return 1
    return -1 if false > 1.0 - rarer else 0

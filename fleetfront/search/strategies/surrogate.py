"""The surrogate strategy: for accuracy that is expensive to ask for, tens to a few thousand times.

A Gaussian process is fitted to what is known, and those networks are asked for from which the fronts of all devices
together can expect to gain most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fleetfront.search.front import non_dominated
from fleetfront.search.gain.fleet import FleetGain, Steps
from fleetfront.search.models.features import FeaturesInFloat
from fleetfront.search.models.gaussian_process import GaussianProcess, Hyperparameters
from fleetfront.search.models.learnt_proxy import LearntProxy
from fleetfront.search.models.log_error import LogError
from fleetfront.search.models.prior import FeaturesWithPrior, Prior
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import (
    Count,
    CountOrNone,
    Positive,
    ReadsArchive,
    Share,
    State,
    dump_generator,
    load_generator,
)
from fleetfront.search.strategies.candidates import Candidates
from fleetfront.search.strategies.macs_fronts import MacsFronts
from fleetfront.spaces.base import DescribesNetworks, Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Networks that a proxy scores before each model, until it has scored enough: a few seconds at a time.
_SCORED_A_STEP = 25
#: Candidates among which the fronts of a prior are looked for, in a space too large to be considered whole.
_RANKED = 20_000
#: So many known networks that features cannot tell from another say how it will do; and the least deviation, in
#: percentage points.
_ALIKE, _LEAST_DEVIATION = 3, 1e-6


@dataclass(frozen=True, slots=True)
class SurrogateSettings:
    """Found on NAS-Bench-201 (``benchmarks/nasbench201.py``) with seeds that no result is reported of; each is flat
    around its value.

    Attributes:
        first: networks before the first model, spread over what they cost; at most a quarter of the budget.
        design: what these are: ``spread`` at random, or on the fronts of ``macs`` against each device's cost; ``auto``
            takes ``macs`` in spaces that describe their networks by nothing but genes, where a model knows little.
        growth, least, most: a batch is this share of what is known, within these numbers.
        batch: a batch is so many networks instead; 0 leaves it to ``growth``.
        refit: hyperparameters are searched again when the archive has grown by this factor.
        fitted: at most so many networks are fitted to, the nearest to the fronts; a fit costs the cube of it.
        screened: candidates whose gain is computed exactly, of those with the highest bound.
        finalists: candidates among which a batch is chosen one by one.
        considered, generations: in a space too large to be considered whole, children of each generation.
        proxy: scores of untrained networks that are one more feature, learnt from ``scored`` of them; none by default.
    """

    first: Count = 16
    design: Literal["auto", "spread", "macs"] = "auto"
    growth: Share = 0.02
    least: Count = 2
    most: Count = 32
    batch: CountOrNone = 0
    refit: Positive = 1.25
    fitted: Count = 700
    screened: Count = 2000
    finalists: Count = 256
    considered: Count = 1500
    generations: CountOrNone = 4
    proxy: Literal["", "synflow", "naswot"] = ""
    scored: Count = 300


@dataclass(frozen=True, slots=True)
class _Judged:
    """Candidates and what is expected of them; accuracy in percent, with the noise of a single answer in ``std``.

    ``forms`` hold cost[n, columns] and mean[n] of each form in which a candidate comes: one, or one a precision.
    """

    genotypes: Genotypes
    forms: list[tuple[FloatArray, FloatArray]]
    std: FloatArray
    gain: FloatArray

    def forms_of(self, rows: Sequence[int] | NDArray[np.intp]) -> list[tuple[FloatArray, FloatArray]]:
        """The forms of some candidates."""
        return [(cost[rows], mean[rows]) for cost, mean in self.forms]


class SurrogateStrategy(ReadsArchive):
    """All targets share model, archive and evaluations; an extra objective counts as one more front.

    Where networks come in several precisions, one answer tells of all of them: the model is of networks in float, each
    is asked for once, and each device gains by the precision that is best there.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int,
        settings: SurrogateSettings | None = None,
        candidates: Candidates | None = None,
    ) -> None:
        self._problem = problem
        self._settings = settings or SurrogateSettings()
        self._rng = np.random.default_rng(seed)
        self._candidates = candidates or Candidates(problem, self._rng)
        self._features: FeaturesInFloat | FeaturesWithPrior = FeaturesInFloat(problem.space)
        self._prior: Prior | None = None
        self._proxy = LearntProxy.of(problem.space, self._settings.proxy) if self._settings.proxy else None
        self._gain = FleetGain(problem, self._candidates.every)
        self._believed: Hyperparameters | None = None
        self._searched_at = 0
        self._first = min(self._settings.first, max(2, (problem.budget or 4 * self._settings.first) // 4))

    def take_prior(self, prior: Prior) -> None:
        """Begin with its fronts, and let the model learn how much it is worth."""
        self._prior = prior
        self._features = FeaturesWithPrior(FeaturesInFloat(self._problem.space), prior)

    @property
    def batch(self) -> int:
        known = len(self._known_heads())
        if known < self._first:
            return self._first - known
        settings = self._settings
        return settings.batch or int(np.clip(settings.growth * known, settings.least, settings.most))

    def ask(self, n: int) -> Genotypes:
        if len(self._known_heads()) < self._first:
            return self._problem.companions.heads(self._spread(n))
        if self._proxy is not None and self._proxy.scored < self._settings.scored:
            most = min(_SCORED_A_STEP, self._settings.scored - self._proxy.scored)
            self._proxy.learn(self._problem.sample(most, self._rng))
        fronts = self._gain.steps(self._gain.archived_cost(), self._problem.archive.accuracy)
        model = self._fitted(fronts)
        return self._batch_of(self._considered(model, fronts), n)

    def dump(self) -> State:
        logs, start = (self._believed.logs, self._believed.start) if self._believed else (np.zeros(0), np.zeros(0))
        own = {"rng": dump_generator(self._rng), "searched_at": self._searched_at, "logs": logs, "start": start}
        return own if self._proxy is None else {**own, **self._proxy.dump()}

    def load(self, state: State, candidates: Candidates | None = None) -> None:
        self._rng = load_generator(str(state["rng"]))
        self._candidates = candidates or Candidates(self._problem, self._rng)
        self._searched_at = int(state["searched_at"])
        logs, start = (np.asarray(state[name], np.float64) for name in ("logs", "start"))
        self._believed = Hyperparameters(logs, start) if len(logs) else None
        if self._proxy is not None:
            self._proxy.load(state)

    def _known_heads(self) -> NDArray[np.intp]:
        """Rows of the archive, one a network: what follows from them teaches nothing."""
        return np.flatnonzero(self._problem.companions.are_heads(self._problem.archive.genotypes))

    def _spread(self, n: int) -> Genotypes:
        """Random networks of even steps in cost: one of each of n strata of the mean cost over all columns; with a
        prior, those that are on its fronts."""
        begins_by_macs = self._settings.design == "macs" or (
            self._settings.design == "auto" and not isinstance(self._problem.space, DescribesNetworks)
        )
        if self._prior is None and begins_by_macs:
            return MacsFronts(self._problem, int(self._rng.integers(2**31))).ask(n)
        rows = self._problem.companions.heads(self._candidates.some(50 * n))
        if self._prior is not None:
            there = self._problem.archive.unknown(self._problem.complete(self._prior.known))
            rows = np.unique(np.concatenate([self._candidates.some(_RANKED), there]), axis=0)
            rows = self._problem.companions.heads(rows)
        excess = self._excess(rows)
        admitted, within = rows[np.argsort(excess, kind="stable")], int((excess <= 0).sum())
        rows = admitted[: max(within, n)]
        if self._prior is not None:
            return self._ranked_best(rows, self._prior, n)
        rank = np.argsort(np.argsort(self._problem.cost(rows), axis=0, kind="stable"), axis=0, kind="stable")
        strata = np.array_split(np.argsort(rank.mean(axis=1), kind="stable"), min(n, len(rows)) or 1)
        return rows[[self._rng.choice(stratum) for stratum in strata if len(stratum)]]

    def _excess(self, heads: Genotypes) -> FloatArray:
        """float64[n]: by how much networks miss the limit that they miss least, in the precision that misses least."""
        found: FloatArray = np.min(
            [self._gain.excess(rows) for rows, _ in self._problem.companions.forms(heads)], axis=0
        )
        return found

    def _ranked_best(self, rows: Genotypes, prior: Prior, n: int) -> Genotypes:
        """At most n of the candidates on the fronts of the prior against each device's cost, in even steps of cost."""
        cost, score = self._problem.cost(rows), prior(rows)
        fronts = [non_dominated(np.stack([column, -score], axis=1)) for column in cost.T]
        members = np.unique(np.concatenate(fronts))
        members = members[np.argsort(cost[members].mean(axis=1), kind="stable")]
        steps = np.unique(np.linspace(0, len(members) - 1, min(n, len(members))).round().astype(np.intp))
        best: Genotypes = rows[members[steps]]
        return best

    def _fitted(self, fronts: list[Steps]) -> GaussianProcess:
        """The model of what is known; hyperparameters are searched anew only now and then."""
        archive, settings = self._problem.archive, self._settings
        rows = self._known_heads()
        grown = len(rows) >= settings.refit * self._searched_at
        if grown:
            self._searched_at = len(rows)
        if len(rows) > settings.fitted:
            gap = self._gain.gap(self._gain.archived_cost(), archive.accuracy, fronts)
            forms = [archive.find(form) for form, _ in self._problem.companions.forms(archive.genotypes[rows])]
            least = np.min([np.where(form < 0, np.inf, gap[form]) for form in forms], axis=0)
            rows = rows[np.sort(np.argsort(least, kind="stable")[: settings.fitted])]
        values = LogError.of(archive.accuracy).values(archive.accuracy[rows])
        groups = self._groups(archive.genotypes[rows])
        model = GaussianProcess.fit(groups, values, self._believed, steps=15 if grown else 0)
        self._believed = model.believed
        return model

    def _groups(self, genotypes: Genotypes) -> tuple[FloatArray, ...]:
        groups = self._features(genotypes)
        return groups if self._proxy is None else (*groups, self._proxy(genotypes))

    def _considered(self, model: GaussianProcess, fronts: list[Steps]) -> _Judged:
        """The candidates of the highest expected gain, best first."""
        settings, heads = self._settings, self._problem.companions.heads
        judged = self._judged(heads(self._candidates.some(settings.considered)), model, fronts)
        if self._candidates.every is not None:
            return judged
        members = self._best_known()
        parents = np.concatenate([members, judged.genotypes])
        for _ in range(settings.generations):
            order = np.argsort(self._problem.cost(parents).mean(axis=1), kind="stable")
            children = self._candidates.children(parents[order], settings.considered)
            both = np.unique(np.concatenate([judged.genotypes, heads(children)]), axis=0)
            judged = self._judged(both, model, fronts)
            parents = np.concatenate([members, judged.genotypes])
        return judged

    def _best_known(self) -> Genotypes:
        """The members of all fronts; where limits leave none, the networks that miss them least."""
        problem, known = self._problem, self._problem.archive.genotypes
        members = np.unique(np.concatenate([problem.front(i) for i in range(len(problem.targets))]))
        if not len(members):
            members = np.argsort(self._gain.excess(known), kind="stable")[: self._settings.first]
        best: Genotypes = known[members]
        return best

    def _judged(self, genotypes: Genotypes, model: GaussianProcess, fronts: list[Steps]) -> _Judged:
        """The finalists among n candidates, best first."""
        forms = self._problem.companions.forms(genotypes)
        if not len(genotypes):
            nothing = np.zeros(0)
            return _Judged(genotypes, [(np.zeros((0, self._gain.columns)), nothing)] * len(forms), nothing, nothing)
        mean, std = model.predict(self._groups(genotypes))
        # A front keeps the answer, luck included: noise is part of what a network may gain.
        std = np.hypot(std, model.noise_std)
        mean, std = LogError.of(self._problem.archive.accuracy).accuracies(mean, std)
        whole = _Judged(genotypes, [(self._gain.cost(rows), mean - lost) for rows, lost in forms], std, std)
        # What every limit forbids gains nothing; the less it misses, the better are its children.
        forbidden = np.all([np.isinf(cost) for cost, _ in whole.forms], axis=(0, 2))
        bound = self._gain.bound_of(whole.forms, std, fronts)
        bound[forbidden] = -self._excess(genotypes[forbidden])
        rows = np.argsort(-bound, kind="stable")[: self._settings.screened]
        gain = bound[rows]
        admitted = rows[~forbidden[rows]]
        if isinstance(self._problem.space, DescribesNetworks):
            self._expect_as_known(genotypes, admitted, mean, std)
            costs = [cost for cost, _ in whole.forms]
            known = [(cost, mean - lost) for cost, (_, lost) in zip(costs, forms, strict=True)]
            whole = _Judged(genotypes, known, std, std)
        gain[~forbidden[rows]] = self._gain.expected_of(whole.forms_of(admitted), std[admitted], fronts)
        order = np.argsort(-gain, kind="stable")[: self._settings.finalists]
        rows = rows[order]
        return _Judged(genotypes[rows], whole.forms_of(rows), std[rows], gain[order])

    def _expect_as_known(self, genotypes: Genotypes, rows: NDArray[np.intp], mean: FloatArray, std: FloatArray) -> None:
        """Set mean and deviation of those ``rows`` that features cannot tell from several known networks to what these
        had: of the hundredth cell without a path nothing is hoped for."""
        archive, heads = self._problem.archive, self._known_heads()
        known = archive.accuracy[heads]
        both = np.concatenate([archive.genotypes[heads], genotypes[rows]])
        kinds, kind = np.unique(np.concatenate(self._groups(both), axis=1), axis=0, return_inverse=True)
        of_known, of_rows = np.split(kind.reshape(-1), [len(known)])
        count = np.bincount(of_known, minlength=len(kinds))
        centre = np.bincount(of_known, known, len(kinds)) / np.maximum(count, 1)
        squares = np.bincount(of_known, (known - centre[of_known]) ** 2, len(kinds))
        deviation = np.sqrt(squares / np.maximum(count - 1, 1))
        alike = count[of_rows] >= _ALIKE
        mean[rows[alike]] = centre[of_rows[alike]]
        std[rows[alike]] = np.maximum(deviation[of_rows[alike]], _LEAST_DEVIATION)

    def _batch_of(self, judged: _Judged, n: int) -> Genotypes:
        """One by one the best, as if those before had given what the model says (Ginsbourger et al. 2010)."""
        cost, accuracy = self._gain.archived_cost(), self._problem.archive.accuracy
        if not np.any(judged.gain >= 0):
            return judged.genotypes[:n]
        left = np.flatnonzero(judged.gain >= 0)
        gain = judged.gain[left]
        chosen: list[int] = []
        while len(left) and len(chosen) < n:
            best = int(np.argmax(gain))
            chosen.append(int(left[best]))
            left = np.delete(left, best)
            if len(left) and len(chosen) < n:
                before = judged.forms_of(chosen)
                believed = np.concatenate([accuracy, *(mean for _, mean in before)])
                fronts = self._gain.steps(np.concatenate([cost, *(costs for costs, _ in before)]), believed)
                gain = self._gain.expected_of(judged.forms_of(left), judged.std[left], fronts)
        picked: Genotypes = judged.genotypes[chosen]
        return picked

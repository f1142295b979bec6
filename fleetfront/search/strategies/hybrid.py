"""The hybrid strategy: seed with the exact fronts of an additive surrogate, then cross along the fronts of all devices
and climb towards their ends, asking for accuracy only where a surrogate promises most.

For accuracy that is cheap to ask for, thousands of times. Costs are free, so many more networks are considered than
evaluated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.additive import additive_fronts, make_layout
from fleetfront.search.block_genes import find_block_genes, is_separable
from fleetfront.search.models.ridge import PairRidge, Ridge
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
from fleetfront.search.strategies.context_fronts import ContextFronts
from fleetfront.search.strategies.random_search import fresh_sample
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Rounds in which nothing new is found before the search ends: the space is exhausted.
_IDLE_ROUNDS = 20
#: Combinations of context genes up to which each keeps fronts of its own; with more, a round could not serve them all.
_MOST_CONTEXTS = 32
#: Share of the genes that a climb from an accurate network starts with; the others are drawn anew.
_KEPT_BY_CLIMBERS = 0.9


@dataclass(frozen=True, slots=True)
class HybridSettings:
    """Found on OFA2's problem (``benchmarks/ofa2_problem.py``), where each is flat around its value.

    Attributes:
        first_share, first_most: random networks that the first surrogate is fitted to, as a share of the budget.
        seeds: networks of each exact front of the additive surrogate.
        rounds: a round evaluates this fraction of the budget, and at most ``most_a_round``.
        considered: children made for each one that is evaluated.
        mutations: genes of a child that change, on average.
        lagging: share of a round chosen for the contexts' own fronts instead of the fronts of all.
        climbs: climbs towards the highest accuracy a round, at most a quarter of it.
        sweeps: how often a climb tries every gene.
        growth: surrogates are fitted again when the archive has grown by this factor.
        fitted: networks nearest to the fronts that the surrogate for children is fitted to.
        fitted_tops: most accurate networks that the surrogate for climbs is fitted to.
        kept: networks that may be fitted to; those farther from the fronts are forgotten.
    """

    first_share: Share = 0.03
    first_most: Count = 1000
    seeds: Count = 300
    rounds: Count = 50
    most_a_round: Count = 2000
    considered: Count = 8
    mutations: Positive = 2.0
    lagging: Share = 0.5
    climbs: CountOrNone = 100
    sweeps: Count = 2
    growth: Positive = 1.3
    fitted: Count = 2500
    fitted_tops: Count = 1500
    kept: Count = 20_000


class HybridStrategy(ReadsArchive):
    """All targets share surrogate, parents and evaluations; extra objectives are treated like further targets.

    It goes from step to step: random networks, the exact fronts of an additive surrogate, then climbs and crosses in
    turn. A step is a list of proposals, handed out in batches; the next one is made when they are evaluated.
    """

    def __init__(self, problem: Problem, seed: int, settings: HybridSettings | None = None) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._settings = settings or HybridSettings()
        block_genes = find_block_genes(problem)
        self._layout = make_layout(problem, block_genes) if is_separable(problem, block_genes) else None
        has_contexts = math.prod(problem.free_choices[gene] for gene in block_genes.context) <= _MOST_CONTEXTS
        self._fronts = ContextFronts(problem, block_genes.context if has_contexts else ())
        self._one_hot = OneHot.of(problem.space)
        self._counts = np.array(problem.free_choices)
        self._free = np.flatnonzero(self._counts > 1)
        self._budget = problem.budget or 100_000
        self.batch = int(np.clip(self._budget // self._settings.rounds, 1, self._settings.most_a_round))
        self._next = self._draw
        # Proposals that wait for their turn, front by front, and those of the first of them that are not known yet.
        self._planned: list[Genotypes] = []
        self._waiting: Genotypes = np.zeros((0, len(problem.space.choices)), dtype=np.int8)
        # Rows that may be fitted to, how long the archive was at the last fit, and rounds without anything new.
        self._pool: NDArray[np.intp] = np.zeros(0, np.intp)
        self._fitted_at, self._idle = 0, 0
        self._surrogate = self._climber = PairRidge.of_nothing(self._one_hot.width)
        self._tops: NDArray[np.intp] = self._pool

    def ask(self, n: int) -> Genotypes:
        while not len(self._waiting):
            if not self._planned:
                if self._idle >= _IDLE_ROUNDS:
                    break
                self._planned = self._next()
            if self._planned:
                self._waiting = self._problem.archive.unknown(self._planned.pop(0))
        asked, self._waiting = self._waiting[:n], self._waiting[n:]
        return asked

    def dump(self) -> State:
        models = {"surrogate": self._surrogate, "climber": self._climber}
        return {
            "rng": dump_generator(self._rng),
            "next": self._next.__name__,
            "planned": np.concatenate([self._waiting[:0], *self._planned]),
            "planned_sizes": np.array([len(rows) for rows in self._planned], np.intp),
            "waiting": self._waiting,
            "pool": self._pool,
            "tops": self._tops,
            "counts": np.array([self._fitted_at, self._idle, self._fronts.seen]),
            **{f"{name}.{part}": value for name, model in models.items() for part, value in model.dump().items()},
        }

    def load(self, state: State) -> None:
        steps = {step.__name__: step for step in (self._draw, self._seed, self._climb, self._cross)}
        self._rng, self._next = load_generator(str(state["rng"])), steps[str(state["next"])]
        self._planned = np.split(np.asarray(state["planned"], np.int8), np.cumsum(state["planned_sizes"]))[:-1]
        self._waiting = np.asarray(state["waiting"], np.int8)
        self._pool, self._tops = (np.asarray(state[name], np.intp) for name in ("pool", "tops"))
        self._fitted_at, self._idle, seen = (int(count) for count in state["counts"])
        self._fronts.update(seen)
        self._surrogate, self._climber = (
            PairRidge.load({part: state[f"{name}.{part}"] for part in ("constant", "linear", "pairs")})
            for name in ("surrogate", "climber")
        )

    def _draw(self) -> list[Genotypes]:
        """Random networks, for the first surrogate."""
        self._next = self._seed
        first = int(np.clip(self._budget * self._settings.first_share, 2, self._settings.first_most))
        return [fresh_sample(self._problem, first, self._rng)]

    def _seed(self) -> list[Genotypes]:
        """The exact front of an additive model against each column."""
        self._next = self._climb
        if self._layout is None:
            return []
        layout, columns, archive = self._layout, self._fronts.columns, self._problem.archive
        model = Ridge.fit(self._one_hot(archive.genotypes), archive.accuracy)
        most = int(np.clip(self._budget // 60 // columns, 10, self._settings.seeds))
        return additive_fronts(self._problem, layout, model(self._one_hot(layout.rows)), most)

    def _climb(self) -> list[Genotypes]:
        """Where climbs towards the highest accuracy end, after new fits if the archive has grown enough."""
        self._next = self._cross
        archive = self._problem.archive
        self._fronts.update()
        if len(archive) >= self._settings.growth * self._fitted_at:
            known = int(self._pool[-1]) + 1 if len(self._pool) else 0
            self._pool = np.append(self._pool, np.arange(known, len(archive)))
            self._fit()
            self._fitted_at = len(archive)
        return [self._climbed(self._climber, self._tops)]

    def _cross(self) -> list[Genotypes]:
        """The most promising children of the fronts; random networks where there are none."""
        self._next = self._climb
        chosen = self._chosen(self._problem.archive.unknown(self._children()), self._surrogate)
        self._idle = 0 if len(chosen) else self._idle + 1
        return [chosen if len(chosen) else fresh_sample(self._problem, self.batch, self._rng)]

    def _fit(self) -> None:
        """Fit one surrogate to the rows of the pool nearest to the fronts, one to the most accurate networks, and keep
        in the pool what is worth it."""
        settings, archive = self._settings, self._problem.archive
        gap = self._gap(self._pool)
        order = np.argsort(gap, kind="stable")
        nearest = order[: settings.fitted]
        # What lies a percentage point below the fronts need only be matched roughly.
        noise = 0.03 * np.exp(2 * np.clip(gap[nearest], 0, 1.5))
        rows = self._pool[nearest]
        self._surrogate = PairRidge.fit(self._one_hot(archive.genotypes[rows]), archive.accuracy[rows], noise)
        self._pool = np.union1d(self._pool[order[: settings.kept]], self._pool[-1:])
        self._climber, self._tops = self._fitted_to_tops()

    def _gap(self, rows: NDArray[np.intp]) -> FloatArray:
        archive = self._problem.archive
        context = self._fronts.context_of(archive.genotypes[rows])
        return self._fronts.gap(self._fronts.archived_cost(rows), archive.accuracy[rows], context)

    def _children(self) -> Genotypes:
        """Crosses of neighbours along a front, mutated: int8[n, v]."""
        settings, archive, rng = self._settings, self._problem.archive, self._rng
        n, v = self.batch * settings.considered, len(self._counts)
        segments = self._segments()
        parents, lengths = np.concatenate(segments), np.array([len(rows) for rows in segments])
        starts, segment = np.cumsum(lengths) - lengths, np.repeat(np.arange(len(segments)), lengths)
        # The same networks are on the fronts of many devices.
        known, place = np.unique(parents, return_inverse=True)
        weight = np.exp(-2 * np.maximum(self._gap(known), 0))[place]
        chosen = rng.choice(len(parents), n, p=weight / weight.sum())
        size, first = lengths[segment[chosen]], starts[segment[chosen]]
        distance = 1 + (rng.standard_exponential(n) * np.maximum(2, 0.02 * size)).astype(np.intp)
        mate = np.clip(chosen + distance * rng.choice([-1, 1], n), first, first + size - 1)
        is_mates = rng.random((n, v), dtype=np.float32) < 0.5 * rng.random((n, 1), dtype=np.float32)
        children = np.where(is_mates, archive.genotypes[parents[mate]], archive.genotypes[parents[chosen]])
        rows, genes = np.nonzero(rng.random((n, v), dtype=np.float32) < settings.mutations / v)
        children[rows, genes] = (rng.random(len(rows)) * self._counts[genes]).astype(np.int8)
        return self._problem.complete(children)

    def _segments(self) -> list[NDArray[np.intp]]:
        """Archive rows of every front of every context, each ascending in cost."""
        return [rows for column in range(self._fronts.columns) for rows in self._fronts.fronts(column)]

    def _fitted_to_tops(self) -> tuple[PairRidge, NDArray[np.intp]]:
        """A surrogate fitted to the most accurate networks that some limit admits, and their rows, best first."""
        archive = self._problem.archive
        admitted = np.flatnonzero(self._fronts.is_admitted(self._fronts.archived_cost(slice(None))))
        admitted = admitted if len(admitted) > 1 else np.arange(len(archive))
        rows = admitted[np.argsort(-archive.accuracy[admitted], kind="stable")[: self._settings.fitted_tops]]
        accuracy = archive.accuracy[rows]
        noise = 0.01 + 0.03 * np.exp(2 * np.clip(accuracy[0] - accuracy - 0.3, 0, 2))
        return PairRidge.fit(self._one_hot(archive.genotypes[rows]), accuracy, noise), rows

    def _climbed(self, surrogate: PairRidge, tops: NDArray[np.intp]) -> Genotypes:
        """Where coordinate ascent of predicted accuracy ends, from random and from mutated accurate networks.

        Accuracy has many local tops, and crossing keeps to the ones it knows; yet a gain at the end of a front counts
        for every higher cost.
        """
        settings, rng = self._settings, self._rng
        count = min(settings.climbs, self.batch // 4)
        if count < 3:
            return self._problem.archive.genotypes[:0]
        random = self._problem.sample(count, rng)
        rows = random.copy()
        members = rng.choice(tops[: max(len(tops) // 3, 1)], count - count // 3)
        is_kept = rng.random((len(members), rows.shape[1])) < _KEPT_BY_CLIMBERS
        rows[: len(members)] = np.where(is_kept, self._problem.archive.genotypes[members], random[: len(members)])
        rows = self._problem.complete(rows)
        best = self._height(surrogate, rows)
        for gene in np.concatenate([rng.permutation(self._free) for _ in range(settings.sweeps)]):
            for step in range(1, int(self._counts[gene])):
                tried = rows.copy()
                tried[:, gene] = (tried[:, gene] + step) % self._counts[gene]
                tried = self._problem.complete(tried)
                height = self._height(surrogate, tried)
                better = height > best
                rows[better], best[better] = tried[better], height[better]
        return rows

    def _height(self, surrogate: PairRidge, genotypes: Genotypes) -> FloatArray:
        """Predicted accuracy, lower than any where no limit admits the network, and the lower the costlier it is."""
        height = surrogate(self._one_hot(genotypes))
        if self._fronts.has_limits:
            cost = self._fronts.cost(genotypes)
            height = np.where(self._fronts.is_admitted(cost), height, -1e6 - self._fronts.excess(cost))
        return height

    def _chosen(self, candidates: Genotypes, surrogate: PairRidge) -> Genotypes:
        """The most promising ones: some for the fronts of all, the rest for the fronts of their contexts."""
        if len(candidates) <= self.batch:
            return candidates
        predicted = surrogate(self._one_hot(candidates))
        cost, context = self._fronts.cost(candidates), self._fronts.context_of(candidates)
        gain = self._fronts.gain(cost, predicted)
        lagging = int(self._settings.lagging * self.batch) if self._fronts.contexts > 1 else 0
        order = np.argsort(-gain, kind="stable")
        leading, rest = order[: self.batch - lagging], order[self.batch - lagging :]
        own = self._fronts.gain_within(cost[rest], predicted[rest], context[rest])
        chosen = np.concatenate([leading, rest[np.argsort(-own, kind="stable")[:lagging]]])
        best: Genotypes = candidates[chosen]
        return best

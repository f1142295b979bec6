"""Problem: what is searched, for which targets, and the one audited door through which accuracy is evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import AccuracyModel, CostModel, knows_costs
from fleetfront.search.archive import Archive
from fleetfront.search.companions import Companions
from fleetfront.search.cost_range import check_limit
from fleetfront.search.front import FULL, target_front
from fleetfront.search.held_genes import fixed_genes, stand_ins
from fleetfront.search.metrics import MetricColumn, TaskLoss, metric_columns
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray
    from fleetfront.search.models.prior import Prior

#: Spaces up to this size are looked at whole.
_SMALL = 40_000


@dataclass(frozen=True, slots=True)
class ProblemTarget:
    """A device that gets a front.

    Attributes:
        name: what users call it, e.g. ``pixel3``.
        cost: the model of what its front trades against accuracy, latency by default.
        target: the spelled Target, empty if the numbers belong to none.
        limit: only architectures up to this cost are wanted.
        further: name of a further metric -> its model on this target, e.g. ``energy``.
        limits: name of a further metric, or ``macs`` or ``params`` -> the most that is wanted.
    """

    name: str
    cost: CostModel
    target: str = ""
    limit: float | None = None
    further: Mapping[str, CostModel] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def costs(self) -> Mapping[str, CostModel]:
        """Every model of this target by the name of its metric."""
        return {self.cost.metric.name: self.cost, **self.further}


@dataclass(slots=True)
class EvaluationCounter:
    """Counts of accuracies asked for. The rule: every architecture that is handed to ``Problem.evaluate`` counts once
    each time, first and repeated requests alike; ``requested`` is what a budget bounds and what results report.

    Attributes:
        requested: architectures asked for, = ``evaluated`` + ``repeated`` + ``recalled``.
        evaluated: distinct ones whose accuracy the model computed.
        repeated: ones that this search had asked for before; answered from the archive.
        recalled: ones that an earlier, killed run of this search had evaluated; answered from its archive.
        calls: how often the model was called.
        adopted: architectures known from the start, of a finished search; no part of ``requested``.
        failed: of those evaluated or recalled, ones whose accuracy could not be told; on no front.
    """

    requested: int = 0
    evaluated: int = 0
    repeated: int = 0
    recalled: int = 0
    calls: int = 0
    adopted: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Values of m architectures: accuracy[m] in percent, cost[m, t], extras[m, number of metric columns]."""

    accuracy: FloatArray
    cost: FloatArray
    extras: FloatArray


@dataclass(slots=True)
class Problem:
    """A space, its targets and how accuracy is known. Strategies see nothing else.

    Attributes:
        targets: at least one, with distinct names.
        extras: metrics that are further objectives: ``macs``, ``params``, or one that every target has a model of.
        fixed: gene name -> the one value it may take. What the accuracy model requires is added.
        excluded: gene name -> values that it may not take.
        budget: how many architectures may be evaluated; None for no bound.
        archive: everything evaluated, in order, with what follows from it (``companions``).
        companions: the networks that one accuracy is the answer for.
        counter: what was asked for; see ``EvaluationCounter``.
        columns: the further metrics, objectives and limits, in the order of ``archive.extras``.
        recall: an earlier run's archive that answers in place of the accuracy model, in whatever order it is asked.
        prior: what another task's search believes of networks; no accuracy of this search comes from it.
        part: int8[k, v], the only networks that tables of costs know; None where any may be asked for.
    """

    space: SearchSpace
    targets: tuple[ProblemTarget, ...]
    accuracy: AccuracyModel
    extras: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    budget: int | None = None
    recall: Archive | None = None
    excluded: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    part: Genotypes | None = None
    prior: Prior | None = None
    columns: tuple[MetricColumn, ...] = field(init=False)
    archive: Archive = field(init=False)
    companions: Companions = field(init=False)
    counter: EvaluationCounter = field(init=False, default_factory=EvaluationCounter)
    _fixed: dict[int, int] = field(init=False)
    # Of genes with excluded values: for each value that which stands in for it, the nearest one allowed.
    _instead: dict[int, NDArray[np.int8]] = field(init=False)
    _every: Genotypes | None = field(init=False, default=None)
    # Rows of each target's front, and how many rows of the archive they were chosen from.
    _fronts: list[tuple[NDArray[np.intp], int]] = field(init=False)

    def __post_init__(self) -> None:
        """Raises InputError on no target, repeated names, unknown genes or objectives, no network of ``part`` that is
        allowed, a limit that nothing meets."""
        if not self.targets:
            raise InputError("There is no device to search for.", "Name at least one: --device cpu.")
        names = [target.name for target in self.targets]
        if len(set(names)) < len(names):
            raise InputError(f"A device is named twice: {', '.join(names)}.", "Name each device once.")
        self.extras = tuple(dict.fromkeys(self.extras))
        self.columns = metric_columns(self.space, self.targets, self.extras, self.accuracy)
        if self.budget is not None and self.budget < 1:
            raise InputError(f"The budget is {self.budget} evaluations.", "Allow at least 1.")
        self._fixed = fixed_genes(self.space, self.fixed, self.accuracy)
        self._instead = stand_ins(self.space, self.excluded, self._fixed)
        self.companions = Companions.of(self.space, self.accuracy, self.allowed)
        self.archive = Archive(len(self.space.choices), names, [column.name for column in self.columns])
        self._fronts = [(np.zeros(0, dtype=np.intp), 0)] * len(names)
        if self.part is not None:
            self._every = self._allowed_part(self.part)
        for column, target in enumerate(self.targets):
            if target.limit is not None:
                check_limit(self, target.name, target.cost, target.limit)
            for metric in self.columns:
                if column in metric.limits:
                    check_limit(self, target.name, metric.model, metric.limits[column])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.targets)

    @property
    def remaining(self) -> int | None:
        """Evaluations left; None for no bound."""
        return None if self.budget is None else max(0, self.budget - self.counter.requested)

    @property
    def held(self) -> dict[str, Any]:
        """Name of each fixed gene -> the one value that it may take here."""
        return {self.space.gene_names[i]: self.space.choices[i][value] for i, value in self._fixed.items()}

    @property
    def free_choices(self) -> tuple[int, ...]:
        """For each gene how many values there are: 1 where it is fixed. ``complete`` replaces excluded ones."""
        return tuple(1 if i in self._fixed else len(values) for i, values in enumerate(self.space.choices))

    @property
    def allowed(self) -> tuple[NDArray[np.bool_], ...]:
        """For each gene bool[values]: which it may take here."""
        found = []
        for gene, values in enumerate(self.space.choices):
            index = np.arange(len(values))
            if gene in self._fixed:
                found.append(index == self._fixed[gene])
            else:
                found.append(index == self._instead.get(gene, index))
        return tuple(found)

    def every(self) -> Genotypes | None:
        """All distinct allowed architectures int8[n, v], canonical, of the part where one is searched; None if the
        space is too large to look at whole."""
        counts = self.free_choices
        size = math.prod(counts)
        if self._every is None and size <= _SMALL:
            free = [gene for gene, count in enumerate(counts) if count > 1]
            rows = np.zeros((size, len(counts)), dtype=np.int8)
            rows[:, free] = np.indices([counts[gene] for gene in free]).reshape(len(free), size).T
            self._every = np.unique(self.complete(rows), axis=0)
        return self._every

    def complete(self, genotypes: Genotypes) -> Genotypes:
        """Fixed genes set, excluded values replaced by the nearest allowed ones and inactive genes zeroed: every row
        int8[n, v] becomes an allowed architecture."""
        if self._fixed or self._instead:
            genotypes = genotypes.copy()
            for gene, value in self._fixed.items():
                genotypes[:, gene] = value
            for gene, instead in self._instead.items():
                genotypes[:, gene] = instead[genotypes[:, gene]]
        return self.space.canonical(genotypes)

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` allowed architectures: int8[n, v], canonical; uniform gene by gene, of a part network by network."""
        if self.part is not None and self._every is not None:
            return self._every[rng.integers(len(self._every), size=n)]
        drawn = self.space.sample(n, rng)
        for gene in self._instead:
            drawn[:, gene] = rng.choice(np.flatnonzero(self.allowed[gene]), n)
        return self.complete(drawn)

    def cost(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, t], free of charge."""
        return np.stack([target.cost.predict(genotypes).mean for target in self.targets], axis=1)

    def extra_values(self, genotypes: Genotypes, known: Archive | None = None) -> FloatArray:
        """float64[n, number of metric columns], free of charge; of tasks NaN where neither was their accuracy asked for
        nor does ``known`` hold it."""
        columns = [column.model.predict(genotypes).mean for column in self.columns]
        values = np.stack(columns, axis=1) if columns else np.zeros((len(genotypes), 0))
        for i, column in enumerate(self.columns):
            if known is not None and isinstance(column.model, TaskLoss) and column.name in known.extra_names:
                rows, held = known.find(genotypes), known.extras[:, known.extra_names.index(column.name)]
                values[rows >= 0, i] = held[rows[rows >= 0]]
        return values

    def objectives_of(self, target: int) -> list[int]:
        """Positions of the metric columns that the front of a target trades beside its cost and accuracy."""
        return [i for i, column in enumerate(self.columns) if column.is_objective and column.is_of(target)]

    def excess(self, target: int, cost: FloatArray, extras: FloatArray) -> FloatArray:
        """float64[n, limits]: by how much networks are over each limit of a target, in its unit; within it, up to 0.

        ``cost`` float64[n, t] and ``extras`` float64[n, metric columns] as the archive holds them.
        """
        own = self.targets[target].limit
        over = [] if own is None else [cost[:, target] - own]
        for i, column in enumerate(self.columns):
            if target in column.limits:
                over.append(extras[:, i] - column.limits[target])
        return np.stack(over, axis=1) if over else np.zeros((len(cost), 0))

    def is_within(self, target: int, cost: FloatArray, extras: FloatArray) -> NDArray[np.bool_]:
        """bool[n]: which networks keep every limit of a target."""
        within: NDArray[np.bool_] = np.all(self.excess(target, cost, extras) <= 0, axis=1)
        return within

    def evaluate(self, genotypes: Genotypes) -> Evaluation:
        """Accuracy and costs of m architectures, canonical as ``complete`` makes them; counted (``EvaluationCounter``).

        Accuracy is computed once for each architecture, however often it is asked for; its companions are archived with
        it, uncounted.

        Raises:
            InputError: if more is asked for than the budget allows, or from the accuracy model.
        """
        if self.remaining is not None and len(genotypes) > self.remaining:
            raise InputError(
                f"{len(genotypes)} evaluations were asked for, {self.remaining} of {self.budget} are left.",
                "Ask for less, or raise the budget.",
            )
        fresh = self.archive.unknown(genotypes)
        self.counter.requested += len(genotypes)
        self.counter.repeated += len(genotypes) - len(fresh)
        beside = self.companions.beside(fresh)
        told = self.archive.unknown(np.concatenate([fresh, beside[self._is_in_part(beside)]]))
        accuracy, std = self._accuracy(told, len(fresh))
        self.archive.add(told, accuracy, std, self.cost(told), self.extra_values(told, self.recall))
        rows = self.archive.find(genotypes)
        return Evaluation(self.archive.accuracy[rows], self.archive.cost[rows], self.archive.extras[rows])

    def everything_known(self) -> Archive:
        """The archive, and after it what ``recall`` knows beyond it, with costs on today's targets."""
        if self.recall is None:
            return self.archive
        rows = np.flatnonzero((self.archive.find(self.recall.genotypes) < 0) & self._is_in_part(self.recall.genotypes))
        genotypes = self.recall.genotypes[rows]
        known = Archive(len(self.space.choices), self.names, self.archive.extra_names)
        for source, of, cost, extras in (
            (self.archive, slice(None), self.archive.cost, self.archive.extras),
            (self.recall, rows, self.cost(genotypes), self.extra_values(genotypes, self.recall)),
        ):
            known.add(source.genotypes[of], source.accuracy[of], source.accuracy_std[of], cost, extras)
        return known

    @property
    def front_limits(self) -> tuple[float | None, ...]:
        """For each column of ``front_costs``, the limit on it."""
        own = [target.limit for target in self.targets]
        further = [column for column in self.columns if column.is_objective]
        return (*own, *(None if c.target is None else c.limits.get(c.target) for c in further))

    def front_costs(self, cost: FloatArray, extras: FloatArray) -> FloatArray:
        """float64[n, f]: the cost on each target, then each further objective, of ``cost`` [n, t] and ``extras``.

        Strategies trade each column against accuracy. It is infinite where another limit of the column's target forbids
        a network, for then it is no use there.
        """
        costs = cost
        if any(column.limits for column in self.columns):
            costs = cost.copy()
            for target in range(len(self.targets)):
                costs[~self.is_within(target, cost, extras) & self._is_below(target, cost), target] = np.inf
        further = [costs]
        for i, column in enumerate(self.columns):
            if column.is_objective:
                values = extras[:, i, None]
                if column.target is not None:
                    values = np.where(self.is_within(column.target, cost, extras)[:, None], values, np.inf)
                further.append(values)
        return np.concatenate(further, axis=1)

    def _is_below(self, target: int, cost: FloatArray) -> NDArray[np.bool_]:
        """bool[n]: within the limit on a target's own cost."""
        limit = self.targets[target].limit
        return np.ones(len(cost), np.bool_) if limit is None else cost[:, target] <= limit

    def front(self, column: int) -> NDArray[np.intp]:
        """Archive rows on the front of a target (and of the extra objectives), within its limit, ascending in cost."""
        rows, seen = self._fronts[column]
        if seen < len(self.archive):
            among = np.concatenate([rows, np.arange(seen, len(self.archive))])
            among = among[self.is_within(column, self.archive.cost[among], self.archive.extras[among])]
            among = among[np.isfinite(self.archive.accuracy_std[among])]
            cost, accuracy = self.archive.cost[among, column], self.archive.accuracy[among]
            extras = self.archive.extras[among][:, self.objectives_of(column)]
            rows = among[target_front(cost, accuracy, None, extras)]
            self._fronts[column] = (rows, len(self.archive))
        return rows

    def objectives(self, column: int, rows: NDArray[np.intp] | None = None) -> FloatArray:
        """float64[k, 2 + e]: cost, error in percent and e further objectives of rows, by default the front."""
        rows, archive = self.front(column) if rows is None else rows, self.archive
        values = [archive.cost[rows, column, None], FULL - archive.accuracy[rows, None]]
        return np.concatenate([*values, archive.extras[rows][:, self.objectives_of(column)]], axis=1)

    def adopt(self, archive: Archive) -> None:
        """Start from the architectures that a finished search evaluated: no evaluations, but costs on today's targets.

        Raises InputError if its genotypes are of another length.
        """
        if archive.genotypes.shape[1] != len(self.space.choices):
            raise InputError("The archive is of another space.", f"Give one of {self.space.name}.")
        kept = np.all(self.complete(archive.genotypes) == archive.genotypes, axis=1)
        kept &= self._is_in_part(archive.genotypes)
        rows = archive.genotypes[kept]
        new = self.archive.find(rows) < 0
        rows = rows[new]
        accuracy, std = archive.accuracy[kept][new], archive.accuracy_std[kept][new]
        self.archive.add(rows, accuracy, std, self.cost(rows), self.extra_values(rows, archive))
        self.counter.adopted += len(rows)

    def _allowed_part(self, part: Genotypes) -> Genotypes:
        allowed = np.unique(part[np.all(self.complete(part) == part, axis=1)], axis=0)
        if not len(allowed):
            raise InputError(
                f"None of the {len(part):,} networks that every table knows may be searched: genes are held or values "
                "barred that all of them have otherwise.",
                "Leave out --fix and --exclude, or add networks to the tables.",
            )
        return allowed

    def _is_in_part(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: of which networks every cost is known."""
        known = np.ones(len(genotypes), dtype=np.bool_)
        if self.part is not None:
            for target in self.targets:
                for cost in target.costs.values():
                    known &= knows_costs(cost, genotypes)
        return known

    def _accuracy(self, told: Genotypes, asked: int) -> tuple[FloatArray, FloatArray]:
        """Accuracies of networks and their deviations; the first ``asked`` are counted."""
        accuracy, std = np.empty(len(told)), np.empty(len(told))
        unseen = np.ones(len(told), dtype=np.bool_)
        if self.recall is not None:
            rows = self.recall.find(told)
            unseen = rows < 0
            accuracy[~unseen] = self.recall.accuracy[rows[~unseen]]
            std[~unseen] = self.recall.accuracy_std[rows[~unseen]]
        if unseen.any():
            estimate = self.accuracy.predict(told[unseen])
            accuracy[unseen], std[unseen] = estimate.mean, estimate.std
            self.counter.calls += 1
        self.counter.evaluated += int(unseen[:asked].sum())
        self.counter.recalled += int((~unseen[:asked]).sum())
        self.counter.failed += int(np.isinf(std[:asked]).sum())
        return accuracy, std

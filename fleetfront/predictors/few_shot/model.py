"""A new device from few measurements, end to end: learn from known devices, choose networks, fit, say how good it is.

Two opinions are held: ``transfer`` (operator costs) and ``pooled_trees``. Both are tried on every known device in turn,
with all the others as teachers, and the better one serves; the same trial says how wide intervals have to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, MissingDependency
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.few_shot.basis import WorkBasis, make_basis, mode_coordinates
from fleetfront.predictors.few_shot.pooled_trees import PooledDevice, PooledTrees, grow_pooled_trees
from fleetfront.predictors.few_shot.prior import KnownDevice, Prior, learn_device, learn_prior
from fleetfront.predictors.few_shot.transfer import TransferModel, choose_few, fit_few, least_latency, mix
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.predictors.scores import Z90
from fleetfront.predictors.trees import Trees
from fleetfront.quantities import LATENCY, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Candidates drawn for each network to be chosen. With 60 for 10 the choice still mirrors the population; with
#: hundreds it falls on its rarest members, where linear models are least right (in trials on NAS-Bench-201 about two
#: points fewer within 10 %).
CANDIDATES_PER_CHOICE = 6
#: Networks that define the basis, and networks of each known device that trees and trials use: more changed nothing.
_REFERENCE = 2000
_PER_DEVICE = 400
#: Bounds of the factor on intervals: a trial on a few devices must not make them absurd.
_FACTOR_BOUNDS = (0.7, 3.0)


@dataclass(frozen=True, slots=True)
class KnownTable:
    """Latencies ms[n] of networks int8[n, v] on a known device, and what its data sheet says."""

    name: str
    genotypes: Genotypes
    ms: FloatArray
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """One known device, treated as unknown: mean absolute error in percent of both opinions, and error / std ratios."""

    device: str
    transfer_mape: float
    trees_mape: float | None
    ratios: FloatArray


@dataclass(frozen=True, slots=True)
class FewShotReport:
    """How a model from few measurements came about.

    Attributes:
        serves: ``transfer`` or ``trees``.
        mode: execution mode found (of the transfer model).
        teachers: names of the known devices.
        networks: how many were measured.
        mape: percent, of the serving opinion over the known devices, each left out in turn.
        other_mape: of the other one, None if it could not be tried.
        interval_factor: what the trials widen the intervals by.
        left_out: devices that could have taught, each with why it did not.
    """

    serves: str
    mode: str
    teachers: tuple[str, ...]
    networks: int
    mape: float
    other_mape: float | None
    interval_factor: float
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"teachers": list(self.teachers), "left_out": list(self.left_out)}


@dataclass(frozen=True, slots=True)
class FewShotFit:
    """The serving cost model and how it came about."""

    model: TransferModel | PooledModel
    report: FewShotReport


class PooledModel:
    """Latency in ms by the trees of all known devices. A CostModel."""

    metric: Metric = LATENCY
    tier: Tier = Tier.TRANSFERRED

    def __init__(
        self,
        target: Target,
        work: NetworkWork,
        basis: WorkBasis,
        trees: PooledTrees,
        few_ms: FloatArray,
        facts: Mapping[str, float],
        relative_std: float,
    ) -> None:
        self.target = target
        self._work = work
        self._basis = basis
        self._trees = trees
        self._few_ms = few_ms
        self._facts = facts
        self._relative_std = relative_std

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds and their std for n genotypes int8[n, v]."""
        features = tree_features(mode_coordinates(self._work, self._basis, genotypes))
        mean = self._trees.predict(features, self._few_ms, self._facts)
        return Estimate(mean, self._relative_std * mean, self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads."""
        return {
            "target": str(self.target),
            "space": self._work.space.name,
            "basis": self._basis.to_json(),
            "trees": self._trees.trees.to_json(),
            "few_ms": self._few_ms.tolist(),
            "facts": dict(self._facts),
            "relative_std": self._relative_std,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], work: NetworkWork) -> PooledModel:
        """Read ``to_json`` back. Raises KeyError, TypeError, ValueError or OverflowError on anything else."""
        if data["space"] != work.space.name:
            raise ValueError(f"the model is of {data['space']}, not of {work.space.name}")
        return cls(
            Target.parse(data["target"]),
            work,
            WorkBasis.from_json(data["basis"]),
            PooledTrees(Trees.from_json(data["trees"])),
            np.asarray(data["few_ms"], np.float64),
            {str(key): float(value) for key, value in data["facts"].items()},
            float(data["relative_std"]),
        )


class Teacher:
    """What known devices teach about networks of one space."""

    def __init__(
        self,
        space: SearchSpace,
        known: Sequence[KnownTable],
        *,
        work: NetworkWork | None = None,
        seed: int = 0,
        left_out: Sequence[str] = (),
    ) -> None:
        """Learn every known device. ``work`` may be shared, since making it builds every block's graph; ``left_out``
        is told in reports.

        Raises InputError with fewer than three devices or too few networks of one.
        """
        self.space = space
        self.work = work or NetworkWork(space)
        self._seed = seed
        self._left_out = tuple(left_out)
        reference = usable(space, space.sample(_REFERENCE, np.random.default_rng(seed)))
        self.basis: WorkBasis = make_basis(self.work, reference)
        self.known = tuple(_connected(space, table) for table in known)
        # Devices of one public table share its networks.
        shared = {table.genotypes.tobytes(): table.genotypes for table in self.known}
        coordinates_of = {key: self.coordinates(genotypes) for key, genotypes in shared.items()}
        self._coordinates = [coordinates_of[table.genotypes.tobytes()] for table in self.known]
        self.devices: tuple[KnownDevice, ...] = tuple(
            learn_device(table.name, coordinates, table.ms)
            for table, coordinates in zip(self.known, self._coordinates, strict=True)
        )
        self.prior: Prior = learn_prior(self.devices, self.work.modes)

    def coordinates(self, genotypes: Genotypes) -> dict[Mode, FloatArray]:
        """Coordinates float64[n, r] of networks in each mode of the space."""
        return mode_coordinates(self.work, self.basis, genotypes)

    def choose(self, k: int, rng: np.random.Generator, candidates: Genotypes | None = None) -> Genotypes:
        """The ``k`` networks int8[k, v] to measure, in the order of how much they tell.

        ``candidates`` int8[c, v] restricts the choice; by default it is among ``CANDIDATES_PER_CHOICE * k`` drawn.
        Raises InputError if there are fewer candidates than ``k``.
        """
        drawn = self.space.sample(2 * CANDIDATES_PER_CHOICE * k, rng) if candidates is None else candidates
        drawn = np.unique(usable(self.space, self.space.canonical(drawn)), axis=0)
        drawn = rng.permutation(drawn)[: CANDIDATES_PER_CHOICE * k]
        picked: Genotypes = drawn[choose_few(self.prior, self.coordinates(drawn), k)]
        return picked

    def fit(
        self,
        target: Target,
        genotypes: Genotypes,
        ms: FloatArray,
        *,
        facts: Mapping[str, float] | None = None,
        second_opinion: bool = True,
    ) -> FewShotFit:
        """The model of a new device from k measured networks int8[k, v] with latencies float64[k] in ms.

        Raises InputError if a latency is not positive.
        """
        ms = np.asarray(ms, np.float64)
        hypotheses = fit_few(self.prior, self.coordinates(genotypes), ms)
        trials = self.trials(len(ms), second_opinion=second_opinion)
        factor = interval_factor(trials)
        transfer = TransferModel(
            target, self.work, self.basis, hypotheses, least_ms=least_latency(ms), interval_factor=factor
        )
        mape = float(np.mean([trial.transfer_mape for trial in trials]))
        others = [trial.trees_mape for trial in trials if trial.trees_mape is not None]
        other = float(np.mean(others)) if len(others) == len(trials) else None
        names = tuple(table.name for table in self.known)
        if other is None or mape <= other:
            report = FewShotReport("transfer", transfer.mode.value, names, len(ms), mape, other, factor, self._left_out)
            return FewShotFit(transfer, report)
        trees = self._grow(range(len(self.known)), genotypes)
        # A mean absolute error is 0.8 standard deviations of normal errors.
        model = PooledModel(target, self.work, self.basis, trees, ms, facts or {}, 1.25 * other / 100)
        report = FewShotReport("trees", transfer.mode.value, names, len(ms), other, mape, 1.0, self._left_out)
        return FewShotFit(model, report)

    def trials(self, k: int, *, second_opinion: bool = True) -> tuple[Trial, ...]:
        """Treat each known device as unknown, with ``k`` chosen networks and the others as teachers."""
        if len(self.devices) <= 3:
            raise InputError(
                f"{len(self.devices)} known devices are too few to try the method on.",
                "Import or profile more devices.",
            )
        return tuple(self._trial(at, k, second_opinion) for at in range(len(self.devices)))

    def _trial(self, at: int, k: int, second_opinion: bool) -> Trial:
        table, coordinates = self.known[at], self._coordinates[at]
        others = [i for i in range(len(self.devices)) if i != at]
        prior = learn_prior([self.devices[i] for i in others], self.work.modes)
        rng = np.random.default_rng([self._seed, at])
        candidates = rng.permutation(len(table.ms))[: CANDIDATES_PER_CHOICE * k]
        few = candidates[choose_few(prior, _rows(coordinates, candidates), k)]
        tested = np.setdiff1d(rng.permutation(len(table.ms))[: 4 * _PER_DEVICE], few)
        hypotheses = fit_few(prior, _rows(coordinates, few), table.ms[few])
        mean, std = mix(hypotheses, _rows(coordinates, tested), least_latency(table.ms[few]))
        truth = table.ms[tested]
        trees_mape = None
        if second_opinion:
            try:
                trees = self._grow(others, table.genotypes[few])
            except MissingDependency:
                trees = None
            if trees is not None:
                guess = trees.predict(self._features(table.genotypes[tested]), table.ms[few], table.facts)
                trees_mape = float(100 * np.mean(np.abs(guess / truth - 1)))
        transfer_mape = float(100 * np.mean(np.abs(mean / truth - 1)))
        return Trial(table.name, transfer_mape, trees_mape, np.abs(mean - truth) / std)

    def _features(self, genotypes: Genotypes) -> FloatArray:
        return tree_features(self.coordinates(genotypes))

    def _grow(self, teachers: Sequence[int], few: Genotypes) -> PooledTrees:
        rng = np.random.default_rng(self._seed)
        few_coordinates = self.coordinates(few)
        pooled = []
        for i in teachers:
            table, device = self.known[i], self.devices[i]
            rows = rng.permutation(len(table.ms))[:_PER_DEVICE]
            # What the few would take, from the device's own fit, with the noise that measuring them would have.
            few_ms = few_coordinates[device.mode] @ device.shares * float(table.ms.mean())
            few_ms *= np.exp(device.relative_std * rng.standard_normal(len(few_ms)))
            few_ms = np.maximum(few_ms, least_latency(table.ms))
            pooled.append(PooledDevice(self._features(table.genotypes[rows]), table.ms[rows], few_ms, table.facts))
        return grow_pooled_trees(pooled)


def tree_features(coordinates: Mapping[Mode, FloatArray]) -> FloatArray:
    """float64[n, f]: coordinates in all modes side by side, without the constants."""
    return np.hstack([columns[:, 1:] for columns in coordinates.values()])


def interval_factor(trials: Sequence[Trial]) -> float:
    """The factor on standard deviations with which 90 % intervals would have covered 90 % over all trials."""
    ratios = np.concatenate([trial.ratios for trial in trials])
    low, high = _FACTOR_BOUNDS
    return float(np.clip(np.quantile(ratios, 0.9) / Z90, low, high))


def usable(space: SearchSpace, genotypes: Genotypes) -> Genotypes:
    """Without networks whose output does not depend on their input: some runtimes fold them away."""
    return genotypes[~space.disconnected(genotypes)] if isinstance(space, MayDisconnect) else genotypes


def _connected(space: SearchSpace, table: KnownTable) -> KnownTable:
    if not isinstance(space, MayDisconnect):
        return table
    kept = ~space.disconnected(table.genotypes)
    return KnownTable(table.name, table.genotypes[kept], table.ms[kept], table.facts)


def _rows(coordinates: Mapping[Mode, FloatArray], rows: NDArray[np.intp]) -> dict[Mode, FloatArray]:
    return {mode: columns[rows] for mode, columns in coordinates.items()}

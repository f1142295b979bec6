"""Predict a new device from few measurements: learn from known devices, choose networks, fit, say how good it is.

Two opinions are held: ``posterior`` (operator costs) and ``pooled_trees``. Both are tried on every known device in
turn, with all the others as teachers, and the better one serves; the same trial says how wide intervals have to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from fleetfront.errors import InputError, MissingDependency
from fleetfront.plain import to_plain
from fleetfront.predictors.base import covers_all
from fleetfront.predictors.few_shot.basis import WorkBasis, make_basis, mode_coordinates
from fleetfront.predictors.few_shot.expected_error import (
    UNRELIABLE,
    Trial,
    error_level,
    implied_error,
    interval_factor,
    own_stretch,
    reasons_to_doubt,
    spread_of_networks,
)
from fleetfront.predictors.few_shot.pooled_trees import PooledDevice, PooledTrees, described_by, grow_pooled_trees
from fleetfront.predictors.few_shot.posterior import (
    LEAST_WEIGHT,
    FewShotContent,
    FewShotModel,
    choose_informative,
    fit_posterior,
    found_step,
    least_latency,
    mix,
)
from fleetfront.predictors.few_shot.prior import KnownDevice, Prior, learn_device, learn_prior
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.predictors.trees import Trees
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Tier
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace
from fleetfront.targets import Target

#: Candidates drawn for each network to be chosen. With 60 for 10 the choice still mirrors the population; with
#: hundreds it falls on its rarest members, where linear models are least right (in trials on NAS-Bench-201 about two
#: points fewer within 10 %).
CANDIDATES_PER_CHOICE = 6
#: Networks that define the basis, and networks of each known device that trees and trials use: more changed nothing.
_REFERENCE = 2000
_PER_DEVICE = 400
#: Below, trees over all devices have too little to tell devices apart by.
FEWEST_FOR_TREES = 10


@dataclass(frozen=True, slots=True)
class KnownTable:
    """Latencies ms[n] of networks int8[n, v] on a known device, and what its data sheet says."""

    name: str
    genotypes: Genotypes
    ms: FloatArray
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FewShotReport:
    """How a few-shot model came about.

    Attributes:
        serves: ``transfer`` or ``trees``.
        mode: execution mode found (of the transfer model).
        teachers: names of the known devices.
        networks: how many were measured.
        mape: percent, of the serving opinion over the known devices, each left out in turn.
        other_mape: of the other one, None if it could not be tried.
        interval_factor: what the trials widen the intervals by.
        left_out: devices that could have taught, each with why it did not.
        expected_mape: percent, of this very device: from its measurements, each left out in turn, and the width of its
            intervals, scaled by how such guesses did on known devices; ``mape`` where trees serve. None in old files.
        warnings: what speaks against the measurements.
    """

    serves: Literal["transfer", "trees"]
    mode: str
    teachers: tuple[str, ...]
    networks: Annotated[int, Ge(1)]
    mape: Annotated[float, Ge(0)]
    other_mape: Annotated[float, Ge(0)] | None
    interval_factor: Annotated[float, Gt(0)]
    left_out: tuple[str, ...] = ()
    expected_mape: Annotated[float, Ge(0)] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """The error to be expected, percent."""
        return self.mape if self.expected_mape is None else self.expected_mape

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = to_plain(self)
        return plain


@dataclass(frozen=True, slots=True)
class FewShotFit:
    """The serving cost model and how it came about."""

    model: FewShotModel | PooledModel
    report: FewShotReport


@dataclass(frozen=True, slots=True)
class PooledContent:
    """What a file holds of a ``PooledModel``."""

    target: Target
    space: str
    basis: WorkBasis
    trees: Trees
    few_ms: FloatArray
    facts: Mapping[str, float]
    relative_std: Annotated[float, Gt(0)]

    def __post_init__(self) -> None:
        """Raises ValueError if a measurement is not positive."""
        if self.few_ms.ndim != 1 or not self.few_ms.size or np.any(self.few_ms <= 0):
            raise ValueError("a measurement is not positive")


class PooledModel:
    """One metric, mostly latency in ms, by the trees of all known devices. A CostModel."""

    tier: Tier = Tier.TRANSFERRED

    def __init__(self, content: PooledContent, work: NetworkWork, metric: Metric = LATENCY) -> None:
        """Raises ValueError if the content is of another space, or its trees are not of its description."""
        if content.space != work.space.name:
            raise ValueError(f"the model is of {content.space}, not of {work.space.name}")
        self.content = content
        self.metric = metric
        self._work = work
        self._trees = PooledTrees(content.trees)
        columns, per_mode = content.trees.columns - described_by(content.few_ms), content.basis.rank - 1
        # Trees of older versions know the first modes alone.
        self._modes = work.modes[: columns // max(per_mode, 1)]
        if len(self._modes) * per_mode != columns or not self._modes:
            raise ValueError(f"its trees read {content.trees.columns} columns")

    @property
    def target(self) -> Target:
        """The new device's."""
        return self.content.target

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Milliseconds and their std for n genotypes int8[n, v]."""
        coordinates = mode_coordinates(self._work, self.content.basis, genotypes)
        features = tree_features({mode: coordinates[mode] for mode in self._modes})
        mean = self._trees.predict(features, self.content.few_ms, self.content.facts)
        return Estimate(mean, self.content.relative_std * mean, self.tier)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: every architecture of the space."""
        return covers_all(genotypes)


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
        metric: Metric = LATENCY,
    ) -> None:
        """Learn every known device. ``work`` may be shared, since making it builds every block's graph; ``left_out``
        is told in reports.

        Raises InputError with fewer than three devices or too few networks of one.
        """
        self.space = space
        self.work = work or NetworkWork(space)
        self._seed = seed
        self._left_out = tuple(left_out)
        self._metric = metric
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
        self._reference = self.coordinates(reference[:_PER_DEVICE])

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
        picked: Genotypes = drawn[choose_informative(self.prior, self.coordinates(drawn), k)]
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
        ms, step = np.asarray(ms, np.float64), found_step(ms)
        posterior = fit_posterior(self.prior, self.coordinates(genotypes), ms, step)
        hypotheses, least = posterior.hypotheses, least_latency(ms)
        mean, std = mix(hypotheses, self._reference, least)
        std = np.hypot(std, step / math.sqrt(12))
        warnings = reasons_to_doubt(ms, posterior.left_out, step)
        stretch = own_stretch(posterior.left_out, mean, std)
        if warnings and any(code in UNRELIABLE for code in warnings):
            # Such measurements say nothing of how networks differ: intervals must hold what networks may take at all.
            stretch = max(
                stretch, spread_of_networks([table.ms for table in self.known]) / implied_error(mean, std, 1.0)
            )
        trials = self.trials(len(ms), second_opinion=second_opinion and len(ms) >= FEWEST_FOR_TREES)
        factor = interval_factor(trials)
        content = FewShotContent(
            target,
            self.space.name,
            self.basis,
            tuple(h for h in hypotheses if h.weight > LEAST_WEIGHT),
            least_ms=least,
            interval_factor=factor * stretch,
            step_ms=step,
        )
        transfer = FewShotModel(content, self.work, self._metric)
        mape = float(np.mean([trial.transfer_mape for trial in trials]))
        others = [trial.trees_mape for trial in trials if trial.trees_mape is not None]
        other = float(np.mean(others)) if len(others) == len(trials) else None
        report = FewShotReport(
            "transfer",
            transfer.mode.value,
            tuple(table.name for table in self.known),
            len(ms),
            mape,
            other,
            factor * stretch,
            self._left_out,
            error_level(trials) * implied_error(mean, std, stretch),
            tuple(warnings.values()),
        )
        if other is None or mape <= other:
            return FewShotFit(transfer, report)
        trees = self._grow(range(len(self.known)), genotypes)
        # A mean absolute error is 0.8 standard deviations of normal errors.
        std_of_trees = 1.25 * other / 100
        pooled = PooledContent(target, self.space.name, self.basis, trees.trees, ms, facts or {}, std_of_trees)
        report = replace(report, serves="trees", mape=other, other_mape=mape, interval_factor=1.0, expected_mape=other)
        return FewShotFit(PooledModel(pooled, self.work, self._metric), report)

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
        few = candidates[choose_informative(prior, _rows(coordinates, candidates), k)]
        tested = np.setdiff1d(rng.permutation(len(table.ms))[: 4 * _PER_DEVICE], few)
        step = found_step(table.ms[few])
        posterior = fit_posterior(prior, _rows(coordinates, few), table.ms[few], step)
        mean, std = mix(posterior.hypotheses, _rows(coordinates, tested), least_latency(table.ms[few]))
        std = np.hypot(std, step / math.sqrt(12))
        stretch = own_stretch(posterior.left_out, mean, std)
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
        ratios = np.abs(mean - truth) / (stretch * std)
        return Trial(table.name, transfer_mape, trees_mape, ratios, implied_error(mean, std, stretch))

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

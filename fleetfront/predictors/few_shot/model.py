"""Predict a new device from few measurements: learn from known devices, choose networks, fit, say how good it is.

Two opinions are held: ``posterior`` (operator costs) and ``pooled_trees``. Both are tried on every known device in
turn, with all the others as teachers, and the better one serves; the same trials say how wide intervals have to be.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, MissingDependency
from fleetfront.predictors.few_shot.basis import WorkBasis, count_once, make_basis, mode_coordinates
from fleetfront.predictors.few_shot.choice import choose_informative
from fleetfront.predictors.few_shot.cost_model import LEAST_WEIGHT, FewShotContent, FewShotModel, mix
from fleetfront.predictors.few_shot.expected_error import (
    UNRELIABLE,
    Trial,
    calibrate,
    implied_error,
    reasons_to_doubt,
    reasons_to_doubt_level,
    spread_of_networks,
)
from fleetfront.predictors.few_shot.pooled_trees import (
    PooledContent,
    PooledDevice,
    PooledModel,
    PooledTrees,
    grow_pooled_trees,
    tree_features,
)
from fleetfront.predictors.few_shot.posterior import (
    FEWEST_LEFT_OUT,
    Posterior,
    evidence_of_equals,
    fit_posterior,
    found_step,
    least_latency,
)
from fleetfront.predictors.few_shot.prior import (
    DEFAULT_SETTINGS,
    KnownDevice,
    Prior,
    PriorSettings,
    learn_device,
    learn_prior,
)
from fleetfront.predictors.few_shot.report import FewShotFit, FewShotReport
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.quantities import LATENCY, FloatArray, Metric
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace
from fleetfront.targets import Target

#: Candidates drawn for each network to be chosen. With 60 for 10 the choice still mirrors the population; with
#: hundreds it falls on its rarest members, where linear models are least right (in trials on NAS-Bench-201 about two
#: points fewer within 10 %).
CANDIDATES_PER_CHOICE = 6
#: Networks that define the basis, and networks of each known device that trees and trials use: more changed nothing.
_REFERENCE = 2000
_PER_DEVICE = 400
#: Below, trees over all devices have too little to tell devices apart by; beyond, a device is described by so many
#: networks that trees take a minute, and operator costs are well known anyway.
FEWEST_FOR_TREES, MOST_FOR_TREES = 10, 40
#: How often each known device is tried, with other networks each time; many networks vary little.
_REPEATS, _MANY = 3, 10


@dataclass(frozen=True, slots=True)
class KnownTable:
    """Latencies ms[n] of networks int8[n, v] on a known device, and what its data sheet says."""

    name: str
    genotypes: Genotypes
    ms: FloatArray
    facts: Mapping[str, float] = field(default_factory=dict)


class Teacher:
    """The lessons of known devices about networks of one space."""

    def __init__(
        self,
        space: SearchSpace,
        known: Sequence[KnownTable],
        *,
        work: NetworkWork | None = None,
        seed: int = 0,
        left_out: Sequence[str] = (),
        metric: Metric = LATENCY,
        estimates: Mapping[str, KnownTable] | None = None,
        device: str = "",
        mode: Mode | None = None,
        settings: PriorSettings = DEFAULT_SETTINGS,
    ) -> None:
        """Learn every known device.

        Args:
            space: of the networks.
            known: tables of the known devices.
            work: may be shared, since making it builds every block's graph.
            seed: of all draws.
            left_out: told in reports.
            metric: of the tables.
            estimates: by device, what its own estimate says of networks that are not measured.
            device: the new one, whose own estimate joins in if there is one.
            mode: in which networks will be executed, if that is known.
            settings: what the known devices are too few to tell.

        Raises:
            InputError: with fewer than three devices or too few networks of one.
        """
        self.space = space
        self.work = work or NetworkWork(space)
        self._seed = seed
        self._left_out = tuple(left_out)
        self.metric = metric
        self._mode, self._settings = mode, settings
        reference = usable(space, space.sample(_REFERENCE, np.random.default_rng(seed)))
        self.basis: WorkBasis = make_basis(self.work, reference)
        self.known = tuple(_connected(space, table) for table in known)
        estimated = {name: _connected(space, table) for name, table in (estimates or {}).items()}
        # Devices of one public table share its networks.
        tables = (*self.known, *estimated.values())
        shared = {table.genotypes.tobytes(): table.genotypes for table in tables}
        coordinates_of = {key: self.coordinates(genotypes) for key, genotypes in shared.items()}
        self._coordinates = [coordinates_of[table.genotypes.tobytes()] for table in self.known]
        self.devices: tuple[KnownDevice, ...] = tuple(
            learn_device(table.name, coordinates, table.ms)
            for table, coordinates in zip(self.known, self._coordinates, strict=True)
        )
        self._estimates = {
            name: learn_device(name, coordinates_of[table.genotypes.tobytes()], table.ms)
            for name, table in estimated.items()
        }
        self._estimated_ms = {name: float(table.ms.mean()) for name, table in estimated.items()}
        self._reference = self.coordinates(reference[:_PER_DEVICE])
        self._learn_prior(device)

    def without(self, names: Collection[str], device: str = "") -> Teacher:
        """The same without the known devices ``names``, to learn ``device``."""
        kept = [i for i, table in enumerate(self.known) if table.name not in names]
        fewer = copy.copy(self)
        fewer.known = tuple(self.known[i] for i in kept)
        fewer.devices = tuple(self.devices[i] for i in kept)
        fewer._coordinates = [self._coordinates[i] for i in kept]
        fewer._learn_prior(device)
        return fewer

    def _learn_prior(self, device: str) -> None:
        self._device, self._is_estimated = device, device in self._estimates
        at_large = self._prior(self.devices, device)
        self.prior: Prior = at_large if self._mode is None else at_large.within(self._mode)
        self._trials: dict[tuple[int, bool, bool], tuple[Trial, ...]] = {}

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
        picked: Genotypes = drawn[choose_informative(self.prior, self._in_mode(self.coordinates(drawn)), k)]
        return picked

    def fit(
        self,
        target: Target,
        genotypes: Genotypes,
        ms: FloatArray,
        *,
        facts: Mapping[str, float] | None = None,
        second_opinion: bool = True,
        step_ms: float = 0.0,
        are_chosen: bool = True,
        in_order: bool = True,
    ) -> FewShotFit:
        """The model of a new device from k measured networks int8[k, v] with latencies float64[k] in ms.

        ``step_ms`` is what its clock is known to round to; coarser steps are found in the values. A drift is looked
        for if networks come ``in_order``, as they were measured one after another. Unless ``are_chosen``, they are what
        somebody happened to measure, which tells less: the method is tried on known devices with as many drawn at
        random.

        Raises InputError if a latency is not positive.
        """
        ms = np.asarray(ms, np.float64)
        step = max(found_step(ms), step_ms)
        coordinates = self._in_mode(self.coordinates(genotypes))
        posterior = fit_posterior(self.prior, coordinates, ms, step, in_order=in_order)
        mean, std = _spread(posterior, self._reference, ms, step)
        of_equals = evidence_of_equals(self.prior, coordinates, ms, step)
        warnings = reasons_to_doubt(ms, posterior, step, of_equals, self.metric)
        if self._is_estimated:
            warnings |= reasons_to_doubt_level(ms, self._estimated(genotypes), self._device, self.metric)
        ask_trees = FEWEST_FOR_TREES <= len(ms) <= MOST_FOR_TREES
        trials = self.trials(len(ms), second_opinion=second_opinion and ask_trees, are_chosen=are_chosen)
        calibration = calibrate(trials)
        stretch = calibration.stretch(posterior.surprise)
        implied = implied_error(mean, std)
        expected = calibration.error(implied, posterior.shown_mape if len(ms) >= FEWEST_LEFT_OUT else implied)
        if any(code in UNRELIABLE for code in warnings):
            # Such measurements say nothing of how networks differ: intervals must hold what networks may take at all.
            spread, widest = spread_of_networks([table.ms for table in self.known])
            stretch, expected = max(stretch, widest / float(np.mean(std / mean))), max(expected, spread)
        content = self._content(target, posterior, ms, stretch, step)
        transfer = FewShotModel(content, self.work, self.metric)
        others = [trial.trees_mape for trial in trials if trial.trees_mape is not None]
        report = FewShotReport(
            "transfer",
            transfer.mode.value,
            tuple(table.name for table in self.known),
            len(ms),
            float(np.mean([trial.transfer_mape for trial in trials])),
            float(np.mean(others)) if len(others) == len(self.known) else None,
            stretch,
            self._left_out,
            expected,
            tuple(warnings.values()),
        )
        return self._better_opinion(FewShotFit(transfer, report), genotypes, ms, facts or {})

    def _estimated(self, genotypes: Genotypes) -> FloatArray:
        """The device's own estimate of n networks, float64[n]."""
        estimate = self._estimates[self._device]
        shares: FloatArray = self.coordinates(genotypes)[estimate.mode] @ estimate.shares
        return shares * self._estimated_ms[self._device]

    def _content(
        self, target: Target, posterior: Posterior, ms: FloatArray, stretch: float, step: float
    ) -> FewShotContent:
        return FewShotContent(
            target,
            self.space.name,
            self.basis,
            tuple(h for h in posterior.hypotheses if h.weight > LEAST_WEIGHT),
            least_ms=least_latency(ms),
            interval_factor=stretch,
            step_ms=step,
        )

    def _better_opinion(
        self, fit: FewShotFit, genotypes: Genotypes, ms: FloatArray, facts: Mapping[str, float]
    ) -> FewShotFit:
        """The same, or trees if they did better on known devices."""
        mape, other = fit.report.mape, fit.report.other_mape
        if other is None or mape <= other:
            return fit
        trees = self._grow(range(len(self.known)), genotypes)
        # A mean absolute error is 0.8 standard deviations of normal errors.
        std = 1.25 * other / 100
        pooled = PooledContent(fit.model.target, self.space.name, self.basis, trees.trees, ms, facts, std)
        report = replace(fit.report, serves="trees", mape=other, other_mape=mape, interval_factor=1.0)
        return FewShotFit(PooledModel(pooled, self.work, self.metric), replace(report, expected_mape=other))

    def trials(self, k: int, *, second_opinion: bool = True, are_chosen: bool = True) -> tuple[Trial, ...]:
        """Treat each known device as unknown, with ``k`` networks, chosen or drawn at random, and the others as
        teachers, a few times each.

        Raises InputError if that leaves too few teachers.
        """
        if len(self.devices) <= 3:
            raise InputError(
                f"{len(self.devices)} known devices are too few to try the method on.",
                "Import or profile more devices.",
            )
        asked = (k, second_opinion, are_chosen)
        if asked not in self._trials:
            self._trials[asked] = tuple(
                self._trial(at, k, repeat, second_opinion and repeat == 0, are_chosen)
                for at in range(len(self.devices))
                for repeat in range(_REPEATS if k <= _MANY else 1)
            )
        return self._trials[asked]

    def _trial(self, at: int, k: int, repeat: int, second_opinion: bool, are_chosen: bool) -> Trial:
        table, coordinates = self.known[at], self._coordinates[at]
        others = [i for i in range(len(self.devices)) if i != at]
        prior = self._prior([self.devices[i] for i in others], table.name if self._is_estimated else "")
        rng = np.random.default_rng([self._seed, at, repeat])
        candidates, count = rng.permutation(len(table.ms))[: CANDIDATES_PER_CHOICE * k], min(k, len(table.ms) // 2)
        best = choose_informative(prior, _rows(coordinates, candidates), count) if are_chosen else slice(count)
        few = candidates[best]
        tested = np.setdiff1d(rng.permutation(len(table.ms))[: 4 * _PER_DEVICE], few)
        few_ms, truth = table.ms[few], table.ms[tested]
        step = found_step(few_ms)
        posterior = fit_posterior(prior, _rows(coordinates, few), few_ms, step)
        mean, std = _spread(posterior, _rows(coordinates, tested), few_ms, step)
        trees_mape = None
        if second_opinion:
            trees_mape = self._trees_mape(table, others, few, tested)
        return Trial(
            table.name,
            float(100 * np.mean(np.abs(mean / truth - 1))),
            trees_mape,
            np.abs(mean - truth) / std,
            implied_error(mean, std),
            posterior.shown_mape,
            posterior.surprise,
        )

    def _trees_mape(
        self, table: KnownTable, teachers: Sequence[int], few: NDArray[np.intp], tested: NDArray[np.intp]
    ) -> float | None:
        try:
            trees = self._grow(teachers, table.genotypes[few])
        except MissingDependency:
            return None
        features = tree_features(self.coordinates(table.genotypes[tested]))
        guess = trees.predict(features, table.ms[few], table.facts)
        return float(100 * np.mean(np.abs(guess / table.ms[tested] - 1)))

    def _prior(self, devices: Sequence[KnownDevice], unknown: str) -> Prior:
        """The prior that ``devices`` teach, and the own estimate of the unknown one if it has one."""
        estimate = self._estimates.get(unknown)
        errors = [d.shares - self._estimates[d.name].shares for d in devices if d.name in self._estimates]
        return learn_prior(devices, self.work.modes, estimate=estimate, estimate_errors=errors, settings=self._settings)

    def _in_mode(self, coordinates: dict[Mode, FloatArray]) -> dict[Mode, FloatArray]:
        return coordinates if self._mode is None else {self._mode: coordinates[self._mode]}

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
            features = tree_features(_rows(self._coordinates[i], rows))
            pooled.append(PooledDevice(features, table.ms[rows], few_ms, table.facts))
        return grow_pooled_trees(pooled)


def _spread(
    posterior: Posterior, coordinates: Mapping[Mode, FloatArray], few_ms: FloatArray, step_ms: float
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation float64[n] ms of n networks, rounding included."""
    mean, std = mix(posterior.hypotheses, coordinates, least_latency(few_ms))
    return mean, np.hypot(std, step_ms / math.sqrt(12))


def usable(space: SearchSpace, genotypes: Genotypes) -> Genotypes:
    """Without networks whose output does not depend on their input: some runtimes fold them away."""
    return genotypes[~space.disconnected(genotypes)] if isinstance(space, MayDisconnect) else genotypes


def _connected(space: SearchSpace, table: KnownTable) -> KnownTable:
    """The part of a table that can teach: networks whose output depends on their input, each measurement once."""
    kept = np.arange(len(table.ms))
    if isinstance(space, MayDisconnect):
        kept = np.flatnonzero(~space.disconnected(table.genotypes))
    kept = kept[count_once(table.ms[kept])]
    return KnownTable(table.name, table.genotypes[kept], table.ms[kept], table.facts)


def _rows(coordinates: Mapping[Mode, FloatArray], rows: NDArray[np.intp]) -> dict[Mode, FloatArray]:
    return {mode: columns[rows] for mode, columns in coordinates.items()}

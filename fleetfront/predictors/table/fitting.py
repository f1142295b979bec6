"""From observations to a latency model. Blocks and calibration networks decide everything; validation is never read."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fleetfront import __version__
from fleetfront.errors import InputError
from fleetfront.predictors.table.block_model import block_model, linear_block_model
from fleetfront.predictors.table.calibrated import FittedModel, block_params, block_sum
from fleetfront.predictors.table.calibration import FEWEST_FOR_PARAMS, Calibration, fit_calibration
from fleetfront.predictors.table.intervals import (
    APART_NS,
    count_by_age,
    moving_share,
    relative_std,
    spread_between,
)
from fleetfront.predictors.table.lookup import BlockModel, Filled, LookupTable, fill_table
from fleetfront.predictors.table.measured_blocks import half_variances, measured_blocks, typical_variance, vocabulary_of
from fleetfront.predictors.table.residual import FEWEST_NETWORKS, ResidualTrial, residual_features, try_residual
from fleetfront.profilers.reading.observations import STATISTICS, Observations, choose_statistic, summaries
from fleetfront.profilers.reading.sittings import SittingRatio
from fleetfront.profilers.records import Role
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.targets import running_bytes_of

if TYPE_CHECKING:
    from fleetfront.predictors.table.intervals import SittingSpread
    from fleetfront.quantities import FloatArray

#: Under this many calibration networks a cross-validated error says nothing.
FEWEST_FOR_ERROR = 5
#: The error out of sample of twenty networks is itself uncertain by a sixth.
_CLEARLY_LESS = 0.9


@dataclass(frozen=True, slots=True)
class Networks:
    """Measured whole networks: genotypes int8[n, v] and milliseconds float64[n]."""

    genotypes: Genotypes
    ms: FloatArray


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, and what cross-validation on the calibration networks said on the way.

    Attributes:
        cross_validated_mape: percent, out of sample; None without enough calibration networks.
        trial: calibration with trees against without; None with too few networks for a trial.
    """

    model: FittedModel
    cross_validated_mape: float | None
    trial: ResidualTrial | None


def measured_networks(observations: Observations, space: SearchSpace, role: Role, statistic: str) -> Networks:
    """The networks of the space measured for a role."""
    latencies = summaries(without_strangers(observations, space), role, statistic)
    return Networks(space.parse(list(latencies)), np.array(list(latencies.values()), dtype=np.float64))


def without_strangers(observations: Observations, space: SearchSpace) -> Observations:
    """The same, where networks whose keys spell none of the space, as in a damaged store, have an error instead."""
    visits, errors = dict(observations.visits), dict(observations.errors)
    for role in (Role.CALIBRATION, Role.VALIDATION):
        keys = list(visits.get(role, {}))
        try:
            space.parse(keys)
        except InputError:
            strange = {key: why for key in keys if (why := _why_strange(space, key))}
            visits[role] = {key: values for key, values in visits[role].items() if key not in strange}
            errors |= strange
    return replace(observations, visits=visits, errors=errors)


def _why_strange(space: SearchSpace, key: str) -> str:
    try:
        space.parse([key])
    except InputError as error:
        return error.message
    return ""


def fit_model(
    space: SearchSpace,
    observations: Observations,
    *,
    is_preferred: bool = True,
    fill: BlockModel = block_model,
    sittings: Sequence[SittingRatio] = (),
    shape: Observations | None = None,
) -> Fitted:
    """Fill the lookup table, calibrate it, try trees on what is left, and size the intervals.

    ``sittings`` are others of the target against that of ``observations``; beside whatever kept the device busy in one
    nothing is promised, so it teaches nothing. ``shape`` is of another metric, whose blocks stand in for one that was
    measured of networks alone: every block is then modelled, as its share of what the networks cost.

    Raises:
        InputError: if no block was measured, or there is no calibration network to scale by.
        MissingDependency: if xgboost is needed and not installed.
    """
    statistic = best_statistic(space, observations, shape)
    table, networks, lookup, params, calibration = _calibrated(space, observations, statistic, fill, shape)
    errors, spread, trial = calibration.out_of_sample, calibration.scaled, None
    if len(networks.ms) >= FEWEST_NETWORKS:
        features = residual_features(space, networks.genotypes, lookup)
        trial = try_residual(features, lookup, params, networks.ms)
        if trial.residual is not None:
            errors = spread = trial.out_of_sample
    model = FittedModel(
        space=space.name,
        target=observations.target,
        clock=observations.clock,
        statistic=statistic,
        table=table,
        calibration=calibration,
        residual=trial.residual if trial else None,
        relative_std=relative_std(spread, calibration.terms, _network_noise(observations, statistic)),
        typical_fill_variance=_typical_fill_variance(space, table, networks.genotypes, lookup),
        environment=dict(observations.environment),
        is_preferred=is_preferred,
        created_with=__version__,
        metric=observations.metric,
        between_sittings=learn_spread(space, observations, statistic, sittings),
        others=observations.others,
        fitted_ns=observations.started_ns,
    )
    return Fitted(model, _mape(errors), trial)


def learn_spread(
    space: SearchSpace, observations: Observations, statistic: str, sittings: Sequence[SittingRatio]
) -> SittingSpread:
    """The level and spread that other ``sittings`` tell of the next, against that of ``observations``.

    Only quiet ones do, and those that began at least ``APART_NS`` before or after it. What a clock that was set back
    since dates into the future counts as of now.
    """
    networks = measured_networks(observations, space, Role.CALIBRATION, statistic)
    params = block_sum(space, block_params(space))(networks.genotypes)
    now = time.time_ns()
    own = min(observations.started_ns, now)
    apart = [one for one in sittings if not one.is_busy and not _is_near(min(one.started_ns, now), own)]
    keys = summaries(without_strangers(observations, space), Role.CALIBRATION, statistic)
    shares = dict(zip(keys, moving_share(params * running_bytes_of(observations.target.precision)), strict=True))
    moves = [_moved(ratio, shares, networks.ms) for ratio in apart]
    began = np.array([own, *(min(ratio.started_ns, now) for ratio in apart)], np.float64)
    return spread_between(moves, count_by_age(began))


def _is_near(one_ns: int, other_ns: int) -> bool:
    """Tell whether two sittings are known to have begun together."""
    return bool(one_ns and other_ns) and abs(one_ns - other_ns) < APART_NS


def _moved(ratio: SittingRatio, shares: Mapping[str, float], networks_ms: FloatArray) -> FloatArray:
    """log(later / here) of the networks measured in both, each divided by its share of a machine's wandering.

    Blocks are most of what sittings have in common, and stay in the caches: they moved by 0.4 % between sittings in
    which networks moved by 3 %. They tell where there are no networks.
    """
    logs = [log / shares[key] for key, log in zip(ratio.keys, ratio.log_ratio, strict=False) if key in shares]
    if logs:
        return np.array(logs)
    if not networks_ms.size:
        return np.array([math.log(ratio.level) / float(moving_share(np.zeros(1))[0])])
    middle = ratio.at(np.array([np.median(networks_ms)]))
    return np.asarray(np.log(middle) / np.median(list(shares.values())), np.float64)


def quick_error(observations: Observations, space: SearchSpace) -> float | None:
    """The cross-validated MAPE (percent) on the calibration networks, in some tens of milliseconds.

    For a stop rule: blocks that are still missing are guessed by a straight line. None while there are too few blocks
    or networks to tell.
    """
    calibration = observations.visits.get(Role.CALIBRATION, {})
    if len(calibration) < FEWEST_FOR_ERROR or not observations.visits.get(Role.BLOCK):
        return None
    statistic = choose_statistic(observations)
    *_, calibrated = _calibrated(space, observations, statistic, linear_block_model)
    return _mape(calibrated.out_of_sample)


def best_statistic(space: SearchSpace, observations: Observations, shape: Observations | None = None) -> str:
    """How visits are summarised: the statistic under which halves of the visits agree best (``choose_statistic``).

    Another one overrules it whose calibration misses the networks left out clearly less. Agreement alone was misled by
    a drift in one of three profiles of LiteRT (2.5 % instead of 2.0 % on held-out networks); errors out of sample
    alone, by noise in two of six. Only blocks and calibration networks are looked at.
    """
    agreed = choose_statistic(observations)
    if len(observations.visits.get(Role.CALIBRATION, {})) < FEWEST_FOR_PARAMS:
        return agreed
    errors = {}
    for statistic in STATISTICS:
        *_, calibrated = _calibrated(space, observations, statistic, linear_block_model, shape)
        errors[statistic] = float(np.mean(np.abs(calibrated.out_of_sample)))
    best = min(STATISTICS, key=lambda statistic: errors[statistic])
    return best if errors[best] < _CLEARLY_LESS * errors[agreed] else agreed


def _calibrated(
    space: SearchSpace,
    observations: Observations,
    statistic: str,
    fill: BlockModel,
    shape: Observations | None = None,
) -> tuple[LookupTable, Networks, FloatArray, FloatArray, Calibration]:
    """The filled table, the calibration networks, their block sums in ms, parameters, and the calibration."""
    table = fill_table(vocabulary_of(space), measured_blocks(shape or observations, statistic), fill)
    networks = measured_networks(observations, space, Role.CALIBRATION, statistic)
    if shape is not None:
        table = _scaled(space, table, networks)
    lookup = block_sum(space, table.ms)(networks.genotypes)
    params = block_sum(space, block_params(space))(networks.genotypes)
    return table, networks, lookup, params, fit_calibration(lookup, params, networks.ms)


def _scaled(space: SearchSpace, table: LookupTable, networks: Networks) -> LookupTable:
    """A table of another metric in the unit of the networks' cost: the typical network costs what its blocks do."""
    if not networks.ms.size:
        raise InputError("No calibration network was measured.", "Profile with --calibration 20.")
    scale = float(np.median(networks.ms / block_sum(space, table.ms)(networks.genotypes)))
    return replace(table, ms=table.ms * scale, filled=(Filled.MODELLED,) * len(table.keys))


def calibrated_by(calibration: Calibration) -> str:
    """The calibration as a formula for people."""
    names = ("block sum", "", "params")
    values = (calibration.a, calibration.b, calibration.c)
    if not calibration.terms:
        return "block sum"
    parts = [f"{value:.4g} {name}".strip() for value, name in zip(values, names, strict=True)][: calibration.terms]
    return " + ".join(parts)


def _mape(out_of_sample: FloatArray) -> float | None:
    """Percent, from measured / predicted - 1."""
    if out_of_sample.size < FEWEST_FOR_ERROR:
        return None
    return float(100 * np.mean(np.abs(1 / (1 + out_of_sample) - 1)))


def _network_noise(observations: Observations, statistic: str) -> float:
    """Relative noise of one network's number, from the calibration networks; 0 without any."""
    visits = observations.visits.get(Role.CALIBRATION, {})
    variances = half_variances(visits, statistic)
    return float(np.sqrt(typical_variance(variances))) if np.any(~np.isnan(variances)) else 0.0


def _typical_fill_variance(space: SearchSpace, table: LookupTable, genotypes: Genotypes, lookup: FloatArray) -> float:
    if Filled.MODELLED not in table.filled or not len(genotypes):
        return 0.0
    variance = block_sum(space, (table.ms * table.relative_std) ** 2)(genotypes)
    return float(np.mean(variance / lookup**2))

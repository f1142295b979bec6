"""Warn where a fitted model may be worth less than it looks: warnings as data, each with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np

from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.calibration import FEWEST_FOR_PARAMS
from fleetfront.predictors.table.lookup import Filled
from fleetfront.quantities import LATENCY, Z90, Clock
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class FitWarning:
    """A warning. ``code`` is for programs, ``text`` and ``remedy`` are for people."""

    code: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}"


#: What an agent says of a device that, once changed, makes old numbers doubtful -> what to call it.
_DECISIVE = {
    "runtime_version": "the runtime's version",
    "cpu": "the processor",
    "cores": "the number of cores",
    "governor": "the clock governor",
    "governors": "the clock governors",
    "max_khz": "the highest clocks of its cores",
    "clock_limit_khz": "the highest clock allowed",
    "boost": "boosting of clocks",
    "model": "the device",
    "system": "the operating system",
}

#: Of those, what makes them another machine's or another program's numbers: no prediction is made from such a fit.
FOREIGN = ("cpu", "model", "runtime_version")

_HOUR_NS = 3600 * 10**9
_DAY_NS = 24 * _HOUR_NS
#: Networks of a space that are looked at.
_LOOKED_AT = 64
#: Sittings of one machine differ from day to day hardly more than from hour to hour; in a week much may have changed.
_OLD_NS = 7 * _DAY_NS


def has_aged(model: FittedModel, now_ns: int) -> bool:
    """Tell whether a model's sitting began over an hour before ``now_ns``, nanoseconds since 1970."""
    return bool(model.fitted_ns) and now_ns - model.fitted_ns > _HOUR_NS


def other_store_warning(target: Target, space: str, made_of: Path | None, read: Path) -> tuple[FitWarning, ...]:
    """A warning where a command that reads the store ``read`` answers from a model that was ``made_of`` another."""
    if made_of in (None, read.resolve()):
        return ()
    text = f"Its model was fitted to another store, {made_of}, and not to {read}."
    again = f"fleetfront fit {target.options} --space {space} --store {quote(str(read))}"
    return (FitWarning("other-store", text, f"Give --store {quote(str(made_of))} if that is meant, or run: {again}"),)


def replaced_store_warning(model: FittedModel, before: Path | None, now: Path) -> tuple[FitWarning, ...]:
    """A warning where a fit to the store ``now`` took the place of one to another, ``before``."""
    if before is None:
        return ()
    text = f"This model of {now.resolve()} replaces the one of another store, {before}: a workspace holds one a target."
    again = f"fleetfront fit {model.target.options} --space {model.space} --store {quote(str(before))}"
    return (FitWarning("replaced-store", text, f"Keep both with a FLEETFRONT_HOME each; to go back, run: {again}"),)


def fit_warnings(model: FittedModel, space: SearchSpace | None = None) -> tuple[FitWarning, ...]:
    """Warnings of the model itself: too few calibration networks, guessed blocks, of its ``space`` also what it does
    not promise.
    """
    found = []
    run = f"fleetfront profile {model.target.options} --space {model.space}"
    # Imported numbers do not say by which clock, and their device is seldom at hand.
    is_imported = model.clock is Clock.UNKNOWN
    remedy = "Imported blocks stay so; profile the device if you have one." if is_imported else f"Run: {run}"
    networks = model.calibration.networks
    if networks == 0:
        text = "No whole network was measured, so block sums are not calibrated; they are typically 10 to 17 % off."
        found.append(FitWarning("uncalibrated", text, remedy))
    elif networks < FEWEST_FOR_PARAMS:
        text = f"Only {networks} whole networks calibrate the block sums, so intervals are wide."
        is_small = space is not None and math.prod(map(len, space.choices)) <= 2 * FEWEST_FOR_PARAMS
        hint = "The family has hardly more of them." if is_small else remedy
        found.append(FitWarning("few-calibration-networks", text, hint))
    if model.is_busy:
        text = f"{str(model.others).capitalize()} while this model was measured, so intervals are wide."
        again = f"fleetfront fit {model.target.options} --space {model.space}"
        found.append(FitWarning("busy-sitting", text, f"Close them and run: {again} --recalibrate"))
    guessed, entries = model.table.count(Filled.MODELLED), len(model.table.keys)
    if guessed == entries:
        what = model.metric.title
        text = f"No block's {what} was measured: latencies of blocks, scaled to the {what} of networks, stand for it."
        found.append(FitWarning("no-blocks", text, f"Judge it by its error on networks that were held out. {remedy}"))
    elif guessed:
        text = (
            f"{guessed} of {entries} blocks were measured at fewer than two resolutions; a model guesses their latency."
        )
        found.append(FitWarning("modelled-blocks", text, remedy if is_imported else f"To measure them, run: {run}"))
    table = _open_latency(model, space)
    if table is not None and table.unpromised:
        which = "networks as large as these" if table.is_large else "those of its networks with over 5 MiB of weights"
        text = (
            f"This model knows one sitting alone, and {which} run some percent otherwise from sitting to sitting: no "
            "interval is promised for when you run them."
        )
        base = f"{model.target.options} --space {model.space}"
        today = f"Ten minutes after its sitting or later, in about ten seconds: fleetfront fit {base} --recalibrate"
        found.append(FitWarning("one-sitting", text, today))
    return tuple(found)


def changes(then: Mapping[str, object], now: Mapping[str, object]) -> dict[str, str]:
    """Changes in a later environment that make old numbers doubtful: its name, and the change in words."""
    told = {name: (then.get(name), now.get(name)) for name in _DECISIVE}
    return {
        name: f"{_DECISIVE[name]} changed from {before} to {after}"
        for name, (before, after) in told.items()
        if before is not None and after is not None and before != after
    }


def stale_warnings(
    model: FittedModel,
    space: SearchSpace | None = None,
    environment: Mapping[str, object] | None = None,
    now_ns: int | None = None,
) -> tuple[FitWarning, ...]:
    """Warnings of what has changed since the model was fitted, as far as the caller knows the present space,
    environment and time.

    ``now_ns`` is in nanoseconds since 1970.
    """
    found = []
    target = model.target
    base = f"{target.options} --space {model.space}"
    again = f"Profile and fit again: fleetfront profile {base}"
    rebase = f"Base it on ten networks of today: fleetfront fit {base} --recalibrate. Or profile and fit again."
    for name, change in changes(model.environment, environment or {}).items():
        text = f"Since this model was fitted, {change}."
        found.append(FitWarning(f"changed-{name.replace('_', '-')}", text, rebase))
    age_ns = (now_ns or 0) - model.fitted_ns
    if model.fitted_ns and age_ns > _OLD_NS:
        text = f"The sitting of this model is {round(age_ns / _DAY_NS)} days old; machines drift by some percent."
        today = f"Bring it up to today in seconds: fleetfront fit {base} --recalibrate"
        found.append(FitWarning("old-sitting", text, today))
    elif has_aged(model, now_ns or 0) and (wide := _promised_width(model, space)):
        age = "a day" if age_ns > _DAY_NS else f"{age_ns // _HOUR_NS} h"
        text = (
            f"The sitting of this model is over {age} old. Networks as large as these run some percent otherwise from "
            f"sitting to sitting; the intervals hold that and are +-{100 * wide:.0f} % wide."
        )
        today = f"Ten networks narrow it to this sitting, in about ten seconds: fleetfront fit {base} --recalibrate"
        found.append(FitWarning("past-sitting", text, today))
    elif model.fitted_ns and now_ns is not None and age_ns < 0:
        text = "The sitting of this model lies in the future: this machine's clock was set back since, or then."
        found.append(
            FitWarning("clock-set-back", text, "Check the date; nothing else is known to be wrong with the model.")
        )
    if space is not None and tuple(block.key for block in space.vocabulary) != model.table.keys:
        text = f"Since this model was fitted, the blocks of {space.name} have changed."
        found.append(FitWarning("changed-space", text, again))
    return tuple(found)


def _open_latency(model: FittedModel, space: SearchSpace | None) -> CalibratedTable | None:
    """The table of a latency model of a space; None of another metric or space, or without one."""
    keys = () if space is None else tuple(block.key for block in space.vocabulary)
    if space is None or model.metric != LATENCY or set(keys) - set(model.table.keys):
        return None
    return CalibratedTable(space, model)


def _promised_width(model: FittedModel, space: SearchSpace | None) -> float:
    """Half the relative width of the 90 % interval of a large space's typical network; 0 if none is promised."""
    table = _open_latency(model, space)
    if table is None or not table.is_large or table.unpromised:
        return 0.0
    estimate = table.predict(table.space.sample(_LOOKED_AT, np.random.default_rng(0)))
    return float(np.median(Z90 * estimate.std / estimate.mean))

"""Judge whether the measurements of a campaign can be trusted, why not, and which command would help."""

from __future__ import annotations

import enum
import math
from dataclasses import asdict, dataclass
from typing import Any

from fleetfront.profilers.reading.observations import (
    Drift,
    Floor,
    Observations,
    anchor_drift,
    choose_statistic,
    noise_floor,
)
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock, format_duration

#: Above this noise floor (percent) no model fitted to the numbers can meet the errors that fleetfront aims at.
FLOOR_LIMIT = 2.0
#: Above this drift of the anchor (percent) early and late visits describe two different machines.
DRIFT_LIMIT = 3.0
#: Above this share of discarded visits the machine was busy with something else.
DISCARDED_LIMIT = 0.1
#: Above this share of visits that count although the device was throttled, the numbers are those of a hot device.
HOT_LIMIT = 0.1


class Weakness(enum.StrEnum):
    """Kinds of reasons against a campaign."""

    FLOOR = "floor"
    DRIFT = "drift"
    DISCARDED = "discarded"
    HOT = "hot"
    BUSY = "busy"
    SLEPT = "slept"
    CLOCK = "clock"
    MISSING = "missing"
    TOO_FEW = "too few visits"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is wrong: the value, the limit it exceeds (same unit), both in words, and what to do."""

    #: Called so in files.
    doubt: Weakness
    value: float
    limit: float
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worth of a campaign.

    Attributes:
        is_stable: whether there are no reasons.
        statistic: how visits were summarised, chosen on the calibration networks.
        floor: of the validation networks, else of the calibration networks, else of the blocks.
        floor_role: which of these.
        drift: what the anchor says.
        discarded: reason -> visits left out.
        reasons: what speaks against the numbers, worst first.
    """

    is_stable: bool
    statistic: str
    floor: Floor
    floor_role: Role
    drift: Drift
    discarded: dict[str, int]
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for reports; NaN becomes null."""
        return {
            "stable": self.is_stable,
            "statistic": self.statistic,
            "floor": {"role": self.floor_role.value, **_plain(self.floor)},
            "drift": _plain(self.drift),
            "discarded": self.discarded,
            "reasons": [_plain(reason) for reason in self.reasons],
        }


def judge(observations: Observations, statistic: str | None = None) -> Verdict:
    """Weigh the noise floor, the drift of the anchor, what was discarded and what could not be measured.

    ``statistic`` is that of the model fitted to them, if there is one already: both then say one floor.
    """
    statistic = statistic or choose_statistic(observations)
    role, floor = find_floor(observations, statistic)
    drift = anchor_drift(observations, statistic)
    reasons = (
        *_against_floor(observations, floor, role),
        *_against_drift(observations, drift),
        *_against_discarded(observations),
        *_against_heat(observations),
        *_against_others(observations),
        *against_breaks(observations),
        *_against_missing(observations),
    )
    return Verdict(not reasons, statistic, floor, role, drift, dict(observations.discarded), reasons)


def find_floor(observations: Observations, statistic: str) -> tuple[Role, Floor]:
    """The noise floor under one statistic, and whose it is: of the validation networks, else of the calibration
    networks, else of the blocks, whichever were visited twice.
    """
    floors = [
        (role, noise_floor(observations, role, statistic)) for role in (Role.VALIDATION, Role.CALIBRATION, Role.BLOCK)
    ]
    return next((pair for pair in floors if pair[1].networks), floors[0])


def _command(observations: Observations, budget: str) -> str:
    """The command that measures as much again, or with ``budget``: few networks are few in any time."""
    visits, amount = observations.visits, f"--budget {budget}"
    if visits.get(Role.CALIBRATION) and not visits.get(Role.BLOCK):
        failed = 0 if visits.get(Role.VALIDATION) else len(observations.errors)
        # Some of them may not have been reached within the budget.
        count = max(len(visits[Role.CALIBRATION]) + failed, observations.planned.get(Role.CALIBRATION, 0))
        amount = f"--few {count}"
    return f"fleetfront profile {observations.target.options} --space {observations.space} {amount}"


def _against_floor(observations: Observations, floor: Floor, role: Role) -> list[Reason]:
    more = f"Run: {_command(observations, 'long')}"
    if not floor.networks:
        return [Reason(Weakness.TOO_FEW, 0.0, 2.0, "Nothing was visited twice, so the noise is unknown.", more)]
    if floor.mape <= FLOOR_LIMIT:
        return []
    text = (
        f"The numbers of the {role.value} networks are themselves uncertain by {floor.mape:.1f} % "
        f"(limit {FLOOR_LIMIT:g} %)."
    )
    remedy = f"Close other programs on this device, then run: {_command(observations, 'long')}"
    if observations.clock == Clock.WALL and observations.target.threads == 1:
        remedy += " (the thread-cpu clock is steadier on a busy machine)"
    return [Reason(Weakness.FLOOR, floor.mape, FLOOR_LIMIT, text, remedy)]


def _against_drift(observations: Observations, drift: Drift) -> list[Reason]:
    if math.isnan(drift.percent) or abs(drift.percent) <= DRIFT_LIMIT:
        return []
    direction = "slower" if drift.percent > 0 else "faster"
    text = f"The anchor became {abs(drift.percent):.1f} % {direction} over the campaign (limit {DRIFT_LIMIT:g} %)."
    remedy = f"Let the device cool down and settle, then run: {_command(observations, 'standard')}"
    return [Reason(Weakness.DRIFT, drift.percent, DRIFT_LIMIT, text, remedy)]


def _against_discarded(observations: Observations) -> list[Reason]:
    left_out = sum(observations.discarded.values())
    share = left_out / max(1, left_out + _accepted(observations))
    if share <= DISCARDED_LIMIT:
        return []
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(observations.discarded.items()))
    text = f"{100 * share:.0f} % of the visits were left out ({why})."
    remedy = f"Cool the device and close other programs, then run: {_command(observations, 'standard')}"
    return [Reason(Weakness.DISCARDED, share, DISCARDED_LIMIT, text, remedy)]


def _against_heat(observations: Observations) -> list[Reason]:
    share = observations.hot_visits / max(1, _accepted(observations))
    if share <= HOT_LIMIT:
        return []
    text = f"{100 * share:.0f} % of the visits that count were made while the device slowed itself down."
    remedy = f"Let it cool down, with pauses if need be, then run: {_command(observations, 'standard')}"
    return [Reason(Weakness.HOT, share, HOT_LIMIT, text, remedy)]


def _against_others(observations: Observations) -> list[Reason]:
    others = observations.others
    if others is None or not others.is_much:
        return []
    text = f"{str(others).capitalize()} while this was timed."
    remedy = f"Numbers of a quiet device may differ. Close them, then run: {_command(observations, 'standard')}"
    return [Reason(Weakness.BUSY, others.used, others.limit, text, remedy)]


def against_breaks(observations: Observations) -> list[Reason]:
    """Reasons against a sitting in which the device slept, or its clock was set."""
    breaks, again, reasons = observations.breaks, f"Run: {_command(observations, 'standard')}", []
    if breaks.slept_s:
        text = f"The device slept for {format_duration(breaks.slept_s)} while this was timed, and may run otherwise."
        reasons.append(Reason(Weakness.SLEPT, breaks.slept_s, 0.0, text, f"Keep it awake. {again}"))
    if breaks.clock_step_s:
        direction = "forwards" if breaks.clock_step_s > 0 else "back"
        step = format_duration(abs(breaks.clock_step_s))
        text = f"The device's clock was set {direction} by {step} meanwhile: the order of sittings may be wrong."
        reasons.append(Reason(Weakness.CLOCK, breaks.clock_step_s, 0.0, text, f"Check the date. {again}"))
    return reasons


def _accepted(observations: Observations) -> int:
    return sum(visits.size for keys in observations.visits.values() for visits in keys.values())


def _against_missing(observations: Observations) -> list[Reason]:
    failed = sorted(observations.errors)
    if not failed:
        return []
    text = f"{len(failed)} things could not be measured, e.g. {failed[0]}: {observations.errors[failed[0]]}."
    remedy = f"Fix the cause and run: {_command(observations, 'standard')}"
    return [Reason(Weakness.MISSING, float(len(failed)), 0.0, text, remedy)]


def _plain(record: Floor | Drift | Reason) -> dict[str, Any]:
    facts = asdict(record)
    return {name: None if isinstance(fact, float) and not math.isfinite(fact) else fact for name, fact in facts.items()}

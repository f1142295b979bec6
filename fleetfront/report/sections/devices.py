"""Tell of each device where its latencies come from, and what they are worth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.device_configs.facts import FACT_KINDS, DeviceConfig
from fleetfront.errors import FleetfrontError
from fleetfront.pipelines.knowledge.device_model import DeviceModel
from fleetfront.pipelines.knowledge.known import Kind, Known
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.verdict import Verdict, judge
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Holding
from fleetfront.quantities import UNKNOWN, Clock, Tier, format_number
from fleetfront.report.markdown import table_lines
from fleetfront.report.section import Reason, Section
from fleetfront.report.sources import Sources
from fleetfront.report.tables import Table, percent
from fleetfront.search.results import DeviceFront
from fleetfront.spaces.precisions import SEPARATOR
from fleetfront.targets import Target, split_spelled

#: What is said of numbers that nobody here could watch being taken.
_IMPORTED = Reason("Imported, so their noise cannot be judged here.")
_COUNTED = {
    Role.BLOCK: "blocks",
    Role.CALIBRATION: "calibration networks",
    Role.VALIDATION: "held-out networks",
    Role.NETWORK: "networks",
}


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One target and space: what it is, what was measured on it, and what that is worth.

    Attributes:
        label: short and unique within the report.
        facts: name, value with unit, source.
        tier: where its latencies come from; empty if there are none yet.
        measured: what the store holds, in words.
        when: day of the last measurement (UTC), empty if it was imported or there is none.
        verdict: ``stable``, ``unstable`` or ``not judged``.
        scores: on held-out networks, as in a fit's report: ``networks``, ``mape``, ``within_10``, ...; empty if none.
        floor_mape: how well one half of the measurements predicts the other, percent.
    """

    label: str
    name: str
    target: str
    space: str
    title: str
    kind: str
    facts: tuple[tuple[str, str, str], ...]
    notes: str
    tier: str
    clock: str
    measured: str
    when: str
    verdict: str
    reasons: tuple[Reason, ...]
    scores: Mapping[str, Any]
    floor_mape: float | None


def device_entries(sources: Sources) -> tuple[DeviceEntry, ...]:
    """One entry a target and space, in the order of ``Sources.targets``."""
    pairs = [(space, *pair) for space in sources.spaces for pair in sources.targets(space)]
    sources.progress.start("Judging devices", len(pairs))
    entries = []
    for space, name, target in pairs:
        entries.append(_entry(sources, space, name, target))
        sources.progress.advance(1, name)
    sources.progress.finish()
    return tuple(entries)


def day(nanoseconds: int) -> str:
    """The day of a moment in nanoseconds since 1970, UTC; empty for none."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(nanoseconds / 1e9)) if nanoseconds else ""


def known_clock(clock: str) -> str:
    """A clock by name; empty where the source of the numbers does not say."""
    return "" if clock == Clock.UNKNOWN else clock


def _entry(sources: Sources, space: str, name: str, target: str) -> DeviceEntry:
    holdings = [h for h in sources.holdings if h.space == space and str(h.target) == target]
    fit, few_shot = (next(iter(sources.of(kind, space, target)), None) for kind in (Kind.FIT, Kind.FEW_SHOT))
    front = next((front for _, front in sources.fronts(space, target)), None)
    config = sources.config(split_spelled(target)[0]) or sources.config(name)
    is_imported = bool(holdings) and all(holding.is_imported for holding in holdings)
    verdict = None if is_imported or not holdings else _verdict(sources, space, target, fit)
    report: Mapping[str, Any] = {} if fit is None else fit.report
    # A fit's report and a few-shot model say themselves what they are worth.
    opened = sources.space(space) if fit is None and few_shot is None else None
    other = None if opened is None else sources.device_model(opened, target)
    return DeviceEntry(
        label=sources.label(name, target),
        name=name,
        target=target,
        space=space,
        title=name if config is None else config.title,
        kind="" if config is None else config.kind,
        facts=() if config is None else _facts(config),
        notes="" if config is None else " ".join(filter(None, (config.setting, config.notes))),
        tier=_tier(front, report, holdings, few_shot) or ("" if other is None else other.model.tier.value),
        clock=known_clock(str(fit.clock) if fit is not None else front.clock if front is not None else ""),
        measured=_measured(sources, holdings, space, target),
        when="" if is_imported else day(max((h.last_started_ns for h in holdings), default=0)),
        verdict=_verdict_word(verdict),
        reasons=(
            *_reasons(verdict, is_imported, report),
            *_absence(name, other, bool(holdings) or few_shot is not None or SEPARATOR in space),
            *_few_shot_reasons(few_shot if fit is None else None),
        ),
        scores=report.get("held_out") or {},
        floor_mape=_floor(verdict, report),
    )


def _facts(config: DeviceConfig) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (
            key.replace("_", " "),
            f"{fact.value:g}" if FACT_KINDS[key].unit == "year" else f"{fact.value:,g} {FACT_KINDS[key].unit}",
            fact.source,
        )
        for key, fact in config.facts.items()
    )


def _tier(
    front: DeviceFront | None, report: Mapping[str, Any], holdings: Sequence[Holding], few_shot: Known | None
) -> str:
    if front is not None and front.tier:
        return front.tier
    if report.get("tier"):
        return str(report["tier"])
    if few_shot is not None:
        return Tier.TRANSFERRED.value
    # Whole networks are measured themselves; blocks alone are no latency of a network yet.
    return Tier.MEASURED.value if any(h.role is Role.NETWORK for h in holdings) else ""


def _measured(sources: Sources, holdings: Sequence[Holding], space: str, target: str) -> str:
    parts, visits = [], 0
    for role, words in _COUNTED.items():
        of_role = [holding for holding in holdings if holding.role is role]
        if of_role:
            parts.append(f"{max(holding.keys for holding in of_role):,} {words}")
            visits += max(holding.visits for holding in of_role)
    if not parts:
        return "each precision by itself" if SEPARATOR in space else "nothing"
    text = f"{', '.join(parts)}; {visits:,} visits"
    if any(holding.is_imported for holding in holdings) and sources.store is not None:
        found = sources.store.sources(Target.parse(target), space)
        text += "; imported from " + ", ".join(f"{source.name} (licence: {source.licence})" for source in found)
    return text


def _verdict(sources: Sources, space: str, target: str, fit: Known | None) -> Verdict | None:
    if sources.store is None:
        return None
    parsed = Target.parse(target)
    if fit is not None:
        clocks = [fit.clock]
    else:
        known = {h.clock for h in sources.holdings if h.space == space and h.target == parsed}
        clocks = [clock for clock in (Clock.THREAD_CPU, Clock.WALL, Clock.DEVICE) if clock in known]
    for clock in clocks:
        try:
            return judge(read_observations(sources.store, parsed, space, clock))
        except FleetfrontError as error:
            sources.note(error)
    return None


def _verdict_word(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not judged"
    return "stable" if verdict.is_stable else "unstable"


def _reasons(verdict: Verdict | None, is_imported: bool, report: Mapping[str, Any]) -> tuple[Reason, ...]:
    found = [] if verdict is None else [Reason(reason.text, reason.remedy) for reason in verdict.reasons]
    if is_imported:
        found.append(_IMPORTED)
    warnings = report.get("cautions") or ()
    return (*found, *(Reason(str(c.get("text", "")), str(c.get("remedy", ""))) for c in warnings))


def _absence(name: str, other: DeviceModel | None, is_held: bool) -> tuple[Reason, ...]:
    """The reasons of a device that nothing was measured on here, or whose model has warnings of its own."""
    if other is not None:
        is_estimate = other.model.tier is Tier.ESTIMATED
        remedy = f"Ten measurements tell more: fleetfront profile --device {name} --few 10." if is_estimate else ""
        return tuple(Reason(warning, remedy) for warning in other.warnings)
    if is_held:
        return ()
    return (Reason("Nothing of it is in this store.", "Give the store that it was measured into: --store."),)


def _few_shot_reasons(few_shot: Known | None) -> tuple[Reason, ...]:
    """How much a few-shot model is worth: what it was wrong by on known devices, each left out in turn."""
    if few_shot is None or few_shot.few_shot is None:
        return ()
    report = few_shot.few_shot.report
    text = (
        f"Learned from {few_shot.items} networks of this device and {len(report.teachers)} known devices; on these, "
        f"each left out in turn, it was {report.mape:.1f} % wrong on average. On this one, {report.error:.1f} % are "
        "to be expected."
    )
    remedy = "For numbers of its own, profile it: fleetfront profile --device NAME."
    return (Reason(text, remedy), *(Reason(warning, remedy) for warning in report.warnings))


def _floor(verdict: Verdict | None, report: Mapping[str, Any]) -> float | None:
    stated = (report.get("floor") or {}).get("mape")
    if stated is not None:
        return float(stated)
    if verdict is None or not verdict.floor.networks:
        return None
    return verdict.floor.mape


def devices_table(devices: Sequence[DeviceEntry]) -> Table:
    """All devices, a row each."""
    headers = (
        "device",
        "what it is",
        "space",
        "target and clock",
        "tier",
        "measured",
        "when",
        "verdict",
        "error (MAPE %)",
        "within 10 %",
        "floor %",
    )
    rows = [
        (
            d.label,
            f"{d.title} ({d.kind})" if d.kind else d.title,
            d.space,
            f"{d.target} {d.clock}".strip(),
            d.tier or "none yet",
            d.measured,
            d.when or UNKNOWN,
            "; ".join([d.verdict, *(reason.text for reason in d.reasons)]),
            format_number(d.scores.get("mape"), 2),
            percent(d.scores.get("within_10")),
            format_number(d.floor_mape, 2),
        )
        for d in devices
    ]
    return Table("Devices", headers, tuple(rows), frozenset({8, 9, 10}))


DEVICES = Section(
    "devices",
    "devices",
    "Devices",
    "Devices",
    device_entries,
    gap="Nothing has been measured or imported yet.",
    command="fleetfront profile --device cpu",
    brief=lambda views: table_lines(devices_table(views)),
    fragment="devices.html.j2",
    context=lambda views: {"table": devices_table(views)},
)

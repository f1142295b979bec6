"""Sum a report up: what was found, a sentence on each device, and one pick for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fleetfront.quantities import format_number
from fleetfront.report.markdown import escape, table_lines
from fleetfront.report.section import Section, Words
from fleetfront.report.sections.baselines import BaselineView
from fleetfront.report.sections.deployed import DeployedFile
from fleetfront.report.sections.devices import DeviceEntry
from fleetfront.report.sections.front_views import FrontGroup, FrontView
from fleetfront.report.sources import Sources
from fleetfront.report.tables import Table, with_spread


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything in short.

    Attributes:
        found: sentences on the whole.
        devices: (label, sentence) of each target and space.
        picks: for each group of fronts, the network at the knee of each device.
    """

    found: tuple[str, ...]
    devices: tuple[tuple[str, str], ...]
    picks: tuple[Table, ...]


def summaries(sources: Sources) -> Iterator[Summary]:
    """The summary of what the other sections hold; none where nothing is known yet."""
    groups: Sequence[FrontGroup] = sources.views["fronts"]
    entries: Sequence[DeviceEntry] = sources.views["devices"]
    if not groups and not entries:
        return
    fronts = {(group.space, front.target): (group, front) for group in reversed(groups) for front in group.fronts}
    yield Summary(
        found=tuple(
            (
                *_devices_found(entries),
                *map(_front_found, groups),
                *_frontless(sources),
                *map(_baseline_found, sources.views["baselines"]),
                *map(_deployed_found, sources.views["deployed"]),
            )
        ),
        devices=tuple((one.label, device_sentence(one, fronts.get((one.space, one.target)))) for one in entries),
        picks=tuple(_picks(group) for group in groups),
    )


def _devices_found(entries: Sequence[DeviceEntry]) -> Iterator[str]:
    tiers = Counter(one.tier or "not known yet" for one in entries)
    counted = ", of ".join(f"{count} {tier}" for tier, count in tiers.items())
    yield f"{_counted(len(entries), 'device')}: the latency of {counted.replace(' ', ' is ', 1)}."
    unstable = [one.label for one in entries if one.verdict == "unstable"]
    if unstable:
        yield f"Measurements of {', '.join(unstable)} are unstable: see Devices for why, and what to do."


def _front_found(group: FrontGroup) -> str:
    points = sum(front.total for front in group.fronts)
    among = f" among {group.evaluated:,} evaluated architectures" if group.evaluated else ""
    found = _counted(points, "best trade-off")
    return (
        f"{group.space}: {found} of {group.quality.name} and {group.metric.title}{among}; it is "
        f"{group.accuracy_origin} ({group.accuracy_source})."
    )


def _frontless(sources: Sources) -> Iterator[str]:
    """Devices that a search was asked for and left out, each reason once."""
    errors = {name: error for result in sources.results for name, error in result.fronts.errors.items()}
    yield from (f"{name} has no front: {error}" for name, error in errors.items())


def _baseline_found(view: BaselineView) -> str:
    ends = [f"{name} {100 * mean:.1f} %" for name, _, _, mean, *_ in view.final]
    return f"Share of the best hypervolume on {view.space}: {', '.join(ends)}." if len(ends) > 1 else ""


def _deployed_found(files: Sequence[DeployedFile]) -> str:
    off = [100 * (f.measured_ms / f.predicted_ms - 1) for f in files if f.measured_ms and f.predicted_ms]
    farthest = f"; measured, they are {min(off):+.1f} to {max(off):+.1f} % off their prediction" if off else ""
    if len(files) == len(off) == 1:
        farthest = f"; measured, it is {off[0]:+.1f} % off its prediction"
    return f"{_counted(len(files), 'file')} deployed{farthest}."


def device_sentence(entry: DeviceEntry, found: tuple[FrontGroup, FrontView] | None) -> str:
    """Say what it is, what its front reaches, and what its latencies are worth."""
    parts = [entry.title if entry.title != entry.name else ""]
    if found is not None and found[1].points:
        group, front = found
        ends = (front.points[0], front.points[-1])
        accuracy, cost = _reach(p.accuracy for p in ends), _reach(p.cost for p in ends)
        count = _counted(front.total, "network")
        parts.append(f"{accuracy}{group.quality.suffix} in {cost} {group.metric.unit} ({count})")
    elif found is not None:
        parts.append("nothing met its limit")
    parts.append(entry.tier or "no latency yet")
    if entry.scores.get("networks"):
        off = format_number(entry.scores.get("mape"), 2)
        parts.append(f"{off} % off on {entry.scores['networks']} held-out networks")
    if entry.verdict == "unstable":
        parts.append("unstable")
    return f"{', '.join(filter(None, parts))}."


def _reach(values: Iterable[float]) -> str:
    """From the first to the last, or the one number that all of them are shown as."""
    return " to ".join(dict.fromkeys(map(format_number, values)))


def _picks(group: FrontGroup) -> Table:
    rows = []
    for front in group.fronts:
        if front.points:
            point = front.points[front.knee]
            cost = with_spread(point.cost, point.cost_std, 4, front.tier)
            accuracy = with_spread(point.accuracy, point.accuracy_std, 4)
            rows.append((front.label, cost, accuracy, front.tier, group.archs[point.arch]))
    headers = ("device", f"{group.metric.title} {group.metric.unit}", group.quality.title, "tier", "architecture")
    return Table(
        f"A pick for each device on {group.space}: the knee of its front", headers, tuple(rows), frozenset({1, 2})
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def _brief(views: Sequence[Summary]) -> Iterator[str]:
    for view in views:
        yield ""
        yield from (f"- {escape(sentence)}" for sentence in view.found if sentence)
        yield "\n<details><summary>Each device in a sentence</summary>\n"
        yield from (f"- **{escape(label)}**: {escape(sentence)}" for label, sentence in view.devices)
        yield "\n</details>"
        for table in view.picks:
            yield from table_lines(table)


SUMMARY = Section(
    "summary",
    "summary",
    "Summary",
    "Summary",
    summaries,
    gap="Nothing has been measured, imported or searched yet.",
    command="fleetfront profile --device cpu",
    tables=lambda view: view.picks,
    brief=_brief,
    fragment="summary.html.j2",
    words=lambda view: Words(text=" ".join(filter(None, view.found))),
)

"""Print what ``fleetfront search`` found: fronts in full for few devices, a line each for many, and the shared
networks.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, next_command, print_table
from fleetfront.errors import InputError
from fleetfront.quantities import ACCURACY, FAR_OFF, SIZE, Tier, format_number, format_spread
from fleetfront.search.metrics import COUNTED, NAMED
from fleetfront.spaces.precisions import SEPARATOR
from fleetfront.targets import narrow_precision, precision_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fleetfront.search.results import DeviceFront, FrontPoint, Fronts

#: Points of each front that are printed; all of them are in the files.
_SHOWN = 8
#: The key of the size of a network's file, and of its deviation.
_SIZE, _SIZE_STD = f"{SIZE.name}_{SIZE.unit}", f"{SIZE.name}_std_{SIZE.unit}"
#: What a point says of an accuracy that is held at the end of what was measured.
_BEYOND = "accuracy_is_beyond_range"
#: Fronts of more devices are printed as one line each.
_IN_FULL = 3


def next_search(where: str, space: str, options: str = "") -> None:
    """Name the search that follows, with an accuracy that it can have; ``where`` are its options of devices."""
    from fleetfront.predictors.accuracy.built_in import has_built_in
    from fleetfront.spaces.base import HasSupernet, OfUserFile
    from fleetfront.spaces.catalogue import load_space

    family = load_space(space)
    brings = isinstance(family, OfUserFile) and family.own_accuracy is not None
    if has_built_in(space) or options or brings:
        next_command(f"fleetfront search {where} --space {space}{options}")
    elif isinstance(family, OfUserFile) and not family.is_shipped:
        next_command(f"fleetfront search {where} --space {space} --accuracy csv:PATH")
        hint(f"  Or write def accuracy(**genes) into {family.own_file.name}, which returns percent.")
    elif isinstance(family, HasSupernet):
        next_command(f"fleetfront search {where} --space {space} --accuracy supernet:WEIGHTS --images FOLDER")
        hint(f"  To make WEIGHTS: fleetfront train FOLDER --space {space}; a table serves, too: --accuracy csv:PATH")
    else:
        next_command(f"fleetfront search {where} --space {space} --accuracy csv:PATH")
        hint(f"  PATH is a table of accuracies: none is shipped for {space}.")


def tell_beyond(marks: Iterable[object]) -> None:
    """Explain the star behind accuracies, if there is one."""
    if any(marks):
        hint("* Beyond all accuracies that were measured, and held at their end: measure it before you rely on it.")


def next_deploy(fronts: Fronts, out: Path, which: str, images: str | None) -> None:
    """Name the deploy that follows a search, with weights and images as far as it needs them; ``which`` are picks."""
    from fleetfront.pipelines.knowledge.remembered import known_weights
    from fleetfront.spaces.base import HasSupernet, OfUserFile, plain_space
    from fleetfront.spaces.catalogue import load_space
    from fleetfront.workspace import Workspace

    command = f"fleetfront deploy --front {quote(str(out))} {which}"
    precisions, folder = precisions_option(fronts), f" --images {quote(images) if images else 'FOLDER'}"
    space = plain_space(load_space(fronts.space))
    if isinstance(space, OfUserFile):
        next_command(f"{command}{' --random-weights' if space.is_shipped else precisions}")
        return
    if not isinstance(space, HasSupernet):
        points = (point for front in fronts.devices for point in front.points)
        is_narrow = precisions or any(narrow_precision(point.precision) for point in points)
        next_command(f"{command} --random-weights{precisions}{folder if is_narrow else ''}")
        hint(f"  {space.name} has no supernet: its files have the speed of its networks, and know nothing.")
        return
    shown = f"{precisions}{folder}"
    try:
        known_weights(space.name, Workspace.default(), fronts.accuracy_source)
    except InputError as error:
        next_command(f"{command} --weights WEIGHTS{shown}")
        hint(f"  {error.remedy}")
        return
    next_command(f"{command}{shown}")


def precisions_option(fronts: Fronts) -> str:
    """The option of ``deploy`` for files that have the times of the fronts; empty where float ones do, or where each
    network says its own."""
    if SEPARATOR in fronts.space:
        return ""
    narrow = {narrow_precision(precision_in(front.target)) for front in fronts.devices}
    found = ["fp32", *sorted(narrow - {""})] if "" in narrow else sorted(narrow)
    return "" if found in ([], ["fp32"]) else f" --precisions {','.join(found)}"


def tell_idle(strategy: object, processes: int) -> None:
    """Say how so many processes that judge accuracies all have work, where ``surrogate`` asks for fewer networks at a
    time."""
    from fleetfront.search.strategies.surrogate import SurrogateSettings

    least = SurrogateSettings().least
    if strategy == "surrogate" and processes > least:
        hint(
            f"surrogate asks for {least} networks at a time, later for 2 % of what is known: with --strategy "
            f"surrogate:least={processes} all {processes} processes have work, and another front is found."
        )


def show_strategies() -> None:
    """Print what ``--strategy`` takes."""
    from fleetfront.search.strategies.catalogue import describe_strategies

    for name, meaning, settings in describe_strategies():
        echo(click.style(name, bold=True) + f": {meaning}")
        if settings:
            echo(click.wrap_text(settings.replace(",", " "), 118, "    ", "    "))
    hint("Settings, after the name: --strategy surrogate:first=8,batch=4")


def show_fronts(fronts: Fronts) -> None:
    """Print the fronts, and the networks that serve all devices if those were asked for."""
    if len(fronts.devices) <= _IN_FULL:
        for front in fronts.devices:
            _show(front, fronts)
    else:
        _show_lines(fronts)
    for name, error in fronts.errors.items():
        echo(click.style(name, bold=True) + f"  error: {error}")
    for sentence in (*map(fronts.precisions_alone, fronts.devices), *fronts.drop_sentences):
        if sentence:
            hint(sentence)
    if fronts.statement:
        hint(fronts.statement)
    if fronts.shared is not None:
        _show_shared(fronts)


def _metric_key(metric: str) -> str:
    """The key of a further metric's value in a point: ``macs``, ``energy_uJ``."""
    return f"{metric}_{NAMED[metric].unit}" if metric in NAMED and metric not in COUNTED else metric


def _headed(key: str) -> str:
    return "size MiB" if key == _SIZE else key.replace("_", " ")


def _say_size(points: Sequence[FrontPoint]) -> None:
    """Say how sizes are known, and how far off they may be."""
    stds = [point.more[_SIZE_STD] / point.more[_SIZE] for point in points if _SIZE_STD in point.more]
    if stds:
        hint(f"Size is that of the file that the device is handed, estimated from written ones to +-{max(stds):.1%}.")


def _told(key: str, point: FrontPoint) -> str:
    """A further metric's value; the size of a file in MiB."""
    value = point.more.get(key)
    if value is None:
        return "-"
    return format_number(value / 2**20) if key == _SIZE else f"{value:.4g}"


def _show(front: DeviceFront, fronts: Fronts) -> None:
    reference = ", ".join(front.reference_words())
    echo(
        click.style(f"{front.name}", bold=True)
        + f"  {front.target} {front.clock}  {len(front.points)} points, hypervolume {front.hypervolume:.4g} "
        f"against ({reference})"
    )
    if not front.points:
        hint("No network that was evaluated is within its limit.")
        return
    from fleetfront.search.results import PART

    step = max(1, -(-len(front.points) // _SHOWN))
    shown = sorted({*range(0, len(front.points), step), front.knee, len(front.points) - 1})
    further = [_metric_key(metric) for metric in dict.fromkeys((*front.objectives, *front.limits))]
    parts = dict.fromkeys(key for point in front.points for key in point.more if key.startswith(PART))
    first = {f"{PART}{task.name}" for task in front.tasks[:1]}
    further += [key for key in parts if key not in first and key not in further]
    rows = [
        (
            f"{point.latency_ms:.4g} {_spread(point, front)}{' ?' if _is_far(point) else ''}",
            front.tier,
            f"{point.promised[0]:.2f}{'*' if point.more.get(_BEYOND) else ''} +-{point.promised[1]:.2f}",
            point.more.get("accuracy_tier", fronts.accuracy_tier),
            *(_told(key, point) for key in further),
            point.arch + _ties(point) + ("  <- knee" if row == front.knee else ""),
        )
        for row, point in ((row, front.points[row]) for row in shown)
    ]
    cost = f"{front.metric.title} {front.metric.unit}"
    titles = {f"{PART}{task.name}": task.title for task in front.tasks}
    judged = f"{fronts.quality.title} ({front.tasks[0].name})" if front.tasks else fronts.quality.title
    print_table(
        (cost, "tier", judged, "tier", *(titles.get(key) or _headed(key) for key in further), "architecture"), rows
    )
    _say_size([front.points[row] for row in shown])
    _say_how_far([front])
    _say_held_out([front])
    _caution([front])
    tell_beyond(front.points[row].more.get(_BEYOND) for row in shown)
    checked = (fronts.verification or {}).get("devices", {}).get(front.name)
    if checked and checked["optimism_percent"] is not None:
        hint(
            f"Measured {checked['networks']} of the first front: {checked['optimism_percent']:+.1f} % against their "
            f"prediction (the winner's curse); {checked['optimism_percent_refitted']:+.1f} % after refitting."
        )


def _show_lines(fronts: Fronts) -> None:
    header = ("device", "tier", "limit ms", "points", "hypervolume", "fastest", "knee", "most accurate")
    rows = [
        (
            front.name,
            front.tier,
            "-" if front.limit_ms is None else f"{front.limit_ms:g}",
            str(len(front.points)),
            f"{front.hypervolume:.4g}",
            *_notable(front),
        )
        for front in fronts.devices
    ]
    print_table(header, rows)
    _say_how_far(fronts.devices)
    _say_held_out(fronts.devices)
    _caution(fronts.devices)
    measured_in = "in percent" if fronts.quality == ACCURACY else "as it is"
    hint(f"Latency is in ms with one standard deviation, {fronts.quality.name} ({fronts.accuracy_tier}) {measured_in}.")


def _ties(point: FrontPoint) -> str:
    """Networks that are exactly as good: named if few."""
    if not point.equal:
        return ""
    return f" = {point.equal[0]}" if len(point.equal) == 1 else f" = {len(point.equal)} others (in fronts.json)"


def _is_far(point: FrontPoint) -> bool:
    return point.latency_std_ms is not None and 1.645 * point.latency_std_ms > FAR_OFF * point.latency_ms


def _say_how_far(fronts: Sequence[DeviceFront]) -> None:
    """How many latencies to expect outside of what stands beside them, where nobody measured these networks."""
    for tier in (Tier.TRANSFERRED, Tier.ESTIMATED):
        told = [front for front in fronts if front.tier == tier and front.points]
        points = [point for front in told for point in front.points]
        if not points:
            continue
        if tier is Tier.ESTIMATED:
            text = (
                f"Estimates of one device are all too high or too low together: of ten such devices ({_names(told)}), "
                "expect one with many latencies outside of their intervals, and hardly any on the others"
            )
        else:
            outside = max(1, round(0.1 * len(points)))
            text = f"Expect {outside} of {len(points)} latencies that nobody measured outside +-1.6 deviations"
        far = sum(map(_is_far, points))
        marked = ", marked ?," if len(fronts) == 1 else ""
        hint(text + (f"; {far} of {len(points)} latencies{marked} may be more than {FAR_OFF:.0%} off." if far else "."))


def _names(fronts: Sequence[DeviceFront]) -> str:
    return ", ".join(front.name for front in fronts[:_IN_FULL]) + (", ..." if len(fronts) > _IN_FULL else "")


def _say_held_out(fronts: Sequence[DeviceFront]) -> None:
    """Name the images that accuracies were measured on, where the front can say it."""
    points = [point for front in fronts if front.is_held_out for point in front.points]
    if not points:
        return
    gap = sum(point.accuracy - point.promised[0] for point in points) / len(points)
    quality = fronts[0].quality
    hint(
        f"Their {quality.name} is of held-out images, which neither training nor search looked at. On the images that "
        f"the search chose by they have {gap:+.2f}{quality.suffix} on average."
    )


def _caution(fronts: Sequence[DeviceFront]) -> None:
    """Say where accuracies are not of the files that the times are of."""
    for front in fronts:
        if front.points and front.accuracy_caution:
            hint(f"{front.name}: {front.accuracy_caution}")


def _notable(front: DeviceFront) -> list[str]:
    """The fastest point, the knee and the most accurate one."""
    if not front.points:
        return ["-"] * 3
    trade_offs = front.trade_offs
    return [_short(point, front) for point in (trade_offs[0], front.points[front.knee], trade_offs[-1])]


def _short(point: FrontPoint, front: DeviceFront) -> str:
    return f"{point.latency_ms:.3g}{_spread(point, front)} {point.promised[0]:.1f}{front.quality.unit}"


def _spread(point: FrontPoint, front: DeviceFront) -> str:
    std = point.latency_std_ms
    return "" if std is None else format_spread(point.latency_ms, std, front.tier)


def _show_shared(fronts: Fronts) -> None:
    shared = fronts.shared or {}
    devices = shared["devices"]
    rows = []
    for network in shared["networks"]:
        latency = sorted(network["latency_ms"].values())
        serves = sum(network["arch"] in device["networks"] for device in devices.values())
        kind = "held_out" if "held_out_accuracy" in network else "accuracy"
        accuracy = network["held_out_accuracy" if kind == "held_out" else "accuracy"]
        rows.append(
            (
                f"{accuracy:.2f} +-{network[f'{kind}_std']:.2f}",
                f"{latency[0]:.3g} to {latency[-1]:.3g}",
                f"{serves} of {len(devices)}",
                network["arch"],
            )
        )
    echo(click.style(f"{_count(len(rows), 'network')} for {_count(len(devices), 'device')}", bold=True))
    print_table(
        (f"{fronts.quality.title} ({fronts.accuracy_tier})", "latency ms", "serves devices", "architecture"), rows
    )
    tiers = Counter(front.tier for front in fronts.devices)
    hint("Latency is " + ", ".join(f"{tier} on {_count(count, 'device')}" for tier, count in tiers.items()) + ".")
    worst = min(devices, key=lambda name: devices[name]["hypervolume_share"])
    hint(
        f"They keep {100 * shared['mean_hypervolume_share']:.1f} % of the devices' hypervolume, on the worst served "
        f"({worst}) {100 * devices[worst]['hypervolume_share']:.1f} %."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

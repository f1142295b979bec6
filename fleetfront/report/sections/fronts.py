"""Show the fronts of all devices, and hand each network on them out as a command that deploys it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fleetfront.quantities import ACCURACY, LATENCY, format_number
from fleetfront.report.figures.fronts import has_cloud, interactive_fronts, lowest_cost, lowest_shown, static_fronts
from fleetfront.report.figures.networks import cell_edges, cell_nodes, cell_picture, network_picture
from fleetfront.report.figures.specifications import Figure, bare, slug
from fleetfront.report.figures.theme import series_colour, series_dash
from fleetfront.report.markdown import escape, fenced, html, table_lines
from fleetfront.report.section import Section
from fleetfront.report.sections.front_views import FrontGroup, FrontView, front_groups
from fleetfront.report.tables import Table, with_spread
from fleetfront.spaces.precisions import SEPARATOR
from fleetfront.targets import narrow_precision, precision_in

#: Points of a front that a table shows; the figure and the file have more.
_SHOWN = 8
#: The same in Markdown. With more fronts than ``_MANY_FRONTS``, fewer points of each are told: hosts refuse comments of
#: more than 65,536 characters.
_SHOWN_BRIEFLY, _MANY_FRONTS, _SHOWN_OF_MANY = 4, 8, 2

#: Stands for the architecture in the command that the page's script completes.
_ARCH = "ARCHITECTURE"


def deploy_command(group: FrontGroup, front: FrontView, arch: str) -> str:
    """The command that deploys one network of a front."""
    words = ["fleetfront", "deploy", "--front", front.path, "--device", front.name, "--arch", arch]
    narrow = narrow_precision(precision_in(front.target))
    precisions = f"--precisions {narrow}" if narrow and SEPARATOR not in group.space else ""
    return " ".join(filter(None, (shlex.join(words), precisions, group.deploy_options)))


def front_figures(group: FrontGroup) -> Iterator[Figure]:
    """Fronts in the unit of their metric, of several also as multiples of each device's lowest cost, and of each
    further task."""
    said = f"{group.accuracy_tier} {group.quality.name} against {group.metric.title} of {len(group.fronts)} devices."
    of_metric = "" if group.metric == LATENCY else f" ({group.metric.title})"
    title = f"Fronts of {group.space}{of_metric}"
    yield Figure(f"fronts-{slug(group.space)}", title, said, static_fronts(group, is_normalised=False))
    if len(group.fronts) > 1:
        spec = static_fronts(group, is_normalised=True)
        yield Figure(f"fronts-normalised-{slug(group.space)}", f"{title}, normalised", said, spec)
    for at, task in enumerate(group.tasks[1:], 1):
        said = f"{group.accuracy_tier} {task.name} against {group.metric.title} of the same networks."
        drawn = static_fronts(_by_task(group, at), is_normalised=False)
        yield Figure(f"fronts-{slug(task.name)}-{slug(group.space)}", f"{title}: {task.name}", said, drawn)


def _by_task(group: FrontGroup, at: int) -> FrontGroup:
    """The same networks, judged by another task."""
    fronts = tuple(
        replace(
            f, points=tuple(replace(p, accuracy=p.tasks[at], accuracy_std=0.0) for p in f.points), cloud=f.cloud[:0]
        )
        for f in group.fronts
    )
    return replace(group, fronts=fronts, quality=group.tasks[at])


def front_table(group: FrontGroup, shown: int = _SHOWN) -> Table:
    """Some points of every front, the knee among them."""
    rows = []
    has_sizes = any(point.size is not None for front in group.fronts for point in front.points)
    for front in group.fronts:
        count = len(front.points)
        step = max(1, -(-count // shown))
        for at in sorted({*range(0, count, step), count - 1, front.knee} if count else ()):
            point = front.points[at]
            rows.append(
                (
                    front.label,
                    with_spread(point.cost, point.cost_std, 4, front.tier),
                    front.tier,
                    with_spread(point.accuracy, point.accuracy_std, 4)
                    + ("*" if point.accuracy_is_beyond_range else ""),
                    point.accuracy_tier or group.accuracy_tier,
                    *(format_number(value, 4) for value in point.tasks[1:]),
                    *([_mebibytes(point.size)] if has_sizes else []),
                    "knee" if at == front.knee else "",
                    group.archs[point.arch],
                )
            )
    name, unit = group.metric.title, group.metric.unit
    sizes = ["size MiB (estimated)"] if has_sizes else []
    judged = f"{group.quality.title} ({group.tasks[0].name})" if group.tasks else group.quality.title
    further = [task.title for task in group.tasks[1:]]
    told = (f"{name} {unit}", f"{name} tier", judged, "accuracy tier", *further, *sizes)
    numbers = frozenset({1, 3, *range(5, 5 + len(further) + len(sizes))})
    return Table(f"Fronts of {group.space}", ("device", *told, "", "architecture"), tuple(rows), numbers)


def _mebibytes(size: tuple[float, float] | None) -> str:
    return format_number(None) if size is None else with_spread(size[0] / 2**20, size[1] / 2**20, 4)


def volume_table(group: FrontGroup) -> Table:
    """How much each front covers."""
    rows = [
        (
            front.label,
            front.target,
            f"{front.total:,}",
            format_number(front.hypervolume, 5),
            ", ".join(front.reference),
            format_number(front.limit),
            front.path,
        )
        for front in group.fronts
    ]
    unit = group.metric.unit
    # Fronts are kept as 100 less the score, whatever the quality.
    sign = "-" if group.quality.is_higher_better else "+"
    error = "error %" if group.quality == ACCURACY else f"100 {sign} {group.quality.name}"
    errors = ", ".join([error, *(f"100 - {task.name}" if task.unit == "%" else task.name for task in group.tasks[1:])])
    headers = (
        "device",
        "target",
        "points",
        "hypervolume",
        f"reference point ({unit}, {errors})",
        f"limit {unit}",
        "file",
    )
    return Table(f"Hypervolumes on {group.space}", headers, tuple(rows), frozenset({2, 3, 4, 5}))


def _brief(groups: Sequence[FrontGroup]) -> Iterator[str]:
    for group in groups:
        shown = _SHOWN_BRIEFLY if len(group.fronts) <= _MANY_FRONTS else _SHOWN_OF_MANY
        yield from table_lines(front_table(group, shown))
        yield from table_lines(volume_table(group))
        yield from (f"\n{escape(f'{front.label}: {front.caution}')}" for front in group.fronts if front.caution)
    yield from _commands(groups)


def _commands(groups: Sequence[FrontGroup]) -> Iterator[str]:
    """The command for each device's knee, folded away: there may be thirty."""
    for group in groups:
        fronts = [front for front in group.fronts if front.points]
        if fronts:
            yield f"\n<details><summary>Deploy the knees of {html(group.space)}</summary>\n"
            yield from fenced([deploy_command(group, f, group.archs[f.points[f.knee].arch]) for f in fronts])
            yield "\n</details>"


def _group_view(group: FrontGroup) -> dict[str, Any]:
    lowest = lowest_shown(group)
    hidden = sum(p.accuracy < lowest for front in group.fronts for p in front.points) if lowest is not None else 0
    return {
        "group": group,
        "hidden": hidden,
        "has_cloud": has_cloud(group),
        "has_choice": any(len(front.points) > 1 for front in group.fronts),
        "can_prefer": sum(len(front.points) > 1 for front in group.fronts) > 1,
        "lowest": lowest,
        "devices": [
            {
                "front": front,
                "colour": series_colour(i),
                "dash": ",".join(map(str, series_dash(i))),
            }
            for i, front in enumerate(group.fronts)
        ],
    }


def _group_data(group: FrontGroup) -> dict[str, Any]:
    kinds = list(dict.fromkeys(block.group for block in group.blocks))
    lowest = lowest_shown(group)
    return {
        "isBounded": lowest is not None,
        "hasCloud": has_cloud(group),
        "tier": group.accuracy_tier,
        "quality": group.quality.name,
        "suffix": group.quality.suffix,
        "sign": 1 if group.quality.is_higher_better else -1,
        "metric": {"title": group.metric.title, "unit": group.metric.unit},
        "lowest": group.lowest,
        "specs": {
            size: {
                unit: bare(interactive_fronts(group, is_normalised=unit == "normalised", is_small=size == "small"))
                for unit in ("own", "normalised")
            }
            for size in ("overlay", "small")
        },
        "picture": bare(network_picture(kinds)),
        "blocks": [[block.label, block.group, block.width, block.side] for block in group.blocks],
        "archs": list(group.archs),
        "networks": [[number for pair in network for number in pair] for network in group.networks],
        "cell": _cell_data(group),
        "devices": [_device_data(group, front, lowest) for front in group.fronts],
    }


def _cell_data(group: FrontGroup) -> dict[str, Any] | None:
    """The cells of a group's networks, each edge that occurs once; None in spaces without cells."""
    if not group.cells:
        return None
    edges = list(dict.fromkeys(edge for cell in group.cells for edge in cell))
    row = {edge: i for i, edge in enumerate(edges)}
    nodes = cell_nodes(1 + max((target for _, target, _ in edges), default=0))
    return {
        "spec": bare(cell_picture(list(dict.fromkeys(operation for _, _, operation in edges)), len(nodes))),
        "nodes": nodes,
        "edges": cell_edges(edges, nodes),
        "of": [[row[edge] for edge in cell] for cell in group.cells],
    }


def _device_data(group: FrontGroup, front: FrontView, lowest: float | None) -> dict[str, Any]:
    return {
        "label": front.label,
        "tier": front.tier,
        "clock": front.clock,
        "knee": front.knee,
        "lowest": lowest_cost(front, lowest),
        "points": [
            [p.arch, p.cost, p.cost_std, p.accuracy, p.accuracy_std, int(p.accuracy_is_beyond_range)]
            for p in front.points
        ],
        "cloud": front.cloud.tolist(),
        "blockCosts": dict(front.block_costs),
        "command": _command_around(group, front),
    }


def _command_around(group: FrontGroup, front: FrontView) -> list[str]:
    """The deploy command before and after the architecture. What comes after it holds no text from outside."""
    before, _, after = deploy_command(group, front, _ARCH).rpartition(_ARCH)
    return [before, after]


FRONTS = Section(
    "fronts",
    "fronts",
    "Fronts",
    "Fronts",
    front_groups,
    gap="No front has been searched yet.",
    command="fleetfront search --devices all",
    figures=front_figures,
    tables=lambda group: (front_table(group), volume_table(group)),
    brief=_brief,
    fragment="fronts.html.j2",
    context=lambda groups: {"groups": [_group_view(group) for group in groups]},
    data=_group_data,
)

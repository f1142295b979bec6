"""Draw fronts: with their data for images, with data sets that the page's script fills for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fleetfront.quantities import Metric
from fleetfront.report.figures.specifications import SCHEMA, Specification, interval, nominal, quantitative
from fleetfront.report.figures.theme import CONFIG, series_colour, series_dash, variable
from fleetfront.report.sections.front_views import FrontGroup, FrontView
from fleetfront.report.tables import with_spread

#: Above this ratio of largest to smallest, costs of several devices are drawn on a logarithmic axis.
_WIDE = 12.0

#: So large a share of all points may lie outside the figure.
_OUTSIDE = 0.1

#: Room at either end of a logarithmic axis, as a share of what the points take.
ROOM = 0.08

#: Names of the data sets that the page's script fills.
POINTS, PICKS, CLOUD = "points", "picks", "cloud"
#: The parameter that names the device in front.
SELECTED = "selected"


def interactive_fronts(group: FrontGroup, *, is_normalised: bool, is_small: bool) -> Specification:
    """The page's figure of all fronts or (small) of one; rows have the fields of ``_point_row``."""
    spec = _spec(group, is_normalised, height=150 if is_small else 420, is_small=is_small)
    spec["params"] = [{"name": SELECTED, "value": ""}]
    spec["data"] = {"name": POINTS}
    return spec


def static_fronts(group: FrontGroup, *, is_normalised: bool) -> Specification:
    """The figure with its data, knees marked; for pictures."""
    spec = _spec(group, is_normalised, height=400, is_small=False, is_interactive=False)
    spec["params"] = [{"name": SELECTED, "value": group.fronts[0].label if len(group.fronts) == 1 else ""}]
    spec["data"] = {"name": POINTS}
    drawn = [(front, unit) for front, unit in _units(group, is_normalised) if front.points]
    rows = [_point_row(group, front, i, unit) for front, unit in drawn for i in range(len(front.points))]
    knees = [_point_row(group, front, front.knee, unit) for front, unit in drawn]
    cloud: list[dict[str, Any]] = []
    if len(group.fronts) == 1:
        scale = lowest_cost(group.fronts[0], lowest_shown(group)) if is_normalised else 1.0
        cloud = [{"x": x / scale, "a": a} for x, a in group.fronts[0].cloud.tolist()]
    spec["datasets"] = {POINTS: rows, PICKS: knees, CLOUD: cloud}
    return spec


def _point_row(group: FrontGroup, front: FrontView, index: int, unit: float) -> dict[str, Any]:
    """One point as a row of data. ``page.js`` makes the same rows from the page's data."""
    point = front.points[index]
    low, high = interval(point.cost, point.cost_std, front.tier)
    return {
        "d": front.label,
        "x": point.cost / unit,
        "from": low / unit,
        "to": high / unit,
        "a": point.accuracy,
        "cost": f"{with_spread(point.cost, point.cost_std, 4, front.tier)} {group.metric.unit} ({front.tier})",
        "accuracy": with_spread(point.accuracy, point.accuracy_std, 4)
        + f"{group.quality.suffix} ({group.accuracy_tier})",
        "arch": group.archs[point.arch],
    }


def lowest_shown(group: FrontGroup) -> float | None:
    """Where the accuracy axis begins, if a few bad networks would squeeze all others together; else None.

    That is so where the worst point lies more than three times as far below the median point as the best lies above.
    Only a tenth of the points, and of a front not all, may be outside: where there are few, each of them is looked for.
    """
    accuracies = sorted(point.accuracy for front in group.fronts for point in front.points)
    if not accuracies or not group.quality.is_higher_better:
        return None
    median, best = accuracies[len(accuracies) // 2], accuracies[-1]
    lowest = median - 3 * (best - median)
    hidden = sum(accuracy < lowest for accuracy in accuracies)
    is_front_hidden = any(max(p.accuracy for p in front.points) < lowest for front in group.fronts if front.points)
    return lowest if 0 < hidden <= _OUTSIDE * len(accuracies) and not is_front_hidden else None


def _focus(
    group: FrontGroup, is_normalised: bool, lowest: float, x: dict[str, Any], y: dict[str, Any], is_small: bool
) -> None:
    """Bound the axes to the points that are at least so accurate; of a small figure, the accuracy axis alone."""
    y["scale"] = {**y["scale"], "domainMin": lowest}
    shown = [
        point.cost / unit
        for front, unit in _units(group, is_normalised)
        for point in front.points
        if point.accuracy >= lowest
    ]
    if not is_small and shown:
        x["scale"] = {**x["scale"], "domain": [0.97 * min(shown), 1.03 * max(shown)]}


def lowest_cost(front: FrontView, lowest: float | None) -> float:
    """The divisor of a front's normalised costs: its cheapest point that is shown, or 1 if it is empty.

    ``lowest`` is what ``lowest_shown`` says of its group.
    """
    shown = [p.cost for p in front.points if lowest is None or p.accuracy >= lowest]
    return min(shown or [p.cost for p in front.points] or [1.0])


def _units(group: FrontGroup, is_normalised: bool) -> list[tuple[FrontView, float]]:
    if not is_normalised:
        return [(front, 1.0) for front in group.fronts]
    lowest = lowest_shown(group)
    return [(front, lowest_cost(front, lowest)) for front in group.fronts]


def _spec(
    group: FrontGroup, is_normalised: bool, *, height: int, is_small: bool, is_interactive: bool = True
) -> Specification:
    labels = [front.label for front in group.fronts]
    is_one = is_small or len(labels) == 1
    metric = group.metric
    title = f"{metric.title}, × the device's {group.lowest}" if is_normalised else f"{metric.title} {metric.unit}"
    x = quantitative("x", title, zero=False, log=not is_one and _is_wide(group, is_normalised))
    held_out = " (held-out images)" if group.is_held_out else ""
    y = quantitative("a", f"{group.accuracy_tier} {group.quality.title}{held_out}", zero=False)
    # A title longer than its axis would stretch the figure beyond the screen.
    y["axis"] = {**y["axis"], "titleLimit": height}
    if x["scale"].get("type") == "log":
        x["scale"]["domain"] = _wide_domain(group, is_normalised)
    lowest = lowest_shown(group)
    if lowest is not None:
        _focus(group, is_normalised, lowest, x, y, is_small)
    if is_small:
        x["axis"], y["axis"] = {**x["axis"], "tickCount": 4}, {**y["axis"], "tickCount": 4}
        x["title"] = y["title"] = None
    colour = nominal("d", None, scale={"domain": labels, "range": [series_colour(i) for i in range(len(labels))]})
    dash = nominal("d", None, scale={"domain": labels, "range": [series_dash(i) for i in range(len(labels))]})
    # The page lists the devices with their colours beside the sliders.
    legend = None if is_one or is_interactive else {"columns": 4, "symbolType": "stroke", "symbolStrokeWidth": 3}
    colour["legend"] = dash["legend"] = legend
    front = {"test": f"!{SELECTED} || datum.d === {SELECTED}", "value": 1}
    faded = {"condition": front, "value": 0.45}
    return {
        "$schema": SCHEMA,
        "description": f"{group.accuracy_tier} {group.quality.name} against {metric.title} on {len(labels)} devices.",
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "encoding": {"x": x, "y": y},
        "layer": [
            *_cloud(group),
            {
                "mark": {"type": "line", "clip": True, "interpolate": "step-after", "strokeWidth": 1.6, "aria": False},
                "encoding": {"color": colour, "strokeDash": dash, "opacity": faded, "order": {"field": "x"}},
            },
            _marks(colour, faded, is_interactive, metric),
            *_picks(colour, is_interactive or is_one),
        ],
        "config": CONFIG,
    }


def has_cloud(group: FrontGroup) -> bool:
    """Tell whether any of the architectures behind the fronts are known."""
    return any(len(front.cloud) for front in group.fronts)


def _cloud(group: FrontGroup) -> list[dict[str, Any]]:
    # Vega warns of layers that never have data.
    dot = {"type": "circle", "clip": True, "size": 9, "color": variable("muted"), "opacity": 0.45, "aria": False}
    return [{"data": {"name": CLOUD}, "mark": dot}] if has_cloud(group) else []


def _marks(colour: Mapping[str, Any], faded: Mapping[str, Any], is_interactive: bool, metric: Metric) -> dict[str, Any]:
    mark: dict[str, Any] = {"type": "circle", "clip": True, "aria": False}
    encoding: dict[str, Any] = {"color": colour, "opacity": faded, "size": {"value": 18}}
    if not is_interactive:
        return {"mark": mark, "encoding": encoding}
    # The pointer meets the cell around the nearest point, whose datum is that point's mark and not yet its row.
    fields = {"device": "d", metric.title: "cost", "accuracy": "accuracy", "architecture": "arch"}
    said = ", ".join(f"{json.dumps(title)}: (datum.datum || datum).{field}" for title, field in fields.items())
    encoding["size"]["condition"] = {"param": "hover", "empty": False, "value": 130}
    return {
        "params": [
            {"name": "hover", "select": {"type": "point", "on": "pointermove", "nearest": True, "clear": "pointerout"}},
            {"name": "pick", "select": {"type": "point", "on": "click", "nearest": True, "fields": ["id"]}},
        ],
        "mark": {**mark, "tooltip": {"expr": f"{{{said}}}"}},
        "encoding": encoding,
    }


def _picks(colour: Mapping[str, Any], is_by_device: bool) -> list[dict[str, Any]]:
    x = {"x": {"field": "from", "type": "quantitative"}, "x2": {"field": "to"}}
    in_front = {"test": f"datum.d === {SELECTED}" + (f" || !{SELECTED}" if is_by_device else ""), "value": 1}
    # Thirty intervals as strong as the one in front would hide the fronts.
    interval = {**x, "color": colour, "opacity": {"condition": in_front, "value": 0.25}}
    return [
        {
            "data": {"name": PICKS},
            "mark": {"type": "rule", "clip": True, "strokeWidth": 2, "aria": False},
            "encoding": interval,
        },
        {
            "data": {"name": PICKS},
            "mark": {
                "type": "point",
                "clip": True,
                "shape": "diamond",
                "filled": True,
                "size": 120,
                "opacity": 1,
                "stroke": variable("ink"),
                "strokeWidth": 1.5,
            },
            "encoding": {"fill": colour, "description": {"field": "cost"}},
        },
    ]


def _wide_domain(group: FrontGroup, is_normalised: bool) -> list[float]:
    """From the cheapest to the dearest point, with some room: an interval that reaches 0 would take all of the axis."""
    shown = [point.cost / unit for front, unit in _units(group, is_normalised) for point in front.points]
    low, high = min(shown), max(shown)
    room = (high / low) ** ROOM
    return [low / room, high * room]


def _is_wide(group: FrontGroup, is_normalised: bool) -> bool:
    units = _units(group, is_normalised)
    first = [front.points[0].cost / unit for front, unit in units if front.points]
    last = [front.points[-1].cost / unit for front, unit in units if front.points]
    return bool(first) and max(last) > _WIDE * min(first) > 0

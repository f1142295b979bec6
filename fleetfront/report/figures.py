"""Every figure of a report as a Vega-Lite specification, but for the fronts, which are in ``figures_fronts``.

Specifications are data: the page draws them in the browser, ``images`` draws them here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleetfront.predictors.scores import Z90
from fleetfront.report.contents import (
    BaselineView,
    DeployedFile,
    FrontGroup,
    HeatMap,
    PredictionView,
    RelationView,
    Report,
)
from fleetfront.report.figures_fronts import static_fronts
from fleetfront.report.specifications import Specification, figure_spec, nominal, quantitative, tooltip
from fleetfront.report.tables import number, with_spread
from fleetfront.report.theme import series_colour, variable

#: Above this many devices the squares of a matrix are too small for numbers.
_NUMBERED = 16
#: Characters below an axis that a phone can show in one line.
_NAMES_IN_A_LINE = 30
#: Pixels across a square with a number in it.
_SQUARE = 34
#: A penalty of this many percent has the strongest colour.
_WORST_PENALTY = 100.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be asked for by name.

    Attributes:
        description: what a screen reader says of it.
        min_width: pixels below which it cannot be read; a narrower page scrolls it.
        section, row: the field of Report that it is of, and the position there.
    """

    name: str
    title: str
    description: str
    spec: Specification
    min_width: int = 0
    section: str = ""
    row: int = 0


def figures(report: Report) -> tuple[Figure, ...]:
    """Every figure of a report, under names that are unique within it."""
    found: dict[str, Figure] = {}
    for section, row, figure in _all(report):
        name, count = figure.name, 1
        while name in found:
            count += 1
            name = f"{figure.name}-{count}"
        found[name] = replace(figure, name=name, section=section, row=row)
    return tuple(found.values())


def _all(report: Report) -> Iterator[tuple[str, int, Figure]]:
    makers: tuple[tuple[str, Sequence[Any], Callable[[Any], Iterator[Figure]]], ...] = (
        ("fronts", report.fronts, front_figures),
        ("predictions", report.predictions, prediction_figures),
        ("baselines", report.baselines, baseline_figures),
        ("heat_maps", report.heat_maps, heat_figures),
        ("relations", report.relations, relation_figures),
        ("deployed", (report.deployed,), deployed_figures),
    )
    for section, views, make in makers:
        for row, view in enumerate(views):
            for figure in make(view):
                yield section, row, figure


def slug(text: str) -> str:
    """A name for a figure or an element of the page, of letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower() or "unnamed"


def front_figures(group: FrontGroup) -> Iterator[Figure]:
    """Fronts in ms and, where there are several, as multiples of each device's fastest."""
    said = f"{group.accuracy_tier} accuracy against latency of {len(group.fronts)} devices."
    title = f"Fronts of {group.space}"
    yield Figure(f"fronts-{slug(group.space)}", title, said, static_fronts(group, is_normalised=False))
    if len(group.fronts) > 1:
        spec = static_fronts(group, is_normalised=True)
        yield Figure(f"fronts-normalised-{slug(group.space)}", f"{title}, normalised", said, spec)


def prediction_figures(view: PredictionView) -> Iterator[Figure]:
    """Predicted against measured, and the residuals; nothing without networks."""
    if view.points:
        yield _predictions(view)
        yield _residuals(view)


def _predictions(view: PredictionView) -> Figure:
    """Predicted against measured, with the 10 % band and the 90 % intervals."""
    values = [_comparison(view, i) for i in range(len(view.points))]
    low = min(min(row["measured"], row["predicted"]) for row in values) * 0.95
    high = max(max(row["measured"], row["predicted"]) for row in values) * 1.05
    ends = [{"measured": x, "low": 0.9 * x, "high": 1.1 * x, "predicted": x} for x in (low, high)]
    x = quantitative("measured", "measured ms", zero=False, nice=False)
    y = quantitative("predicted", "predicted ms", zero=False)
    layers = [
        {
            "data": {"values": ends},
            "mark": {"type": "area", "color": variable("band"), "aria": False},
            "encoding": {"x": x, "y": quantitative("low", "predicted ms", zero=False), "y2": {"field": "high"}},
        },
        {
            "data": {"values": ends},
            "mark": {"type": "line", "color": variable("muted"), "strokeDash": [4, 4], "aria": False},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.6, "aria": False},
            "encoding": {
                "x": x,
                "y": quantitative("from", "predicted ms", zero=False),
                "y2": {"field": "to"},
                "color": _role_colour(view),
            },
        },
        _points(x, y, view),
    ]
    title = f"Predicted against measured on {view.label}"
    said = "The shaded band is 10 % to either side; bars are 90 % intervals."
    spec = figure_spec(f"{view.summary} {said}", layers, values=values, height=300)
    return Figure(f"predictions-{slug(view.label)}", title, said, spec)


def _residuals(view: PredictionView) -> Figure:
    """How far each prediction is off, in percent, over the measured latency."""
    values = [_comparison(view, i) for i in range(len(view.points))]
    x = quantitative("measured", "measured ms", zero=False)
    y = quantitative("error", "error %", zero=True)
    band = {
        "data": {"values": [{"low": -10, "high": 10}]},
        "mark": {"type": "rect", "color": variable("band"), "aria": False},
        "encoding": {"y": quantitative("low", "error %", zero=True), "y2": {"field": "high"}},
    }
    zero = {
        "data": {"values": [{"error": 0}]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "aria": False},
        "encoding": {"y": y},
    }
    title = f"Residuals on {view.label}"
    said = "Error of each prediction in percent of the measurement; the shaded band is 10 %."
    spec = figure_spec(f"{view.summary} {said}", [band, zero, _points(x, y, view)], values=values, height=300)
    return Figure(f"residuals-{slug(view.label)}", title, said, spec)


def _comparison(view: PredictionView, index: int) -> dict[str, Any]:
    point = view.points[index]
    return {
        "arch": point.arch,
        "role": point.role,
        "measured": point.measured_ms,
        "predicted": point.predicted_ms,
        "said": f"{with_spread(point.predicted_ms, point.std_ms)} ms",
        "from": point.predicted_ms - Z90 * point.std_ms,
        "to": point.predicted_ms + Z90 * point.std_ms,
        "error": point.error_percent,
    }


def _points(x: Mapping[str, Any], y: Mapping[str, Any], view: PredictionView) -> dict[str, Any]:
    return {
        "mark": {"type": "point", "filled": True, "size": 40},
        "encoding": {
            "x": x,
            "y": y,
            "color": _role_colour(view),
            "tooltip": tooltip(
                arch="architecture", role="which", measured="measured ms", said="predicted", error="error %"
            ),
        },
    }


def _role_colour(view: PredictionView) -> dict[str, Any]:
    roles = list(dict.fromkeys(point.role for point in view.points))
    scale = {"domain": roles, "range": [series_colour(i) for i in range(len(roles))]}
    return nominal("role", None, scale=scale, legend=len(roles) > 1)


def baseline_figures(view: BaselineView) -> Iterator[Figure]:
    """Hypervolume over evaluations, if any run kept it."""
    if view.curves:
        yield _baselines(view)


def _baselines(view: BaselineView) -> Figure:
    """Hypervolume over evaluations: the mean of the seeds, and between which values they lie."""
    strategies = list(dict.fromkeys(curve.strategy for curves in view.curves.values() for curve in curves))
    values = [
        {"device": device, "strategy": c.strategy, "evaluations": e, "mean": m, "low": low, "high": high}
        for device, curves in view.curves.items()
        for c in curves
        for e, m, low, high in zip(
            c.evaluations.tolist(), c.mean.tolist(), c.low.tolist(), c.high.tolist(), strict=True
        )
        # Before the first point of a trace nothing is known.
        if m > 0
    ]
    devices = list(view.curves)
    colour = nominal(
        "strategy",
        "strategy",
        scale={"domain": strategies, "range": [series_colour(i) for i in range(len(strategies))]},
    )
    colour["legend"] = {"symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}
    x = quantitative("evaluations", "evaluations", log=True)
    layers = [
        {
            "mark": {"type": "area", "opacity": 0.2, "interpolate": "step-after", "aria": False},
            "encoding": {
                "x": x,
                "y": quantitative("low", "hypervolume", zero=False),
                "y2": {"field": "high"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "aria": False},
            "encoding": {"x": x, "y": quantitative("mean", "hypervolume", zero=False), "color": colour},
        },
        {
            "mark": {"type": "point", "opacity": 0, "size": 90},
            "encoding": {
                "x": x,
                "y": quantitative("mean", "hypervolume", zero=False),
                "color": colour,
                "tooltip": tooltip(
                    strategy="strategy", evaluations="evaluations", mean="mean", low="lowest", high="highest"
                ),
            },
        },
    ]
    said = f"Hypervolume over evaluations of {', '.join(strategies)}: mean over seeds, shaded from lowest to highest."
    spec = figure_spec(said, layers, values=values, height=280)
    spec["params"] = [{"name": "device", "value": devices[0], **_choice("Device ", devices)}]
    spec["transform"] = [{"filter": "datum.device === device"}]
    title = f"Strategies on {view.space}, {devices[0]}"
    return Figure(f"baselines-{slug(view.space)}", title, said, spec)


def _choice(name: str, options: Sequence[str]) -> dict[str, Any]:
    return {"bind": {"input": "select", "options": list(options), "name": name}} if len(options) > 1 else {}


def heat_figures(view: HeatMap) -> Iterator[Figure]:
    """The heat map."""
    yield _heat(view)


def _heat(view: HeatMap) -> Figure:
    """Blue squares are fast for what they are, orange ones slow."""
    values: list[dict[str, Any]] = [
        {"x": c.x, "y": c.y, "log": math.log2(max(c.value, 1e-6)), "text": c.text, "detail": c.detail, "ratio": c.value}
        for c in view.cells
    ]
    reach = max(0.25, min(3.0, max(abs(row["log"]) for row in values)))
    colour = {
        "field": "log",
        "type": "quantitative",
        "title": None,
        "scale": {"scheme": "blueorange", "domain": [-reach, 0, reach], "clamp": True},
        "legend": {"format": ".2f", "labelExpr": "format(pow(2, datum.value), '.2f') + '×'", "gradientLength": 160},
    }
    columns, lines = len({cell.x for cell in view.cells}), len({cell.y for cell in view.cells})
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "stroke": variable("surface")},
            "encoding": {"color": colour, "tooltip": tooltip(detail="block", ratio="compared")},
        },
        {
            "mark": {"type": "text", "fontSize": 10, "aria": False},
            "encoding": {
                "text": {"field": "text"},
                "color": {
                    "condition": {"test": f"abs(datum.log) > {0.7 * reach}", "value": "#fff"},
                    "value": "#1b1f24",
                },
            },
        },
    ]
    said = f"{view.meaning} {_extremes(view)}"
    spec = figure_spec(said, layers, values=values, height=max(110, 26 * lines))
    longest = max(len(cell.x) for cell in view.cells)
    # Names that do not fit beside each other on a phone are set at an angle everywhere.
    angle = -90 if columns > 8 else -40 if columns * longest > _NAMES_IN_A_LINE else 0
    spec["encoding"] = {
        "x": nominal("x", view.x_title, sort=None, axis={"labelAngle": angle, "orient": "bottom"}),
        "y": nominal("y", view.y_title, sort=None),
    }
    name, title = f"heat-map-{slug(view.label)}", f"What {view.label} likes and dislikes"
    return Figure(name, title, said, spec, 110 + _SQUARE * columns)


def _extremes(view: HeatMap) -> str:
    ordered = sorted(view.cells, key=lambda cell: cell.value)
    best, worst = ordered[0], ordered[-1]
    return f"Lowest: {best.x} {best.y} ({best.value:.2f}×); highest: {worst.x} {worst.y} ({worst.value:.2f}×)."


def relation_figures(view: RelationView) -> Iterator[Figure]:
    """Rank correlations, and what each device's choice costs on the others, as far as they are known."""
    if view.networks:
        yield _correlation(view)
    if any(map(math.isfinite, view.penalty.ravel().tolist())):
        yield _penalty(view)


def _correlation(view: RelationView) -> Figure:
    """Rank correlations of all pairs."""
    said = f"Spearman rank correlation of latency between devices, over {view.networks:,} networks, {view.sample}."
    scale = {"scheme": "yellowgreenblue", "domain": [0, 1], "clamp": True}
    spec = _matrix(view, view.correlation.tolist(), said, scale, ".2f", "rank correlation", 0.55)
    name, title = f"correlation-{slug(view.space)}", f"Rank correlation on {view.space}"
    return Figure(name, title, said, spec, _matrix_width(view))


def _penalty(view: RelationView) -> Figure:
    """What the knee network of a row's device costs on a column's."""
    said = (
        "Extra latency, in percent, that the knee network of the row's device takes on the column's device, against "
        "the fastest network on the column's own front that is at least as accurate."
    )
    scale = {"scheme": "oranges", "domain": [0, _WORST_PENALTY], "clamp": True}
    spec = _matrix(view, view.penalty.tolist(), said, scale, "+.0f", "extra latency %", 0.6 * _WORST_PENALTY)
    name, title = f"cost-{slug(view.space)}", f"Best networks on other devices, {view.space}"
    return Figure(name, title, said, spec, _matrix_width(view))


def _matrix_width(view: RelationView) -> int:
    count = len(view.labels)
    return 130 + count * (_SQUARE if count <= _NUMBERED else _SQUARE // 2)


def _matrix(
    view: RelationView,
    matrix: Sequence[Sequence[float]],
    said: str,
    scale: Mapping[str, Any],
    form: str,
    title: str,
    dark_above: float,
) -> Specification:
    values = [
        {"row": row, "column": column, "value": value if math.isfinite(value) else None}
        for row, line in zip(view.labels, matrix, strict=True)
        for column, value in zip(view.labels, line, strict=True)
    ]
    colour = {"field": "value", "type": "quantitative", "title": title, "scale": dict(scale)}
    unknown = {"test": "datum.value === null", "value": variable("grid")}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "stroke": variable("surface"), "aria": len(view.labels) <= _NUMBERED},
            "encoding": {
                "color": {"condition": unknown, **colour},
                "tooltip": tooltip(row="network of", column="on", value=title),
            },
        }
    ]
    if len(view.labels) <= _NUMBERED:
        dark = {"test": f"datum.value > {dark_above}", "value": "#fff"}
        layers.append(
            {
                "transform": [{"filter": "datum.value !== null"}],
                "mark": {"type": "text", "fontSize": 10, "aria": False},
                "encoding": {
                    "text": {"field": "value", "format": form},
                    "color": {"condition": dark, "value": "#1b1f24"},
                },
            }
        )
    spec = figure_spec(said, layers, values=values, height=max(120, 24 * len(view.labels)))
    spec["encoding"] = {
        "x": nominal("column", None, sort=None, axis={"labelAngle": -60}),
        "y": nominal("row", None, sort=None),
    }
    return spec


def deployed_figures(files: Sequence[DeployedFile]) -> Iterator[Figure]:
    """Predicted and measured latency of every deployed file of which one is known."""
    known = [file for file in files if file.predicted_ms is not None or file.measured_ms is not None]
    if known:
        yield _deployed(known)


def _deployed(known: Sequence[DeployedFile]) -> Figure:
    values = []
    for file in known:
        name = f"{file.bundle} {file.format} {file.precision} {'/'.join(file.target.split('/')[:2])}"
        for kind, ms, std in (
            ("predicted", file.predicted_ms, file.predicted_std_ms),
            ("measured", file.measured_ms, file.measured_std_ms),
        ):
            if ms is not None:
                spread = Z90 * (std or 0.0)
                said = f"{with_spread(ms, std)} ms"
                values.append(
                    {"file": name, "kind": kind, "ms": ms, "from": ms - spread, "to": ms + spread, "said": said}
                )
    colour = nominal(
        "kind",
        None,
        scale={"domain": ["predicted", "measured"], "range": [series_colour(0), series_colour(1)]},
        legend=True,
    )
    layers = [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.5, "aria": False},
            "encoding": {
                "x": quantitative("from", "ms", zero=False),
                "x2": {"field": "to"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {
                "x": quantitative("ms", "ms", zero=False),
                "color": colour,
                "shape": nominal("kind", None),
                "tooltip": tooltip(file="file", kind="which", said="latency"),
            },
        },
    ]
    worst = [abs(100 * (f.measured_ms / f.predicted_ms - 1)) for f in known if f.measured_ms and f.predicted_ms]
    off = f" The farthest is {number(max(worst), 2)} % off." if worst else ""
    said = f"Predicted and measured latency of {len(known)} deployed files, with 90 % intervals.{off}"
    spec = figure_spec(said, layers, values=values, height=max(120, 28 * len({row["file"] for row in values})))
    spec["encoding"] = {"y": nominal("file", None, sort=None)}
    return Figure("deployed", "Deployed files: predicted and measured", said, spec)

"""Every figure of a report as a Vega-Lite specification; fronts and matrices have files of their own.

Specifications are data: the page draws them in the browser, ``images`` draws them here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fleetfront.report.figures.fronts import static_fronts
from fleetfront.report.figures.matrices import heat_figures, relation_figures
from fleetfront.report.figures.specifications import Figure, figure_spec, interval, nominal, quantitative, slug, tooltip
from fleetfront.report.figures.theme import series_colour, variable
from fleetfront.report.sections.contents import (
    BaselineView,
    DeployedFile,
    FrontGroup,
    PredictionView,
    Report,
)
from fleetfront.report.tables import number, with_spread


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
    low, high = interval(point.predicted_ms, point.std_ms)
    return {
        "arch": point.arch,
        "role": point.role,
        "measured": point.measured_ms,
        "predicted": point.predicted_ms,
        "said": f"{with_spread(point.predicted_ms, point.std_ms)} ms",
        "from": low,
        "to": high,
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
    devices = list(view.curves)
    said = f"Hypervolume over evaluations of {', '.join(strategies)}: mean over seeds, shaded from lowest to highest"
    said += "; of one device in ms × %."
    spec = figure_spec(said, _curve_layers(strategies), values=_curve_values(view), height=280)
    spec["params"] = [{"name": "device", "value": devices[0], **_choice("Device ", devices)}]
    spec["transform"] = [{"filter": "datum.device === device"}]
    title = f"Strategies on {view.space}, {devices[0]}"
    return Figure(f"baselines-{slug(view.space)}", title, said, spec)


def _curve_values(view: BaselineView) -> list[dict[str, Any]]:
    return [
        {"device": device, "strategy": c.strategy, "evaluations": e, "mean": m, "low": low, "high": high}
        for device, curves in view.curves.items()
        for c in curves
        for e, m, low, high in zip(
            c.evaluations.tolist(), c.mean.tolist(), c.low.tolist(), c.high.tolist(), strict=True
        )
        # Before the first point of a trace nothing is known.
        if m > 0
    ]


def _curve_layers(strategies: Sequence[str]) -> list[dict[str, Any]]:
    """Shade between the seeds, their mean, and unseen points on it that can be pointed at."""
    scale = {"domain": list(strategies), "range": [series_colour(i) for i in range(len(strategies))]}
    colour = nominal("strategy", "strategy", scale=scale)
    colour["legend"] = {"symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}
    x = quantitative("evaluations", "evaluations", log=True)
    low, mean = (quantitative(name, "hypervolume", zero=False) for name in ("low", "mean"))
    told = tooltip(strategy="strategy", evaluations="evaluations", mean="mean", low="lowest", high="highest")
    return [
        {
            "mark": {"type": "area", "opacity": 0.2, "interpolate": "step-after", "aria": False},
            "encoding": {"x": x, "y": low, "y2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "aria": False},
            "encoding": {"x": x, "y": mean, "color": colour},
        },
        {
            "mark": {"type": "point", "opacity": 0, "size": 90},
            "encoding": {"x": x, "y": mean, "color": colour, "tooltip": told},
        },
    ]


def _choice(name: str, options: Sequence[str]) -> dict[str, Any]:
    return {"bind": {"input": "select", "options": list(options), "name": name}} if len(options) > 1 else {}


def deployed_figures(files: Sequence[DeployedFile]) -> Iterator[Figure]:
    """Predicted and measured latency of every deployed file of which one is known."""
    known = [file for file in files if file.predicted_ms is not None or file.measured_ms is not None]
    if known:
        yield _deployed(known)


def _deployed(known: Sequence[DeployedFile]) -> Figure:
    values = [row for file in known for row in _deployed_values(file)]
    worst = [abs(100 * (f.measured_ms / f.predicted_ms - 1)) for f in known if f.measured_ms and f.predicted_ms]
    off = f" The farthest is {number(max(worst), 2)} % off." if worst else ""
    said = f"Predicted and measured latency of {len(known)} deployed files, with 90 % intervals.{off}"
    height = max(120, 28 * len({row["file"] for row in values}))
    spec = figure_spec(said, _deployed_layers(), values=values, height=height)
    spec["encoding"] = {"y": nominal("file", None, sort=None)}
    return Figure("deployed", "Deployed files: predicted and measured", said, spec)


def _deployed_values(file: DeployedFile) -> Iterator[dict[str, Any]]:
    for kind, ms, std in (
        ("predicted", file.predicted_ms, file.predicted_std_ms),
        ("measured", file.measured_ms, file.measured_std_ms),
    ):
        if ms is not None:
            low, high = interval(ms, std or 0.0)
            yield {
                "file": f"{file.bundle} {file.format} {file.precision}",
                "target": file.target,
                "kind": kind,
                "ms": ms,
                "from": low,
                "to": high,
                "said": f"{with_spread(ms, std)} ms",
            }


def _deployed_layers() -> list[dict[str, Any]]:
    """Intervals, and the latencies on them."""
    kinds = ["predicted", "measured"]
    colour = nominal("kind", None, scale={"domain": kinds, "range": [series_colour(0), series_colour(1)]}, legend=True)
    return [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.5, "aria": False},
            "encoding": {
                "x": quantitative("from", "latency ms", zero=False),
                "x2": {"field": "to"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {
                "x": quantitative("ms", "latency ms", zero=False),
                "color": colour,
                "shape": nominal("kind", None, scale={"domain": kinds, "range": ["square", "circle"]}, legend=True),
                "tooltip": tooltip(file="file", target="target", kind="which", said="latency"),
            },
        },
    ]

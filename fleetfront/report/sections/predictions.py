"""Compare what was predicted with what was measured, on networks that the models have not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.errors import FleetfrontError
from fleetfront.pipelines.knowledge.known import Kind, Known
from fleetfront.predictors.scores import Z90
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import measured_networks
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.records import Role
from fleetfront.quantities import LATENCY, Metric, format_number
from fleetfront.report.figures.specifications import Figure, figure_spec, interval, nominal, quantitative, slug, tooltip
from fleetfront.report.figures.theme import series_colour, variable
from fleetfront.report.markdown import escape, table_lines
from fleetfront.report.section import Section, Words
from fleetfront.report.sections.devices import known_clock
from fleetfront.report.sources import Sources
from fleetfront.report.tables import Table, with_spread
from fleetfront.spaces.base import SearchSpace

HELD_OUT, VERIFIED = "held out", "front's best, measured afterwards"
#: Networks that Markdown tells, the worst; the page has all of them.
_WORST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """One network whose cost was predicted and measured, in the unit of the view's metric.

    Attributes:
        role: ``held out``, or ``verified`` for one of a front's best that was measured afterwards.
        std: standard deviation of the prediction; 1.645 of it make the 90 % interval.
    """

    arch: str
    role: str
    measured: float
    predicted: float
    std: float

    @property
    def error_percent(self) -> float:
        """100 (predicted - measured) / measured."""
        return 100 * (self.predicted / self.measured - 1)


@dataclass(frozen=True, slots=True)
class PredictionView:
    """Predicted against measured on one target. ``model`` says how it predicts, ``summary`` how well, in words."""

    label: str
    target: str
    space: str
    metric: Metric
    clock: str
    model: str
    summary: str
    points: tuple[Comparison, ...]


def prediction_views(sources: Sources) -> tuple[PredictionView, ...]:
    """One view for each target that has a fit or whose front was verified."""
    views = []
    for name in sources.spaces:
        space = sources.space(name)
        for device, target in sources.targets(name):
            fit = next(iter(sources.of(Kind.FIT, name, target)), None)
            model = None if fit is None or space is None else sources.model(space, target, str(fit.clock))
            held_out = [] if fit is None or space is None else _held_out(sources, space, fit)
            verified = _verified(sources, name, target)
            if fit is not None or verified:
                metric = LATENCY if model is None else model.metric
                label = sources.label(device, target)
                views.append(_view(label, target, name, metric, fit, (*held_out, *verified)))
    return tuple(views)


def within_10(points: Sequence[Comparison]) -> float:
    """Share predicted within 10 % of the measurement, 0 to 1."""
    return sum(abs(point.error_percent) <= 10 for point in points) / max(1, len(points))


def _view(
    label: str, target: str, space: str, metric: Metric, fit: Known | None, points: Sequence[Comparison]
) -> PredictionView:
    report: Mapping[str, Any] = {} if fit is None else fit.report
    return PredictionView(
        label=label,
        target=target,
        space=space,
        metric=metric,
        clock="" if fit is None else known_clock(str(fit.clock)),
        model=str(report.get("model", "")),
        summary=_summary([p for p in points if p.role == HELD_OUT], [p for p in points if p.role == VERIFIED]),
        points=tuple(points),
    )


def _summary(held_out: Sequence[Comparison], verified: Sequence[Comparison]) -> str:
    parts = []
    if held_out:
        mape = sum(abs(point.error_percent) for point in held_out) / len(held_out)
        inside = sum(abs(p.predicted - p.measured) <= Z90 * p.std for p in held_out) / len(held_out)
        parts.append(
            f"{len(held_out)} held-out networks: mean absolute error {mape:.1f} %, "
            f"{100 * within_10(held_out):.0f} % within 10 %, {100 * inside:.0f} % inside their 90 % interval."
        )
    else:
        parts.append("No held-out network was measured, so the error of this model is not known.")
    if verified:
        slower = -sum(point.error_percent for point in verified) / len(verified)
        parts.append(
            f"{len(verified)} of the front's best were measured afterwards: {slower:+.1f} % against their prediction."
        )
    return " ".join(parts)


def _held_out(sources: Sources, space: SearchSpace, fit: Known) -> list[Comparison]:
    statistic = fit.report.get("statistic")
    if sources.store is None or fit.target is None or fit.fit is None or not isinstance(statistic, str):
        return []
    try:
        observations = read_observations(sources.store, fit.target, space.name, fit.clock)
        networks = measured_networks(observations, space, Role.VALIDATION, statistic)
    except FleetfrontError as error:
        sources.note(error)
        return []
    if not len(networks.ms):
        return []
    estimate = CalibratedTable(space, fit.fit.in_its_sitting).predict(networks.genotypes)
    archs = space.arch_ids(networks.genotypes)
    columns = zip(archs, networks.ms.tolist(), estimate.mean.tolist(), estimate.same_sitting.tolist(), strict=True)
    return [Comparison(arch, HELD_OUT, measured, mean, std) for arch, measured, mean, std in columns]


def _verified(sources: Sources, space: str, target: str) -> list[Comparison]:
    """Measurements of ``search --verify``, of every front that is of this target."""
    found = []
    for result, front in sources.fronts(space, target):
        checked = (result.fronts.verification or {}).get("devices", {})
        found += [
            Comparison(str(p["arch"]), VERIFIED, float(p["measured_ms"]), float(p["predicted_ms"]), 0.0)
            for p in checked.get(front.name, {}).get("points", ())
            if p.get("measured_ms")
        ]
    return found


def prediction_table(view: PredictionView) -> Table:
    """Every network of one device, the worst first."""
    points = sorted(view.points, key=lambda point: -abs(point.error_percent))
    rows = [
        (p.arch, p.role, format_number(p.measured), with_spread(p.predicted, p.std), f"{p.error_percent:+.1f}")
        for p in points
    ]
    unit = view.metric.unit
    headers = ("network", "which", f"measured {unit}", f"predicted {unit}", "error %")
    return Table(f"Predicted and measured on {view.label}", headers, tuple(rows), frozenset({2, 3, 4}))


def _brief(views: Sequence[PredictionView]) -> Iterator[str]:
    for view in views:
        yield f"\n**{escape(view.label)}**: {escape(view.summary)}"
        if view.points:
            worst = prediction_table(view)
            yield from table_lines(
                Table(f"{worst.caption}: the worst", worst.headers, worst.rows[:_WORST_SHOWN], worst.numeric)
            )


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
    measured, predicted = f"measured {view.metric.unit}", f"predicted {view.metric.unit}"
    x = quantitative("measured", measured, zero=False, nice=False)
    y = quantitative("predicted", predicted, zero=False)
    layers = [
        {
            "data": {"values": ends},
            "mark": {"type": "area", "color": variable("band"), "aria": False},
            "encoding": {"x": x, "y": quantitative("low", predicted, zero=False), "y2": {"field": "high"}},
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
                "y": quantitative("from", predicted, zero=False),
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
    """How far each prediction is off, in percent, over what was measured."""
    values = [_comparison(view, i) for i in range(len(view.points))]
    x = quantitative("measured", f"measured {view.metric.unit}", zero=False)
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
    low, high = interval(point.predicted, point.std)
    return {
        "arch": point.arch,
        "role": point.role,
        "measured": point.measured,
        "predicted": point.predicted,
        "said": f"{with_spread(point.predicted, point.std)} {view.metric.unit}",
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
                arch="architecture",
                role="which",
                measured=f"measured {view.metric.unit}",
                said="predicted",
                error="error %",
            ),
        },
    }


def _role_colour(view: PredictionView) -> dict[str, Any]:
    roles = list(dict.fromkeys(point.role for point in view.points))
    scale = {"domain": roles, "range": [series_colour(i) for i in range(len(roles))]}
    return nominal("role", None, scale=scale, legend=len(roles) > 1)


def _words(view: PredictionView) -> Words:
    clock = f", {view.clock} clock" if view.clock else ""
    return Words(
        view.label, text=view.summary, small=f"{view.target}{clock}{f'. Model: {view.model}' if view.model else ''}"
    )


PREDICTIONS = Section(
    "predictions",
    "predictions",
    "Predicted and measured",
    "Predicted and measured",
    prediction_views,
    gap="No latency model was fitted here: latencies of imported networks are looked up, not predicted, and estimates "
    "have nothing measured beside them.",
    command="fleetfront profile",
    figures=prediction_figures,
    tables=lambda view: (prediction_table(view),) if view.points else (),
    brief=_brief,
    words=_words,
    are_views_folded=True,
)

"""Figures made of squares: what a device likes and dislikes, and devices against devices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetfront.report.figures.specifications import Figure, Specification, figure_spec, nominal, slug, tooltip
from fleetfront.report.figures.theme import variable
from fleetfront.report.sections.contents import HeatMap, RelationView

#: Above this many devices the squares of a matrix are too small for numbers.
_NUMBERED = 16
#: Characters below an axis that a phone can show in one line.
_NAMES_IN_A_LINE = 30
#: Pixels across a square with a number in it.
_SQUARE = 34
#: Pixels across a character of these numbers.
_CHARACTER = 6
#: A penalty of this many percent has the strongest colour.
_WORST_PENALTY = 100.0


def heat_figures(view: HeatMap) -> Iterator[Figure]:
    """The heat map."""
    yield _heat(view)


def _heat(view: HeatMap) -> Figure:
    """Blue squares are fast for what they are, orange ones slow."""
    values: list[dict[str, Any]] = [
        {"x": c.x, "y": c.y, "log": math.log2(max(c.value, 1e-6)), "text": c.text, "detail": c.detail, "ratio": c.value}
        for c in view.cells
    ]
    columns, lines = len({cell.x for cell in view.cells}), len({cell.y for cell in view.cells})
    of_tier = "" if view.tier in ("", "measured") else f" Latencies are {view.tier}."
    said = f"{view.meaning}{of_tier} {_extremes(view)}"
    # What costs nothing at all lies beyond any scale; the colours are those of the others.
    reach = max(0.25, min(3.0, max((abs(row["log"]) for row in values if row["ratio"] > 0), default=0.0)))
    spec = figure_spec(said, _heat_layers(reach), values=values, height=max(110, 26 * lines))
    longest = max(len(cell.x) for cell in view.cells)
    # Names that do not fit beside each other on a phone are set at an angle everywhere.
    angle = -90 if columns > 8 else -40 if columns * longest > _NAMES_IN_A_LINE else 0
    spec["encoding"] = {
        "x": nominal("x", view.x_title, sort=None, axis={"labelAngle": angle, "orient": "bottom"}),
        "y": nominal("y", view.y_title, sort=None),
    }
    name, title = f"heat-map-{slug(view.label)}", f"What {view.label} likes and dislikes"
    square = max(_SQUARE, 8 + _CHARACTER * max(len(cell.text) for cell in view.cells))
    return Figure(name, title, said, spec, 110 + square * columns)


def _heat_layers(reach: float) -> list[dict[str, Any]]:
    """Squares with numbers in them. Colours run over ``reach`` powers of two to either side of no difference."""
    colour = {
        "field": "log",
        "type": "quantitative",
        "title": None,
        "scale": {"scheme": "blueorange", "domain": [-reach, 0, reach], "clamp": True},
        "legend": {
            "values": [-reach, 0, reach],
            "labelExpr": "format(pow(2, datum.value), '.2f') + '×'",
            "labelOverlap": False,
            "gradientLength": 180,
        },
    }
    on_dark = {"test": f"abs(datum.log) > {0.7 * reach}", "value": "#fff"}
    return [
        {
            "mark": {"type": "rect", "stroke": variable("surface")},
            "encoding": {"color": colour, "tooltip": tooltip(detail="block", ratio="compared")},
        },
        {
            "mark": {"type": "text", "fontSize": 10, "aria": False},
            "encoding": {"text": {"field": "text"}, "color": {"condition": on_dark, "value": "#1b1f24"}},
        },
    ]


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
    said = f"{said} {view.caution}".strip()
    scale = {"scheme": "yellowgreenblue", "domain": [0, 1], "clamp": True}
    spec = _matrix(view, view.correlation.tolist(), said, scale, ".2f", "rank correlation", 0.55, (None, None))
    name, title = f"correlation-{slug(view.space)}", f"Rank correlation on {view.space}"
    return Figure(name, title, said, spec, _matrix_width(view))


def _penalty(view: RelationView) -> Figure:
    """What the knee network of a row's device costs on a column's."""
    said = (
        "Extra latency, in percent, that the knee network of the row's device takes on the column's device, against "
        "the fastest network on the column's own front that is at least as accurate."
    )
    said = f"{said} {view.caution}".strip()
    scale = {"scheme": "oranges", "domain": [0, _WORST_PENALTY], "clamp": True}
    dark, titles = 0.6 * _WORST_PENALTY, ("takes longer on", "knee network of")
    spec = _matrix(view, view.penalty.tolist(), said, scale, "+.0f", "extra latency %", dark, titles)
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
    titles: tuple[str | None, str | None],
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
        "x": nominal("column", titles[0], sort=None, axis={"labelAngle": -60}),
        "y": nominal("row", titles[1], sort=None),
    }
    return spec

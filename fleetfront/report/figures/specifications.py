"""Hold a figure as data: a Vega-Lite specification, and the small parts that it is put together from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.quantities import Tier, interval_90
from fleetfront.report.figures.theme import CONFIG

Specification = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

#: An axis with its numbers and title is at least so high, in pixels.
_AXIS_HEIGHT = 54
#: Pixels across a square with a number in it.
SQUARE = 34


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that can be asked for by name.

    Attributes:
        description: what a screen reader says of it.
        min_width: pixels below which it cannot be read; a narrower page scrolls it.
        section, row: the section that it is of, and the position of its view there.
    """

    name: str
    title: str
    description: str
    spec: Specification
    min_width: int = 0
    section: str = ""
    row: int = 0

    @property
    def least_height(self) -> int:
        """Pixels that the page keeps free for it, so that drawing it moves little that a reader is about to click."""
        return int(self.spec["height"]) + _AXIS_HEIGHT


def slug(text: str) -> str:
    """A name for a figure or an element of the page, of letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-").lower() or "unnamed"


def figure_spec(
    description: str, layers: Sequence[Mapping[str, Any]], *, values: Sequence[Mapping[str, Any]], height: int
) -> Specification:
    """A layered figure over rows of data, as wide as its place in the page."""
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": list(values)},
        "layer": list(layers),
        "config": CONFIG,
    }


def interval(ms: float, std_ms: float | None, tier: str = Tier.MEASURED) -> tuple[float, float]:
    """Ends of the 90 % interval of a latency, in its unit: above 0, which a logarithmic axis does not have; the latency
    itself where no interval is promised."""
    low, high = (ms, ms) if std_ms is None else interval_90(ms, std_ms, tier)
    return float(low), float(high)


def quantitative(
    field: str, title: str | None, *, zero: bool = True, log: bool = False, nice: bool = True
) -> dict[str, Any]:
    """A position by a number."""
    scale: dict[str, Any] = {"type": "log", "nice": False} if log else {"zero": zero, "nice": nice}
    axis = {"tickCount": 6, "labelOverlap": "greedy", "labelSeparation": 5}
    return {"field": field, "type": "quantitative", "title": in_one_line(title), "scale": scale, "axis": axis}


def nominal(
    field: str,
    title: str | None,
    *,
    scale: Mapping[str, Any] | None = None,
    sort: object = "unset",
    axis: Mapping[str, Any] | None = None,
    legend: bool | None = None,
) -> dict[str, Any]:
    """A position or colour by a name; ``sort`` None keeps the order of the data."""
    encoding: dict[str, Any] = {"field": field, "type": "nominal", "title": in_one_line(title)}
    if scale is not None:
        encoding["scale"] = dict(scale)
    if sort != "unset":
        encoding["sort"] = sort
    if axis is not None:
        encoding["axis"] = dict(axis)
    if legend is not None:
        encoding["legend"] = {} if legend else None
    return encoding


def tooltip(**titles: str) -> list[dict[str, str | None]]:
    """The fields shown of a mark: field -> how it is called."""
    return [{"field": field, "title": in_one_line(title)} for field, title in titles.items()]


def bare(spec: Specification) -> Specification:
    """Without what every specification has: the page adds it again."""
    return {key: value for key, value in spec.items() if key not in ("$schema", "config")}


def in_one_line(title: str | None) -> str | None:
    """A title as Vega can write it into an expression, where a line separator of Unicode would end the text."""
    return None if title is None else " ".join(title.split())

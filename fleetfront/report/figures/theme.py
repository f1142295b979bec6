"""Colours of page and figures: CSS variables in the page, which follows the reader's scheme; their values in images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Variable -> (value in the light scheme, value in the dark one). Lines have a contrast of 3:1 or more on the surface.
COLOURS: dict[str, tuple[str, str]] = {
    "surface": ("#ffffff", "#16191d"),
    "raised": ("#f4f6f8", "#20252b"),
    "ink": ("#1b1f24", "#e8eaed"),
    "muted": ("#57606a", "#a3adb8"),
    "grid": ("#d9dee3", "#353c44"),
    "accent": ("#0a5fb4", "#7ab8ff"),
    "band": ("#0a5fb422", "#7ab8ff22"),
    "shade": ("#1b1f2433", "#00000099"),
    "good": ("#17703a", "#6fd195"),
    "bad": ("#a8321f", "#ff9a86"),
    # Ten hues of one lightness a scheme; further devices repeat them with other dashes.
    "series-0": ("#0a5fb4", "#7ab8ff"),
    "series-1": ("#b45309", "#f5a45d"),
    "series-2": ("#17703a", "#6fd195"),
    "series-3": ("#a8321f", "#ff9a86"),
    "series-4": ("#7a3fb0", "#c9a2f7"),
    "series-5": ("#0e7490", "#5fd0e6"),
    "series-6": ("#9d1f6b", "#f58ac8"),
    "series-7": ("#5b6b00", "#c3d25a"),
    "series-8": ("#6b4a2b", "#d3ab85"),
    "series-9": ("#4a5568", "#b6c2d3"),
}

_SERIES = 10
_DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
_VARIABLE = re.compile(r"var\(--([a-z0-9-]+)\)")

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--muted)",
        "tickColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 200,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "top",
        "labelLimit": 260,
    },
    "title": {"color": "var(--ink)", "fontSize": 14, "anchor": "start"},
    "text": {"color": "var(--ink)", "fontSize": 11},
    "rule": {"color": "var(--muted)"},
}


def variable(name: str) -> str:
    """How a figure names a colour."""
    if name not in COLOURS:
        raise KeyError(name)
    return f"var(--{name})"


def series_colour(index: int) -> str:
    """The colour of the ``index``-th device or strategy."""
    return variable(f"series-{index % _SERIES}")


def series_dash(index: int) -> list[int]:
    """Its dashes: what tells apart devices of one colour."""
    return list(_DASHES[index // _SERIES % len(_DASHES)])


def concrete(value: Any, *, dark: bool = False) -> Any:
    """A specification with every variable replaced by its colour."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: COLOURS[match.group(1)][int(dark)], value)
    if isinstance(value, Mapping):
        return {key: concrete(item, dark=dark) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [concrete(item, dark=dark) for item in value]
    return value


def css_variables(*, dark: bool) -> str:
    """Declarations of one scheme, for a style sheet."""
    return " ".join(f"--{name}: {values[int(dark)]};" for name, values in COLOURS.items())

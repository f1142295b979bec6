"""A picture of a front with a pick on it, as SVG that any browser and repository host shows. No plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from fleetfront.deploy.bundle.markdown import one_line

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 40, 52
_INK, _FRONT, _PICK, _GRID = "#333", "#4477aa", "#cc3311", "#ddd"

#: Lines of a grid, about.
_LINES = 5

_Scale = Callable[[float], str]


def front_picture(
    title: str,
    latency_ms: Sequence[float],
    accuracy: Sequence[float],
    pick: tuple[float, float],
    measured_ms: float | None = None,
) -> str:
    """SVG of accuracy (percent) over latency (ms): the front's points, the pick (latency, accuracy) ringed, and where
    its file was measured. Equal arguments give equal text.
    """
    xs = [*latency_ms, pick[0], *([measured_ms] if measured_ms is not None else [])]
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min([*accuracy, pick[1]]), max([*accuracy, pick[1]]))

    def x(value: float) -> str:
        return _number(_LEFT + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - _LEFT - _RIGHT))

    def y(value: float) -> str:
        return _number(HEIGHT - _BOTTOM - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - _TOP - _BOTTOM))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 22, f"Front of {one_line(title)}", "middle", 15),
        _text((WIDTH + _LEFT) / 2, HEIGHT - 12, "latency, ms", "middle"),
        f'<g transform="translate(16 {HEIGHT / 2 - 6:g}) rotate(-90)">{_text(0, 0, "accuracy, %", "middle")}</g>',
    ]
    for tick in x_ticks:
        parts.append(_line(x(tick), y(y_ticks[0]), x(tick), y(y_ticks[-1]), _GRID))
        parts.append(_text(float(x(tick)), HEIGHT - _BOTTOM + 18, f"{tick:g}", "middle"))
    for tick in y_ticks:
        parts.append(_line(x(x_ticks[0]), y(tick), x(x_ticks[-1]), y(tick), _GRID))
        parts.append(_text(_LEFT - 8, float(y(tick)) + 4, f"{tick:g}", "end"))
    points = sorted(zip(latency_ms, accuracy, strict=True))
    steps = " ".join(f"{x(a)},{y(b)}" for a, b in points)
    parts.append(f'<polyline points="{steps}" fill="none" stroke="{_FRONT}" stroke-width="1"/>')
    parts += [f'<circle cx="{x(a)}" cy="{y(b)}" r="2.5" fill="{_FRONT}"/>' for a, b in points]
    parts += _marks(x, y, pick, measured_ms)
    return "\n".join([*parts, "</svg>", ""])


def _marks(x: _Scale, y: _Scale, pick: tuple[float, float], measured_ms: float | None) -> list[str]:
    marks = [
        f'<circle cx="{x(pick[0])}" cy="{y(pick[1])}" r="6" fill="none" stroke="{_PICK}" stroke-width="2"/>',
        _text(float(x(pick[0])) + 10, float(y(pick[1])) + 16, "pick", "start", colour=_PICK),
    ]
    if measured_ms is not None:
        marks.append(_line(x(pick[0]), y(pick[1]), x(measured_ms), y(pick[1]), _PICK))
        marks.append(
            f'<circle cx="{x(measured_ms)}" cy="{y(pick[1])}" r="3" fill="{_PICK}"><title>measured</title></circle>'
        )
    return marks


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below ``low`` to above ``high``."""
    # Points that differ by rounding alone must not make the labels' steps vanish.
    span = max(high - low, 1e-6 * max(abs(low), abs(high))) or 1.0
    step = 10 ** math.floor(math.log10(span / _LINES))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= _LINES)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * count, 10) for count in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    return f"{value:.1f}"


def _line(x1: str, y1: str, x2: str, y2: str, colour: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 12, colour: str = _INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'

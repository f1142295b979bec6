"""A fit's report as lines for people. The numbers and their JSON are made in ``pipelines.fit_report``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import click

from fleetfront.cli.console import echo, hint, print_table, warn
from fleetfront.quantities import format_number

Report = Mapping[str, Any]


def show_fit(report: Report, *, details: bool = True) -> None:
    """Print the scores of every clock beside the noise floor, then the worst blocks and networks."""
    echo(click.style(f"{report['space']} on {report['target']}", bold=True) + f"  [{report['tier']}]")
    echo(f"model: {report['model']}, {report['calibration']['formula']}")
    blocks = ", ".join(f"{count} {how}" for how, count in report["blocks"].items() if count)
    echo(f"blocks: {blocks}; statistic across visits: {report['statistic']}")
    rows = [_score_row(one) for one in (report, *report["other_clocks"])]
    print_table(("clock", "held out", "MAPE %", "within 5 %", "within 10 %", "Spearman", "in 90 % interval"), rows)
    rows = [_floor_row(one) for one in (report, *report["other_clocks"])]
    print_table(("noise floor", "of", "MAPE %", "within 5 %", "within 10 %"), rows)
    _show_sittings(report["between_sittings"])
    if details:
        _show_worst(report)
    for warning in report["cautions"]:
        warn(f"{warning['text']} {warning['remedy']}")
    for key, error in list(report["errors"].items())[:5]:
        warn(f"{key} could not be measured: {error}")
    for other in report.get("other_metrics", ()):
        hint(f"\n{other['metric'].replace('_', ' ').capitalize()}, measured beside it:")
        show_fit(other, details=details)


def _show_sittings(spread: Report) -> None:
    """The mean level that predictions are centred on, where other sittings told it."""
    if spread["sittings"]:
        percent = 100 * math.expm1(spread["level"])
        hint(
            f"In {spread['sittings']} other sittings and this one large networks ran {abs(percent):.1f} % "
            f"{'slower' if percent > 0 else 'faster'} than in this one on average, +-{100 * spread['relative']:.1f} %; "
            "predictions are centred on that."
        )


def _score_row(report: Report) -> tuple[str, ...]:
    scores = report["held_out"]
    bounds = scores["intervals"]
    return (
        report["clock"],
        str(scores["networks"]),
        _with_bounds(scores["mape"], bounds.get("mape"), "{:.2f}"),
        _with_bounds(scores["within_5"], bounds.get("within_5"), "{:.0%}"),
        _with_bounds(scores["within_10"], bounds.get("within_10"), "{:.0%}"),
        _with_bounds(scores["spearman"], bounds.get("spearman"), "{:.4f}"),
        _with_bounds(scores["coverage_90"], bounds.get("coverage_90"), "{:.0%}"),
    )


def _floor_row(report: Report) -> tuple[str, ...]:
    floor = report["floor"]
    return (
        report["clock"],
        f"{floor['networks']} {floor.get('role', 'validation')}",
        _number(floor["mape"], "{:.2f}"),
        _number(floor["within_5"], "{:.0%}"),
        _number(floor["within_10"], "{:.0%}"),
    )


def _show_worst(report: Report) -> None:
    unit = report["unit"]
    if report["worst_networks"]:
        hint("\nWorst held-out networks:")
        for row in report["worst_networks"][:3]:
            measured, predicted = (format_number(row[f"{name}_{unit}"], 4) for name in ("measured", "predicted"))
            hint(f"  {row['error']:+.1%}  {measured} {unit} measured, {predicted} predicted  {row['arch']}")
    if report["worst_blocks"]:
        hint("Least certain blocks:")
        for row in report["worst_blocks"][:3]:
            hint(f"  +-{row['relative_std']:.1%}  {format_number(row[unit], 4)} {unit}, {row['filled']}  {row['key']}")


def _with_bounds(value: float | None, bounds: list[float] | None, form: str) -> str:
    if value is None:
        return "-"
    text = form.format(value)
    return f"{text} ({form.format(bounds[0])}..{form.format(bounds[1])})" if bounds else text


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)

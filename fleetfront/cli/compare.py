"""``fleetfront compare``: two results side by side, with bars for use in CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, next_command, print_json, print_table, warn
from fleetfront.cli.options import json_option
from fleetfront.errors import BarMissed

if TYPE_CHECKING:
    from fleetfront.pipelines.compare import Row


@click.command()
@click.argument("before", metavar="A", type=click.Path(path_type=Path))
@click.argument("after", metavar="B", type=click.Path(path_type=Path))
@click.option("--fail-on", metavar="BARS", help="Changes that must not happen, e.g. hypervolume:-1%,error:+1.")
@click.option("--format", "kind", type=click.Choice(["text", "md"]), default="text", show_default=True)
@json_option
def compare(before: Path, after: Path, fail_on: str | None, kind: str, as_json: bool) -> None:
    """Compare two results: fronts, reports of fits, or folders with such files.

    A bar names a quantity, a direction and how far it may go: `hypervolume:-1%` fails if a hypervolume falls by more
    than 1 %, `error:+1` if the error of a latency model grows by more than one percentage point. A device that vanished
    fails too. Quantities: hypervolume, accuracy, latency, p90, optimism, error, within_10, coverage. Fronts of random
    search are a baseline: they are compared only where a folder has no other.

    Model files are compared by their name, target and clock, from what `profile --file --json` printed. latency:+noise
    fails if a file got slower by more than two measurements of it differ nine times of ten.

    \b
    Examples:
      fleetfront compare main/fronts new/fronts
      fleetfront compare main/ new/ --fail-on hypervolume:-1%,error:+1
      fleetfront compare main/ new/ --format md
      fleetfront compare profile-main.json profile-new.json --fail-on latency:+noise --format md
    """
    from fleetfront.pipelines.compare import compare_results, parse_bars

    bars = parse_bars(fail_on) if fail_on is not None else []
    for bar in bars:
        if bar.fails_improvements:
            turned = replace(bar, is_lower=not bar.is_lower)
            warn(f"{bar} fails where {bar.quantity} gets better. To fail where it gets worse: {turned}")
    rows = compare_results(before, after, bars)
    if as_json:
        print_json([_as_json(row) for row in rows])
    elif kind == "md":
        _print_markdown(rows)
    else:
        print_table(_HEADERS, [_cells(row) for row in rows])
    missed = [row for row in rows if row.missed]
    if not as_json:
        has_fronts = (after / "fronts.json").is_file()
        next_command(f"fleetfront report --front {quote(str(after))}" if has_fronts else "fleetfront report")
    if missed:
        names = ", ".join(dict.fromkeys(row.missed for row in missed))
        worst = missed[0]
        raise BarMissed(
            f"{len(missed)} of {len(rows)} values went beyond {names}; the first: {worst.quantity} of {worst.subject}.",
            "Find what changed between the two results, or allow more.",
        )


_HEADERS = ("of", "quantity", "A", "B", "change", "change %", "noise", "")


def _cells(row: Row) -> tuple[str, ...]:
    from fleetfront.quantities import format_number

    change, percent = row.change, row.change_percent
    return (
        row.subject,
        row.quantity,
        "-" if row.before is None else format_number(row.before, 5),
        "-" if row.after is None else format_number(row.after, 5),
        "-" if change is None else f"{change:+.4g}",
        "-" if percent is None else f"{percent:+.2f}",
        "-" if row.noise is None else f"{row.noise:.4g}",
        f"FAILED {row.missed}" if row.missed else "",
    )


def _print_markdown(rows: Sequence[Row]) -> None:
    from fleetfront.report.markdown import markdown_table
    from fleetfront.report.tables import Table

    cells = tuple(_cells(row) for row in rows)
    echo(markdown_table(Table("Comparison", _HEADERS, cells, frozenset(range(2, 7)))).strip())


def _as_json(row: Row) -> dict[str, object]:
    return {
        "of": row.subject,
        "quantity": row.quantity,
        "before": row.before,
        "after": row.after,
        "change": row.change,
        "change_percent": row.change_percent,
        "missed": row.missed or None,
        **({} if row.noise is None else {"noise": row.noise}),
    }

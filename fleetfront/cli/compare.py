"""``fleetfront compare``: two results side by side, with bars for use in CI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.options import json_option
from fleetfront.errors import BarMissed, InputError

if TYPE_CHECKING:
    from fleetfront.pipelines.compare import Bar, Row


@click.command()
@click.argument("before", metavar="A", type=click.Path(path_type=Path))
@click.argument("after", metavar="B", type=click.Path(path_type=Path))
@click.option("--fail-on", metavar="BARS", help="Changes that must not happen, e.g. hypervolume:-1%,error:+1.")
@click.option("--format", "kind", type=click.Choice(["text", "md"]), default="text", show_default=True)
@click.option(
    "--quantised",
    is_flag=True,
    help="A was searched in float: its networks, quantised afterwards, stand against B, searched with --precisions.",
)
@click.option(
    "--cascade", is_flag=True, help="A and B are deployed files: ask the slower only where the other is unsure."
)
@click.option("--images", metavar="FOLDER|digits", help="With --cascade: labelled images of the networks' classes.")
@click.option("--target", metavar="TARGET", help="With --cascade: whose latencies.  [default: one that both know]")
@json_option
def compare(
    before: Path,
    after: Path,
    fail_on: str | None,
    kind: str,
    quantised: bool,
    cascade: bool,
    images: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Compare two results: fronts, reports of fits, or folders with such files.

    A bar names a quantity, a direction and how far it may go: `hypervolume:-1%` fails if a hypervolume falls by more
    than 1 %, `error:+1` if the error of a latency model grows by more than one percentage point. A device that vanished
    fails too. Quantities: hypervolume, accuracy, latency, p90, optimism, error, within_10, coverage. Fronts of random
    search are a baseline: they are compared only where a folder has no other.

    Model files are compared by name, target and clock, from what `profile --file --json` printed; networks in parts as
    `deploy --measure` left them. latency:+noise fails if one got slower by more than two measurements mostly differ.

    With --quantised, each network of a front of A is taken in every precision that B searched: its time from the fit in
    that precision, its accuracy less what B says that the precision costs. So "search in fp32, then quantise" stands
    against the joint search.

    With --cascade A and B are model files of two bundles (or bundles: their first files). Both are run on --images: the
    faster answers where it is sure enough, else the slower one is asked, too. Mean latency stands against accuracy
    for thresholds chosen on the validation images; the worst case is both.

    \b
    Examples:
      fleetfront compare main/fronts new/fronts
      fleetfront compare main/ new/ --fail-on hypervolume:-1%,error:+1
      fleetfront compare main/ new/ --format md
      fleetfront compare profile-main.json profile-new.json --fail-on latency:+noise --format md
      fleetfront compare --quantised fronts-fp32/ fronts-joint/
      fleetfront compare --cascade fast/network.onnx good/network.onnx --images photos/
    """
    if quantised and cascade:
        raise InputError("--quantised compares fronts, --cascade files.", "Give one of them.")
    if cascade or images is not None or target is not None:
        _compare_cascade(before, after, cascade, images, target, as_json)
        return
    from fleetfront.pipelines.compare import compare_results
    from fleetfront.workspace import Workspace

    bars = _bars(fail_on) if fail_on is not None else []
    rows = compare_results(before, after, bars, quantised_by=Workspace.default() if quantised else None)
    if as_json:
        print_json([_as_json(row) for row in rows])
    elif kind == "md":
        _print_markdown(rows)
    else:
        print_table(_HEADERS, [_cells(row) for row in rows])
    if quantised and not as_json:
        _tell_precisions(before, after)
    if not as_json:
        has_fronts = (after / "fronts.json").is_file()
        next_command(f"fleetfront report --front {quote(str(after))}" if has_fronts else "fleetfront report")
    _raise_missed(rows)


def _bars(fail_on: str) -> list[Bar]:
    """The bars that a user sets, with a warning for each that fails where something gets better."""
    from fleetfront.pipelines.compare import parse_bars

    bars = parse_bars(fail_on)
    for bar in bars:
        if bar.fails_improvements:
            turned = replace(bar, is_lower=not bar.is_lower)
            warn(f"{bar} fails where {bar.quantity} gets better. To fail where it gets worse: {turned}")
    return bars


def _raise_missed(rows: Sequence[Row]) -> None:
    """Raise BarMissed where a value went beyond a bar."""
    missed = [row for row in rows if row.missed]
    if missed:
        names = ", ".join(dict.fromkeys(row.missed for row in missed))
        worst = missed[0]
        raise BarMissed(
            f"{len(missed)} of {len(rows)} values went beyond {names}; the first: {worst.quantity} of {worst.subject}.",
            "Find what changed between the two results, or allow more.",
        )


def _tell_precisions(before: Path, after: Path) -> None:
    """Say where each precision lies on the joint fronts, and whether both searches asked for as much."""
    from fleetfront.pipelines.compare_precisions import describe_precisions
    from fleetfront.search.fronts_file import load_fronts

    hint("A: searched in float, then quantised. B: searched in both.")
    floats, joint = load_fronts(before), load_fronts(after)
    for sentence in describe_precisions(joint):
        hint(sentence)
    if floats.evaluations != joint.evaluations:
        warn(f"A asked for {floats.evaluations} accuracies, B for {joint.evaluations}: more find more.")


def _compare_cascade(
    first: Path, second: Path, is_wanted: bool, images: str | None, target: str | None, as_json: bool
) -> None:
    from fleetfront.pipelines.cascade import compare_cascade

    if not is_wanted:
        given = "--images" if images is not None else "--target"
        raise InputError(f"Nothing looks at {given} here.", "Leave it out, or give --cascade.")
    if images is None:
        raise InputError(
            "How sure a network is shows on images, and none were given.",
            "Give --images FOLDER with one subfolder a class, or --images digits.",
        )
    with progress(as_json) as shown:
        found = compare_cascade(first, second, images, target, progress=shown)
    if as_json:
        print_json(found.to_json())
        return
    (fast, fast_ms, fast_top), (slow, slow_ms, slow_top) = found.small, found.large
    rows = [(f"{fast} alone", "-", "-", f"{fast_ms:.4g}", f"{fast_top:.2f}")]
    for place, row in enumerate(found.rows):
        mark = "  <- as good as the slower on other images" if place == found.chosen else ""
        top = f"{row.accuracy:.2f} +-{1.645 * row.accuracy_std:.2f}{mark}"
        rows.append(("both", f"{row.threshold:.4f}", f"{100 * row.share:.1f}", f"{row.mean_ms:.4g}", top))
    rows.append((f"{slow} alone", "-", "-", f"{slow_ms:.4g}", f"{slow_top:.2f}"))
    print_table(("networks", "sure from", "asked twice %", "mean ms", "accuracy %"), rows)
    echo(f"Worst case, where both are run: {found.worst_ms:.4g} ms. Latencies: {found.target} [{found.tier}].")
    hint(
        f"Accuracy is of {found.images} held-out images; thresholds were chosen on others. An image like none of these "
        "may be asked about twice, and a network that is sure of a wrong answer is believed."
    )
    if found.chosen is None:
        hint("No threshold is as accurate as the slower network alone for less time.")


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

"""Show what the operators of single files take, as bars beside both totals: undisturbed, and under the profiler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fleetfront.pipelines.measure.file_operators import FileOperators, OperatorRow
from fleetfront.quantities import format_number
from fleetfront.report.figures.specifications import Figure, figure_spec, nominal, quantitative, slug, tooltip
from fleetfront.report.figures.theme import series_colour, variable
from fleetfront.report.markdown import table_lines
from fleetfront.report.section import Section, Words
from fleetfront.report.sources import Sources
from fleetfront.report.tables import Table, percent

#: Bars of a figure, pixels of one, and characters of an operator's name beside it.
_BARS, _BAR, _LONGEST = 20, 22, 28
#: Rows of the table under it; --json of the command has all.
_ROWS = 200


def operator_views(sources: Sources) -> tuple[FileOperators, ...]:
    """Every file whose operators were timed."""
    return sources.operator_times


def heading(view: FileOperators) -> str:
    """The file and where it ran."""
    return f"{view.path.name} on {view.target}"


def totals(view: FileOperators) -> str:
    """Both totals in a sentence: profiling disturbs."""
    parts = sum(row.profiled_ms for row in view.operators)
    profiled = f"{format_number(view.profiled_ms)} ms a run while profiled" if view.profiled_ms else "a profile"
    return (
        f"{format_number(view.undisturbed_ms)} ms undisturbed, {profiled}, of which {format_number(parts)} ms lie in "
        f"operators. Bars are their shares of the undisturbed time; told by {view.how}."
    )


def ranked(view: FileOperators) -> list[OperatorRow]:
    """Operators, the slowest first."""
    return sorted(view.operators, key=lambda row: -row.ms)


def operator_figures(view: FileOperators) -> Iterator[Figure]:
    """Bars of the slowest operators, and one of all others."""
    rows = ranked(view)
    values: list[dict[str, Any]] = [
        {
            "at": f"{place + 1}. {_short(row.name)}",
            "name": row.name,
            "kind": _kind(row),
            "ms": row.ms,
            "share": percent(row.share),
            "text": format_number(row.ms),
        }
        for place, row in enumerate(rows[:_BARS])
    ]
    rest = rows[_BARS:]
    if rest:
        ms, share = sum(row.ms for row in rest), sum(row.share for row in rest)
        name = f"{len(rest)} others"
        values.append(
            {"at": name, "name": name, "kind": "", "ms": ms, "share": percent(share), "text": format_number(ms)}
        )
    said = f"What operators of {heading(view)} take. {totals(view)}"
    shown = tooltip(name="operator", kind="kind", ms="ms", share="share")
    x, y = quantitative("ms", "ms of the undisturbed time"), nominal("at", None, sort=None, axis={"labelLimit": 260})
    layers = [
        {"mark": {"type": "bar", "color": series_colour(0)}, "encoding": {"x": x, "y": y, "tooltip": shown}},
        {
            "mark": {"type": "text", "align": "left", "dx": 4, "color": variable("ink")},
            "encoding": {"x": x, "y": y, "text": {"field": "text"}, "tooltip": shown},
        },
    ]
    spec = figure_spec(said, layers, values=values, height=_BAR * len(values))
    yield Figure(f"operators-{slug(heading(view))}", f"Operators of {heading(view)}", said, spec, 320)


def operator_table(view: FileOperators) -> Table:
    """All operators, the slowest first."""
    rows = tuple(
        (row.name, _kind(row), format_number(row.ms), f"{row.share:.1%}", format_number(row.profiled_ms))
        for row in ranked(view)[:_ROWS]
    )
    return Table(
        f"Operators of {heading(view)}, the slowest first.",
        ("operator", "kind", "ms", "share", "ms, profiled"),
        rows,
        frozenset({2, 3, 4}),
    )


def slowest_table(views: Sequence[FileOperators]) -> Table:
    """The slowest operator of each file."""
    rows = []
    for view in views:
        first = ranked(view)[0]
        rows.append(
            (
                view.path.name,
                str(view.target),
                format_number(view.undisturbed_ms),
                f"{first.name} ({_kind(first)})",
                f"{first.share:.1%}",
            )
        )
    headers = ("file", "target", "ms", "slowest operator", "share")
    return Table("The slowest operator of each file.", headers, tuple(rows), frozenset({2, 4}))


def _kind(row: OperatorRow) -> str:
    return row.kind + (" (fused)" if row.is_fused else "")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}…{name[-_LONGEST // 2 + 1 :]}"


OPERATORS = Section(
    "operators",
    "operators",
    "What the operators of single files take",
    "Operators",
    operator_views,
    gap="No file's operators were timed yet.",
    command="fleetfront profile --file FILE --operators",
    figures=operator_figures,
    tables=lambda view: (operator_table(view),),
    brief=lambda views: table_lines(slowest_table(views)) if views else (),
    words=lambda view: Words(view.path.name, str(view.target)),
    are_views_folded=True,
)

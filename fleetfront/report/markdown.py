"""The report as Markdown, for pull requests: every section as tables, without figures.

Names come from outside: they are escaped so that neither Markdown nor HTML in them means anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from fleetfront.report.sections.contents import FrontGroup, Report
from fleetfront.report.sections.fronts import deploy_command
from fleetfront.report.sections.outline import Section, outline
from fleetfront.report.tables import (
    Table,
    baseline_table,
    correlation_table,
    deployed_table,
    devices_table,
    front_table,
    penalty_table,
    prediction_table,
    provenance_tables,
    taste_table,
    volume_table,
)

#: Rows of the longest tables; the page has all of them.
_WORST_SHOWN, _FRONT_SHOWN = 5, 4
#: With more fronts than this, fewer points of each are told: hosts refuse comments of more than 65,536 characters.
_MANY_FRONTS, _FEW_SHOWN = 8, 2

#: What Markdown, GitHub's additions to it (mentions, formulas, links to issues) and HTML give a meaning inside a line.
_SPECIAL = re.compile(r"([\\`*_\[\]#|~<>&$@])")


def render_markdown(report: Report) -> str:
    """The whole report."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def markdown_table(table: Table) -> str:
    """One table in the form that GitHub and GitLab read, its caption above it."""
    return "\n".join(_table(table))


def escape(text: str) -> str:
    """Text that shows as itself."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape(report.title)}"
    yield f"\nMade {report.provenance.made} with fleetfront {escape(report.provenance.versions[0][1])}."
    for note in report.notes:
        yield f"\n> {escape(f'{note.text} {note.remedy}')}"
    titles = iter(outline(report, ()))
    yield from _section(next(titles), [devices_table(report.devices)] if report.devices else [])
    yield from _section(next(titles), [])
    for view in report.predictions:
        yield f"\n**{escape(view.label)}**: {escape(view.summary)}"
        if view.points:
            worst = prediction_table(view)
            yield from _table(
                Table(f"{worst.caption}: the worst", worst.headers, worst.rows[:_WORST_SHOWN], worst.numeric)
            )
    tables = [make(group) for group in report.fronts for make in (_short_front_table, volume_table)]
    yield from _section(next(titles), tables)
    yield from _commands(report)
    yield from _section(next(titles), [baseline_table(view) for view in report.baselines])
    for missing in filter(None, (view.note for view in report.baselines)):
        yield f"\n{escape(missing)}"
    yield from _section(next(titles), [taste_table(report.heat_maps)] if report.heat_maps else [])
    yield from _section(next(titles), [])
    for relation in report.relations:
        yield from _folded(correlation_table(relation))
        yield from _folded(penalty_table(relation))
    yield from _section(next(titles), [deployed_table(report.deployed)] if report.deployed else [])
    yield from _section(next(titles), provenance_tables(report.provenance))
    if report.provenance.commands:
        yield ""
        yield from _fenced(report.provenance.commands)


def _short_front_table(group: FrontGroup) -> Table:
    return front_table(group, _FRONT_SHOWN if len(group.fronts) <= _MANY_FRONTS else _FEW_SHOWN)


def _commands(report: Report) -> Iterator[str]:
    """The command for each device's knee, folded away: there may be thirty."""
    for group in report.fronts:
        fronts = [front for front in group.fronts if front.points]
        if fronts:
            yield f"\n<details><summary>Deploy the knees of {_html(group.space)}</summary>\n"
            yield from _fenced([deploy_command(group, f, group.archs[f.points[f.knee].arch]) for f in fronts])
            yield "\n</details>"


def _fenced(commands: Sequence[str]) -> Iterator[str]:
    """Commands as code, in a fence that nothing in them can close."""
    longest = max((len(run) for command in commands for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}sh", *commands, fence)


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(section: Section, tables: Iterable[Table]) -> Iterator[str]:
    yield f"\n## {section.title}"
    if section.gap:
        yield f"\n{escape(section.gap)} Run: `{section.command}`"
    for table in tables:
        yield from _table(table)


def _folded(table: Table) -> Iterator[str]:
    """A table with a column for each device: there may be thirty."""
    if table.rows:
        yield f"\n<details><summary>{_html(' '.join(table.caption.split()))}</summary>"
        yield from _table(replace(table, caption=""))
        yield "\n</details>"


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f"\n{escape(table.caption)}\n" if table.caption else ""
    yield f"| {' | '.join(escape(header) or ' ' for header in table.headers)} |"
    yield f"|{'|'.join('---:' if at in table.numeric else '---' for at in range(len(table.headers)))}|"
    for row in table.rows:
        yield f"| {' | '.join(map(escape, row))} |"

"""Write the report as Markdown, for pull requests: every section as tables, without figures.

Names come from outside: they are escaped so that neither Markdown nor HTML in them means anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetfront.report.tables import Table

if TYPE_CHECKING:
    from fleetfront.report.section import Report

#: What Markdown, GitHub's additions to it (mentions, formulas, links to issues) and HTML give a meaning inside a line.
_SPECIAL = re.compile(r"([\\`*_\[\]#|~<>&$@])")


def render_markdown(report: Report) -> str:
    """The whole report, as each section tells it."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def markdown_table(table: Table) -> str:
    """One table in the form that GitHub and GitLab read, its caption above it."""
    return "\n".join(table_lines(table))


def escape(text: str) -> str:
    """Text that shows as itself."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table_lines(table: Table) -> Iterator[str]:
    """A table with its caption above it; nothing without rows."""
    if not table.rows:
        return
    yield f"\n{escape(table.caption)}\n" if table.caption else ""
    yield f"| {' | '.join(escape(header) or ' ' for header in table.headers)} |"
    yield f"|{'|'.join('---:' if at in table.numeric else '---' for at in range(len(table.headers)))}|"
    for row in table.rows:
        yield f"| {' | '.join(map(escape, row))} |"


def folded(table: Table) -> Iterator[str]:
    """A table with a column for each device: there may be thirty."""
    if table.rows:
        yield f"\n<details><summary>{html(' '.join(table.caption.split()))}</summary>"
        yield from table_lines(replace(table, caption=""))
        yield "\n</details>"


def fenced(commands: Sequence[str]) -> Iterator[str]:
    """Commands as code, in a fence that nothing in them can close."""
    longest = max((len(run) for command in commands for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}sh", *commands, fence)


def html(text: str) -> str:
    """Text inside HTML that stands in Markdown."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape(report.title)}"
    yield f"\nMade {report.made} with fleetfront {escape(report.version)}."
    for note in report.notes:
        yield f"\n> {escape(f'{note.text} {note.remedy}')}"
    for part in report.parts:
        yield f"\n## {part.title}"
        if not part.views:
            yield f"\n{escape(part.section.gap)} Run: `{part.section.command}`"
        yield from part.section.brief(part.views)

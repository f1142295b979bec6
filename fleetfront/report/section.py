"""A section of the report as one object, and the report that sections make together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fleetfront.errors import unknown
from fleetfront.report.figures.specifications import Figure
from fleetfront.report.tables import Table

if TYPE_CHECKING:
    from fleetfront.report.sources import Sources

View = TypeVar("View")


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that speaks against a number, and what to do about it."""

    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """The page's words around the figures of one view: its heading with a word aside, a text, small print, a note."""

    heading: str = ""
    aside: str = ""
    text: str = ""
    small: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section(Generic[View]):
    """One section: what it gathers, and how that is drawn, tabled, told and written into the page.

    Attributes:
        name: of its views in ``Report`` and of its figures.
        anchor: the name that links to it.
        title, short: its title, whole and in few words.
        gather: reads the section's views (records of its own) from what the report is made from.
        gap: why it can be empty, and ``command`` what fills it.
        figures, tables: of one view, in the order of the page.
        brief: Markdown lines of all views, for pull requests.
        fragment: its template; ``blocks.html.j2`` shows the words, figures and tables of each view.
        words: of one view, for that template.
        are_views_folded, are_tables_folded: whether that template hides them until they are asked for.
        context: what another template needs beside the views.
        data: of one view, for the page's script, which then draws the section's figures itself.
        count: how many things a view shows.
    """

    name: str
    anchor: str
    title: str
    short: str
    gather: Callable[[Sources], Iterable[View]]
    gap: str = ""
    command: str = ""
    figures: Callable[[View], Iterable[Figure]] = lambda _: ()
    tables: Callable[[View], tuple[Table, ...]] = lambda _: ()
    brief: Callable[[Sequence[View]], Iterable[str]] = lambda _: ()
    fragment: str = "blocks.html.j2"
    words: Callable[[View], Words] = lambda _: Words()
    are_views_folded: bool = False
    are_tables_folded: bool = True
    context: Callable[[Sequence[View]], dict[str, Any]] = lambda _: {}
    data: Callable[[View], Any] | None = None
    count: Callable[[View], int] = lambda _: 1


@dataclass(frozen=True, slots=True)
class Part:
    """A section with its views, at its place in a report."""

    section: Section[Any]
    place: int
    views: tuple[Any, ...]

    @property
    def title(self) -> str:
        """Number and title."""
        return f"{self.place}. {self.section.title}"

    @property
    def items(self) -> int:
        """How many things it shows; 0 where it is empty."""
        return sum(map(self.section.count, self.views))

    def figures(self) -> list[Figure]:
        """Its figures, each with the row of its view."""
        return [
            replace(figure, section=self.section.name, row=row)
            for row, view in enumerate(self.views)
            for figure in self.section.figures(view)
        ]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything, section by section.

    Attributes:
        made: when, and ``version`` by which fleetfront.
        notes: what could not be read and why.
    """

    title: str
    made: str
    version: str
    parts: tuple[Part, ...]
    notes: tuple[Reason, ...] = ()

    def views(self, name: str) -> tuple[Any, ...]:
        """The views of one section. Raises InputError if there is no such section."""
        for part in self.parts:
            if part.section.name == name:
                return part.views
        raise unknown("section", name, [part.section.name for part in self.parts])

    def figures(self) -> tuple[Figure, ...]:
        """Every figure, under names that are unique within the report."""
        found: dict[str, Figure] = {}
        for part in self.parts:
            for figure in part.figures():
                name, count = figure.name, 1
                while name in found:
                    count += 1
                    name = f"{figure.name}-{count}"
                found[name] = replace(figure, name=name)
        return tuple(found.values())

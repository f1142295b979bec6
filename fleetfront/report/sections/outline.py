"""The eight sections of a report: what they are called, what is in each, and why one is empty and what fills it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetfront.report.figures.specifications import Figure
from fleetfront.report.sections.contents import Report


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    Attributes:
        anchor: the name that links to it.
        short: its title in few words.
        items: devices, views, files: how many things it shows; 0 where it is empty.
        figures: names of its figures.
        gap: why it is empty; empty if it is not.
        command: what fills it; empty if nothing can.
    """

    anchor: str
    title: str
    short: str
    items: int
    figures: tuple[str, ...]
    gap: str = ""
    command: str = ""


#: (field of Report, anchor, title, short title, what is said where it is empty, the command that fills it).
_SECTIONS = (
    (
        *("devices", "devices", "1. Devices", "Devices"),
        *("Nothing has been measured or imported yet.", "fleetfront profile --device cpu"),
    ),
    (
        *("predictions", "predictions", "2. Predicted and measured", "Predicted and measured"),
        "No latency model was fitted here: latencies of imported networks are looked up, not predicted, and estimates "
        "have nothing measured beside them.",
        "fleetfront profile",
    ),
    (
        *("fronts", "fronts", "3. Fronts", "Fronts"),
        *("No front has been searched yet.", "fleetfront search --devices all"),
    ),
    (
        *("baselines", "baselines", "4. Baselines", "Baselines"),
        *("Nothing was searched, so there is nothing to compare.", "fleetfront search --devices all"),
    ),
    (
        *("heat_maps", "heat-maps", "5. What each device likes and dislikes", "Likes and dislikes"),
        *("There is no latency model yet.", "fleetfront profile"),
    ),
    (
        *("relations", "relations", "6. Devices against devices", "Devices against devices"),
        "With fewer than two devices there is nothing to compare. Profile another, or import a table.",
        "fleetfront import table FILE --space NAME",
    ),
    (
        *("deployed", "deployed", "7. Chosen and deployed networks", "Deployed"),
        *("Nothing was deployed yet.", "fleetfront deploy --knee"),
    ),
    (*("provenance", "provenance", "8. Provenance", "Provenance"), "", ""),
)


def outline(report: Report, drawn: Sequence[Figure]) -> tuple[Section, ...]:
    """The sections in order; ``drawn`` are the report's figures."""
    found = []
    for field, anchor, title, short, gap, command in _SECTIONS:
        items = 1 if field == "provenance" else len(getattr(report, field))
        names = tuple(figure.name for figure in drawn if figure.section == field)
        is_empty = not items
        found.append(Section(anchor, title, short, items, names, gap * is_empty, command * is_empty))
    return tuple(found)

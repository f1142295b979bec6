"""List the commands that find and deploy a network for the reader's own phone, from what a report knows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetfront.report.markdown import fenced, html
from fleetfront.report.section import Section
from fleetfront.report.sections.front_views import deploy_options
from fleetfront.report.sources import Sources

_PHONE = "adb:SERIAL"


@dataclass(frozen=True, slots=True)
class OwnPhone:
    """The way from a phone on a cable to a file on it, for one space.

    Attributes:
        steps: (what it does, command), in the order in which they are typed.
        hint: what a user has to put in, beside the phone's serial number; empty if nothing.
    """

    space: str
    steps: tuple[tuple[str, str], ...]
    hint: str


def own_phones(sources: Sources) -> Iterator[OwnPhone]:
    """One for each space and accuracy that was searched with."""
    seen: set[tuple[str, str]] = set()
    for result in sources.results:
        fronts = result.fronts
        key = (fronts.space, fronts.accuracy_source)
        if key in seen or not fronts.evaluations:
            continue
        seen.add(key)
        options, hint = deploy_options(sources.space(fronts.space))
        search = ["fleetfront", "search", "--devices", _PHONE, "--space", fronts.space]
        search += ["--accuracy", fronts.accuracy_source, "--evaluations", str(fronts.evaluations)]
        is_judged = fronts.accuracy_source.startswith("supernet:") and options.startswith("--images")
        searched = " ".join((shlex.join(search), options if is_judged else "")).strip()
        deploy = " ".join(filter(None, ("fleetfront deploy --knee", options, "--measure")))
        yield OwnPhone(
            fronts.space,
            (
                ("Switch on USB debugging, plug it in, and read its serial number.", "fleetfront devices"),
                ("Measure the family's blocks on it.", f"fleetfront profile --device {_PHONE} --space {fronts.space}"),
                ("Search for it; networks that were judged before are not judged again.", searched),
                ("Write the network at the knee, and time it there.", deploy),
            ),
            hint,
        )


def _brief(views: Sequence[OwnPhone]) -> Iterator[str]:
    for view in views:
        yield f"\n<details><summary>On your own phone: {html(view.space)}</summary>\n"
        yield from fenced([command for _, command in view.steps])
        yield "\n</details>"


OWN_PHONE = Section(
    "own_phone",
    "own-phone",
    "What to type for your own phone",
    "Own phone",
    own_phones,
    gap="No front has been searched yet.",
    command="fleetfront search --devices all",
    brief=_brief,
    fragment="own_phone.html.j2",
)

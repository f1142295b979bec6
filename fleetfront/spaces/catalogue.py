"""Search spaces by name: those that fleetfront brings, and users' own from installed packages.

A package offers a space through an entry point of the group ``fleetfront.spaces``: its name is the space's, its value a
function without arguments that makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from fleetfront.errors import InputError, unknown
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w10, ofa_mbv3_w12

GROUP = "fleetfront.spaces"

#: Used where a user names none.
DEFAULT_SPACE = "ofa-mbv3-w1.2"

#: What a space must have. Looked for by name: ``isinstance`` would compute every property, the vocabulary among them.
_MEMBERS = {member for member in vars(SearchSpace) if not member.startswith("_")}

_OWN: dict[str, Callable[[], SearchSpace]] = {
    "ofa-mbv3-w1.0": ofa_mbv3_w10,
    "ofa-mbv3-w1.2": ofa_mbv3_w12,
    "ofa-mbv3-mini": ofa_mbv3_mini,
    "nasbench201": NasBench201Space,
}


def space_names() -> tuple[str, ...]:
    """Every name that ``load_space`` knows, sorted. Plug-ins are listed without being imported."""
    return tuple(sorted({*_OWN, *(entry.name for entry in entry_points(group=GROUP))}))


@cache
def load_space(name: str) -> SearchSpace:
    """The space of that name, the same object every time; fleetfront's own come before plug-ins of the same name.

    Raises InputError on an unknown name (with the nearest known ones), and on a plug-in that does not load or that is
    not a space.
    """
    if name in _OWN:
        return _OWN[name]()
    entries = {entry.value: entry for entry in entry_points(group=GROUP) if entry.name == name}
    if not entries:
        raise unknown("search space", name, space_names())
    if len(entries) > 1:
        raise InputError(
            f"Several packages offer a search space {name!r}: {', '.join(sorted(entries))}.",
            "Uninstall all but one of them.",
        )
    (entry,) = entries.values()
    return _load(entry)


def _load(entry: EntryPoint) -> SearchSpace:
    package = entry.dist.name if entry.dist is not None else "an installed package"
    origin = f"Search space {entry.name!r} ({entry.value}, from {package})"
    try:
        space: SearchSpace = entry.load()()
    except Exception as error:  # A stranger's code may fail in any way; the cause goes along.
        raise InputError(
            f"{origin} did not load: {type(error).__name__}: {error}.", f"Repair or uninstall {package}."
        ) from error
    absent = sorted(_MEMBERS - {*dir(space)})
    if absent:
        raise InputError(f"{origin} lacks {', '.join(absent)}.", "Implement fleetfront.spaces.base.SearchSpace.")
    if space.name != entry.name:
        raise InputError(
            f"{origin} calls itself {space.name!r}.",
            "Give the entry point and the space the same name: it keys the store.",
        )
    return space

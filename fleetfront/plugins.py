"""Find and load what installed packages offer through entry points: spaces, runtimes, devices, strategies.

A package's entry point has a name, by which users ask for it, and a value ``module:object``. Names are listed without
importing anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from fleetfront.errors import InputError


@dataclass(frozen=True, slots=True)
class Plugin:
    """An object that a package offers under a name.

    Attributes:
        name: of the entry point.
        value: the object, loaded.
        origin: what and whose it is, to open a sentence with.
    """

    name: str
    value: Any
    origin: str

    def call(self) -> Any:
        """Call the object without arguments, and return what it returns. Raises InputError if it fails."""
        return _tried(self.value, self.origin)

    def make(self, protocol: type, noun: str) -> Any:
        """Call the plug-in, and return what it gives if that has every member of ``protocol`` and calls itself by the
        entry point's name.

        Raises InputError, also naming the package, if not.
        """
        made = self.call()
        # Looked for by name: ``isinstance`` would compute every property.
        absent = sorted({member for member in vars(protocol) if not member.startswith("_")} - {*dir(made)})
        if absent:
            where = f"{protocol.__module__}.{protocol.__name__}"
            raise InputError(f"{self.origin} lacks {', '.join(absent)}.", f"Implement {where}.")
        if made.name != self.name:
            raise InputError(
                f"{self.origin} calls itself {made.name!r}.",
                f"Give the entry point and the {noun} the same name: it keys what is stored.",
            )
        return made


def plugin_names(group: str) -> tuple[str, ...]:
    """Names of the entry points of ``group``, sorted; nothing is imported."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def load_plugin(group: str, name: str, kind: str) -> Plugin | None:
    """The entry point ``name`` of ``group``, imported; None if no package has it.

    Args:
        group: e.g. ``fleetfront.spaces``.
        name: the entry point's.
        kind: the word for it in messages, e.g. ``search space``.

    Raises:
        InputError: several packages offer it, or it does not import; the message names the package.
    """
    entries = {entry.value: entry for entry in entry_points(group=group) if entry.name == name}
    if not entries:
        return None
    if len(entries) > 1:
        raise InputError(
            f"Several packages offer a {kind} {name!r}: {', '.join(sorted(entries))}.", "Uninstall all but one of them."
        )
    (entry,) = entries.values()
    package = entry.dist.name if entry.dist is not None else "an installed package"
    origin = f"{kind[:1].upper()}{kind[1:]} {name!r} ({entry.value}, from {package})"
    return Plugin(name, _tried(entry.load, origin), origin)


def _tried(load: Callable[[], Any], origin: str) -> Any:
    try:
        return load()
    except Exception as error:  # A stranger's code may fail in any way; the cause goes along.
        raise InputError(
            f"{origin} did not load: {type(error).__name__}: {error}.", "Repair or uninstall that package."
        ) from error

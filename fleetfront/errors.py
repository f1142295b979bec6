"""Every error that a user can meet, with the exit code of the command line that it leads to.

A message says what happened, shows the value, and ends with what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: As many names are listed where none is near.
_LISTED = 15


class FleetfrontError(Exception):
    """An expected failure. ``message`` says what happened, ``remedy`` what to do about it."""

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} {remedy}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        """Message and remedy stay apart on the way from another process."""
        return type(self), (self.message, self.remedy), self.__dict__


class InputError(FleetfrontError):
    """Wrong usage or input: an unknown name, a corrupt file, a value out of range."""

    exit_code = 2


class FileError(InputError):
    """A file that is damaged, cannot be read, or belongs to something else."""


class OpenSize(InputError):
    """A size that nobody said, or that only shows when the network runs."""


class NotPredicted(InputError):
    """A model of which too little is known on every device that was asked for: ``reasons`` has device, why, remedy."""

    def __init__(self, message: str, remedy: str = "", reasons: tuple[tuple[str | None, str, str], ...] = ()) -> None:
        super().__init__(message, remedy)
        self.reasons = reasons


class BarMissed(FleetfrontError):
    """Everything ran, but a bar that the user set was missed."""

    exit_code = 1


class DeviceError(FleetfrontError):
    """A device was lost or refused."""

    exit_code = 3


class DeviceBusy(DeviceError):
    """Another process measures the device."""


class MissingDependency(FleetfrontError):
    """Something that an optional feature needs is not installed."""

    exit_code = 4


def unknown(kind: str, value: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest names that do, in whatever case they are written."""
    names = sorted(set(known))
    folded = {name.casefold(): name for name in reversed(names)}
    near = [folded[name] for name in difflib.get_close_matches(value.casefold(), folded, n=3, cutoff=0.5)]
    if near:
        remedy = f"Did you mean {' or '.join(repr(name) for name in near)}?"
    elif names:
        more = len(names) - _LISTED
        remedy = f"Known: {', '.join(names)}." if more <= 1 else f"Known: {', '.join(names[:_LISTED])} and {more} more."
    else:
        remedy = "None is known yet."
    return InputError(f"Unknown {kind} {value!r}.", remedy)


def missing(package: str, extra: str, purpose: str) -> MissingDependency:
    """The error for an optional package, with the pip line that installs it."""
    return MissingDependency(
        f"{purpose} needs the package {package}, which is not installed.",
        f"Run: pip install 'fleetfront[{extra}]'",
    )

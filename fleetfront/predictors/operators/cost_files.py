"""Files of operator costs: JSON, never pickle, one a target and clock, in the workspace's folder ``operators``.

A file begins with what it is about, so that only those are read whole whose numbers are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleetfront.errors import FileError
from fleetfront.plain import from_plain, read_record, to_plain
from fleetfront.predictors.operators.costs import OperatorCosts
from fleetfront.predictors.table.fit_files import drop_unmarked, model_file_name, write_json
from fleetfront.quantities import LATENCY, Clock
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SCHEMA: Literal["fleetfront.operator-costs/3"] = "fleetfront.operator-costs/3"
_FOLDER = "operators"
#: What a file that says first what it is about begins with, and bytes within which it has said so.
_BEGIN, _HEAD = '{\n "about": ', 4096
#: What was read already, with the state that its file had before.
_read: dict[Path, tuple[tuple[int, ...] | None, OperatorCosts]] = {}


@dataclass(frozen=True, slots=True)
class About:
    """Whose costs they are, of which clock, and when measuring began, nanoseconds since 1970."""

    target: Target
    clock: Clock
    started_ns: int


@dataclass(frozen=True, slots=True)
class _Content:
    """A file, whole."""

    schema: Literal["fleetfront.operator-costs/3"]
    costs: OperatorCosts
    # Older files have none.
    about: About | None = None


@dataclass(frozen=True, slots=True)
class StoredCosts:
    """A file of costs that is not read yet."""

    path: Path
    about: About

    @property
    def target(self) -> Target:
        return self.about.target

    @property
    def clock(self) -> Clock:
        return self.about.clock

    def load(self) -> OperatorCosts:
        """The costs, as ``load_costs``, which names its errors."""
        return load_costs(self.path)


def costs_path(workspace: Workspace, target: Target, clock: Clock) -> Path:
    """Where the costs of a target under a clock lie."""
    return workspace.root / _FOLDER / model_file_name(target, clock, LATENCY)


def save_costs(costs: OperatorCosts, workspace: Workspace) -> Path:
    """Write costs, whole or not at all; older ones of the same target and clock are replaced.

    Raises InputError if the disk is full or the folder cannot be written.
    """
    path = costs_path(workspace, costs.target, costs.clock)
    write_json(path, to_plain(_Content(SCHEMA, costs, _about(costs))))
    drop_unmarked(path, costs.target)
    return path


def load_costs(path: Path) -> OperatorCosts:
    """Read the costs at ``path``, once as long as the file is the same: a few hundred thousand numbers take 0.2 s.

    Raises FileError if they are missing, damaged, or of another program.
    """
    state = _state(path)
    if state is None or _read.get(path, (None,))[0] != state:
        again = "Delete it and measure again with: fleetfront profile --operators"
        _read[path] = state, read_record(path, _Content, "file of operator costs", again).costs
    return _read[path][1]


def _state(path: Path) -> tuple[int, ...] | None:
    """The identity of a file's content as far as its folder tells it; None of one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def list_costs(workspace: Workspace) -> tuple[list[StoredCosts], list[FileError]]:
    """All files of costs, newest first, and what is wrong with those that do not say whose they are."""
    found: list[StoredCosts] = []
    damaged: list[FileError] = []
    for path in sorted((workspace.root / _FOLDER).glob("*@*.json")):
        try:
            found.append(StoredCosts(path, _said_first(path) or _about(load_costs(path))))
        except FileError as error:
            damaged.append(error)
    return sorted(found, key=lambda one: -one.about.started_ns), damaged


def _about(costs: OperatorCosts) -> About:
    return About(costs.target, costs.clock, costs.started_ns)


def _said_first(path: Path) -> About | None:
    """The words of a file before its numbers; None of older files and of damaged ones, which have to be read whole."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode()
        return from_plain(About, head[len(_BEGIN) : head.index("}") + 1]) if head.startswith(_BEGIN) else None
    except (OSError, ValueError):
        return None

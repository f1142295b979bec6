"""Keep what a file's operators took on a target, for reports: JSON, one a file and target, the newest profile alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleetfront.errors import FileError
from fleetfront.pipelines.measure.file_operators import FileOperators
from fleetfront.plain import read_record, to_plain
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.workspace import Workspace

SCHEMA: Literal["fleetfront.operator-times/1"] = "fleetfront.operator-times/1"
_FOLDER = "operator-times"
_HASH_SHOWN = 16


@dataclass(frozen=True, slots=True)
class _Content:
    """A file, whole."""

    schema: Literal["fleetfront.operator-times/1"]
    times: FileOperators


def save_operator_times(found: FileOperators, workspace: Workspace) -> Path:
    """Write them, whole or not at all. Raises InputError if the disk is full or the folder cannot be written."""
    name = f"{found.sha256[:_HASH_SHOWN]}@{str(found.target).replace('/', '_').replace(':', '-')}.json"
    path = workspace.root / _FOLDER / name
    write_json(path, to_plain(_Content(SCHEMA, found)))
    return path


def list_operator_times(workspace: Workspace) -> tuple[list[FileOperators], list[FileError]]:
    """All that are kept, by the name of the file, and what is wrong with files that hold none."""
    found: list[FileOperators] = []
    damaged: list[FileError] = []
    again = "Delete it and measure again with: fleetfront profile --file FILE --operators"
    for path in sorted((workspace.root / _FOLDER).glob("*.json")):
        try:
            found.append(read_record(path, _Content, "file of operator times", again).times)
        except FileError as error:
            damaged.append(error)
    return sorted(found, key=lambda one: (one.path.name, str(one.target))), damaged

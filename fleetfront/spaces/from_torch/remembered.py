"""Open families by their file, and remember the file, so that what was measured of a family finds it again by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.files import write_whole
from fleetfront.plain import from_plain, to_plain
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.from_torch.family_file import read_family
from fleetfront.spaces.from_torch.space import TorchFamily, make_family
from fleetfront.workspace import Workspace

_OPENED: dict[str, TorchFamily] = {}


@dataclass(frozen=True, slots=True)
class _Record:
    path: str


def open_family(path: Path, progress: Progress = SILENT) -> TorchFamily:
    """The space of a user's file, whose code is run; by its name it is found from then on.

    Raises:
        InputError: the file is none of a family, one of its networks fails, or the record cannot be written.
        MissingDependency: torch is not installed.
    """
    file = read_family(path)
    known = _OPENED.get(file.name)
    if known is None or known.file.path != file.path:
        _OPENED[file.name] = make_family(file, progress)
    record = _record(file.name)
    if known is not _OPENED[file.name] or not record.is_file():
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
            write_whole(record, json.dumps(to_plain(_Record(str(file.path)))).encode())
        except OSError as error:
            raise InputError(
                f"{record} cannot be written ({error.strerror or error}).", "Free space, or set FLEETFRONT_HOME."
            ) from error
    return _OPENED[file.name]


def recall_family(name: str) -> TorchFamily | None:
    """The family that was opened under that name, here or by an earlier command; None if none was.

    Raises InputError if its file is gone or another one since.
    """
    if name in _OPENED:
        return _OPENED[name]
    try:
        path = Path(from_plain(_Record, _record(name).read_bytes()).path)
    except (OSError, ValueError):
        return None
    if not path.is_file():
        raise InputError(f"The file of {name} is gone: {path}.", "Put it back, or give --space FILE.py.")
    file = read_family(path)
    if file.name != name:
        raise InputError(
            f"{path} has changed since {name} was opened, so its networks may be others.",
            f"Give --space {path} to go on with it as it is now, or restore it.",
        )
    return open_family(path)


def family_names() -> tuple[str, ...]:
    """Names of families that were opened before, sorted."""
    return tuple(sorted(path.stem for path in _record("x").parent.glob("*.json")))


def _record(name: str) -> Path:
    return Workspace.default().root / "families" / f"{name}.json"

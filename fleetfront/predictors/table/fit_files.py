"""Files of fitted latency models: JSON, never pickle. One file a space, target and clock.

A file holds what chose and made the model, nothing of the validation networks; their scores lie beside it in a report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront import __version__
from fleetfront.errors import FileError, InputError
from fleetfront.files import write_whole
from fleetfront.plain import from_plain, parse_finite_json, read_file, to_plain
from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.quantities import LATENCY, METRICS, Clock, Metric
from fleetfront.targets import PRECISIONS, Target
from fleetfront.workspace import Workspace

SCHEMA = "fleetfront.model"
#: Raised when an older fleetfront could no longer read what is written.
VERSION = 1
_REPORT_SUFFIX = ".report.json"
_AGAIN = "Delete it and fit again with: fleetfront fit"
#: A target's ``file_stem``, a clock, and a metric other than latency. Runtimes have no underscore in their names.
_FILE_NAME = re.compile(rf"(.+)_([^_]+)_(?:{'|'.join(PRECISIONS)})_t\d+_b\d+(?:_.+)?@[^@.]+(?:\.(\w+))?\.json")


@dataclass(frozen=True, slots=True)
class DamagedModel:
    """A file of a model that cannot be read.

    Attributes:
        device, runtime: as the file's name spells them (see ``device_stems``); empty if the name does not say.
        metric: as its name says.
        error: what is wrong, and what to do.
    """

    path: Path
    device: str
    runtime: str
    metric: Metric
    error: InputError


def model_file_name(target: Target, clock: Clock, metric: Metric) -> str:
    """The name of a model's file."""
    return f"{target.file_stem}@{clock}{'' if metric == LATENCY else f'.{metric.name}'}.json"


def unmarked(path: Path, target: Target) -> Path | None:
    """The file that an earlier version wrote of ``target`` in place of ``path``; None if there is none of it."""
    older = path.with_name(path.name.replace(target.file_stem, target.unmarked_file_stem, 1))
    if older == path or not older.exists():
        return None
    try:
        found = parse_finite_json(older.read_bytes())
    except (ValueError, OSError):
        return None
    # Operator costs lie one level deeper.
    of = found.get("target", found.get("costs", {}).get("target")) if isinstance(found, dict) else None
    return older if of == str(target) else None


def drop_unmarked(path: Path, target: Target) -> None:
    """Remove what ``path`` took the place of: one target has one file."""
    older = unmarked(path, target)
    for one in () if older is None else (older, report_path(older)):
        with suppress(OSError):
            one.unlink()


def fit_path(workspace: Workspace, space: str, target: Target, clock: Clock, metric: Metric = LATENCY) -> Path:
    """Where the model of a space on a target under a clock and metric lies."""
    return workspace.fits / space / model_file_name(target, clock, metric)


def store_name(workspace: Workspace, store: Path) -> str:
    """The name of a store in a fit made of it: a workspace that is moved takes its own store along."""
    path, root = store.resolve(), workspace.root.resolve()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def store_at(workspace: Workspace, name: str) -> Path | None:
    """The store of a ``store_name``; None for the empty name of older files."""
    return (workspace.root.resolve() / name).resolve() if name else None


def store_of(path: Path, model: FittedModel) -> Path | None:
    """The store that the model at ``path`` was made of; None if its file does not say, as older ones do not."""
    return store_at(Workspace(path.resolve().parents[2]), model.store)


def store_replaced(workspace: Workspace, model: FittedModel) -> Path | None:
    """The other store that the fit was made of whose place ``model`` takes; None if there is none that says so."""
    path = fit_path(workspace, model.space, model.target, model.clock, model.metric)
    try:
        before = store_of(path, load_fit(path))
    except InputError:
        return None
    return None if before == store_of(path, model) else before


def report_path(model_path: Path) -> Path:
    """Where the report of the model at ``model_path`` lies."""
    return model_path.with_name(model_path.stem + _REPORT_SUFFIX)


def model_to_json(model: FittedModel) -> dict[str, Any]:
    """Plain values that ``load_fit`` reads."""
    return {"schema": f"{SCHEMA}/{VERSION}", **to_plain(model)}


def save_fit(model: FittedModel, workspace: Workspace) -> Path:
    """Write a model to its place, whole or not at all; an older fit of the same space, target and clock is replaced.

    Raises InputError if the disk is full or the folder cannot be written.
    """
    path = fit_path(workspace, model.space, model.target, model.clock, model.metric)
    write_json(path, model_to_json(model))
    drop_unmarked(path, model.target)
    return path


def load_fit(path: Path) -> FittedModel:
    """Read the model at ``path``.

    Raises:
        InputError: if the file is missing, corrupt, of another program, or of a newer fleetfront.
    """
    data = _read_json(path)
    name, _, version = str(data.get("schema", "")).partition("/")
    if name != SCHEMA or not version.isdigit():
        raise FileError(f"{path} is not a latency model of fleetfront.", "Make one with: fleetfront fit")
    if int(version) > VERSION:
        raise FileError(
            f"{path} was written by a newer fleetfront ({data.get('created_with')}; this is {__version__}).",
            "Upgrade fleetfront, or fit again with: fleetfront fit",
        )
    try:
        return from_plain(FittedModel, path.read_bytes())
    except (ValueError, OSError) as error:
        raise _corrupt(path, str(error)) from error


def list_fits(workspace: Workspace, space: str | None = None) -> list[Path]:
    """Files of models, newest first. Nothing is read."""
    pattern = f"{space if space is not None else '*'}/*@*.json"
    found = [path for path in workspace.fits.glob(pattern) if not path.name.endswith(_REPORT_SUFFIX)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def read_fits(
    workspace: Workspace, space: str | None = None
) -> tuple[list[tuple[Path, FittedModel]], list[DamagedModel]]:
    """The models of a space (or all), newest first, and the files that hold none: a caller may have to know whose."""
    found, damaged = [], []
    for path in list_fits(workspace, space):
        try:
            found.append((path, load_fit(path)))
        except InputError as error:
            damaged.append(damaged_model(path, error))
    return found, damaged


def damaged_model(path: Path, error: InputError) -> DamagedModel:
    """The record of a file that cannot be read."""
    match = _FILE_NAME.fullmatch(path.name)
    device, runtime, metric = match.groups() if match else ("", "", None)
    return DamagedModel(path, device, runtime, METRICS.get(metric or "", LATENCY), error)


def device_stems(device: str) -> tuple[str, ...]:
    """A device as files are or were named after it. Raises InputError if a target cannot have that name."""
    target = Target(device, "any")
    return tuple(stem.removesuffix("_any_fp32_t1_b1") for stem in (target.file_stem, target.unmarked_file_stem))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half. Raises InputError on failure."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    try:
        write_whole(path, text.encode(), outlives_power=True)
    except OSError as error:
        raise InputError(
            f"Cannot write {path} ({error.strerror or error}).",
            "Free some space there, or set FLEETFRONT_HOME elsewhere.",
        ) from error


def read_report(model_path: Path) -> dict[str, Any] | None:
    """The report beside a model, None if there is none. Raises InputError if it is not one."""
    path = report_path(model_path)
    return _read_json(path) if path.exists() else None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileError(f"There is no file {path}.", "Make one with: fleetfront fit")
    content = read_file(path, bytes, "JSON file", _AGAIN)
    try:
        data = parse_finite_json(content)
    except ValueError as error:
        raise _corrupt(path, str(error)) from error
    if not isinstance(data, dict):
        raise _corrupt(path, "it holds no object")
    return data


def _corrupt(path: Path, reason: str) -> FileError:
    return FileError(f"{path} is corrupt: {reason}.", _AGAIN)

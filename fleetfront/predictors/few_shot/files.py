"""Files of models from few measurements: JSON, one a space, target and clock, in a folder ``few`` beside the fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront import __version__
from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.model import FewShotFit, PooledModel
from fleetfront.predictors.few_shot.transfer import TransferModel
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.predictors.table.fit_files import DamagedModel, damaged_model, model_file_name, write_json
from fleetfront.quantities import LATENCY, Clock, Metric, metric_named
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SCHEMA = "fleetfront.few/1"
#: Within the folder of a space's fits.
FOLDER = "few"
_AGAIN = "Delete it and measure again with --few."


@dataclass(frozen=True, slots=True)
class FewShotFile:
    """What a file says before its model is made: where it lies, space, target (spelled), clock, and the report."""

    path: Path
    space: str
    target: str
    clock: str
    metric: Metric
    report: Mapping[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether it says what a reader must know before using it: one damaged file must not stop every device."""
        try:
            Target.parse(self.target)
        except InputError:
            return False
        return all(isinstance(self.report.get(name), int | float) for name in ("networks", "mape"))


def save_few_shot(fit: FewShotFit, workspace: Workspace, space: str, clock: Clock) -> Path:
    """Write a model, whole or not at all; an older one of the same space, target and clock is replaced.

    Raises InputError if the disk is full or the folder cannot be written.
    """
    path = workspace.fits / space / FOLDER / model_file_name(fit.model.target, clock, fit.model.metric)
    content = {
        "schema": SCHEMA,
        "created_with": __version__,
        "space": space,
        "target": str(fit.model.target),
        "clock": clock.value,
        "metric": fit.model.metric.name,
        "kind": fit.report.serves,
        "report": fit.report.to_json(),
        "model": fit.model.to_json(),
    }
    write_json(path, content)
    return path


def list_few_shot(workspace: Workspace, space: str | None = None) -> list[FewShotFile]:
    """The readable files, newest first. Anything else in the folder is passed over."""
    return read_few_shot(workspace, space)[0]


def read_few_shot(workspace: Workspace, space: str | None = None) -> tuple[list[FewShotFile], list[DamagedModel]]:
    """The readable files, newest first, and those that are not whole."""
    found, damaged = [], []
    for path in sorted(workspace.fits.glob(f"{space or '*'}/{FOLDER}/*@*.json")):
        try:
            data = _read(path)
            metric = metric_named(str(data.get("metric", LATENCY.name)))
        except InputError as error:
            damaged.append(damaged_model(path, error))
            continue
        report = data.get("report")
        texts = (str(data.get("space", "")), str(data.get("target", "")), str(data.get("clock", "")))
        file = FewShotFile(path, *texts, metric, report if isinstance(report, dict) else {})
        found.append(file)
        if not file.is_whole:
            gaps = InputError(f"{path} is corrupt: it lacks its target or report.", _AGAIN)
            damaged.append(damaged_model(path, gaps))
    found.sort(key=lambda file: (file.path.stat().st_mtime_ns, file.path.name), reverse=True)
    return found, damaged


def load_few_shot(path: Path, work: NetworkWork) -> TransferModel | PooledModel:
    """The model in a file. Raises InputError if it is corrupt or of another space."""
    data = _read(path)
    try:
        if data["kind"] == "transfer":
            return TransferModel.from_json(data["model"], work)
        return PooledModel.from_json(data["model"], work)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} cannot be used: {error}.", _AGAIN) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is corrupt: {error}.", _AGAIN) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a model from few measurements.", "Make one with: fleetfront profile --few 10")
    return data

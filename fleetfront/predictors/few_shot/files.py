"""Keep few-shot models in files: JSON, one a space, target and clock, in a folder ``few`` beside the fits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleetfront import __version__
from fleetfront.errors import InputError
from fleetfront.plain import from_plain, read_file, read_record, to_plain
from fleetfront.predictors.few_shot.cost_model import FewShotContent, FewShotModel
from fleetfront.predictors.few_shot.pooled_trees import PooledContent, PooledModel
from fleetfront.predictors.few_shot.report import FewShotFit, FewShotReport
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.predictors.table.fit_files import (
    DamagedModel,
    damaged_model,
    drop_unmarked,
    model_file_name,
    store_at,
    store_name,
    write_json,
)
from fleetfront.quantities import LATENCY, Clock, Metric, NamedMetric
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SCHEMA: Literal["fleetfront.few/1"] = "fleetfront.few/1"
#: Within the folder of a space's fits.
FOLDER = "few"
_AGAIN = "Delete it and measure again with --few."


@dataclass(frozen=True, slots=True)
class _Content:
    """A file, whole. Files of older versions lack the metric: latency."""

    schema: Literal["fleetfront.few/1"]
    created_with: str
    space: str
    target: Target
    clock: Clock
    kind: Literal["transfer", "trees"]
    report: FewShotReport
    model: FewShotContent | PooledContent
    metric: NamedMetric = LATENCY
    # The store that its networks were read from, as in fits.
    store: str = ""


@dataclass(frozen=True, slots=True)
class FewShotFile:
    """A file before its model is made; ``store`` is what it was learnt from, None where the file does not say."""

    path: Path
    space: str
    target: Target
    clock: Clock
    metric: Metric
    report: FewShotReport
    store: Path | None = None


def save_few_shot(fit: FewShotFit, workspace: Workspace, space: str, clock: Clock, store: Path | None = None) -> Path:
    """Write a model, whole or not at all; an older one of the same space, target and clock is replaced. ``store`` is
    what it was learnt from.

    Raises InputError if the disk is full or the folder cannot be written.
    """
    path = workspace.fits / space / FOLDER / model_file_name(fit.model.target, clock, fit.model.metric)
    model = fit.model
    content = _Content(
        SCHEMA, __version__, space, model.target, clock, fit.report.serves, fit.report, model.content, model.metric,
        "" if store is None else store_name(workspace, store),
    )  # fmt: skip
    write_json(path, to_plain(content))
    drop_unmarked(path, model.target)
    return path


def read_few_shot(workspace: Workspace, space: str | None = None) -> tuple[list[FewShotFile], list[DamagedModel]]:
    """The readable files, newest first, and those that are not whole."""
    found, damaged = [], []
    for path in sorted(workspace.fits.glob(f"{space or '*'}/{FOLDER}/*@*.json")):
        try:
            content = read_record(path, _Content, "few-shot model", _AGAIN)
        except InputError as error:
            damaged.append(damaged_model(path, error))
            continue
        about = (content.space, content.target, content.clock, content.metric, content.report)
        found.append(FewShotFile(path, *about, store_at(workspace, content.store)))
    found.sort(key=lambda file: (file.path.stat().st_mtime_ns, file.path.name), reverse=True)
    return found, damaged


def load_few_shot(path: Path, work: NetworkWork) -> FewShotModel | PooledModel:
    """The model in a file. Raises FileError if it is damaged or of another space."""

    def parse(data: bytes) -> FewShotModel | PooledModel:
        content = from_plain(_Content, data)
        if isinstance(content.model, FewShotContent):
            return FewShotModel(content.model, work, content.metric)
        return PooledModel(content.model, work, content.metric)

    return read_file(path, parse, "few-shot model", _AGAIN)

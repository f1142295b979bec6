"""Walk over what is known of devices: fits, tables, few-shot models and shipped estimates. No model is opened here.

Whoever lists, chooses among or teaches from what is known starts from ``list_known``, so that all agree.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.files import FOLDER, FewShotFile, read_few_shot
from fleetfront.predictors.operators.model import OperatorModel, operator_models
from fleetfront.predictors.table.calibrated import FittedModel
from fleetfront.predictors.table.fit_files import DamagedModel, read_fits, read_report
from fleetfront.predictors.table.networks import holds_whole_space
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Holding, Store
from fleetfront.quantities import LATENCY, METRICS, Clock, Metric, Tier
from fleetfront.spaces.base import KnownByTables, SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


class Kind(enum.StrEnum):
    """Where numbers of a device can come from, best first."""

    #: Blocks and networks measured, and a model fitted to them.
    FIT = "fit"
    #: Whole networks in the store.
    NETWORKS = "networks"
    #: Blocks in the store of which no fit was made.
    BLOCKS = "blocks"
    #: A model learnt from few networks and other devices.
    FEW_SHOT = "few-shot"
    #: Operator costs that the package ships.
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class Known:
    """One thing that is known of a device under one metric.

    Attributes:
        device: as users type it; of a damaged file, as its name spells it, empty if it does not.
        space: that it is known for; empty where it holds for any.
        runtime: of the target; of a damaged file, as its name spells it.
        target: None where a damaged file does not say, or a device config cannot be read.
        clock: ``Clock.UNKNOWN`` where nobody says.
        when_ns: when the file was written or the last number taken, nanoseconds since 1970; 0 where nobody says.
        mape: percent, on held-out networks (fits) or other spaces (estimates), or to be expected (few-shot).
        items: blocks or networks that were measured; 0 where it is not counted.
        is_imported: somebody else measured.
        source: of imported numbers, with their licence.
        path: of a fit or few-shot file.
        report: of a fit, as it lies beside it.
        error: why the file cannot be used; none of the three below is there then.
    """

    kind: Kind
    device: str
    space: str
    target: Target | None
    tier: Tier
    runtime: str = ""
    metric: Metric = LATENCY
    clock: Clock = Clock.UNKNOWN
    when_ns: int = 0
    mape: float | None = None
    items: int = 0
    is_imported: bool = False
    source: str = ""
    path: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    error: InputError | None = None
    fit: FittedModel | None = None
    few_shot: FewShotFile | None = None
    estimate: OperatorModel | None = None

    def covers(self, space: SearchSpace) -> bool:
        """Tell whether it answers for every network of a space: a table of networks may not."""
        is_learnt = isinstance(space, KnownByTables)
        return self.kind is not Kind.NETWORKS or is_learnt or holds_whole_space(space, self.items)


def list_known(
    workspace: Workspace, store: Store | None, space: str | None = None, metric: Metric | None = LATENCY
) -> list[Known]:
    """Everything known under one metric or (None) all, of one space (with what holds for any) or all; best kind first.

    Fits and few-shot models come newest first. Damaged files are listed with their ``error``.
    """
    found = [*_fits(workspace, space), *_holdings(store, space), *_few_shot(workspace, space), *_estimates()]
    return [known for known in found if metric is None or known.metric.name == metric.name]


def open_for_listing(store: Path) -> Store | None:
    """The store at a path, None while nothing was ever measured or imported. Raises InputError if it is damaged."""
    return Store(store, read_only=True) if store.is_file() else None


def device_facts(device: str) -> Mapping[str, float]:
    """Values of a device config's facts, empty for a device without config. Raises InputError on a broken one."""
    if device not in device_names():
        return {}
    return {key: fact.value for key, fact in load_device(device).facts.items()}


def _fits(workspace: Workspace, space: str | None) -> Iterator[Known]:
    models, damaged = read_fits(workspace, space)
    for path, model in models:
        try:
            report = read_report(path) or {}
        except InputError:
            # A model is as good without the report that lies beside it.
            report = {}
        held_out = report.get("held_out")
        yield Known(
            Kind.FIT,
            model.target.device,
            model.space,
            model.target,
            Tier.MEASURED,
            model.target.runtime,
            model.metric,
            model.clock,
            path.stat().st_mtime_ns,
            _number(held_out.get("mape")) if isinstance(held_out, dict) else None,
            path=path,
            report=report,
            fit=model,
        )
    yield from (_damaged(file, Kind.FIT, Tier.MEASURED) for file in damaged)


def _few_shot(workspace: Workspace, space: str | None) -> Iterator[Known]:
    files, damaged = read_few_shot(workspace, space)
    for file in files:
        yield Known(
            Kind.FEW_SHOT,
            file.target.device,
            file.space,
            file.target,
            Tier.TRANSFERRED,
            file.target.runtime,
            file.metric,
            file.clock,
            file.path.stat().st_mtime_ns,
            file.report.error,
            file.report.networks,
            path=file.path,
            few_shot=file,
        )
    yield from (_damaged(file, Kind.FEW_SHOT, Tier.TRANSFERRED) for file in damaged)


def _damaged(file: DamagedModel, kind: Kind, tier: Tier) -> Known:
    space = next(name for name in file.path.parts[:-1][::-1] if name != FOLDER)
    return Known(kind, file.device, space, None, tier, file.runtime, file.metric, path=file.path, error=file.error)


def _holdings(store: Store | None, space: str | None) -> Iterator[Known]:
    """One for each target, space, metric, clock and kind; rows of several roles are taken together.

    Files are of no space, whichever company they were measured in, and anchors are there for the clock alone.
    """
    groups: dict[tuple[Target, str, bool, bool, Clock, str], list[Holding]] = {}
    for h in store.holdings() if store is not None else ():
        if h.metric in METRICS and h.role not in (Role.FILE, Role.ANCHOR) and h.space and space in (None, h.space):
            groups.setdefault((h.target, h.space, h.is_imported, h.role is Role.BLOCK, h.clock, h.metric), []).append(h)
    for (target, name, is_imported, is_block, clock, metric), holdings in groups.items():
        sources = store.sources(target, name) if store is not None and is_imported else ()
        yield Known(
            Kind.BLOCKS if is_block else Kind.NETWORKS,
            target.device,
            name,
            target,
            Tier.MEASURED,
            target.runtime,
            METRICS[metric],
            clock,
            max(h.last_started_ns for h in holdings),
            items=sum(h.keys for h in holdings),
            is_imported=is_imported,
            source=", ".join(f"{source.name} ({source.licence})" for source in sources),
        )


def _estimates() -> Iterator[Known]:
    for name, model in operator_models().items():
        errors = [check.mape for check in model.foreign_checks]
        mape = float(np.mean(errors)) if errors else None
        try:
            config = load_device(name)
        except InputError:
            # Told when its device is asked for: a broken config hides no other device.
            yield Known(Kind.ESTIMATE, name, "", None, Tier.ESTIMATED, mape=mape, estimate=model)
            continue
        target, objection = config.target, model.objection(config)
        if objection:
            error = InputError(objection, "Measure ten networks: fleetfront profile --few 10.")
            yield Known(Kind.ESTIMATE, name, "", target, Tier.ESTIMATED, target.runtime, error=error)
            continue
        yield Known(Kind.ESTIMATE, name, "", target, Tier.ESTIMATED, target.runtime, mape=mape, estimate=model)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

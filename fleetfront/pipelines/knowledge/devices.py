"""What is known about each device: by whom measured or estimated, for which space, when, and with which error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.predictors.few_shot.files import FOLDER, read_few_shot
from fleetfront.predictors.operators.model import operator_models
from fleetfront.predictors.table.fit_files import DamagedModel, damaged_model, list_fits, report_path
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Holding, Store
from fleetfront.quantities import Tier
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

_ORDER = {tier.value: rank for rank, tier in enumerate(Tier)}
_NOTHING = ""


@dataclass(frozen=True, slots=True)
class DeviceKnowledge:
    """One thing that is known about a device; a device of which nothing is known has one row with an empty tier.

    Attributes:
        name: of the device, as users type it.
        title, kind: from its config, empty without one.
        target: spelled.
        space: the space it is known for; empty where it holds for any.
        tier: ``measured``, ``transferred``, ``estimated``, or empty.
        how: in words: fit, imported table with source and licence, few measurements, estimate.
        when: ISO date, empty where nobody says.
        mape: percent, on held-out networks (fits), left-out devices (few measurements) or other spaces (estimates).
        clock: which clock, empty if the source does not say.
        note: what to know or do.
        problem: what is wrong with its config, or with the file of a model of it, and what to do; mostly empty.
    """

    name: str
    title: str
    kind: str
    target: str
    space: str = ""
    tier: str = _NOTHING
    how: str = ""
    when: str = ""
    mape: float | None = None
    clock: str = ""
    note: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def list_devices(workspace: Workspace, store: Store | None = None) -> list[DeviceKnowledge]:
    """Everything known about every device with a config, a fit or measurements, best tier first within a device."""
    known = [*_fits(workspace), *_few_shot(workspace)]
    if store is not None:
        known.extend(_holdings(store, {(row.name, row.space) for row in known}))
    configs = {name: _configured(name) for name in device_names()}
    known.extend(_estimates(configs))
    rows = [_described(row, configs.get(row.name)) for row in known]
    mentioned = {row.name for row in rows}
    rows.extend(config for name, config in configs.items() if name not in mentioned)
    return sorted(rows, key=lambda row: (row.name, _ORDER.get(row.tier, len(_ORDER)), row.space, row.target, row.how))


def _configured(name: str) -> DeviceKnowledge:
    try:
        config = load_device(name)
    except InputError as error:
        return DeviceKnowledge(name, "", "", "", problem=str(error))
    hint = "Nothing is known yet: profile it, or import a table."
    return DeviceKnowledge(name, config.title, config.kind, str(config.target), note=config.notes or hint)


def _described(row: DeviceKnowledge, config: DeviceKnowledge | None) -> DeviceKnowledge:
    if config is None:
        return row
    known = {name: getattr(row, name) for name in row.__dataclass_fields__}
    problem = row.problem or config.problem
    return DeviceKnowledge(**(known | {"title": config.title, "kind": config.kind, "problem": problem}))


def _fits(workspace: Workspace) -> Iterator[DeviceKnowledge]:
    for path in list_fits(workspace):
        data = _read(path)
        target = _target(data.get("target"))
        if target is None:
            error = InputError(f"{path} is corrupt.", "Delete it and fit again with: fleetfront fit")
            yield _damaged(damaged_model(path, error))
            continue
        held_out = _read(report_path(path)).get("held_out")
        mape = held_out.get("mape") if isinstance(held_out, dict) else None
        yield DeviceKnowledge(
            target.device,
            "",
            "",
            str(target),
            space=str(data.get("space", "")),
            tier=Tier.MEASURED.value,
            how="blocks and networks measured",
            when=_modified(path),
            mape=_number(mape),
            clock=str(data.get("clock", "")),
        )


def _damaged(file: DamagedModel) -> DeviceKnowledge:
    space = next(name for name in file.path.parts[:-1][::-1] if name != FOLDER)
    return DeviceKnowledge(file.device or file.path.name, "", "", "", space=space, problem=str(file.error))


def _few_shot(workspace: Workspace) -> Iterator[DeviceKnowledge]:
    whole, damaged = read_few_shot(workspace)
    yield from map(_damaged, damaged)
    for file in whole:
        target = _target(file.target)
        if target is None:
            continue
        yield DeviceKnowledge(
            target.device,
            "",
            "",
            file.target,
            space=file.space,
            tier=Tier.TRANSFERRED.value,
            how=f"{file.report.get('networks', 'few')} networks measured, learnt from other devices",
            when=_modified(file.path),
            mape=_number(file.report.get("mape")),
            clock=file.clock,
            note="The error is that on known devices, each left out in turn.",
        )


def _holdings(store: Store, fitted: set[tuple[str, str]]) -> Iterator[DeviceKnowledge]:
    """Imported tables, and measurements that no fit was made of yet."""
    groups: dict[tuple[Target, str, bool, bool, str], list[Holding]] = {}
    for holding in store.holdings():
        if holding.metric == "latency" and holding.role is not Role.FILE:
            is_block = holding.role is Role.BLOCK
            key = (holding.target, holding.space, holding.is_imported, is_block, holding.clock.value)
            groups.setdefault(key, []).append(holding)
    for (target, space, is_imported, is_block, clock), holdings in groups.items():
        if not is_imported and (target.device, space) in fitted:
            continue
        what = f"{sum(holding.keys for holding in holdings)} {'blocks' if is_block else 'networks'}"
        last = max(holding.last_started_ns for holding in holdings)
        sources = ", ".join(f"{s.name} ({s.licence})" for s in store.sources(target, space)) if is_imported else ""
        yield DeviceKnowledge(
            target.device,
            "",
            "",
            str(target),
            space=space,
            tier=Tier.MEASURED.value,
            how=f"{what} imported from {sources}" if is_imported else f"{what} measured, not fitted yet",
            when=datetime.fromtimestamp(last / 1e9, UTC).strftime("%Y-%m-%d") if last else "",
            clock="" if clock == "unknown" else clock,
            note="" if is_imported else f"Run: fleetfront fit --device {target.device} --space {space}",
        )


def _estimates(configs: Mapping[str, DeviceKnowledge]) -> Iterator[DeviceKnowledge]:
    for name, model in operator_models().items():
        errors = [check.mape for check in model.foreign_checks]
        yield DeviceKnowledge(
            name,
            "",
            "",
            configs[name].target if name in configs else "",
            tier=Tier.ESTIMATED.value,
            how=f"operator costs fitted to {model.fitted_space} tables"
            + ("" if errors else ", which nobody could check"),
            mape=float(np.mean(errors)) if errors else None,
            note=model.caution,
        )


def _read(path: Path) -> Mapping[str, Any]:
    """An empty mapping for whatever is not a JSON object: a listing must not fail on one file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _target(text: object) -> Target | None:
    try:
        return Target.parse(str(text))
    except InputError:
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d")

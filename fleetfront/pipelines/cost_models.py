"""Which cost model serves a device for a space: its newest fit, else a table of whole networks that was imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetfront.errors import InputError, unknown
from fleetfront.pipelines.fit import newest_cost_model
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.fit_files import list_fits, load_fit
from fleetfront.predictors.network_table import load_network_table
from fleetfront.profilers.records import Role
from fleetfront.profilers.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: What users write for every device that has a model of the space.
ALL = "all"


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """A device's cost model, the target that it is of, and what speaks against trusting it."""

    name: str
    target: Target
    model: CostModel
    cautions: tuple[str, ...] = ()


def device_models(
    names: Sequence[str],
    space: SearchSpace,
    *,
    workspace: Workspace,
    store: Path,
    runtime: str | None = None,
    clock: Clock | None = None,
) -> list[DeviceModel]:
    """The models of the devices ``names`` (or ``all``), in the order given.

    Raises:
        InputError: no model of the space is known for a device, or for none at all.
    """
    fitted = _fitted_devices(workspace, space, runtime)
    imported = _imported_targets(store, space)
    known = sorted({*fitted, *imported})
    wanted = known if list(names) == [ALL] else list(names)
    if not wanted:
        raise InputError(
            f"No device has a latency model of {space.name} yet.", f"Run: fleetfront profile --space {space.name}"
        )
    for name in wanted:
        if name not in known:
            near = unknown("device", name, known) if known else None
            raise InputError(
                f"There is no latency model of {space.name} on {name!r}.",
                f"{near.remedy + ' ' if near else ''}To make one: fleetfront profile --device {name} "
                f"--space {space.name}",
            )
    return [
        _from_fit(name, space, workspace, runtime, clock)
        if name in fitted
        else _from_table(name, imported[name], space, store)
        for name in wanted
    ]


def _fitted_devices(workspace: Workspace, space: SearchSpace, runtime: str | None) -> set[str]:
    targets = [load_fit(path).target for path in list_fits(workspace, space.name)]
    return {target.device for target in targets if runtime in (None, target.runtime)}


def _imported_targets(store: Path, space: SearchSpace) -> dict[str, Target]:
    if not store.is_file():
        return {}
    with Store(store, must_exist=True) as opened:
        holdings = [h for h in opened.holdings() if h.space == space.name and h.is_imported and h.role != Role.BLOCK]
    return {holding.target.device: holding.target for holding in holdings}


def _from_fit(
    name: str, space: SearchSpace, workspace: Workspace, runtime: str | None, clock: Clock | None
) -> DeviceModel:
    table, cautions = newest_cost_model(workspace, space, device=name, runtime=runtime, clock=clock)
    return DeviceModel(name, table.target, table, tuple(str(caution) for caution in cautions))


def _from_table(name: str, target: Target, space: SearchSpace, store: Path) -> DeviceModel:
    with Store(store, must_exist=True) as opened:
        return DeviceModel(name, target, load_network_table(opened, space, target))

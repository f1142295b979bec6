"""Measure what inferences of a space's networks take out of a device's battery, so that fits and searches know energy.

A gauge steps too rarely for the visits of a profile: each calibration network runs without rest until it has stepped
often enough. What is stored is of the profile's campaign; blocks get the shares that they have of the latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.measure.profile import file_writer
from fleetfront.profilers.adb.sustained import has_gauged, measure_sustained
from fleetfront.profilers.kinds.catalogue import OpenAgent
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.parts import network_of
from fleetfront.profilers.plan import Task, TaskList
from fleetfront.profilers.reading.rows import preferred_campaign
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import ENERGY
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Networks in a row of which no energy is told: then it is the device, or the time.
_MOST_SILENT = 2


@dataclass(frozen=True, slots=True)
class EnergyOutcome:
    """The energies that a profile's calibration networks were found to take.

    Attributes:
        target: of the networks.
        space: of the networks.
        campaign: of the profile that the energies are kept with.
        microjoules: key of a network, or a part of one -> of the mean run, the whole device's.
        why_not: key -> why nothing is known of it.
        known_before: how many were measured by an earlier call.
    """

    target: Target
    space: str
    campaign: str
    microjoules: Mapping[str, float]
    why_not: Mapping[str, str] = field(default_factory=dict)
    known_before: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "schema": "fleetfront.energy-profile/1",
            "target": str(self.target),
            "space": self.space,
            "campaign": self.campaign,
            "energy_uJ": dict(self.microjoules),
            "why_not": dict(self.why_not),
            "known_before": self.known_before,
        }


def measure_energy(
    space: SearchSpace,
    target: Target,
    seconds: float,
    *,
    store: Store,
    count: int | None = None,
    workspace: Workspace | None = None,
    open_agent: OpenAgent,
    progress: Progress = SILENT,
    now: Callable[[], float] = time.monotonic,
) -> EnergyOutcome:
    """Run ``count`` (by default all) calibration networks of the newest profile without rest, for ``seconds`` at most.

    The same call goes on with those of which nothing is known yet. Agents must not rest (``SUSTAINED_OPTIONS``).

    Raises:
        InputError: there is no profile of the space on the target, or its files are gone.
        DeviceError: the device tells no energy, or is lost.
    """
    campaign, tasks = _calibration(store, space, target, count)
    known = {
        row.key
        for row in store.measurements(target=target, space=space.name, metric=ENERGY.name, campaigns=[campaign])
        if row.role is Role.CALIBRATION and row.error is None
    }
    left = [task for task in tasks if task.key not in known]
    cache = FileCache((workspace or Workspace.default()).cache / "files", file_writer(target)[0])
    _check_files(cache, left, target, space)
    found: dict[str, float] = {}
    why_not: dict[str, str] = {}
    if not left:
        return EnergyOutcome(target, space.name, campaign, found, why_not, len(known))
    with cache.in_use(), closing(open_agent(target)) as agent:
        for number, task in enumerate(left, 1):
            progress.note(f"Energy of {task.key} ({number} of {len(left)})")
            one = measure_sustained(
                agent,
                target,
                cache.path(task.file),
                seconds,
                keep=lambda row, task=task: store.append([_as_network(row, task, space.name, campaign)]),  # type: ignore[misc]
                enough=has_gauged,
                progress=progress,
                now=now,
            )
            if one.energy_uj is None:
                why_not[task.key] = one.why_no_energy
            else:
                found[task.key] = one.energy_uj
            if not found and len(why_not) >= _MOST_SILENT:
                raise DeviceError(
                    f"{target.device} tells no energy: {one.why_no_energy}.",
                    "Take it off its power (adb tcpip 5555, then --device adb:HOST:5555), or give a longer --energy.",
                )
    return EnergyOutcome(target, space.name, campaign, found, why_not, len(known))


def _calibration(store: Store, space: SearchSpace, target: Target, count: int | None) -> tuple[str, list[Task]]:
    """The campaign of the newest profile, and its calibration networks in the order planned, all parts of each."""
    row = preferred_campaign(store, target, space.name)
    planned = None if row is None else TaskList.from_store(row.plan)
    tasks = [task for task in (planned.tasks if planned else ()) if task.role is Role.CALIBRATION]
    if row is None or not tasks:
        raise InputError(
            f"No calibration network of {space.name} has been profiled on {target}.",
            f"Profile first: fleetfront profile {target.options} --space {space.name}",
        )
    networks = list(dict.fromkeys(network_of(task.key) for task in tasks))[:count]
    return row.id, [task for task in tasks if network_of(task.key) in networks]


def _check_files(cache: FileCache, tasks: Sequence[Task], target: Target, space: SearchSpace) -> None:
    gone = next((task for task in tasks if not cache.has(task.file)), None)
    if gone is not None:
        raise InputError(
            f"The file of {gone.key} is no longer among the kept ones.",
            f"Profile again first: fleetfront profile --device {target.device} --space {space.name}",
        )


def _as_network(row: Measurement, task: Task, space: str, campaign: str) -> Measurement:
    """The energy as the network's; how fast it ran meanwhile, hot as it was, stays the file's."""
    if row.metric != ENERGY.name:
        return row
    return replace(row, role=Role.CALIBRATION, key=task.key, space=space, campaign=campaign, round=0)

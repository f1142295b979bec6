"""Give files the company that a profile's networks had, so that both are timed alike and sittings compare.

How long a file takes depends on what ran before it: alone with its like, its weights stay in the caches. So files of a
space that was profiled are visited among the profile's own blocks and networks. These tell, too, how this sitting runs
against the profile's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fleetfront.errors import InputError
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.plan import Task, TaskList
from fleetfront.profilers.reading.observations import Observations, read_observations
from fleetfront.profilers.reading.rows import preferred_campaign
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target

#: Calibration networks that every sitting measures again, and blocks that stand between the files for the rest of a
#: profile: with fewer the caches are warmer than they were in it.
NETWORKS, BLOCKS = 5, 30


@dataclass(frozen=True, slots=True)
class Company:
    """Things among which files are visited.

    Attributes:
        space: whose blocks and networks these are.
        tasks: networks as calibration networks; blocks as anchors, so that no fit takes them for those of a profile.
        paths: SHA-256 -> file.
        reference: what the profile's sitting said of them.
    """

    space: str
    tasks: tuple[Task, ...]
    paths: Mapping[str, str]
    reference: Observations


def find_company(
    store: Store, space: str, target: Target, clock: Clock, cache: Path, suffix: str, networks: int = NETWORKS
) -> Company | None:
    """The company of the newest profile of ``space`` on ``target``; None if there is none, or its files are gone.

    Args:
        store: where the profile is.
        space: name of the space.
        target: what is going to be measured.
        clock: that sittings are compared under.
        cache: folder of the profile's files (``Workspace.cache``).
        suffix: of its files.
        networks: how many calibration networks to take, spread over their latencies.
    """
    row = preferred_campaign(store, target, space)
    if row is None:
        return None
    try:
        seen = read_observations(store, target, space, clock, [row.id])
    except InputError:
        # Profiled, but not under this clock.
        return None
    files = FileCache(cache / "files", suffix)
    tasks = [task for task in TaskList.from_json(row.plan).tasks if files.has(task.file)]
    by_role = {role: [task for task in tasks if task.role == role] for role in (Role.CALIBRATION, Role.BLOCK)}
    chosen = [
        *_spread(by_role[Role.CALIBRATION], seen, networks),
        *(replace(task, role=Role.ANCHOR) for task in _spread(by_role[Role.BLOCK], seen, BLOCKS)),
    ]
    if not chosen:
        return None
    return Company(space, tuple(chosen), {task.file: str(files.path(task.file)) for task in chosen}, seen)


def _spread(tasks: Sequence[Task], seen: Observations, count: int) -> list[Task]:
    """At most ``count`` of the tasks that were measured, evenly over their latencies, ends included."""
    roles = (Role.CALIBRATION, Role.BLOCK)
    fastest = {key: float(visits.min()) for role in roles for key, visits in seen.visits.get(role, {}).items()}
    ordered = sorted((task for task in tasks if task.key in fastest), key=lambda task: (fastest[task.key], task.key))
    if len(ordered) <= count:
        return ordered
    return [ordered[rank] for rank in np.linspace(0, len(ordered) - 1, count).round().astype(int)]

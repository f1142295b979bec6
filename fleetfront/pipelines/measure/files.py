"""Measure finished model files in campaigns, keyed by the SHA-256 of their bytes: bundles' files and users' own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.pipelines.measure.app_times import (
    COLD_STARTS,
    AppTimes,
    can_time_cold,
    cold_rounds,
    read_app_times,
)
from fleetfront.pipelines.measure.company import Company
from fleetfront.pipelines.measure.profile import check_clock
from fleetfront.pipelines.measure.promised import Promises
from fleetfront.predictors.table.warnings import changes
from fleetfront.profilers.campaign import (
    Campaign,
    Limits,
    NothingMeasurable,
    begin_campaign,
    find_unfinished,
)
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import OpenAgent, open_device
from fleetfront.profilers.plan import RoundOptions, Task, TaskList, campaign_identity
from fleetfront.profilers.reading.observations import (
    Observations,
    read_observations,
    summarise,
)
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.reading.sittings import SittingRatio, compare_sittings
from fleetfront.profilers.reading.verdict import against_breaks
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Visits of each file: enough for a minimum or a lower quartile across visits to settle on a busy machine.
ROUNDS = 12
#: What stands for a file's visits unless the caller says otherwise.
STATISTIC = "p25"
#: How long each file runs back to back for ``with_app_times``, all fresh processes together: 200 runs of 3 ms.
APP_SECONDS = 0.6
#: Why a file that ran has no number all the same.
ALL_THROTTLED = "the device slowed itself down, or was too hot, in every visit"


@dataclass(frozen=True, slots=True)
class FileLatency:
    """The latency measured of one file on one target.

    Attributes:
        ms: one number over all visits, by the statistic asked for; None if every visit failed.
        std_ms: half the distance between the two halves of the visits under the same statistic, as a spread.
        visits: accepted visits.
        error: why there is no number.
        sitting: how this sitting ran against the profile's for things of this latency, later / profile; None where the
            files had no company that tells.
        is_busy: other programs kept the device so busy that nothing was promised of such a sitting.
        others: what they did, where the device tells.
        app: what an app feels of the file; None where nobody looked.
        promises: of the model of its target; None where there is none.
        machine: the hardware, in its own words; empty if it does not say.
    """

    target: Target
    clock: Clock
    statistic: str
    ms: float | None
    std_ms: float | None
    visits: int
    error: str | None = None
    sitting: float | None = None
    is_busy: bool = False
    others: OtherPrograms | None = None
    app: AppTimes | None = None
    machine: str = ""
    promises: Promises | None = None

    @property
    def profile_ms(self) -> float | None:
        """``ms`` as it would have been in the profile's sitting; None where nothing tells."""
        return None if self.ms is None or self.sitting is None else self.ms / self.sitting


@dataclass(frozen=True, slots=True)
class FilesMeasured:
    """A campaign over files, and what it says of each by the name that it was given; ``keys`` are their SHA-256."""

    campaign: str
    observations: Observations
    latencies: Mapping[str, FileLatency]
    keys: Mapping[str, str]


def measure_files(
    files: Mapping[str, Path],
    target: Target,
    store: Store,
    *,
    clock: Clock | None = None,
    statistic: str = STATISTIC,
    rounds: int = ROUNDS,
    options: RoundOptions | None = None,
    arrays: Path | None = None,
    company: Company | None = None,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> FilesMeasured:
    """Time ``files`` (name -> path) round by round; every visit is committed to the store.

    The same call continues a campaign that was killed or interrupted: same target, bytes and options. The anchor is
    the file of middle size; one file alone has none. ``clock`` is the agent's first by default. With ``company`` the
    files are visited among a profile's blocks and networks, as the networks of its fit were. ``arrays`` is the ``.npz``
    file of ``options.inputs``.

    Raises:
        CampaignInterrupted: on Ctrl-C.
        InputError: ``clock`` is none of the target's, or a file cannot be read.
        DeviceError: the device is lost, refused, or measured by another process.
    """
    check_clock(target, clock)
    place, shape = workspace or Workspace.default(), options or RoundOptions()
    hashes = {name: _sha256(path) for name, path in files.items()}
    names = {sha256: name for name, sha256 in hashes.items()}
    paths = {sha256: str(files[name]) for sha256, name in names.items()}
    space, beside = ("", ()) if company is None else (company.space, company.tasks)
    opener = open_agent or (lambda wanted: open_device(wanted, Choices(workspace=place), progress))
    with closing(opener(target)) as agent:
        environment = agent.describe()
        seen_clock = clock or agent.clocks[0]
        tasks = _tasks(paths, beside)
        identity = campaign_identity(target, space, shape, {**environment, "files": sorted(tasks.files)})
        row = find_unfinished(store, target, space, identity, math.inf)
        row = row or begin_campaign(store, target, space, identity, tasks, environment)
        all_paths = paths if company is None else {**company.paths, **paths}
        all_paths |= {} if arrays is None else {shape.inputs.arrays: str(arrays)}
        campaign = Campaign(store, agent, row, shape, all_paths, clock=seen_clock, names=names, progress=progress)
        common = ""
        try:
            campaign.run(Limits(math.inf, rounds))
        except NothingMeasurable as nothing:
            common = nothing.message
        is_told = seen_clock in agent.clocks
    seen = Observations(target, space, seen_clock, {})
    if is_told:
        seen = read_observations(store, target, space, seen_clock, [row.id])
    _tell_doubts(seen, company, environment, progress)
    sitting = None if company is None else compare_sittings(company.reference, seen, statistic)
    about = (statistic, common, sitting, _machine(environment))
    latencies = {name: _latency(seen, sha256, *about) for name, sha256 in hashes.items()}
    return FilesMeasured(row.id, seen, latencies, hashes)


def _tell_doubts(
    seen: Observations, company: Company | None, environment: Mapping[str, Any], progress: Progress
) -> None:
    """Say what broke the sitting, and what has changed since the profile."""
    for reason in against_breaks(seen):
        progress.note(f"{seen.target}: {reason.text}")
    if company is not None:
        for change in changes(company.reference.environment, environment).values():
            said = f"since the profile of {company.space}, {change}; what was predicted from it may not hold."
            progress.note(f"{seen.target}: {said}")


def _machine(environment: Mapping[str, Any]) -> str:
    return next((str(environment[key]) for key in ("model", "gpu", "cpu") if environment.get(key)), "")


def with_app_times(
    found: FilesMeasured,
    files: Mapping[str, Path],
    store: Store,
    *,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> dict[str, FileLatency]:
    """The latencies of ``found``, each with what an app feels of its file.

    Where the device can, every file that ran is timed again in fresh processes, ``APP_SECONDS`` of runs each; else the
    visits of the campaign tell. Raises what ``measure_files`` raises.
    """
    target, campaign, space = found.observations.target, found.campaign, found.observations.space
    ran = {name: path for name, path in files.items() if found.latencies[name].ms is not None}
    if ran and can_time_cold(target):
        again = measure_files(
            ran,
            target,
            store,
            rounds=COLD_STARTS,
            options=cold_rounds(RoundOptions(), APP_SECONDS),
            workspace=workspace,
            open_agent=open_agent,
            progress=progress,
        )
        campaign, space = again.campaign, ""
    times = read_app_times(store, target, space, campaign)
    return {name: replace(latency, app=times.get(found.keys[name])) for name, latency in found.latencies.items()}


def _sha256(path: Path) -> str:
    check_regular(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", "Give the path of a model file.") from error


def _tasks(paths: Mapping[str, str], company: Sequence[Task]) -> TaskList:
    tasks = tuple(Task(Role.FILE, sha256, sha256) for sha256 in sorted(paths))
    if company or len(tasks) == 1:
        return TaskList((*tasks, *company))
    by_size = sorted(tasks, key=lambda task: (Path(paths[task.file]).stat().st_size, task.file))
    middle = by_size[len(by_size) // 2]
    return TaskList(tasks, Task(Role.ANCHOR, middle.key, middle.file))


def _latency(
    seen: Observations, sha256: str, statistic: str, common: str, sitting: SittingRatio | None, machine: str
) -> FileLatency:
    values = seen.visits.get(Role.FILE, {}).get(sha256)
    if values is None or seen.is_hot(Role.FILE, sha256):
        reason = ALL_THROTTLED if values is not None else seen.errors.get(sha256) or common
        reason = reason or f"no accepted visit under the clock {seen.clock.value}"
        return FileLatency(seen.target, seen.clock, statistic, None, None, 0, reason)
    halves = [summarise(half, statistic) for half in np.array_split(values, 2) if half.size]
    spread = abs(halves[0] - halves[-1]) / 2
    ms, is_much = summarise(values, statistic), seen.others is not None and seen.others.is_much
    measured = (seen.target, seen.clock, statistic, ms, spread, values.size)
    latency = FileLatency(*measured, is_busy=is_much, others=seen.others, machine=machine)
    if sitting is None:
        return latency
    return replace(latency, sitting=float(sitting.at(np.array([ms]))[0]), is_busy=sitting.is_busy)

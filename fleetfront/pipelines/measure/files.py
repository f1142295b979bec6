"""Times finished model files against each other on one target: rounds of interleaved visits, raw samples to the store.

Used for deployed files and for anything else whose bytes are at hand; blocks and spaces go through ``profile``.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from fleetfront.errors import InputError
from fleetfront.pipelines.measure.profile import suffix_of
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import OpenAgent, open_device
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.reading.observations import summarise
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import NS_PER_MS, Clock
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Visits of each file: enough for a minimum or a lower quartile across visits to settle on a busy machine.
ROUNDS = 12
#: Why a file that ran has no number all the same.
ALL_THROTTLED = "the device slowed itself down, or was too hot, in every visit"


@dataclass(frozen=True, slots=True)
class FileLatency:
    """What was measured of one file on one target.

    Attributes:
        ms: one number over all visits, by the statistic asked for; None if every visit failed.
        std_ms: half the distance between the two halves of the visits under the same statistic, as a spread.
        visits: accepted visits.
        error: why there is no number.
    """

    target: Target
    clock: Clock
    statistic: str
    ms: float | None
    std_ms: float | None
    visits: int
    error: str | None = None


def measure_files(
    files: Mapping[str, bytes],
    target: Target,
    store: Store,
    *,
    clock: Clock,
    statistic: str = "p25",
    rounds: int = ROUNDS,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> dict[str, FileLatency]:
    """Time ``files`` (key -> bytes) in random order, round by round; every visit is committed to the store.

    Raises:
        InputError: ``clock`` means nothing for this target.
        DeviceError: the device is gone.
    """
    if clock == Clock.THREAD_CPU and target.threads > 1:
        raise InputError(
            f"{target} runs on several threads, which thread-CPU time does not count.", "Use --clock wall."
        )
    place = workspace or Workspace.default()
    cache = FileCache(place.cache, suffix_of(target))
    opener = open_agent or (lambda wanted: open_device(wanted, Choices(workspace=place), progress))
    hashes = {key: cache.put(data) for key, data in files.items()}
    paths = {sha: str(cache.path(sha)) for sha in hashes.values()}
    campaign = f"files-{uuid.uuid4().hex}"
    minima: dict[str, list[float]] = {key: [] for key in files}
    errors: dict[str, str] = {}
    order = random.Random(campaign)
    progress.start(f"Measuring files on {target}", rounds * len(files))
    with closing(opener(target)) as agent:
        for number in range(rounds):
            keys = order.sample(list(files), len(files))
            visits = tuple(Visit(uuid.uuid4().hex, Role.FILE, key, hashes[key]) for key in keys)
            for measured in agent.run(VisitBatch(target, "", campaign, number, visits, paths)):
                store.append(measured)
                _collect(measured, clock, minima, errors)
                progress.advance()
    progress.finish()
    return {key: _latency(target, clock, statistic, minima[key], errors.get(key)) for key in files}


def _collect(
    measured: tuple[Measurement, ...], clock: Clock, minima: dict[str, list[float]], errors: dict[str, str]
) -> None:
    for measurement in measured:
        if measurement.error is not None:
            errors[measurement.key] = measurement.error
        elif measurement.clock == clock and "throttled" in measurement.flags:
            errors.setdefault(measurement.key, ALL_THROTTLED)
        elif measurement.clock == clock:
            minima[measurement.key].append(min(measurement.samples) / NS_PER_MS)


def _latency(target: Target, clock: Clock, statistic: str, visits_ms: list[float], error: str | None) -> FileLatency:
    if not visits_ms:
        reason = error or f"no accepted visit under the clock {clock.value}"
        return FileLatency(target, clock, statistic, None, None, 0, reason)
    values = np.asarray(visits_ms)
    halves = [summarise(half, statistic) for half in np.array_split(values, 2) if half.size]
    return FileLatency(
        target, clock, statistic, summarise(values, statistic), abs(halves[0] - halves[-1]) / 2, values.size, None
    )

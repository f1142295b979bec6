"""What one model file costs on this machine: cold start, the distribution of warm runs, and memory.

For people with a file and a question. Networks and blocks of a space are measured by campaigns.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.files import device_lock
from fleetfront.profilers.cpu.agent import Worker, WorkerLost
from fleetfront.profilers.cpu.conditions import choose_cores
from fleetfront.profilers.file_precision import file_precision
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import NS_PER_MS, Clock, Tier
from fleetfront.runtimes.catalogue import facts_of, runtime_for_file
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Fresh processes that a cold start is the median of.
COLD_STARTS = 3
#: The 99th percentile of fewer runs is little more than their maximum.
FEWEST_FOR_P99 = 100
#: A 95th percentile this far above the median, or a median this far above its thread-CPU time, speaks of a busy machine
#: rather than of the file.
BUSY_RATIO = 1.5
#: A file may take minutes to load; beyond this it hangs.
_TIMEOUT_S = 600.0
#: Batch, channels and two sides.
_IMAGE_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class FileProfile:
    """What was measured of one file.

    Attributes:
        sha256: of the file; its key in the store.
        cold_start_ms: loading and the first run in a fresh process, median over ``COLD_STARTS`` processes. The runtime
            is already imported and the file in the system's cache, as when an app restarts.
        load_ms: the part of it that loading took.
        median_ms, p90_ms, p95_ms, p99_ms, fastest_ms: of the warm runs, wall clock.
        thread_cpu_median_ms: the same runs under the thread-CPU clock; None for several threads.
        peak_bytes: the most memory beyond that of a process which has the runtime but no file; None if unknown.
        runs: number of warm runs.
        inputs: name, shape and type of what the file was fed, random numbers.
        cores: where it ran; empty if the system did not let us choose.
    """

    path: Path
    sha256: str
    target: Target
    cold_start_ms: float
    load_ms: float
    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    fastest_ms: float
    thread_cpu_median_ms: float | None
    peak_bytes: int | None
    runs: int
    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    cores: tuple[int, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to keep in mind about these numbers, each with what to do."""
        texts = []
        again = "something else uses this machine. Close other programs and run the command again."
        if self.thread_cpu_median_ms and self.median_ms > BUSY_RATIO * self.thread_cpu_median_ms:
            waiting = 1 - self.thread_cpu_median_ms / self.median_ms
            texts.append(f"Half the runs spent {100 * waiting:.0f} % of their time waiting for a core or more: {again}")
        elif self.p95_ms > BUSY_RATIO * self.median_ms:
            ratio = self.p95_ms / self.median_ms
            texts.append(f"One run in twenty takes {ratio:.1f} times the median or more: {again}")
        if self.runs < FEWEST_FOR_P99:
            texts.append(f"The 99th percentile of {self.runs} runs is close to their maximum.")
        return tuple(texts)

    def rows(self) -> list[tuple[str, str]]:
        """The numbers for people, one row each."""
        rows = [
            ("target", f"{self.target} [{Tier.MEASURED}]"),
            ("inputs", ", ".join(f"{name} {dtype}{list(shape)}" for name, shape, dtype in self.inputs)),
            ("cold start", f"{self.cold_start_ms:.2f} ms (loading {self.load_ms:.2f} ms)"),
            ("median", f"{self.median_ms:.3f} ms (wall clock, {self.runs} runs)"),
            ("p90 / p95 / p99", f"{self.p90_ms:.3f} / {self.p95_ms:.3f} / {self.p99_ms:.3f} ms"),
            ("fastest", f"{self.fastest_ms:.3f} ms"),
        ]
        if self.thread_cpu_median_ms is not None:
            rows.append(("median", f"{self.thread_cpu_median_ms:.3f} ms (thread-CPU clock)"))
        if self.peak_bytes is not None:
            rows.append(("peak memory", f"{self.peak_bytes / 2**20:.1f} MiB"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "schema": "fleetfront.file-profile/1",
            "path": str(self.path),
            "sha256": self.sha256,
            "target": str(self.target),
            "tier": Tier.MEASURED.value,
            "cold_start_ms": self.cold_start_ms,
            "load_ms": self.load_ms,
            "wall": {
                "median_ms": self.median_ms,
                "p90_ms": self.p90_ms,
                "p95_ms": self.p95_ms,
                "p99_ms": self.p99_ms,
                "fastest_ms": self.fastest_ms,
            },
            "thread_cpu_median_ms": self.thread_cpu_median_ms,
            "peak_bytes": self.peak_bytes,
            "runs": self.runs,
            "inputs": [{"name": name, "shape": list(shape), "dtype": dtype} for name, shape, dtype in self.inputs],
            "cores": list(self.cores),
            "warnings": list(self.warnings),
        }


def profile_file(
    path: Path,
    target: Target | None = None,
    *,
    store: Store | None = None,
    seconds: float = 3.0,
    progress: Progress = SILENT,
) -> FileProfile:
    """Measure a ``.onnx`` or ``.tflite`` file of whatever inputs; they are fed random numbers, symbolic dimensions 1.

    Args:
        path: the file.
        target: where; by default one thread of this machine in the runtime that opens such files, and the precision
            that the file tells. The batch of a file of images is its own, whatever ``target`` says.
        store: takes every sample, under the file's SHA-256.
        seconds: about how long warm runs go on (at least 20 of them).
        progress: told of every process.

    Raises:
        InputError: no such file, not a model, inputs that cannot be drawn, or a target of another runtime or
            precision.
        MissingDependency: the runtime is not installed.
        DeviceError: the runtime crashed or hung on this file, or another process measures on this machine.
    """
    path = path.resolve()
    target = target or Target("cpu", runtime_for_file(path).name, file_precision(path))
    known = [f".{ending}" for ending in facts_of(target.runtime).formats]
    if path.suffix.lower() not in known:
        raise InputError(
            f"{target.runtime} opens {' and '.join(known)} files, not {path.name}.", "Choose the --runtime that does."
        )
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", "Give the path of a model file.") from error
    file_precision(path, target.precision)
    cores = choose_cores(target.threads)
    campaign, started_ns = f"file-{uuid.uuid4().hex[:12]}", time.time_ns()
    progress.start(f"Measuring {path.name} on {target}", COLD_STARTS)
    looks = []
    with device_lock(Workspace.default().root / "locks", target.device):
        for number in range(COLD_STARTS):
            is_last = number == COLD_STARTS - 1
            looks.append(_look(path, target, cores, seconds if is_last else 0.0))
            progress.advance()
    progress.finish()
    target = replace(target, batch=_batch(looks[-1]["inputs"]))
    if store is not None:
        store.append(_measurements(target, sha256, campaign, started_ns, looks, cores))
    return _summary(path, sha256, target, looks, cores)


def _look(path: Path, target: Target, cores: Sequence[int], seconds: float) -> dict[str, Any]:
    """One fresh process that loads the file and runs it."""
    try:
        worker = Worker(target, cores, _TIMEOUT_S)
        with closing(worker):
            worker.send({"long_look": {"path": str(path), "threads": target.threads, "seconds": seconds}})
            seen: dict[str, Any] = worker.receive(_TIMEOUT_S)["seen"]
            return seen
    except WorkerLost as loss:
        raise DeviceError(
            f"{target.runtime} did not survive {path.name}: {loss}.",
            "Check the file with the tool that wrote it; another version of the runtime may open it.",
        ) from loss


def _batch(inputs: Sequence[tuple[str, Sequence[int], str]]) -> int:
    """Images per inference, which a file of images says itself; of other inputs nothing tells what is counted."""
    shapes = [shape for _, shape, _ in inputs]
    return shapes[0][0] if shapes and len(shapes[0]) == _IMAGE_DIMENSIONS else 1


def _measurements(
    target: Target,
    sha256: str,
    campaign: str,
    started_ns: int,
    looks: Sequence[dict[str, Any]],
    cores: Sequence[int],
) -> list[Measurement]:
    def measurement(clock: Clock, samples: Sequence[int], metric: str = "latency", unit: str = "ns") -> Measurement:
        return Measurement(
            target=target,
            space="",
            role=Role.FILE,
            key=sha256,
            clock=clock,
            samples=tuple(samples),
            campaign=campaign,
            round=0,
            started_ns=started_ns,
            metric=metric,
            unit=unit,
            before={"cores": list(cores)},
        )

    warm = looks[-1]
    found = [
        measurement(Clock.WALL, [look["load_ns"] + look["first_run_ns"] for look in looks], "cold_start"),
        measurement(Clock.WALL, warm["wall_ns"]),
    ]
    if target.threads == 1:
        found.append(measurement(Clock.THREAD_CPU, warm["thread_cpu_ns"]))
    if warm["peak_bytes"]:
        found.append(measurement(Clock.UNKNOWN, [look["peak_bytes"] for look in looks], "peak_memory", "bytes"))
    return found


def _summary(
    path: Path, sha256: str, target: Target, looks: Sequence[dict[str, Any]], cores: Sequence[int]
) -> FileProfile:
    warm = looks[-1]
    wall_ms = np.asarray(warm["wall_ns"], dtype=np.float64) / NS_PER_MS
    median, p90, p95, p99 = np.quantile(wall_ms, (0.5, 0.9, 0.95, 0.99)).tolist()
    cold_ms = float(np.median([look["load_ns"] + look["first_run_ns"] for look in looks])) / NS_PER_MS
    has_one_thread = target.threads == 1
    return FileProfile(
        path=path,
        sha256=sha256,
        target=target,
        cold_start_ms=cold_ms,
        load_ms=float(np.median([look["load_ns"] for look in looks])) / NS_PER_MS,
        median_ms=median,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        fastest_ms=float(wall_ms.min()),
        thread_cpu_median_ms=float(np.median(warm["thread_cpu_ns"])) / NS_PER_MS if has_one_thread else None,
        peak_bytes=max(look["peak_bytes"] for look in looks) or None,
        runs=int(wall_ms.size),
        inputs=tuple((name, tuple(shape), dtype) for name, shape, dtype in warm["inputs"]),
        cores=tuple(cores),
    )

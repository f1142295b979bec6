"""Measure one user's file: cold start and memory where the device tells of them, and the distribution of its runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fleetfront.errors import DeviceError, FleetfrontError, InputError, MissingDependency
from fleetfront.files import check_regular
from fleetfront.graphs.input_shapes import Shape
from fleetfront.pipelines.measure.app_times import COLD_STARTS, can_time_cold, cold_rounds
from fleetfront.pipelines.measure.file_inputs import size_inputs
from fleetfront.pipelines.measure.files import ALL_THROTTLED, ROUNDS, FileLatency, FilesMeasured, measure_files
from fleetfront.pipelines.measure.profile import suffixes_of
from fleetfront.profilers.cpu.kind import CPU
from fleetfront.profilers.file_facts import file_signatures
from fleetfront.profilers.kinds.catalogue import OpenAgent, kind_of
from fleetfront.profilers.plan import RoundOptions
from fleetfront.profilers.reading.observations import (
    accepted_rows,
    mean_run_ns,
    printed_ms,
    read_observations,
    read_runs,
    summarise,
)
from fleetfront.profilers.reading.rows import without_clock_cost
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import COLD_START, LOAD, NS_PER_MS, PEAK_MEMORY, Clock, FloatArray, Metric, Tier
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: So long the warm runs of a file go on, all processes together, if nobody says otherwise.
FILE_SECONDS = 3.0
#: The 99th percentile of fewer runs is little more than their maximum.
FEWEST_FOR_P99 = 100
#: A 95th percentile this far above the median, or a median this far above its thread-CPU time, speaks of a busy machine
#: rather than of the file.
BUSY_RATIO = 1.5

#: Of the fastest run under the wall clock: no run computes for less, but for what clocks differ by.
_BELOW_ANY_RUN = 0.97

#: File identifier of TensorFlow Lite's schema, which flatbuffers put at the fifth byte.
_TFLITE = b"TFL3"
#: What converters call the signature of a model that has one.
_DEFAULT_SIGNATURE = "serving_default"
#: What a row's error begins with -> the error to raise for a user's file.
_KINDS: dict[str, type[FleetfrontError]] = {"InputError": InputError, "MissingDependency": MissingDependency}


@dataclass(frozen=True, slots=True)
class FileProfile:
    """The measurements of one file.

    Attributes:
        sha256: of the file; its key in the store.
        latency: one number over visits, as those of a profile and of bundles are read.
        cold_start_ms: loading and the first run in a fresh process, median over ``COLD_STARTS`` processes. The runtime
            is already imported and the file in the system's cache, as when an app restarts. None where the device does
            not tell, as the next ones.
        load_ms: the part of it that loading took.
        peak_bytes: the most memory beyond that of a process which has the runtime but no file.
        mean_ms, fastest_ms: of the warm runs, wall clock.
        median_ms, p90_ms, p95_ms, p99_ms: the same; None where what runs the file tells no single runs.
        thread_cpu_median_ms: the same runs under the thread-CPU clock.
        runs: number of warm runs that were told one by one.
        inputs: name, shape and type of what the file was fed, random numbers.
        cores: where it ran; empty if the system did not let us choose.
        notes: what was assumed of the inputs.
        signatures: of a file that has several, the one that was timed first.
        printed_ms: statistics of the warm runs, by name, from a program that tells no single runs.
    """

    path: Path
    sha256: str
    latency: FileLatency
    cold_start_ms: float | None
    load_ms: float | None
    peak_bytes: int | None
    mean_ms: float
    fastest_ms: float
    median_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    thread_cpu_median_ms: float | None
    runs: int
    inputs: tuple[tuple[str, tuple[int, ...], str], ...] = ()
    cores: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    printed_ms: Mapping[str, float] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()

    @property
    def target(self) -> Target:
        """The target that the numbers belong to."""
        return self.latency.target

    @property
    def warnings(self) -> tuple[str, ...]:
        """Doubts to keep in mind about these numbers, each with what to do."""
        timed, *others = self.signatures or ("",)
        of_parts = [f"Timed is its signature {timed!r}; it has {', '.join(others)}, too."] if others else []
        if self.median_ms is None or self.p95_ms is None:
            return tuple(of_parts)
        texts = list(of_parts)
        again = "something else uses this machine. Close other programs and run the command again."
        if self.thread_cpu_median_ms and self.median_ms > BUSY_RATIO * self.thread_cpu_median_ms:
            waiting = 1 - self.thread_cpu_median_ms / self.median_ms
            texts.append(f"Half the runs spent {100 * waiting:.0f} % of their time waiting for a core or more: {again}")
        elif self.p95_ms > BUSY_RATIO * self.median_ms:
            ratio = self.p95_ms / self.median_ms
            texts.append(f"One run in twenty takes {ratio:.1f} times the median or more: {again}")
        if self.latency.others is not None and self.latency.others.is_much:
            texts.append(f"{str(self.latency.others).capitalize()} meanwhile. Close them and run the command again.")
        if self.latency.clock is Clock.THREAD_CPU and (self.latency.ms or 0) < _BELOW_ANY_RUN * self.fastest_ms:
            texts.append(
                f"Thread-CPU time ({_ms(self.latency.ms or 0)}, latency_ms of --json) is below the fastest run under "
                "the wall clock: virtual machines count too little of runs that were interrupted. Go by the wall clock."
            )
        if self.runs < FEWEST_FOR_P99:
            texts.append(
                f"The 99th percentile of {self.runs} runs is close to their maximum. Go by the 95th: more runs of a "
                "file this slow would take minutes."
            )
        return tuple(texts)

    def rows(self) -> list[tuple[str, str]]:
        """The numbers for people, one row each."""
        latency = self.latency
        rows = [("target", f"{self.target} [{Tier.MEASURED}]")]
        if self.inputs:
            rows.append(("inputs", ", ".join(f"{name} {dtype}{list(shape)}" for name, shape, dtype in self.inputs)))
        if self.cold_start_ms is not None and self.load_ms is not None:
            rows.append(("cold start", f"{_ms(self.cold_start_ms)} (loading {_ms(self.load_ms)})"))
        else:
            how = f"{latency.clock.value} clock, {latency.statistic} of {latency.visits} visits"
            rows.append(("latency", f"{latency.ms or 0:.4g} ms +- {latency.std_ms or 0:.2g} ({how})"))
        if self.median_ms is None:
            rows.append(("mean", f"{_ms(self.mean_ms)} (wall clock)"))
        else:
            rows.append(("median", f"{_ms(self.median_ms)} (wall clock, {self.runs} runs)"))
            tail = (self.p90_ms, self.p95_ms, self.p99_ms)
            rows.append(("p90 / p95 / p99", " / ".join(_ms(value) for value in tail if value is not None)))
            rows.append(("sustained mean", f"{_ms(self.mean_ms)} (wall clock)"))
        if self.printed_ms:
            rows.append((" / ".join(self.printed_ms), " / ".join(_ms(value) for value in self.printed_ms.values())))
        rows.append(("fastest", _ms(self.fastest_ms)))
        if self.thread_cpu_median_ms is not None:
            rows.append(("median", f"{_ms(self.thread_cpu_median_ms)} (thread-CPU clock)"))
        if self.peak_bytes is not None:
            rows.append(("peak memory", f"{self.peak_bytes / 2**20:.1f} MiB"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "schema": "fleetfront.file-profile/1",
            "path": str(self.path),
            "sha256": self.sha256,
            "file_bytes": self.path.stat().st_size if self.path.exists() else None,
            "target": str(self.target),
            "tier": Tier.MEASURED.value,
            "latency_ms": self.latency.ms,
            "latency_std_ms": self.latency.std_ms,
            "statistic": self.latency.statistic,
            "clock": self.latency.clock.value,
            "visits": self.latency.visits,
            "cold_start_ms": self.cold_start_ms,
            "load_ms": self.load_ms,
            "wall": {
                "median_ms": self.median_ms,
                "p90_ms": self.p90_ms,
                "p95_ms": self.p95_ms,
                "p99_ms": self.p99_ms,
                "fastest_ms": self.fastest_ms,
                "mean_ms": self.mean_ms,
            },
            "thread_cpu_median_ms": self.thread_cpu_median_ms,
            "other_programs": None if self.latency.others is None else self.latency.others.to_json(),
            "peak_bytes": self.peak_bytes,
            "printed_ms": dict(self.printed_ms),
            "runs": self.runs,
            "inputs": [{"name": name, "shape": list(shape), "dtype": dtype} for name, shape, dtype in self.inputs],
            "cores": list(self.cores),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def _ms(value: float) -> str:
    """To the microsecond, and to the nanosecond where that would say little."""
    return f"{value:.3f} ms" if value >= 0.1 else f"{value:.6f} ms"


def profile_file(
    path: Path,
    target: Target | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
    arrays: Path | None = None,
    says_batch: bool = False,
    store: Store | None = None,
    seconds: float | None = None,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> FileProfile:
    """Measure a model file of whatever inputs; what is not given is drawn at random.

    Args:
        path: the file.
        target: where; by default one thread of this machine in the runtime that opens such files, in the precision and
            with the batch that the file tells.
        shapes: of inputs whose sizes the file leaves open, by name; "" stands for the only input.
        arrays: a ``.npz`` file with what inputs are fed, by name.
        says_batch: whether the batch of ``target`` is the user's word, so that a file of another is refused.
        store: takes every sample, under the file's SHA-256; where files run as they are, as on devices over ADB, under
            that of a copy with the ``shapes`` in it.
        seconds: ``FILE_SECONDS`` or about so long go warm runs on where devices tell of cold starts, at least 20 each.
        workspace: where the locks of devices are kept.
        open_agent: who measures, and holds the device meanwhile; the default is ``open_device``.
        progress: told of every visit.

    Raises:
        InputError: no such file, not a model, inputs that cannot be drawn, or a target of another runtime.
        MissingDependency: the runtime is not installed.
        DeviceError: the runtime crashed or hung on this file, or the device is lost, hot, or measured by another.
    """
    path = path.resolve()
    target = target or kind_of(CPU).target(CPU, file=path)
    check_file(path, target)
    is_cold = can_time_cold(target)
    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory()))
        kept = store or held.enter_context(Store(folder / "store.sqlite"))
        sized = size_inputs(path, target, folder, shapes or {}, arrays, says_batch=says_batch)
        rounds = RoundOptions(inputs=sized.inputs)
        options = cold_rounds(rounds, FILE_SECONDS if seconds is None else seconds) if is_cold else rounds
        found = measure_files(
            {path.name: sized.path},
            sized.target,
            kept,
            rounds=COLD_STARTS if is_cold else ROUNDS,
            options=options,
            arrays=arrays,
            workspace=workspace,
            open_agent=open_agent,
            progress=progress,
        )
        if (latency := found.latencies[path.name]).ms is None:
            rows = kept.measurements(target=sized.target, space="", role=Role.FILE, campaigns=[found.campaign])
            remedies = [str(row.after["remedy"]) for row in rows if "remedy" in row.after]
            raise _explained(path, sized.target, latency.error or "", remedies[-1] if remedies else "")
        return _profile(path, found, kept, sized.notes)


def check_file(path: Path, target: Target) -> None:
    """Raise InputError if there is no file at ``path``, none that ``target`` opens, or another part of it would run."""
    check_regular(path)
    suffixes = suffixes_of(target)
    if path.suffix.lower() not in suffixes and not (".tflite" in suffixes and _head(path)[4:] == _TFLITE):
        raise InputError(
            f"{target.runtime} opens {' and '.join(suffixes)} files, not {path.name}.",
            "Choose the --runtime that does, or write such a file with `fleetfront deploy` or `fleetfront export`.",
        )
    if path.suffix.lower() == ".tflite" and _head(path)[4:] != _TFLITE:
        raise InputError(
            f"{path} is not a TensorFlow Lite file.", "Write one with `fleetfront deploy` or `fleetfront export`."
        )
    signatures = file_signatures(path)
    if signatures and (not signatures[0] or _DEFAULT_SIGNATURE in signatures[1:]):
        raise InputError(
            f"{path} has the signatures {', '.join(filter(None, signatures))}; runtimes would run its first subgraph, "
            f"which is {f'that of {signatures[0]!r}' if signatures[0] else 'none of theirs'}.",
            "Write a file of the one signature that you mean.",
        )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", "Give the path of a model file.") from error


def _explained(path: Path, target: Target, error: str, remedy: str) -> FleetfrontError:
    """The error that a user's file met, as an exception: an agent's errors begin with the name of their kind."""
    kind, _, words = error.partition(": ")
    if kind in _KINDS:
        return _KINDS[kind](words.removesuffix(remedy).strip(), remedy)
    if error == ALL_THROTTLED:
        remedy = "Let the device cool down, or give a higher --max-temp; what was measured hot is kept and flagged."
    else:
        remedy = (
            "Check the file with the tool that wrote it, give it real inputs (--inputs x.npz), or choose another "
            "--runtime; another version of the runtime may open it. "
            f"On this machine: fleetfront profile --device cpu --file {shlex.quote(str(path))}"
        )
    return DeviceError(f"{path.name} could not be measured on {target}: {error}.", remedy)


def _profile(path: Path, found: FilesMeasured, store: Store, notes: Sequence[str]) -> FileProfile:
    seen, latency = found.observations, found.latencies[path.name]
    target, campaigns = seen.target, [found.campaign]
    rows = list(store.measurements(target=target, space="", role=Role.FILE, campaigns=campaigns))
    sha256 = rows[0].key
    accepted = accepted_rows(store, target, "", Clock.WALL, found.campaign, Role.FILE)
    good = [without_clock_cost(row) for row in accepted]
    wall = read_runs(store, target, "", Clock.WALL, campaigns, Role.FILE).get(sha256, np.empty(0))
    quantiles = np.quantile(wall, (0.5, 0.9, 0.95, 0.99)).tolist() if wall.size else [None] * 4
    thread_cpu = None
    if any(row.clock == Clock.THREAD_CPU and row.samples for row in rows):
        thread_cpu = read_runs(store, target, "", Clock.THREAD_CPU, campaigns, Role.FILE).get(sha256)

    def other(metric: Metric) -> FloatArray | None:
        if not any(store.measurements(target=target, space="", metric=metric.name, campaigns=campaigns)):
            return None
        return read_observations(store, target, "", None, campaigns, metric=metric).visits[Role.FILE][sha256]

    cold, load, peak = other(COLD_START), other(LOAD), other(PEAK_MEMORY)
    return FileProfile(
        path=path,
        sha256=sha256,
        latency=latency,
        cold_start_ms=None if cold is None else summarise(cold, "median"),
        load_ms=None if load is None else summarise(load, "median"),
        peak_bytes=None if peak is None else int(peak.max()),
        mean_ms=float(np.mean([mean_run_ns(row) for row in good])) / NS_PER_MS,
        fastest_ms=min(min(row.samples) for row in good) / NS_PER_MS,
        median_ms=quantiles[0],
        p90_ms=quantiles[1],
        p95_ms=quantiles[2],
        p99_ms=quantiles[3],
        thread_cpu_median_ms=None if thread_cpu is None or not wall.size else float(np.median(thread_cpu)),
        runs=int(wall.size),
        inputs=tuple((name, tuple(shape), dtype) for name, shape, dtype in good[-1].after.get("inputs", ())),
        printed_ms=printed_ms(good),
        signatures=file_signatures(path),
        cores=tuple(core for core in good[-1].before.get("cores", ()) if isinstance(core, int)),
        notes=(*notes, *good[-1].after.get("notes", ())),
    )

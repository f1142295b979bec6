"""The process that opens model files and times them: ``python -m fleetfront.profilers.cpu.worker``.

It stands apart from the coordinator so that a crash or hang of a native runtime costs one visit. It speaks JSON, a line
a message: first a greeting names target and cores, then every line is a ``VisitBatch``; the coordinator's side is in
``cpu.agent``.

    -> {"target": "cpu/litert/fp32/t1/b1", "cores": [1], "visit_timeout_s": 60, "parent": PID}
    <- {"ready": {"runtime_version": "2.3.0", "pid": 4711}}   or   {"refused": {"kind", "message", "remedy"}}
    -> a batch (``base.batch_to_json``)
    <- {"begin": UUID} and {"visit": UUID, "measurements": [...]} for each visit, then {"end": true}
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import FleetfrontError, InputError
from fleetfront.profilers.base import FileInputs, Visit, VisitBatch, batch_from_json
from fleetfront.profilers.cpu.conditions import Conditions, peak_resident_bytes, reset_peak, resident_bytes
from fleetfront.profilers.cpu.timing import Timing, longest_s, measure_clock_cost, time_for, time_runs
from fleetfront.profilers.records import CLOCK_COST, Measurement, Role, measurement_to_json
from fleetfront.quantities import Clock
from fleetfront.runtimes.base import native_words
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.runtimes.base import Port, Runtime, Session

#: How many sets of random inputs are kept; networks of one space share theirs, blocks come in hundreds of shapes.
_FEEDS_KEPT = 64


class Feeds:
    """Inputs by shape, kept so that a visit does not pay for drawing them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[FileInputs, tuple[Port, ...]], tuple[dict[str, Any], list[str]]] = {}

    def of(self, session: Session, batch: VisitBatch) -> tuple[dict[str, Any], list[str]]:
        """An array for each input, and what was assumed for them. Raises what ``make_feeds`` raises."""
        from fleetfront.runtimes.feeds import GivenInputs, load_arrays, make_feeds

        said = batch.inputs
        key = (said, tuple(session.inputs))
        if key not in self._kept:
            if len(self._kept) >= _FEEDS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            arrays = load_arrays(Path(batch.files[said.arrays])) if said.arrays else {}
            given = GivenInputs(dict(said.shapes), arrays, said.may_steer)
            self._kept[key] = make_feeds(session, np.random.default_rng(0), given)
        return self._kept[key]


@dataclass(slots=True)
class _Look:
    """A file as one visit sees it. ``peak_bytes`` is what it took beyond the process; 0 if that is not told."""

    timing: Timing = field(default_factory=lambda: Timing((), ()))
    load_ns: int = 0
    first_run_ns: int = 0
    peak_bytes: int = 0
    inputs: list[tuple[str, list[int], str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_visit(
    runtime: Runtime,
    batch: VisitBatch,
    visit: Visit,
    conditions: Conditions,
    feeds: Feeds,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Measurement]:
    """Open, warm up, time and close one file: one measurement a clock, or one that carries the error.

    A cold visit, the first of its process, also gives ``load`` and ``cold_start`` (loading and the first run; the
    runtime is already imported and the file in the system's cache, as when an app restarts), and ``peak_memory``.
    ``tell`` hears ``opened`` and ``ran`` around that run.
    """
    started_ns, begun = time.time_ns(), time.perf_counter_ns()
    before = conditions.read()
    look, error, remedy = _Look(), None, ""
    try:
        look = _look(runtime, batch, visit, feeds, tell)
    # A native runtime may raise anything; whatever it is belongs to this visit alone.
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
        remedy = raised.remedy if isinstance(raised, FleetfrontError) else ""
    after = {
        **conditions.read(),
        "visit_ns": time.perf_counter_ns() - begun,
        CLOCK_COST: {clock.value: cost for clock, cost in clock_cost_ns().items()},
    }
    if remedy:
        after["remedy"] = remedy
    if visit.is_cold or visit.role == Role.FILE:
        after["inputs"] = look.inputs
    if visit.is_cold:
        after["notes"] = look.notes
    row = functools.partial(batch.row, visit, started_ns=started_ns, before=before, after=after, error=error)
    rows = [row(Clock.WALL, look.timing.wall_ns)]
    if error is not None:
        return rows
    if batch.target.threads == 1:
        rows.append(row(Clock.THREAD_CPU, look.timing.thread_cpu_ns))
    if visit.is_cold:
        rows.append(row(Clock.WALL, (look.load_ns,), metric="load"))
        rows.append(row(Clock.WALL, (look.load_ns + look.first_run_ns,), metric="cold_start"))
        if look.peak_bytes:
            rows.append(row(Clock.UNKNOWN, (look.peak_bytes,), metric="peak_memory", unit="bytes"))
    return rows


@functools.cache
def clock_cost_ns() -> dict[Clock, int]:
    """Measure what reading the clocks adds to each run in this process."""
    return measure_clock_cost()


def _look(runtime: Runtime, batch: VisitBatch, visit: Visit, feeds: Feeds, tell: Callable[[str], None]) -> _Look:
    baseline = resident_bytes()
    can_tell = visit.is_cold and reset_peak()
    begun = time.perf_counter_ns()
    session = runtime.open(Path(batch.files[visit.file]), threads=batch.target.threads)
    look = _Look(load_ns=time.perf_counter_ns() - begun)
    try:
        inputs, look.notes = feeds.of(session, batch)
        look.inputs = [(port.name, list(inputs[port.name].shape), port.dtype) for port in session.inputs]
        if visit.is_cold:
            tell("opened")
        begun = time.perf_counter_ns()
        call = session.bind(inputs)
        if visit.is_cold:
            call()
            look.first_run_ns = time.perf_counter_ns() - begun
            tell("ran")
        if visit.timed_s > 0:
            look.timing = time_for(call, visit.timed_s, warm_runs=visit.warm_runs, least_runs=visit.timed_runs)
        else:
            look.timing = time_runs(call, warm_runs=visit.warm_runs, timed_runs=visit.timed_runs)
        look.peak_bytes = max(0, peak_resident_bytes() - baseline) if can_tell else 0
        return look
    except FleetfrontError:
        raise
    except Exception as raised:
        if visit.role != Role.FILE:
            raise
        fed = ", ".join(f"{name} {dtype}{shape}" for name, shape, dtype in look.inputs)
        raise InputError(
            f"{batch.target.runtime} opens the file, but does not run it with {fed}: {native_words(raised)}.",
            "Give inputs that it is meant for: --shape NAME=..., or --inputs x.npz.",
        ) from raised
    finally:
        session.close()


class _Channel:
    """The original stdout, out of reach of whatever a native runtime prints: that goes to stderr."""

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        os.dup2(2, 1)

    def tell(self, step: str) -> None:
        self.send({step: True})

    def send(self, message: dict[str, Any]) -> None:
        data = (json.dumps(message, separators=(",", ":")) + "\n").encode()
        while data:
            data = data[os.write(self._descriptor, data) :]


def _greet(greeting: dict[str, Any]) -> tuple[Runtime, dict[str, Any]]:
    from fleetfront.runtimes.catalogue import load_runtime

    if greeting["cores"]:
        os.sched_setaffinity(0, greeting["cores"])
    runtime = load_runtime(Target.parse(greeting["target"]).runtime)
    return runtime, {"runtime_version": runtime.version(), "pid": os.getpid()}


def _die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the coordinator ends, however that happens, also inside a native call."""
    # PR_SET_PDEATHSIG is 1: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def main() -> int:
    """Serve batches until stdin ends."""
    # Ctrl-C reaches the whole process group; only the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = _Channel()
    greeting = json.loads(sys.stdin.readline() or "null")
    if greeting is None:
        return 0
    _die_with_parent(greeting["parent"])
    try:
        runtime, facts = _greet(greeting)
    except FleetfrontError as error:
        kind = type(error).__name__
        channel.send({"refused": {"kind": kind, "message": error.message, "remedy": error.remedy}})
        return error.exit_code
    channel.send({"ready": facts})
    conditions, feeds = Conditions(greeting["cores"]), Feeds()
    clock_cost_ns()
    gc.freeze()
    for line in sys.stdin:
        batch = batch_from_json(json.loads(line))
        # If the coordinator is gone and a native call hangs, nobody else would end this process.
        longest = max((longest_s(visit, greeting["visit_timeout_s"]) for visit in batch.visits), default=0.0)
        faulthandler.dump_traceback_later(2 * (longest + 1.0) * (len(batch.visits) + 1), exit=True)
        for visit in batch.visits:
            channel.send({"begin": visit.uuid})
            measurements = make_visit(runtime, batch, visit, conditions, feeds, channel.tell)
            channel.send({"visit": visit.uuid, "measurements": [measurement_to_json(m) for m in measurements]})
        channel.send({"end": True})
        faulthandler.cancel_dump_traceback_later()
    return 0


if __name__ == "__main__":
    sys.exit(main())

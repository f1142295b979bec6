"""The process that opens model files and times them: ``python -m fleetfront.profilers.cpu.worker``.

It stands apart from the coordinator so that a crash or hang of a native runtime costs one visit. It speaks JSON, a line
a message: first a greeting names target and cores, then every line is a ``VisitBatch``; the coordinator's side is in
``cpu.agent``.

    -> {"target": "cpu/litert/fp32/t1/b1", "cores": [1], "visit_timeout_s": 60}
    <- {"ready": {"runtime_version": "2.3.0", "pid": 4711}}   or   {"refused": {"kind", "message", "remedy"}}
    -> a batch (``base.batch_to_json``)
    <- {"begin": UUID} and {"visit": UUID, "measurements": [...]} for each visit, then {"end": true}
    -> {"long_look": {"path": FILE, "threads": 1, "seconds": 3}}
    <- {"seen": {"load_ns": ..., "wall_ns": [...], "peak_bytes": ...}}   or   {"refused": ...}
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import FleetfrontError
from fleetfront.profilers.base import Visit, VisitBatch, batch_from_json
from fleetfront.profilers.cpu.conditions import Conditions, peak_resident_bytes, reset_peak, resident_bytes
from fleetfront.profilers.cpu.timing import Timing, time_runs
from fleetfront.profilers.records import Measurement, measurement_to_json
from fleetfront.quantities import Clock
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.runtimes.base import Port, Runtime, Session

#: How many sets of random inputs are kept; networks of one space share theirs, blocks come in hundreds of shapes.
_FEEDS_KEPT = 64

#: Bounds on the runs of a long look: a median needs some, and more than this tell nothing new.
FEWEST_RUNS, MOST_RUNS = 20, 5000


class Feeds:
    """Random inputs by shape, kept so that a visit does not pay for drawing them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Port, ...], dict[str, Any]] = {}

    def of(self, session: Session) -> dict[str, Any]:
        """An array for each input; symbolic dimensions are 1."""
        from fleetfront.runtimes.feeds import random_feeds

        key = tuple(session.inputs)
        if key not in self._kept:
            if len(self._kept) >= _FEEDS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = random_feeds(session, np.random.default_rng(0))
        return self._kept[key]


def make_visit(
    runtime: Runtime, batch: VisitBatch, visit: Visit, conditions: Conditions, feeds: Feeds
) -> list[Measurement]:
    """Open, warm up, time and close one file: one measurement a clock, or one that carries the error."""
    started_ns, begun = time.time_ns(), time.perf_counter_ns()
    before = conditions.read()
    timing, error = Timing((), ()), None
    try:
        session = runtime.open(Path(batch.files[visit.file]), threads=batch.target.threads)
        try:
            call = session.bind(feeds.of(session))
            timing = time_runs(call, warm_runs=visit.warm_runs, timed_runs=visit.timed_runs)
        finally:
            session.close()
    # A native runtime may raise anything; whatever it is belongs to this visit alone.
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    after = {**conditions.read(), "visit_ns": time.perf_counter_ns() - begun}
    samples = {Clock.WALL: timing.wall_ns}
    if error is None and batch.target.threads == 1:
        samples[Clock.THREAD_CPU] = timing.thread_cpu_ns
    return [
        batch.row(visit, clock, values, started_ns=started_ns, before=before, after=after, error=error)
        for clock, values in samples.items()
    ]


def take_long_look(runtime: Runtime, path: str, threads: int, seconds: float, feeds: Feeds) -> dict[str, Any]:
    """Load one file, run it once, then about ``seconds`` long: what ``single_file`` wants of a fresh process.

    ``peak_bytes`` is the most memory this process ever had beyond what it had before loading; 0 if not told.
    """
    baseline = resident_bytes()
    can_tell = reset_peak()
    begun = time.perf_counter_ns()
    session = runtime.open(Path(path), threads=threads)
    load_ns = time.perf_counter_ns() - begun
    try:
        inputs = feeds.of(session)
        begun = time.perf_counter_ns()
        call = session.bind(inputs)
        call()
        first_run_ns = time.perf_counter_ns() - begun
        timing = _timed_for(call, seconds)
        peak = peak_resident_bytes()
        return {
            "load_ns": load_ns,
            "first_run_ns": first_run_ns,
            "wall_ns": timing.wall_ns,
            "thread_cpu_ns": timing.thread_cpu_ns,
            "peak_bytes": max(0, peak - baseline) if can_tell else 0,
            "inputs": [[port.name, list(inputs[port.name].shape), port.dtype] for port in session.inputs],
        }
    finally:
        session.close()


def _timed_for(call: Callable[[], object], seconds: float) -> Timing:
    if seconds <= 0:
        return Timing((), ())
    gauge = time_runs(call, warm_runs=2, timed_runs=3)
    runs = int(seconds * 1e9 / max(1, min(gauge.wall_ns)))
    return time_runs(call, warm_runs=0, timed_runs=max(FEWEST_RUNS, min(MOST_RUNS, runs)))


class _Channel:
    """The original stdout, out of reach of whatever a native runtime prints: that goes to stderr."""

    def __init__(self) -> None:
        self._descriptor = os.dup(1)
        os.dup2(2, 1)

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


def _refusal(error: FleetfrontError) -> dict[str, Any]:
    return {"refused": {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}}


def main() -> int:
    """Serve batches until stdin ends."""
    # Ctrl-C reaches the whole process group; only the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = _Channel()
    greeting = json.loads(sys.stdin.readline() or "null")
    if greeting is None:
        return 0
    try:
        runtime, facts = _greet(greeting)
    except FleetfrontError as error:
        channel.send(_refusal(error))
        return error.exit_code
    channel.send({"ready": facts})
    conditions, feeds = Conditions(greeting["cores"]), Feeds()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "long_look" in request:
            try:
                channel.send({"seen": take_long_look(runtime, feeds=feeds, **request["long_look"])})
            except FleetfrontError as error:
                channel.send(_refusal(error))
            continue
        batch = batch_from_json(request)
        # If the coordinator is gone and a native call hangs, nobody else would end this process.
        faulthandler.dump_traceback_later(2 * greeting["visit_timeout_s"] * (len(batch.visits) + 1), exit=True)
        for visit in batch.visits:
            channel.send({"begin": visit.uuid})
            measurements = make_visit(runtime, batch, visit, conditions, feeds)
            channel.send({"visit": visit.uuid, "measurements": [measurement_to_json(m) for m in measurements]})
        channel.send({"end": True})
        faulthandler.cancel_dump_traceback_later()
    return 0


if __name__ == "__main__":
    sys.exit(main())

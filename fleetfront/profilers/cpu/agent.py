"""The agent of this machine's CPU: keeps one worker process, feeds it batches, and outlives its crashes and hangs.

What happens inside the process is written in ``worker``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import IO, Any

from fleetfront.errors import DeviceError, FleetfrontError, InputError, MissingDependency
from fleetfront.profilers.base import Visit, VisitBatch, batch_to_json
from fleetfront.profilers.cpu.conditions import choose_cores, describe_machine
from fleetfront.profilers.cpu.timing import longest_s
from fleetfront.profilers.records import Measurement, measurement_from_json
from fleetfront.quantities import Clock
from fleetfront.targets import Target

#: A visit of a block takes milliseconds, of a large network a second; beyond this it hangs.
VISIT_TIMEOUT_S = 60.0
#: Importing a runtime from a cold disk may take its time.
START_TIMEOUT_S = 120.0
#: Loading may take minutes; a first run beyond this never ends, or measuring the file would take hours.
FIRST_RUN_TIMEOUT_S = 120.0
#: So many visits in a row without a result mean that the runtime cannot work here at all.
MOST_CRASHES_IN_A_ROW = 5

_REFUSALS: dict[str, type[FleetfrontError]] = {"MissingDependency": MissingDependency, "InputError": InputError}


class WorkerLost(Exception):
    """The worker died or hung; the message says how. Never leaves this package."""


class Worker:
    """One running worker process and the lines between it and us."""

    def __init__(self, target: Target, cores: Sequence[int], visit_timeout_s: float) -> None:
        """Start it and wait until it is ready.

        Raises WorkerLost if it dies or hangs at once, or what it refused with (MissingDependency, InputError).
        """
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in ``close``: it lives as long as the process)
        self._buffer = b""
        self._process = subprocess.Popen(
            # -P: a folder of the user's that is called like a package must not be imported instead of it.
            [sys.executable, "-P", "-m", "fleetfront.profilers.cpu.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(target.threads),
        )
        greeting = {
            "target": str(target),
            "cores": list(cores),
            "visit_timeout_s": visit_timeout_s,
            "parent": os.getpid(),
        }
        try:
            self.send(greeting)
            answer = self.receive(START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        self.facts: dict[str, Any] = answer["ready"]

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Write one line. Raises WorkerLost."""
        try:
            self._pipe(self._process.stdin).write((json.dumps(message) + "\n").encode())
            self._pipe(self._process.stdin).flush()
        except (BrokenPipeError, ConnectionError) as error:
            raise WorkerLost(self._epitaph()) from error

    def receive(self, timeout_s: float, late: str = "no result") -> dict[str, Any]:
        """Read one line. Raises WorkerLost if none comes in time (which is ``late``) or the process ended, and what the
        worker refused with (MissingDependency, InputError).
        """
        descriptor = self._pipe(self._process.stdout).fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise WorkerLost(f"{late} within {timeout_s:g} s")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise WorkerLost(self._epitaph())
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            refusal = answer["refused"]
            raise _REFUSALS.get(refusal["kind"], DeviceError)(refusal["message"], refusal["remedy"])
        return answer

    def close(self) -> None:
        """End the process, gently first, and free what belongs to it."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                self._pipe(pipe).close()
            except OSError:
                continue
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._stderr.close()

    def _epitaph(self) -> str:
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "the measuring process closed its output"
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 2000))
        lines = [line for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        how = f"ended with code {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += " (out of memory?)"
        return f"the measuring process {how}" + (f": {lines[-1].strip()}" if lines else "")

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise WorkerLost("the measuring process has no pipe")
        return pipe


class LocalCpuAgent:
    """Measures on cores of this machine, one core a thread of the target."""

    def __init__(
        self,
        target: Target,
        *,
        cores: Sequence[int] | None = None,
        visit_timeout_s: float = VISIT_TIMEOUT_S,
        first_run_timeout_s: float = FIRST_RUN_TIMEOUT_S,
    ) -> None:
        """Choose the cores and start the worker.

        Raises:
            InputError: unknown runtime, or more threads than cores.
            MissingDependency: the runtime is not installed.
            DeviceError: no worker can be started.
        """
        self.target = target
        self.cores = tuple(choose_cores(target.threads) if cores is None else cores)
        self._visit_timeout_s, self._first_run_timeout_s = visit_timeout_s, first_run_timeout_s
        self._crashes = 0
        self._worker: Worker | None = None
        self._is_used = False
        self._runtime_version = self._living_worker().facts["runtime_version"]

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Thread-CPU time for one thread, steadier on a busy machine; for more it would leave out their work."""
        return (Clock.THREAD_CPU, Clock.WALL) if self.target.threads == 1 else (Clock.WALL,)

    def describe(self) -> dict[str, Any]:
        """Hardware, system and runtime version."""
        return {**describe_machine(), "runtime": self.target.runtime, "runtime_version": self._runtime_version}

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        """Make the visits of a batch; a crash or hang becomes the error of its own visit, and the rest goes on."""
        # A cold visit is the first of its process.
        stretches = [[visit] for visit in batch.visits] if any(v.is_cold for v in batch.visits) else [batch.visits]
        for visits in stretches:
            if visits and visits[0].is_cold and self._is_used:
                self.close()
            yield from self._stretch(batch, list(visits))

    def _stretch(self, batch: VisitBatch, left: list[Visit]) -> Generator[tuple[Measurement, ...], None, None]:
        while left:
            begun: Visit | None = None
            try:
                worker = self._living_worker()
                self._is_used = True
                worker.send(batch_to_json(replace(batch, visits=tuple(left))))
                while left:
                    message = worker.receive(longest_s(left[0], self._visit_timeout_s))
                    if "opened" in message:
                        message = worker.receive(self._first_run_timeout_s, "its first run did not end")
                    if "begin" in message:
                        begun = left[0]
                    elif "visit" in message:
                        begun, self._crashes = None, 0
                        del left[0]
                        yield tuple(self._labelled(measurement_from_json(m)) for m in message["measurements"])
                worker.receive(self._visit_timeout_s)
            except WorkerLost as loss:
                self._bury(loss)
                if begun is not None:
                    del left[0]
                    failed = batch.row(begun, Clock.WALL, (), started_ns=time.time_ns(), error=str(loss))
                    yield (self._labelled(failed),)
            except GeneratorExit:
                # The caller stopped inside the batch: what the worker still holds of it must not run on.
                self.close()
                raise

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _labelled(self, measurement: Measurement) -> Measurement:
        """Cores are known here and the same for all visits, so the worker need not send them."""
        return replace(measurement, before={**measurement.before, "cores": list(self.cores)})

    def _living_worker(self) -> Worker:
        while self._worker is None:
            try:
                self._worker, self._is_used = Worker(self.target, self.cores, self._visit_timeout_s), False
            except WorkerLost as loss:
                self._bury(loss)
        return self._worker

    def _bury(self, loss: WorkerLost) -> None:
        self.close()
        self._crashes += 1
        if self._crashes >= MOST_CRASHES_IN_A_ROW:
            raise DeviceError(
                f"{self.target.runtime} failed {self._crashes} times in a row on this machine; last: {loss}.",
                f"Check the installation with: fleetfront doctor. Reinstalling {self.target.runtime} may help.",
            ) from loss


def _environment(threads: int) -> dict[str, str]:
    """Thread pools that a runtime may size by itself get the target's number of threads."""
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    # The worker must find the same package as we do, installed or not.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, **{pool: str(threads) for pool in pools}, "PYTHONPATH": path}

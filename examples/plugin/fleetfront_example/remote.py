"""Measure on the CPU of another host: its agent runs there, and JSON lines over a pipe are all that connects the two.

``pipe:NAME`` starts the command in ``FLEETFRONT_PIPE``, which runs ``python -m fleetfront_example.remote`` wherever it
likes, e.g. ``ssh board python3 -m fleetfront_example.remote``; without it, a process of this machine. Files travel as
bytes, once each, and are checked by their hash.

    -> {"target": "pipe:board/litert/fp32/t1/b1"}
    <- {"ready": {"clocks": [...], "facts": {...}}}   or   {"refused": {"kind", "message", "remedy"}}
    -> {"batch": ..., "files": {SHA-256: base64}}     the files that were not sent before
    <- {"rows": [...]} for each visit, then {"end": true}
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Unpack

from fleetfront.errors import DeviceError, FleetfrontError, InputError, MissingDependency
from fleetfront.profilers.base import Agent, VisitBatch, batch_from_json, batch_to_json
from fleetfront.profilers.kinds.base import Capability, Choices, HeldAgent, Refine, check_own
from fleetfront.profilers.kinds.catalogue import kind_of, open_device
from fleetfront.profilers.records import Measurement, measurement_from_json, measurement_to_json
from fleetfront.progress import Progress
from fleetfront.quantities import Clock
from fleetfront.targets import Target

_PREFIX, _FAR = "pipe:", "cpu"
_COMMAND = "FLEETFRONT_PIPE"
_REFUSALS = {kind.__name__: kind for kind in (DeviceError, InputError, MissingDependency)}


class PipeAgent:
    """An ``Agent`` that hands batches to the one at the far end; what was abandoned there is ended with its process."""

    def __init__(self, target: Target) -> None:
        """Start the far end. Raises what opening a device there raises."""
        self._target = target
        self._process: subprocess.Popen[str] | None = None
        self._sent: set[str] = set()
        self._ready = self._start()

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """See ``Agent``, here and below."""
        return tuple(Clock(name) for name in self._ready["clocks"])

    def describe(self) -> dict[str, Any]:
        return dict(self._ready["facts"])

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        if self._process is None:
            self._start()
        files = {name: path for name, path in batch.files.items() if name not in self._sent}
        data = {name: base64.b64encode(Path(path).read_bytes()).decode() for name, path in files.items()}
        self._send({"batch": batch_to_json(batch), "files": data})
        self._sent |= data.keys()
        is_whole = False
        try:
            while "end" not in (answer := self._receive()):
                yield tuple(measurement_from_json(row) for row in answer["rows"])
            is_whole = True
        finally:
            if not is_whole:
                self.close()

    def close(self) -> None:
        process, self._process = self._process, None
        self._sent.clear()
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> dict[str, Any]:
        told = os.environ.get(_COMMAND)
        command = shlex.split(told) if told else [sys.executable, "-P", "-m", __spec__.name]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        self._send({"target": str(self._target)})
        try:
            ready: dict[str, Any] = self._receive()["ready"]
        except BaseException:
            self.close()
            raise
        return ready

    def _send(self, message: dict[str, Any]) -> None:
        try:
            _write(_open(self._process and self._process.stdin), message)
        except OSError as error:
            raise self._loss() from error

    def _receive(self) -> dict[str, Any]:
        line = _open(self._process and self._process.stdout).readline()
        if not line:
            raise self._loss()
        answer: dict[str, Any] = json.loads(line)
        if "refused" in answer:
            refusal = answer["refused"]
            raise _REFUSALS.get(refusal["kind"], DeviceError)(refusal["message"], refusal["remedy"])
        return answer

    def _loss(self) -> DeviceError:
        return DeviceError(
            f"The far end of {self._target.device} has ended.", f"Try the command of {_COMMAND} by hand."
        )


class PipeKind:
    """Devices called ``pipe:NAME``: whatever the CPU of the far end can. A ``DeviceKind``."""

    name = "pipe"
    can = frozenset({Capability.BLOCKS, Capability.FILES, Capability.FEW_SHOT, Capability.VERIFY, Capability.MEMORY})
    settings: frozenset[str] = frozenset()

    def matches(self, name: str) -> bool:
        """``pipe:`` and a name."""
        return name.startswith(_PREFIX) and len(name) > len(_PREFIX)

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        """The target that the far end's CPU would have, under this name."""
        return replace(kind_of(_FAR).target(_FAR, **refine), device=name)

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        """An agent that holds the name here and, through the far end, the CPU there."""
        check_own(self, target, choices)
        return HeldAgent(choices, target.device, lambda: PipeAgent(target))

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Measuring changes nothing."""
        return {}


def serve(lines: IO[str], answers: IO[str]) -> None:
    """Be the far end until ``lines`` end. Files are kept in a folder of their own meanwhile."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            target = replace(Target.parse(json.loads(next(lines))["target"]), device=_FAR)
            agent = stack.enter_context(closing(open_device(target)))
            _write(answers, {"ready": {"clocks": list(agent.clocks), "facts": agent.describe()}})
            for line in lines:
                _measure(agent, json.loads(line), folder, answers)
        except FleetfrontError as error:
            told = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
            _write(answers, {"refused": told})


def _measure(agent: Agent, message: dict[str, Any], folder: Path, answers: IO[str]) -> None:
    for name, data in message["files"].items():
        _keep(folder, name, base64.b64decode(data))
    batch = batch_from_json(message["batch"])
    here = replace(batch, files={name: str(folder / name) for name in batch.files})
    for rows in agent.run(here):
        _write(answers, {"rows": [measurement_to_json(row) for row in rows]})
    _write(answers, {"end": True})


def _keep(folder: Path, name: str, data: bytes) -> None:
    """Under its hash; what did not arrive as it was sent is absent, and so an error of its own visits alone."""
    if hashlib.sha256(data).hexdigest() == name:
        (folder / name).write_bytes(data)


def _write(pipe: IO[str], message: dict[str, Any]) -> None:
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()


def _open(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise DeviceError("The pipe to the far end is closed.", "Run the same command again.")
    return pipe


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)

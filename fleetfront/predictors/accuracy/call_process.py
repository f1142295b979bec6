"""The process that runs a user's function, one question and one answer a line; ``call_worker`` is what it runs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError
from fleetfront.plain import parse_finite_json
from fleetfront.spaces.base import Config

#: Seconds for loading the user's file.
_LOADING_S = 300.0


@dataclass(slots=True, weakref_slot=True)
class CallProcess:
    """The process that runs a user's function, started at the first question and again whenever it ended."""

    file: Path
    function: str
    _process: subprocess.Popen[str] | None = None
    _answers: queue.Queue[str] = field(default_factory=queue.Queue)

    def ask(self, arch: str | Config, timeout: float) -> dict[str, Any]:
        """``accuracy`` or ``error`` for an architecture, or genes. Raises InputError if the file cannot be loaded."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        try:
            print(json.dumps(arch), file=process.stdin, flush=True)
        except OSError:
            return self._ended(process)
        return self._answer(process, timeout)

    def end(self) -> None:
        """Stop what runs, at once; the next question starts it anew."""
        if self._process is not None:
            _kill(self._process)

    def _start(self) -> subprocess.Popen[str]:
        self._answers = queue.Queue()
        # -P: a module in the present folder must not stand in for another one.
        module = ("-P", "-m", "fleetfront.predictors.accuracy.call_worker")
        command = [sys.executable, *module, str(self.file.resolve()), self.function]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        self._process = process
        weakref.finalize(self, _kill, process)
        threading.Thread(target=_read, args=(process, self._answers), daemon=True).start()
        first = self._answer(process, _LOADING_S)
        if "error" in first:
            raise InputError(f"{self.file} cannot be loaded: {first['error']}", "Repair it.")
        return process

    def _answer(self, process: subprocess.Popen[str], timeout: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            _kill(process)
            return {"error": f"no answer within {timeout:g} s"}
        if not line:
            return self._ended(process)
        try:
            answer = parse_finite_json(line)
        except ValueError:
            return {"error": f"the answer {line[:80]!r} is no number"}
        return answer if isinstance(answer, dict) else {"error": f"the answer {line[:80]!r} is no number"}

    def _ended(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        # One that is just ending says how by itself.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
        _kill(process)
        status = process.wait()
        said = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return {"error": f"the function's process ended ({said})"}


def _read(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    for line in process.stdout or ():
        answers.put(line)
    answers.put("")


def _kill(process: subprocess.Popen[str]) -> None:
    """End the process and what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

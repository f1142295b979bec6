"""Run tests of a tree in forks of one process that has imported what they need, so that a mutant costs its tests alone.

``Judge`` is the side of whoever asks. The process itself imports other people's packages and nothing of the tree, which
changes from mutant to mutant; asked with a line of JSON, it answers with one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Imported before the first fork; what is missing costs its time again and again.
_PACKAGES = (
    "pytest", "_pytest.assertion.rewrite", "hypothesis", "numpy", "scipy.stats", "scipy.optimize", "scipy.linalg",
    "torch", "torch.nn.functional", "onnx", "onnxruntime", "ai_edge_litert.interpreter", "click", "pydantic", "yaml",
    "sklearn.isotonic", "pymoo.algorithms.moo.nsga2", "moocore", "xgboost", "pandas", "altair", "PIL.Image",
)  # fmt: skip
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of some tests: pytest's exit status, None if they did not end, and the first that failed."""

    status: int | None
    failed: str


class Judge:
    """The process, as long as the ``with`` lasts."""

    def __init__(self, tree: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(
            command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, tests: Sequence[str], timeout: float) -> Answer:
        """Run tests in their order until one fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"tests": list(tests), "timeout": timeout}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process that runs tests has ended")
        return Answer(**json.loads(line))


class _FirstFailure:
    """A plugin of pytest that keeps the name of the first test that fails."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def _serve() -> None:
    sys.path[0] = os.getcwd()
    for package in _PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(_in_fork(asked["tests"], asked["timeout"])) + "\n")
        answers.flush()


def _in_fork(tests: Sequence[str], timeout: float) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_pytest(tests, writer)
    os.close(writer)
    ends, status = time.monotonic() + timeout, None
    while time.monotonic() < ends:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError):  # also what the tests started
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        return {"status": status, "failed": said.read() if status is not None else ""}


def _be_pytest(tests: Sequence[str], writer: int) -> None:
    os.setsid()
    os.set_inheritable(writer, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(1, 2)
    status = 70
    try:
        import pytest

        seen = _FirstFailure()
        status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests], plugins=[seen]))
        os.write(writer, seen.name.encode())
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve()

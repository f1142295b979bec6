"""End commands in the middle, by Ctrl-C and by a request to end: exit code 130, a sentence, nothing half-written."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleetfront.spaces.catalogue import load_space
from tests.cli.typed_commands import running


def _ended(number: signal.Signals, is_begun: Callable[[], bool], *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command that is told to end as soon as it has begun."""
    with running(*arguments) as process:
        until = time.monotonic() + 60
        while not is_begun():
            assert process.poll() is None and time.monotonic() < until, process.communicate()  # noqa: PT018
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deploy_that_is_ended_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    space = load_space("ofa-mbv3-mini")
    archs = space.arch_ids(space.sample(8, np.random.default_rng(0)))
    out = tmp_path / "out"
    command = ["deploy", "--space", space.name, "--random-weights", "--formats", "onnx", "--out", str(out), "-q"]
    for arch in archs:
        command += ["--arch", arch]
    code, err = _ended(number, lambda: out.is_dir() and any(out.iterdir()), *command)
    assert (code, "Traceback" in err) == (130, False), err
    assert "Type the same command again to go on." in err
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []

"""Commands in processes of their own, and what they leave in stores and on devices."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from fleetfront.profilers.store.store import Store
from fleetfront.workspace import Workspace

#: What a device may take to remove its folder after the command that used it.
_SWEEPING_S = 10.0


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, which hears Ctrl-C even if whoever started the tests ignores it."""
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "fleetfront", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def typed(*arguments: str) -> tuple[int, str, str]:
    """Run a command in a process of its own to its end."""
    with running(*arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def left_behind(*daemons: Any) -> list[str]:
    """What stays in the devices' folders for temporary files; they sweep up by themselves, moments after a command."""
    until = time.monotonic() + _SWEEPING_S
    while True:
        found = [path.name for daemon in daemons for path in (daemon.data / "local" / "tmp").iterdir()]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def rows_in_store() -> int:
    path = Workspace.default().store
    if not path.exists():
        return 0
    with closing(Store(path)) as store:
        return sum(len(list(store.measurements(target=h.target, space=h.space))) for h in store.holdings())


def devices_in_store() -> set[str]:
    """Devices of which there are rows."""
    path = Workspace.default().store
    if not path.exists():
        return set()
    with closing(Store(path)) as store:
        return {held.target.device for held in store.holdings()}


def wait_for(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)

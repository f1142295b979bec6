"""One coordinator a target at a time: two campaigns on one device would measure each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetfront.errors import DeviceError
from fleetfront.profilers.store.schema import explained_os_error
from fleetfront.targets import Target


@contextmanager
def target_lock(folder: Path, target: Target) -> Iterator[None]:
    """Hold ``target`` for this process; the system lets go when the process ends, however it ends.

    Raises:
        DeviceError: if another process holds it, naming that process.
        InputError: if ``folder`` cannot be written.
    """
    path = folder / f"{target.file_stem}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise explained_os_error(error, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise DeviceError(
                f"{target} is already being measured by process {holder}.",
                "Wait until it ends (or stop it), then run the same command again.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)

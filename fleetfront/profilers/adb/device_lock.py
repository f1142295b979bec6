"""One command a device at a time, however the device is spelled: two would measure each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fleetfront.errors import DeviceError
from fleetfront.profilers.lock import target_lock
from fleetfront.targets import Target

#: In place of a runtime: two runtimes of one device would disturb each other, too.
_ANY = "adb"


@contextmanager
def device_lock(folder: Path, name: str, identity: str) -> Iterator[None]:
    """Hold the device for this process, by its name and by what it says that it is.

    Args:
        folder: of the locks.
        name: of the targets of the device.
        identity: ``Device.identity``; empty locks the name alone.

    Raises:
        DeviceError: another process holds it, under this or another name.
        InputError: ``folder`` cannot be written.
    """
    with ExitStack() as held:
        held.enter_context(target_lock(folder, Target(name, _ANY)))
        if identity:
            try:
                held.enter_context(target_lock(folder, Target(f"adb:device-{identity}", _ANY)))
            except DeviceError as error:
                by_whom = error.message.partition(" is ")[2]
                raise DeviceError(f"{name}, under another name, is {by_whom}", error.remedy) from error
        yield

"""Several devices at once: one ``fleetfront profile`` a device, side by side, each line marked with its device."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

import click

from fleetfront.errors import DeviceError

_DEVICE_FLAGS = ("--device", "--devices")


def profile_each(names: Sequence[str]) -> None:
    """Run this very command once for each device, in processes of their own, and wait for all.

    Raises DeviceError naming the devices whose command failed; the others' results are kept.
    """
    arguments = without_devices(sys.argv[1:])
    running = {name: _started(name, arguments) for name in names}
    threads = []
    for name, process in running.items():
        for pipe, to_stderr in ((process.stdout, False), (process.stderr, True)):
            thread = threading.Thread(target=_forward, args=(name, pipe, to_stderr), daemon=True)
            thread.start()
            threads.append(thread)
    codes = {name: process.wait() for name, process in running.items()}
    for thread in threads:
        thread.join()
    failed = [name for name, code in codes.items() if code]
    if failed:
        raise DeviceError(
            f"Profiling failed on {', '.join(failed)}.",
            "See its lines above; the same command goes on where it stopped.",
        )


def without_devices(arguments: Sequence[str]) -> list[str]:
    """Command line arguments without any ``--device`` or ``--devices`` and their values."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in _DEVICE_FLAGS:
            skip = True
        elif not argument.startswith(tuple(f"{flag}=" for flag in _DEVICE_FLAGS)):
            kept.append(argument)
    return kept


def _started(name: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fleetfront", *arguments, "--device", name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _forward(name: str, pipe: IO[str] | None, to_stderr: bool) -> None:
    for line in pipe or ():
        click.echo(f"[{name}] {line}", nl=False, err=to_stderr)

"""Several devices at once: one ``fleetfront profile`` a device, side by side, each line marked with its device."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from fleetfront.cli.console import echo, print_json
from fleetfront.errors import BarMissed, DeviceError, FleetfrontError, InputError, MissingDependency

_DEVICE_FLAGS = ("--device", "--devices")

#: Exit code of a command -> the error that has it, the most pressing first: one of them speaks for all devices.
_ERRORS: dict[int, type[FleetfrontError]] = {3: DeviceError, 4: MissingDependency, 2: InputError, 1: BarMissed}
_INTERRUPTED = 130
_SCHEMA = "fleetfront.profiles/1"


@dataclass(slots=True)
class _Running:
    """One device's command. ``printed`` is its stdout, if that is kept rather than passed on."""

    name: str
    process: subprocess.Popen[str]
    printed: list[str] | None
    threads: list[threading.Thread] = field(default_factory=list)


def profile_each(names: Sequence[str], as_json: bool = False) -> None:
    """Run this very command once for each device, in processes of their own, and wait for all.

    With ``as_json`` one document is printed at the end: ``{"schema", "exit_codes": {name: code}, "devices": {name: what
    that command printed, or null}}``.

    Raises:
        FleetfrontError: naming the devices whose command failed, with the most pressing of their exit codes; the
            others' results are kept.
        KeyboardInterrupt: on Ctrl-C, after each command has left its device as it was found.
    """
    arguments = without_devices(sys.argv[1:])
    running = [_started(name, arguments, as_json) for name in names]
    was_interrupted = _waited(running)
    codes = {one.name: one.process.returncode for one in running}
    if as_json:
        documents = {one.name: _document(one.printed or ()) for one in running}
        print_json({"schema": _SCHEMA, "exit_codes": codes, "devices": documents})
    if was_interrupted or _INTERRUPTED in codes.values():
        raise KeyboardInterrupt
    _raise_for(codes)


def most_pressing(codes: Iterable[int]) -> type[FleetfrontError]:
    """The error that speaks for several commands, by their exit codes other than 0."""
    found = set(codes)
    return next((error for code, error in _ERRORS.items() if code in found), DeviceError)


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


def _started(name: str, arguments: Sequence[str], is_kept: bool) -> _Running:
    # A group of its own: Ctrl-C reaches it once, from ``_waited``, and never twice, which would mean to stop at once.
    process = subprocess.Popen(
        [sys.executable, "-m", "fleetfront", *arguments, "--device", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
    )
    one = _Running(name, process, [] if is_kept else None)
    for pipe, to_stderr in ((process.stdout, False), (process.stderr, True)):
        kept = None if to_stderr else one.printed
        thread = threading.Thread(target=_forward, args=(name, pipe, to_stderr, kept), daemon=True)
        thread.start()
        one.threads.append(thread)
    return one


def _waited(running: Sequence[_Running]) -> bool:
    """Wait for all; each Ctrl-C is passed on. Whether there was one."""
    was_interrupted = False
    while True:
        try:
            for one in running:
                one.process.wait()
                for thread in one.threads:
                    thread.join()
            return was_interrupted
        except KeyboardInterrupt:
            was_interrupted = True
            for one in running:
                if one.process.poll() is None:
                    one.process.send_signal(signal.SIGINT)


def _forward(name: str, pipe: IO[str] | None, to_stderr: bool, kept: list[str] | None) -> None:
    is_read = True
    for line in pipe or ():
        if kept is not None:
            kept.append(line)
        elif is_read:
            try:
                echo(f"[{name}] {line}", nl=False, err=to_stderr)
            except OSError:
                # Our reader went away (`| head`); the command goes on, so its pipe must be emptied.
                is_read = False


def _document(lines: Iterable[str]) -> object:
    try:
        return json.loads("".join(lines))
    except ValueError:
        return None


def _raise_for(codes: Mapping[str, int]) -> None:
    failed = {name: code for name, code in codes.items() if code}
    if not failed:
        return
    pressing = most_pressing(failed.values())
    listed = ", ".join(f"{name} (exit code {code})" for name, code in failed.items())
    correct = "Correct what their lines above say"
    raise pressing(
        f"Profiling failed on {listed}.",
        f"{correct}."
        if pressing.exit_code == InputError.exit_code
        else f"{correct}; the same command goes on where it stopped.",
    )

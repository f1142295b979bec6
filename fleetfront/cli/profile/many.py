"""Several devices at once: the command of each in a thread of this process, each line marked with its device."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import click

from fleetfront.cli.console import print_json, speak_through
from fleetfront.cli.outcome import exit_code_of
from fleetfront.cli.together import Together
from fleetfront.errors import BarMissed, DeviceError, FleetfrontError, InputError, MissingDependency
from fleetfront.profilers.kinds.catalogue import cores_of
from fleetfront.side_by_side import run_side_by_side

#: Exit code of a command -> the error that has it, the most pressing first: one of them speaks for all devices.
_ERRORS: dict[int, type[FleetfrontError]] = {3: DeviceError, 4: MissingDependency, 2: InputError, 1: BarMissed}
_INTERRUPTED = 130
_SCHEMA = "fleetfront.profiles/1"


def profile_each(names: Sequence[str], as_json: bool = False) -> None:
    """Run the running command once for each device, side by side, and wait for all.

    Devices that are timed by the cores of one machine take turns, and those of this machine are last: nothing else is
    done here meanwhile. With ``as_json`` one document is printed at the end: ``{"schema", "exit_codes": {name: code},
    "devices": {name: what its command printed, or null}}``.

    Raises:
        FleetfrontError: naming the devices whose command failed, with the most pressing of their exit codes; the
            others' results are kept.
        KeyboardInterrupt: on Ctrl-C, after each command has left its device as it was found.
    """
    context = click.get_current_context()
    together = Together(names, keeps_output=as_json)
    codes = dict.fromkeys(names, _INTERRUPTED)

    def profile_in_turn(lane: Sequence[str]) -> None:
        for name in lane:
            voice = together.voices[name]
            speak_through(voice)
            own = {**context.params, "devices": (name,)}
            codes[name] = exit_code_of(partial(context.invoke, context.command, **own))
            voice.is_over = True
            if codes[name] == _INTERRUPTED:
                return

    elsewhere, here = lanes_of(names)
    for name in here if elsewhere else ():
        together.voices[name].note("It is measured after the devices elsewhere, which need this machine's cores, too.")
    try:
        was_interrupted = run_side_by_side([partial(profile_in_turn, lane) for lane in elsewhere])
        if here and not was_interrupted:
            was_interrupted = run_side_by_side([partial(profile_in_turn, here)])
    finally:
        together.close()
    if as_json:
        documents = {name: _document(voice.printed or ()) for name, voice in together.voices.items()}
        print_json({"schema": _SCHEMA, "exit_codes": codes, "devices": documents})
    if was_interrupted or _INTERRUPTED in codes.values():
        raise KeyboardInterrupt
    _raise_for(codes)


def most_pressing(codes: Iterable[int]) -> type[FleetfrontError]:
    """The error that speaks for several commands, by their exit codes other than 0."""
    found = set(codes)
    return next((error for code, error in _ERRORS.items() if code in found), DeviceError)


def lanes_of(names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Lists of devices elsewhere that may be measured side by side, of each one after the other; and those here."""
    lanes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        try:
            cores = cores_of(name)
        except InputError:
            # Its own command says what is wrong.
            cores = None
        lanes[f"device {name}" if cores is None else f"host {cores}" if cores else ""].append(name)
    here = lanes.pop("", [])
    return list(lanes.values()), here


def _document(lines: Iterable[str]) -> object:
    try:
        return json.loads("\n".join(lines))
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

"""Options of ``profile`` that set how a device is opened, and the choices that they make for a kind of device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click

from fleetfront.cli.console import warn
from fleetfront.cli.options import Amount, is_given
from fleetfront.errors import InputError, unknown
from fleetfront.profilers.kinds.base import Capability, Choices, DeviceKind
from fleetfront.profilers.kinds.catalogue import find_kind, kinds_that
from fleetfront.quantities import parse_duration_s
from fleetfront.spaces.catalogue import space_names
from fleetfront.targets import split_spelled

Function = TypeVar("Function", bound=Callable[..., Any])

#: Options -> the settings that they give.
_SETTINGS = {
    "cores": "cores",
    "runner": "runner",
    "benchmark_model": "benchmark_model",
    "litert_wheel": "litert_wheel",
    "npu_libraries": "npu_libraries",
    "max_temp": "max_temp",
    "cooldown": "cooldown_s",
    "any_unit": "is_any_unit",
}


def settings_options(function: Function) -> Function:
    """Adds the options; ``choices_of`` reads them."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--any-unit", is_flag=True, help="ADB: go on with what another unit of the model began."),
        click.option("--cooldown", metavar="30s", help="ADB: rest between rounds."),
        click.option(
            "--max-temp",
            type=Amount(0, 150),
            metavar="CELSIUS",
            help="ADB: wait until the hottest sensor is below this.",
        ),
        click.option("--litert-wheel", type=file, help="ADB: library for the native runner on another processor."),
        click.option(
            "--npu-libraries",
            metavar="FOLDER",
            help="ADB, tflite-npu: where on the device the vendor's dispatch library lies.  [default: /data/local/tmp]",
        ),
        click.option("--benchmark-model", type=file, help="ADB: Google's program, instead of looking for one."),
        click.option(
            "--runner",
            type=click.Choice(["auto", "benchmark-model", "native"]),
            default="auto",
            show_default=True,
            help="ADB: what times the files; native is for Linux boards.",
        ),
        click.option(
            "--cores", default="big", show_default=True, metavar="big|little|all|MASK", help="ADB: which cores."
        ),
    ):
        function = option(function)
    return function


def choices_of(device: str, kind: DeviceKind, values: dict[str, Any], *, is_sustained: bool) -> Choices:
    """The user's choices among ``values`` (option -> value), as far as they mean something; warns of the rest.

    Raises InputError for a duration that is none.
    """
    given = [option for option in _SETTINGS if is_given(option)]
    unused = [option for option in given if _SETTINGS[option] not in kind.settings]
    if unused:
        warn(f"{_flags(unused)}: only for devices over ADB; without effect on {device}.")
    settings = {_SETTINGS[option]: values[option] for option in given if option not in unused}
    if "cooldown_s" in settings:
        settings["cooldown_s"] = parse_duration_s(settings["cooldown_s"])
    if is_sustained:
        settings["is_sustained"] = True
    return Choices(device=device, settings=settings)


def warn_of_no_rest(option: str = "--sustained") -> None:
    """Say which options about heat the user gave although ``option`` never waits."""
    given = [option for option in ("max_temp", "cooldown") if is_given(option)]
    if given:
        warn(f"{_flags(given)}: without effect with {option}, which never rests.")


def kind_for(device: str) -> DeviceKind:
    """The kind of a device that the user named.

    Raises InputError for a name that nobody knows, DeviceError for a known device that is not measured from here.
    """
    from fleetfront.device_configs.loader import device_names
    from fleetfront.profilers.kinds.catalogue import check_far, kind_of
    from fleetfront.runtimes.catalogue import check_parts, options_of

    if find_kind(device) is None and device not in device_names():
        name, *parts = split_spelled(device)
        if parts and find_kind(name) is not None:
            check_parts(parts)
            raise InputError(f"{device} is more than a device.", f"Write {options_of(device)}.")
        check_far(device)
        raise unknown("device", device, ["cpu", *device_names()])
    return kind_of(device)


def check_can(kind: DeviceKind, device: str, wanted: dict[str, Capability]) -> None:
    """Raise InputError if what the user asks for (in words -> what it takes) is not measured on such devices."""
    for words, capability in wanted.items():
        if capability not in kind.can:
            others = ", ".join(kinds_that(capability)) or "none"
            raise InputError(f"{words} cannot be had on {device}.", f"Devices that it can be had on: {others}.")


def _flags(options: Sequence[str]) -> str:
    return ", ".join(f"--{option.replace('_', '-')}" for option in options)


def refuse_words(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> None:
    """Raise InputError for a word that stands behind no option, with the option that it wants."""
    if not words:
        return
    word = words[0]
    is_space = word in space_names() or word.endswith(".py")
    option = "--space" if is_space else "--device" if find_kind(word) is not None else "--file"
    raise InputError(f"{word!r} stands behind no option.", f"Did you mean: fleetfront profile {option} {quote(word)}?")

"""Options of ``profile`` that set how a device is opened, and the choices that they make for a kind of device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

import click

from fleetfront.cli.console import warn
from fleetfront.cli.options import Amount, flag_of, is_given, option_group
from fleetfront.errors import InputError, unknown
from fleetfront.profilers.kinds.base import Capability, Choices, DeviceKind
from fleetfront.profilers.kinds.catalogue import find_kind, kinds_that
from fleetfront.quantities import parse_duration_s
from fleetfront.spaces.catalogue import space_names
from fleetfront.targets import split_spelled


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings with which devices are opened, by their names in ``DeviceKind.settings``."""

    cores: str
    runner: str
    benchmark_model: Path | None
    litert_wheel: Path | None
    npu_libraries: str | None
    max_temp: float | None
    cooldown_s: str | None
    is_any_unit: bool


_FILE = click.Path(path_type=Path, dir_okay=False)

#: All options of ``Settings``, handed to the command as its argument ``settings``.
settings_options = option_group(
    Settings,
    "settings",
    [
        click.option(
            "--cores", default="big", show_default=True, metavar="big|little|all|MASK", help="ADB: which cores."
        ),
        click.option(
            "--runner",
            type=click.Choice(["auto", "benchmark-model", "native"]),
            default="auto",
            show_default=True,
            help="ADB: what times the files; native is for Linux boards.",
        ),
        click.option("--benchmark-model", type=_FILE, help="ADB: Google's program, instead of looking for one."),
        click.option(
            "--npu-libraries",
            metavar="FOLDER",
            help="ADB, tflite-npu: where on the device the vendor's dispatch library lies.  [default: /data/local/tmp]",
        ),
        click.option("--litert-wheel", type=_FILE, help="ADB: library for the native runner on another processor."),
        click.option(
            "--max-temp",
            type=Amount(0, 150),
            metavar="CELSIUS",
            help="ADB: wait until the hottest sensor is below this.",
        ),
        click.option("--cooldown", "cooldown_s", metavar="30s", help="ADB: rest between rounds."),
        click.option(
            "--any-unit", "is_any_unit", is_flag=True, help="ADB: go on with what another unit of the model began."
        ),
    ],
)


def choices_of(device: str, kind: DeviceKind, settings: Settings, *, is_sustained: bool) -> Choices:
    """The settings that the user gave, as far as they mean something; warns of the rest.

    Raises InputError for a duration that is none.
    """
    given = {name: value for name, value in asdict(settings).items() if is_given(name)}
    unused = [name for name in given if name not in kind.settings]
    if unused:
        warn(f"{_flags(unused)}: only for devices over ADB; without effect on {device}.")
    chosen = {name: value for name, value in given.items() if name in kind.settings}
    if "cooldown_s" in chosen:
        chosen["cooldown_s"] = parse_duration_s(chosen["cooldown_s"])
    if is_sustained:
        chosen["is_sustained"] = True
    return Choices(device=device, settings=chosen)


def warn_of_no_rest(option: str = "--sustained") -> None:
    """Say which options about heat the user gave although ``option`` never waits."""
    given = [option for option in ("max_temp", "cooldown_s") if is_given(option)]
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


def _flags(options: Iterable[str]) -> str:
    return ", ".join(map(flag_of, options))


def refuse_words(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> None:
    """Raise InputError for a word that stands behind no option, with the option that it wants."""
    if not words:
        return
    word = words[0]
    is_space = word in space_names() or word.endswith(".py")
    option = "--space" if is_space else "--device" if find_kind(word) is not None else "--file"
    raise InputError(f"{word!r} stands behind no option.", f"Did you mean: fleetfront profile {option} {quote(word)}?")

"""Declare the options that several verbs share, singly or in groups, and read their values."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from fleetfront.errors import InputError, unknown
from fleetfront.targets import MOST_BATCH, MOST_THREADS, PRECISIONS
from fleetfront.text_tables import parse_number
from fleetfront.workspace import Workspace

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_SPACE = "ofa-mbv3-w1.2"
#: Beyond these a number is a slip of the keyboard: more networks than anybody measures in a day, more passes than any
#: training takes, more evaluations than memory holds.
MOST_NETWORKS, MOST_EPOCHS, MOST_EVALUATIONS = 10_000, 100_000, 100_000_000
MOST_SEED = 2**63 - 1
#: As much of a wrong value is repeated.
_SHOWN = 40


def space_option(function: Function) -> Function:
    """``--space NAME|FILE.py``."""
    return click.option(
        "--space",
        default=DEFAULT_SPACE,
        show_default=True,
        metavar="NAME",
        callback=_plain_name,
        help="Family of networks to work on; FILE.py for one of your own.",
    )(function)


def _plain_name(context: click.Context, parameter: click.Parameter, name: str) -> str | None:
    """The name of a space as it is measured. Raises InputError for one with precisions, which searches alone have."""
    plain, separator, precisions = name.partition("@")
    if separator:
        raise InputError(
            f"{name} is how a search calls {plain} in several precisions.",
            f"Write --space {plain}, and --precisions {precisions} for a search.",
        )
    return opened_space(context, parameter, name)


def opened_space(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    """The name of a space; a file of a family is run for it."""
    if given is None or not given.endswith(".py"):
        return given
    from fleetfront.cli.console import progress
    from fleetfront.spaces.from_torch.remembered import open_family

    with progress() as shown:
        return open_family(Path(given), shown).name


def device_option(function: Function) -> Function:
    """``--device``/``--devices``: one option, repeatable and comma-separated."""
    return click.option(
        "--device",
        "--devices",
        "devices",
        multiple=True,
        metavar="NAME[,NAME]",
        help="Devices: cpu, cuda:0, adb:SERIAL[@HOST], ssh:HOST/cpu or a config's name.  [default: cpu]",
    )(function)


def option_group(
    record: type[Any], name: str, options: Sequence[Callable[[Callable[..., None]], Callable[..., None]]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """``options`` as one decorator: what they are given reaches the command as a ``record`` in its argument ``name``.

    Parameters of the options are fields of ``record``; fields without an option keep their default.
    """
    known = {one.name for one in fields(record)}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def gathered(**given: Any) -> None:
            own = {key: given.pop(key) for key in known & given.keys()}
            command(**given, **{name: record(**own)})

        decorated: Callable[..., None] = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


@dataclass(frozen=True, slots=True)
class ModelChoices:
    """The cost models that a command works with, as typed."""

    devices: tuple[str, ...] = ()
    runtime: str | None = None
    clock: str | None = None
    store: Path | None = None


class Count(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.4
    """A whole number in plain digits, from ``least`` to ``most``: Python would take ``1_0`` for 10."""

    name = "N"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if not re.fullmatch(r"[0-9]{1,19}", text) or not self.least <= int(text) <= self.most:
            self.fail(f"{text[:_SHOWN]!r} is not a whole number from {self.least} to {self.most}.", param, ctx)
        return int(text)


class Amount(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.4
    """A finite number from ``least`` to ``most``, or above ``least`` only."""

    name = "NUMBER"

    def __init__(self, least: float, most: float, *, is_above: bool = False) -> None:
        self.least, self.most, self.is_above = least, most, is_above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        low = f"above {self.least:g}" if self.is_above else f"from {self.least:g}"
        try:
            number = parse_number(str(value))
        except ValueError:
            self.fail(f"{str(value)[:_SHOWN]!r} is not a number {low} to {self.most:g}.", param, ctx)
        if not self.least <= number <= self.most or (self.is_above and number == self.least):
            self.fail(f"{number:g} is not a number {low} to {self.most:g}.", param, ctx)
        return number


class Batches(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.4
    """``64`` as a number, ``1,32,64`` as several, each once and ascending."""

    name = "N[,N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, ...]:
        if isinstance(value, int | tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(re.fullmatch(r"[1-9][0-9]{0,6}", part) and int(part) <= MOST_BATCH for part in parts):
            self.fail(
                f"{str(value)[:_SHOWN]!r} is not a batch: write a number to {MOST_BATCH}, or several such as 1,32,64.",
                param,
                ctx,
            )
        if len(set(parts)) < len(parts):
            self.fail(f"{str(value)[:_SHOWN]!r} gives a batch twice: write each once.", param, ctx)
        batches = tuple(sorted(map(int, parts)))
        return batches[0] if len(batches) == 1 else batches


class Precisions(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.4
    """``int8`` as one word, ``fp32,int8`` as several, each once and in the order of ``targets.PRECISIONS``."""

    name = "|".join(PRECISIONS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        parts = {part.strip() for part in str(value).split(",")}
        if "" in parts and len(parts) > 1:
            self.fail(
                f"{str(value)[:_SHOWN]!r} has a comma too many: write one, or several such as fp32,int8.", param, ctx
            )
        for part in sorted(parts - set(PRECISIONS)):
            error = unknown("precision", part[:_SHOWN], PRECISIONS)
            self.fail(f"{error.message} {error.remedy}", param, ctx)
        found = tuple(name for name in PRECISIONS if name in parts)
        return found[0] if len(found) == 1 else found


def target_options(function: Function) -> Function:
    """``--runtime``, ``--precision``, ``--threads``, ``--batch``: refine a device to a target."""
    for option in (
        click.option(
            "--batch",
            type=Batches(),
            default="1",
            show_default=True,
            help="Images per inference; on a GPU several: 1,64.",
        ),
        click.option(
            "--threads", type=Count(1, MOST_THREADS), default=1, show_default=True, help="Threads per inference."
        ),
        click.option(
            "--precision",
            type=Precisions(),
            default="fp32",
            show_default=True,
            help="Number format; of a space several, one after the other: fp32,int8.",
        ),
        click.option(
            "--runtime",
            metavar="NAME",
            help="onnxruntime or litert; on a GPU torch, onnxruntime or tensorrt.  [default: litert on a CPU]",
        ),
    ):
        function = option(function)
    return function


def store_option(function: Function) -> Function:
    """``--store FILE``."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Measurements, one SQLite file.  [default: in $FLEETFRONT_HOME or ~/.local/share/fleetfront]",
    )(function)


def json_option(function: Function) -> Function:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout instead of a table.")(function)


def quiet_option(function: Function) -> Function:
    """``--quiet``."""
    return click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")(function)


#: All options of ``ModelChoices``, handed to the command as its argument ``models``.
model_options = option_group(
    ModelChoices,
    "models",
    [
        device_option,
        click.option("--runtime", metavar="NAME", help="Which runtime's model.  [default: the newest]"),
        click.option(
            "--clock", type=click.Choice(["thread-cpu", "wall"]), help="Which clock's model.  [default: the preferred]"
        ),
        store_option,
    ],
)


def accuracy_option(kinds: str) -> Callable[[Function], Function]:
    """``--accuracy SOURCE``; ``kinds`` says what it takes beside ``built-in``."""
    return click.option(
        "--accuracy", default="built-in", show_default=True, metavar="SOURCE", help=f"built-in, {kinds}."
    )


def seed_option(function: Function) -> Function:
    """``--seed``."""
    return click.option("--seed", type=Count(0, MOST_SEED), default=0, show_default=True, help="Seed of every draw.")(
        function
    )


def is_given(option: str) -> bool:
    """Tell whether the running command's option was set by its user, rather than left at its default.

    A command that runs itself again, once a device or file, is still its user's.
    """
    context: click.Context | None = click.get_current_context()
    command = context.command if context else None
    while context is not None and context.command is command:
        source = context.get_parameter_source(option)
        if source is not None:
            return source != click.core.ParameterSource.DEFAULT
        context = context.parent
    return False


def flag_of(option: str) -> str:
    """The flag, such as ``--max-temp``, that sets a parameter of the running command."""
    return next(one.opts[0] for one in click.get_current_context().command.params if one.name == option)


def split_names(values: tuple[str, ...], default: str = "cpu") -> list[str]:
    """The names in repeated and comma-separated values, each once, in order. Raises InputError for an empty list."""
    if not values:
        return [default]
    names = list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))
    if not names:
        raise InputError(
            "The list of devices is empty.", "Name at least one, e.g. --device cpu; `fleetfront devices` lists them."
        )
    return names


def store_path(store: Path | None) -> Path:
    """Where measurements are kept."""
    return store or Workspace.default().store

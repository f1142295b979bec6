"""Options of ``profile`` for devices over ADB, and the agent that they describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fleetfront.cli.console import warn
from fleetfront.cli.options import is_given
from fleetfront.errors import InputError
from fleetfront.progress import Progress
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions

#: Where phones have long switched themselves off.
_MOST_CELSIUS = 150.0

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class AdbChoices:
    """What a user chose about devices over ADB; see the options' help."""

    cores: str
    runner: str
    benchmark_model: Path | None
    litert_wheel: Path | None
    max_temp: float | None
    cooldown: str | None

    def agent(self, device: str, target: Target, progress: Progress, options: AgentOptions | None = None) -> AdbAgent:
        """Connect to the device. Raises DeviceError, InputError or MissingDependency."""
        from fleetfront.profilers.adb.opening import open_adb_agent

        chosen = self._options()
        if options is not None:
            warn_of_no_rest()
        return open_adb_agent(
            device,
            target,
            cores=self.cores,
            runner=self.runner,
            benchmark_model=self.benchmark_model,
            litert_wheel=self.litert_wheel,
            options=options or chosen,
            progress=progress,
        )

    def _options(self) -> AgentOptions:
        from fleetfront.profilers.adb.agent import AgentOptions
        from fleetfront.profilers.adb.facts.conditions import Cooling
        from fleetfront.quantities import parse_duration_s

        # Not a number is not above 0 either.
        if self.max_temp is not None and not 0 < self.max_temp <= _MOST_CELSIUS:
            raise InputError(
                f"{self.max_temp:g} C is no limit that a device could keep.",
                "Give degrees Celsius, e.g. --max-temp 38.",
            )
        pause_s = parse_duration_s(self.cooldown) if self.cooldown is not None else 0.0
        return AgentOptions(cooling=Cooling(pause_s=pause_s, max_temp_c=self.max_temp))


def warn_of_unused(device: str) -> None:
    """Say which options the user gave that mean nothing for a ``device`` which is not over ADB."""
    given = [f"--{name.replace('_', '-')}" for name in AdbChoices.__dataclass_fields__ if is_given(name)]
    if given:
        warn(f"{', '.join(given)}: only for devices over ADB; without effect on {device}.")


def warn_of_no_rest() -> None:
    """Say which options about heat the user gave although ``--sustained`` never waits."""
    given = [f"--{name.replace('_', '-')}" for name in ("max_temp", "cooldown") if is_given(name)]
    if given:
        warn(f"{', '.join(given)}: without effect with --sustained, which never rests.")


def adb_options(function: Function) -> Function:
    """Adds the options; the command gets them as ``cores``, ``runner``, ... and makes ``AdbChoices`` of them."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--cooldown", metavar="30s", help="ADB: rest between rounds."),
        click.option(
            "--max-temp", type=float, metavar="CELSIUS", help="ADB: wait until the hottest sensor is below this."
        ),
        click.option("--litert-wheel", type=file, help="ADB: library for the native runner on another processor."),
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

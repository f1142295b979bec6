"""Open phones and Linux boards over ADB as one kind of device."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from fleetfront.errors import InputError
from fleetfront.profilers.kinds.base import Capability, Choices, Refine, check_own, refined
from fleetfront.progress import Progress
from fleetfront.side_by_side import aside
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions

#: Where phones have long switched themselves off.
_MOST_CELSIUS = 150.0
#: Settings that go into ``AgentOptions``.
_OF_AGENT = frozenset({"max_temp", "cooldown_s", "is_sustained", "is_any_unit"})


class AdbKind:
    """``adb:SERIAL``, ``adb:HOST:PORT``, or ``adb`` for the only one attached; behind another host's adb server
    ``adb:SERIAL@HOST``. A ``DeviceKind``.

    Its settings are the arguments of ``open_adb_agent`` (``cores``, ``runner``, ``benchmark_model``, ``litert_wheel``,
    ``npu_libraries``, ``with_operators``) and ``max_temp`` (degrees Celsius), ``cooldown_s`` (rest between rounds),
    ``is_sustained`` (never rest, whatever the heat), ``is_any_unit`` (another unit of the model goes on).
    """

    name = "adb"
    can = frozenset({Capability.BLOCKS, Capability.FILES, Capability.FEW_SHOT, Capability.VERIFY}) | {
        Capability.SUSTAINED,
        Capability.ENERGY,
        Capability.OPERATORS,
    }
    settings = _OF_AGENT | {"cores", "runner", "benchmark_model", "litert_wheel", "npu_libraries", "with_operators"}

    def matches(self, name: str) -> bool:
        """``adb`` or ``adb:...``."""
        return name == self.name or name.startswith(f"{self.name}:")

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        from fleetfront.profilers.adb.open_agent import adb_target, full_name

        target = adb_target(full_name(name), runtime=refine.get("runtime"), threads=refine.get("threads", 1))
        return refined(self.name, target, refine)

    def open(self, target: Target, choices: Choices, progress: Progress) -> AdbAgent:
        # The agent takes the lock with its first batch, since nothing is changed before it.
        from fleetfront.profilers.adb.open_agent import open_adb_agent

        check_own(self, target, choices)
        named = {name: value for name, value in choices.settings.items() if name not in _OF_AGENT}
        with aside():
            return open_adb_agent(
                choices.device or target.device,
                target,
                options=_options(choices),
                workspace=choices.workspace,
                progress=progress,
                **named,
            )

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """``device`` and ``changes``."""
        with closing(self.open(target, choices, progress)) as agent:
            return {"device": agent.describe(), "changes": list(agent.changes)}


def _options(choices: Choices) -> AgentOptions:
    from fleetfront.profilers.adb.agent import AgentOptions
    from fleetfront.profilers.adb.facts.conditions import Cooling
    from fleetfront.profilers.adb.sustained import SUSTAINED_OPTIONS

    max_temp, is_any_unit = choices.settings.get("max_temp"), bool(choices.settings.get("is_any_unit"))
    # Not a number is not above 0 either.
    if max_temp is not None and not 0 < max_temp <= _MOST_CELSIUS:
        raise InputError(
            f"{max_temp:g} C is no limit that a device could keep.", "Give degrees Celsius, e.g. --max-temp 38."
        )
    if choices.settings.get("is_sustained"):
        return replace(SUSTAINED_OPTIONS, is_any_unit=is_any_unit)
    pause_s = choices.settings.get("cooldown_s") or 0.0
    return AgentOptions(cooling=Cooling(pause_s=pause_s, max_temp_c=max_temp), is_any_unit=is_any_unit)

"""This machine's CPU as a kind of device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from fleetfront.profilers.kinds.base import Capability, Choices, HeldAgent, Refine, check_own, refined
from fleetfront.progress import Progress
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent

#: How users spell it.
CPU = "cpu"
#: Where networks run unless the user says otherwise.
DEFAULT_RUNTIME = "litert"


class CpuKind:
    """The processor of this machine, in any runtime that is installed. A ``DeviceKind``."""

    name = CPU
    can = frozenset(Capability) - {Capability.SUSTAINED, Capability.ENERGY, Capability.BATCHES, Capability.OPERATORS}
    settings: frozenset[str] = frozenset()

    def matches(self, name: str) -> bool:
        """Only ``cpu``."""
        return name == CPU

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        runtime, file = refine.get("runtime"), refine.get("file")
        if runtime is None and file is not None:
            from fleetfront.runtimes.catalogue import runtime_for_file

            runtime = runtime_for_file(file).name
        return refined(self.name, Target(name, runtime or DEFAULT_RUNTIME, threads=refine.get("threads", 1)), refine)

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        from fleetfront.profilers.cpu.agent import LocalCpuAgent

        check_own(self, target, choices)
        return HeldAgent(choices, target.device, lambda: LocalCpuAgent(target))

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Nothing: measuring changes nothing here."""
        return {}

"""This machine's CPU as a kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fleetfront.profilers.kinds.base import Capability, Choices, HeldAgent, Refine, check_own, refined
from fleetfront.progress import Progress
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent
    from fleetfront.runtimes.operator_times import OperatorTimes

#: How users spell it.
CPU = "cpu"
#: Where networks run unless the user says otherwise.
DEFAULT_RUNTIME = "litert"


class CpuKind:
    """The processor of this machine, in any runtime that is installed. A ``DeviceKind``."""

    name = CPU
    can = frozenset({Capability.BLOCKS, Capability.FILES, Capability.FEW_SHOT, Capability.VERIFY}) | {
        Capability.MEMORY,
        Capability.INPUTS,
        Capability.OPERATORS,
    }
    settings: frozenset[str] = frozenset()
    is_of_machine = True

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

    def describe_now(self, target: Target) -> dict[str, Any]:
        """Hardware, system, and the version of the runtime if it is installed: a model may be used where it is not."""
        from fleetfront.profilers.cpu.conditions import describe_machine
        from fleetfront.runtimes.catalogue import find_facts

        facts, runtime = describe_machine(), find_facts(target.runtime)
        installed = runtime.packages[0].installed() if runtime is not None else None
        if installed is not None:
            facts["runtime_version"] = installed
        return facts

    def time_operators(
        self, target: Target, choices: Choices, path: Path, shapes: Mapping[str, tuple[int, ...]], arrays: Path | None
    ) -> OperatorTimes:
        from fleetfront.profilers.cpu.file_operators import time_file_operators
        from fleetfront.runtimes.catalogue import load_runtime

        runtime = load_runtime(target.runtime)
        return time_file_operators(runtime, path, threads=target.threads, shapes=shapes, arrays=arrays)

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Nothing: measuring changes nothing here."""
        return {}

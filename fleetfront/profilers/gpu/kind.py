"""This machine's CUDA GPUs as a kind of device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from fleetfront.profilers.kinds.base import Capability, Choices, HeldAgent, Refine, check_own, refined
from fleetfront.progress import Progress
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent


class CudaKind:
    """``cuda:N``, in torch, ONNX Runtime or TensorRT. A ``DeviceKind``; its setting ``options`` is a ``GpuOptions``."""

    name = "cuda"
    can = frozenset(
        {
            Capability.BLOCKS,
            Capability.FILES,
            Capability.VERIFY,
            Capability.ENERGY,
            Capability.BATCHES,
            Capability.OPERATORS,
        }
    )
    settings = frozenset({"options"})
    is_of_machine = True

    def matches(self, name: str) -> bool:
        """``cuda`` or ``cuda:N``."""
        return name == self.name or name.startswith(f"{self.name}:")

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        from fleetfront.profilers.gpu.open_agent import gpu_target

        runtime, threads = refine.get("runtime"), refine.get("threads", 1)
        target = refined(self.name, gpu_target(name, runtime, "fp32", 1, threads), refine)
        return gpu_target(target.device, runtime, target.precision, target.batch, threads)

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        from fleetfront.profilers.gpu.open_agent import open_gpu_agent

        check_own(self, target, choices)
        options = choices.settings.get("options")
        return HeldAgent(
            choices,
            target.device,
            lambda: open_gpu_agent(target, choices.place.cache, options=options, progress=progress),
        )

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Measuring changes nothing on a GPU; whether there is this one is said where nobody knows.

        Raises DeviceError if the driver tells of no such GPU.
        """
        from fleetfront.profilers.gpu.nvml import check_present

        unknown = check_present(target.device)
        return {"not_checked": unknown} if unknown else {}

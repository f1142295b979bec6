"""The CUDA devices of this machine as torch and the driver tell of them, and in words why there is none.

Nothing is run on them here; their clocks and temperatures are in ``profilers.gpu.nvml``.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, FleetfrontError, InputError, MissingDependency, missing

_PROC = Path("/proc/driver/nvidia/version")
#: Where /proc hides the driver, as in some containers.
_ASK_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
#: torch's own wheels for CUDA; which CUDA depends on the driver.
TORCH_WITH_CUDA = "pip install torch --index-url https://download.pytorch.org/whl/cu126"


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """Facts that do not change while the machine runs.

    Attributes:
        index: as torch counts.
        name: e.g. ``NVIDIA H100 80GB HBM3``.
        uuid: as NVML spells it, ``GPU-...``; empty where torch does not tell.
        compute_capability: e.g. ``9.0``.
        memory_bytes, l2_bytes, multiprocessors: sizes.
        driver: version of the kernel driver, empty if unknown.
        cuda: version that torch was built with.
    """

    index: int
    name: str
    uuid: str
    compute_capability: str
    memory_bytes: int
    l2_bytes: int
    multiprocessors: int
    driver: str
    cuda: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def cuda_index(device: str) -> int:
    """The N of ``cuda:N``; ``cuda`` is ``cuda:0``. Raises InputError for anything else."""
    match = re.fullmatch(r"cuda(?::([0-9]{1,2}))?", device)
    if match is None:
        raise InputError(f"{device[:40]!r} is not a CUDA device.", "Write cuda:0, cuda:1, ...")
    return int(match.group(1) or 0)


def open_cuda_device(device: str) -> CudaDevice:
    """Facts of ``cuda:N``.

    Raises:
        InputError: not spelled so.
        MissingDependency: torch is not installed, or built without CUDA on a machine that has an NVIDIA driver.
        DeviceError: torch sees no CUDA device, or fewer than N + 1.
    """
    index = cuda_index(device)
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "torch", "Measuring on a GPU") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise why_no_device(str(torch.__version__), str(torch.version.cuda or ""), driver_version())
    if index >= count:
        raise DeviceError(
            f"There is no {device}: torch sees {count} CUDA device(s).", f"Use cuda:0 to cuda:{count - 1}."
        )
    facts: Any = torch.cuda.get_device_properties(index)
    uuid = str(getattr(facts, "uuid", ""))
    return CudaDevice(
        index=index,
        name=str(facts.name),
        uuid=uuid if not uuid or uuid.startswith("GPU-") else f"GPU-{uuid}",
        compute_capability=f"{facts.major}.{facts.minor}",
        memory_bytes=int(facts.total_memory),
        l2_bytes=int(facts.L2_cache_size),
        multiprocessors=int(facts.multi_processor_count),
        driver=driver_version(),
        cuda=str(torch.version.cuda or ""),
    )


def has_context(index: int) -> bool:
    """Tell whether this process is one of those that compute on ``cuda:index``, as far as torch says."""
    import torch

    # torch has no public name for it; without it, a process that has begun would be told of itself.
    ask: Any = getattr(torch._C, "_cuda_hasPrimaryContext", None)
    return ask is not None and index < torch.cuda.device_count() and bool(ask(index))


def why_no_device(torch_version: str, torch_cuda: str, driver: str) -> FleetfrontError:
    """The error for a machine on which torch sees no CUDA device.

    Args:
        torch_version: of the installed torch.
        torch_cuda: CUDA version that it was built with, empty for none.
        driver: version of the NVIDIA driver, empty for none.
    """
    if not driver:
        return DeviceError(
            f"torch sees no CUDA device: no NVIDIA driver is loaded on this machine (torch {torch_version}).",
            "Run this where the GPU is; `fleetfront doctor` says there what is missing.",
        )
    if not torch_cuda:
        return MissingDependency(
            f"torch sees no CUDA device: torch {torch_version} is built without CUDA, but driver {driver} is loaded.",
            f"Run: {TORCH_WITH_CUDA}",
        )
    return DeviceError(
        f"torch {torch_version} (CUDA {torch_cuda}) sees no CUDA device, though NVIDIA driver {driver} is loaded.",
        "Check CUDA_VISIBLE_DEVICES, and with nvidia-smi that the driver is new enough for this CUDA.",
    )


def driver_version(proc: Path = _PROC, ask: Sequence[str] = _ASK_DRIVER) -> str:
    """Version of the NVIDIA kernel driver, empty if none is loaded."""
    try:
        text = proc.read_text(encoding="ascii", errors="replace")
    except OSError:
        return _told_driver(ask)
    match = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return match.group(1) if match else ""


def _told_driver(ask: Sequence[str]) -> str:
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    match = re.match(r"\d+\.\d+(?:\.\d+)?$", told.strip().partition("\n")[0].strip())
    return match.group(0) if match else ""

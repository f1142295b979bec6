"""Find out what of GPU profiling is installed here and what is missing, without loading torch or a runtime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from fleetfront.errors import FleetfrontError
from fleetfront.profilers.gpu.nvml import import_nvml
from fleetfront.runtimes.catalogue import all_facts
from fleetfront.runtimes.cuda_device import TORCH_WITH_CUDA, driver_version, open_cuda_device
from fleetfront.runtimes.facts import Library


@dataclass(frozen=True, slots=True)
class GpuPart:
    """One thing that GPUs need: what is there (empty if it is missing), what for, and what to run to get it."""

    name: str
    found: str
    purpose: str
    install: str = ""

    @property
    def is_there(self) -> bool:
        """True if nothing has to be done for it."""
        return not self.install


def gpu_parts() -> tuple[GpuPart, ...]:
    """Driver, torch with CUDA, ONNX Runtime's providers, TensorRT and NVML, in the order in which they are needed."""
    driver = driver_version()
    return (
        GpuPart("NVIDIA driver", driver, "any use of a GPU", "" if driver else "Install NVIDIA's driver."),
        _torch(),
        *(_library(library) for facts in all_facts().values() for library in facts.libraries),
        *(_package(one.name, one.purpose, one.extra) for one in all_facts()["tensorrt"].packages),
        _nvml(driver),
        *_devices(driver),
    )


def _torch() -> GpuPart:
    purpose = "profiling in torch, and memory of TensorRT"
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return GpuPart("torch with CUDA", "", purpose, TORCH_WITH_CUDA)
    cuda = torch_cuda(Path(spec.origin).parent)
    version = importlib.metadata.version("torch")
    if not cuda:
        return GpuPart("torch with CUDA", f"{version}, built without CUDA", purpose, TORCH_WITH_CUDA)
    return GpuPart("torch with CUDA", f"{version}, CUDA {cuda}", purpose)


def torch_cuda(package: Path) -> str:
    """The CUDA version that the torch in the folder ``package`` was built with, empty for none."""
    try:
        text = (package / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return match.group(1) if match else ""


def _library(library: Library) -> GpuPart:
    spec = importlib.util.find_spec(library.module)
    if spec is None or not spec.origin:
        return GpuPart(library.title, "", library.purpose, library.install)
    if not any(Path(spec.origin).parent.glob(f"{library.file}.*")):
        return GpuPart(library.title, library.absent, library.purpose, library.replace)
    return GpuPart(library.title, "there", library.purpose)


def _package(name: str, purpose: str, extra: str) -> GpuPart:
    try:
        return GpuPart(name, importlib.metadata.version(name), purpose)
    except importlib.metadata.PackageNotFoundError:
        return GpuPart(name, "", purpose, f"pip install 'fleetfront[{extra}]'")


def _nvml(driver: str) -> GpuPart:
    part = _package("nvidia-ml-py", "a GPU's clocks, power, temperature and energy", "gpu")
    if not part.is_there or not driver:
        return part
    try:
        import_nvml()
    except FleetfrontError as error:
        return GpuPart(part.name, f"{part.found}, but {error.message}", part.purpose, error.remedy)
    return part


def _devices(driver: str) -> tuple[GpuPart, ...]:
    """The first GPU as torch sees it; loads torch, so only where there is a driver."""
    if not driver:
        return ()
    try:
        device = open_cuda_device("cuda:0")
    except FleetfrontError as error:
        return (GpuPart("cuda:0", error.message, "the GPU itself", error.remedy.removeprefix("Run: ")),)
    gib = device.memory_bytes / 2**30
    return (GpuPart("cuda:0", f"{device.name}, {device.compute_capability}, {gib:.0f} GiB", "the GPU itself"),)

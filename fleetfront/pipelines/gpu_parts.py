"""What of GPU profiling is installed here and what is missing, found out without loading torch or a runtime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from fleetfront.errors import FleetfrontError
from fleetfront.profilers.gpu.nvml import import_nvml
from fleetfront.runtimes.cuda_device import TORCH_WITH_CUDA, driver_version, open_cuda_device

_ORT_GPU = "pip uninstall onnxruntime && pip install onnxruntime-gpu"
#: ONNX Runtime's provider -> the library that its GPU wheel has.
_PROVIDERS = {
    "CUDA": ("onnxruntime_providers_cuda", "profiling .onnx files on a GPU"),
    "TensorRT": ("onnxruntime_providers_tensorrt", "the same through TensorRT"),
}


@dataclass(frozen=True, slots=True)
class GpuPart:
    """One thing that GPUs need: what is there (empty if it is missing), what for, and what to run to get it."""

    name: str
    found: str
    purpose: str
    install: str = ""

    @property
    def is_there(self) -> bool:
        """Whether nothing has to be done for it."""
        return not self.install


def gpu_parts() -> tuple[GpuPart, ...]:
    """Driver, torch with CUDA, ONNX Runtime's providers, TensorRT and NVML, in the order in which they are needed."""
    driver = driver_version()
    return (
        GpuPart("NVIDIA driver", driver, "any use of a GPU", "" if driver else "Install NVIDIA's driver."),
        _torch(),
        *(_provider(name, *described) for name, described in _PROVIDERS.items()),
        _package("tensorrt", "profiling in TensorRT, and writing plans", "tensorrt"),
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


def _provider(name: str, library: str, purpose: str) -> GpuPart:
    title = f"ONNX Runtime's {name} provider"
    spec = importlib.util.find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec is not None and spec.origin else None
    if folder is None:
        return GpuPart(title, "", purpose, "pip install onnxruntime-gpu")
    if not any(folder.glob(f"*{library}.*")):
        return GpuPart(title, "this ONNX Runtime is built without", purpose, _ORT_GPU)
    return GpuPart(title, "there", purpose)


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

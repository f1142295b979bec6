"""The state of an NVIDIA GPU around a visit, read through NVML. It only ever reads: no clock, limit or mode is changed.

Needs the package nvidia-ml-py (module ``pynvml``), which needs the driver's library. What a GPU does not tell is left
out. Written against https://docs.nvidia.com/deploy/nvml-api/; tested with a stand-in of the module, and run on an H200.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from fleetfront.errors import DeviceError, MissingDependency, missing
from fleetfront.runtimes.cuda_device import cuda_index

#: Reason in words -> the module's constant. Clocks below what the GPU could do: for heat, for power, or on purpose.
_REASONS = {
    "idle": "nvmlClocksEventReasonGpuIdle",
    "set by an application": "nvmlClocksEventReasonApplicationsClocksSetting",
    "power cap": "nvmlClocksEventReasonSwPowerCap",
    "hardware slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "sync boost": "nvmlClocksEventReasonSyncBoost",
    "thermal slowdown by software": "nvmlClocksEventReasonSwThermalSlowdown",
    "thermal slowdown by hardware": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "power brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
}
#: Reasons that make a visit one of a hot or ailing GPU. A power cap is not among them: many GPUs work at it for good.
THROTTLING = frozenset(
    {"hardware slowdown", "thermal slowdown by software", "thermal slowdown by hardware", "power brake"}
)


def import_nvml() -> Any:
    """The module ``pynvml``, initialised.

    Raises:
        MissingDependency: it is not installed, or the driver's library is not there.
    """
    try:
        pynvml: Any = import_module("pynvml")
    except ImportError as error:
        raise missing("nvidia-ml-py", "gpu", "Reading a GPU's clocks, power and temperature") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MissingDependency(
            f"NVML cannot be started ({error}).", "Install NVIDIA's driver; NVML is a part of it."
        ) from error
    return pynvml


def check_present(device: str) -> str:
    """Raise DeviceError for a ``cuda:N`` beyond the GPUs of this machine; say why, where nothing is known of them."""
    try:
        module = import_nvml()
    except MissingDependency as error:
        return f"Whether there is a {device} is not known: {error.message}"
    count = int(module.nvmlDeviceGetCount())
    if cuda_index(device) >= count:
        raise DeviceError(f"There is no {device}: this machine has {count} GPUs.", "`fleetfront doctor` lists them.")
    return ""


class Nvml:
    """One GPU as NVML sees it."""

    def __init__(self, uuid: str, index: int, module: Any | None = None) -> None:
        """Find the GPU by ``uuid``, or by ``index`` where the uuid is empty: NVML ignores CUDA_VISIBLE_DEVICES.

        Raises:
            MissingDependency: see ``import_nvml``.
            DeviceError: NVML does not know the GPU.
        """
        self._nvml = import_nvml() if module is None else module
        try:
            if uuid:
                self._handle = self._by_uuid(uuid)
            else:
                self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except self._nvml.NVMLError as error:
            raise DeviceError(f"NVML does not know the GPU {uuid or index} ({error}).", "See: nvidia-smi -L") from error

    def _by_uuid(self, uuid: str) -> Any:
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError:
            # CUDA tells the 16 bytes alone, so a slice of a GPU (MIG) looks like one. Clocks are those of the whole.
            part = nvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))
            return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)

    def describe(self) -> dict[str, Any]:
        """Describe what stays: name, driver, highest clocks in MHz, power limit in watts, MIG and persistence."""
        nvml, handle = self._nvml, self._handle
        found = {
            "gpu": self._ask(lambda: _text(nvml.nvmlDeviceGetName(handle))),
            "driver": self._ask(lambda: _text(nvml.nvmlSystemGetDriverVersion())),
            "max_sm_mhz": self._ask(lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))),
            "max_memory_mhz": self._ask(lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            "power_limit_w": self._ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
            "mig": self._ask(lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0])),
            "persistence": self._ask(lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle))),
        }
        return {name: value for name, value in found.items() if value is not None}

    def read(self) -> dict[str, Any]:
        """Read what changes, in the words that ``discards`` knows where it knows them: ``frequency_khz`` (of the SMs).

        Besides ``memory_mhz``, ``power_w``, ``temperature_c``, ``clock_reasons`` (in words) and
        ``computing_processes``, of which this one is one once it has a context on the GPU. (Its own cannot be told
        from others: in a container, NVML gives numbers that processes have outside.)
        """
        nvml, handle = self._nvml, self._handle
        sm_mhz = self.sm_mhz()
        found = {
            "frequency_khz": None if sm_mhz is None else round(1000 * sm_mhz),
            "memory_mhz": self._ask(lambda: int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            "power_w": self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            "temperature_c": self._ask(lambda: int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            "clock_reasons": self._ask(self._reasons),
            "computing_processes": self._ask(lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        }
        return {name: value for name, value in found.items() if value is not None}

    def sm_mhz(self) -> float | None:
        """Clock of the multiprocessors, None if it is not told."""
        nvml = self._nvml
        rate: float | None = self._ask(lambda: float(nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM)))
        return rate

    def energy_mj(self) -> int | None:
        """The whole board's energy since the driver was loaded, millijoules; None before Volta or where it is hidden.

        The counter steps every 20 to 100 ms, so it says nothing of a few runs.
        """
        nvml = self._nvml
        energy: int | None = self._ask(lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)))
        return energy

    def _reasons(self) -> list[str]:
        bits = int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))
        return [word for word, constant in _REASONS.items() if bits & int(getattr(self._nvml, constant, 0))]

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer, None where this GPU or driver has none."""
        try:
            return question()
        except (self._nvml.NVMLError, AttributeError):
            # An older nvidia-ml-py lacks the function, an older driver the symbol, a virtual GPU the permission.
            return None


def is_throttling(conditions: dict[str, Any]) -> bool:
    """Tell whether what ``read`` gave speaks of a hot or ailing GPU."""
    return not THROTTLING.isdisjoint(conditions.get("clock_reasons", ()))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

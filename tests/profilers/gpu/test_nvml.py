"""Ask NVML, and keep its answers in our units, with a stand-in of the module ``pynvml``; never a setting."""

from types import SimpleNamespace
from typing import Any

import pytest

from fleetfront.errors import DeviceError, MissingDependency
from fleetfront.profilers.gpu.nvml import Nvml, import_nvml, is_throttling


class NotSupported(Exception):
    pass


class FakeNvml:
    """The functions of nvidia-ml-py that are used, under its own names; anything that sets is not there."""

    NVMLError = NotSupported
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    nvmlClocksEventReasonGpuIdle = 0x1
    nvmlClocksEventReasonSwPowerCap = 0x4
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40

    def __init__(self, reasons: int = 0, supported: bool = True) -> None:
        self.reasons, self.supported, self.asked = reasons, supported, list[str]()

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetName": b"NVIDIA Test",
            "nvmlSystemGetDriverVersion": "570.86.15",
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetPersistenceMode": 1,
            "nvmlDeviceGetClockInfo": 1755,
            "nvmlDeviceGetPowerUsage": 312_345,
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetCurrentClocksEventReasons": self.reasons,
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=4711), SimpleNamespace(pid=1)],
            "nvmlDeviceGetTotalEnergyConsumption": 123_456_789,
        }
        if name not in answers:
            raise AttributeError(name)

        def ask(*_: object) -> Any:
            self.asked.append(name)
            if not self.supported and "Handle" not in name:
                raise NotSupported("Not Supported")
            return answers[name]

        return ask


def test_units_and_words() -> None:
    module = FakeNvml(0x4 | 0x40)
    nvml = Nvml("GPU-1", 0, module)
    assert nvml.describe() == {
        "gpu": "NVIDIA Test",
        "driver": "570.86.15",
        "max_sm_mhz": 1980,
        "max_memory_mhz": 1980,
        "power_limit_w": 700.0,
        "mig": False,
        "persistence": True,
    }
    state = nvml.read()
    assert state == {
        "frequency_khz": 1_755_000,
        "memory_mhz": 1755,
        "power_w": 312.345,
        "temperature_c": 61,
        "clock_reasons": ["power cap", "thermal slowdown by hardware"],
        "computing_processes": 2,
    }
    assert is_throttling(state)
    assert not is_throttling(Nvml("", 0, FakeNvml(0x1 | 0x4)).read())
    assert nvml.energy_mj() == 123_456_789
    assert module.asked[0] == "nvmlDeviceGetHandleByUUID"
    assert not any("Set" in name for name in module.asked)


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    nvml = Nvml("", 1, FakeNvml(supported=False))
    assert (nvml.read(), nvml.describe(), nvml.energy_mj(), nvml.sm_mhz()) == ({}, {}, None, None)
    assert not is_throttling({})


def test_an_unknown_gpu_is_said() -> None:
    class Unknown(FakeNvml):
        def nvmlDeviceGetHandleByUUID(self, _: str) -> str:
            raise NotSupported("Not Found")

    with pytest.raises(DeviceError, match="GPU-9"):
        Nvml("GPU-9", 0, Unknown())


def test_a_slice_of_a_gpu_is_read_through_the_whole() -> None:
    class Sliced(FakeNvml):
        def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
            if uuid != "MIG-9":
                raise NotSupported("Not Found")
            return "slice"

        def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, part: str) -> str:
            return f"whole of {part}"

        def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
            assert handle == "whole of slice"
            return 250_000

    assert Nvml("GPU-9", 0, Sliced()).read()["power_w"] == 250.0


def test_the_real_module_has_every_name_that_is_asked_for() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    module = FakeNvml(0xFF)
    nvml = Nvml("GPU-1", 0, module)
    nvml.describe(), nvml.read(), nvml.energy_mj()
    constants = ("NVMLError", "NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU", "nvmlInit")
    from fleetfront.profilers.gpu import nvml as ours

    slices = "nvmlDeviceGetDeviceHandleFromMigDeviceHandle"
    for name in (*module.asked, slices, *constants, *ours._REASONS.values()):
        assert hasattr(pynvml, name), name


def test_a_machine_without_driver_is_told_what_is_missing() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(MissingDependency, match="NVML cannot be started"):
            import_nvml()
    else:
        assert import_nvml() is pynvml

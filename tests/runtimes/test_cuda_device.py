"""Names of CUDA devices, and the words for a machine without one."""

import sys
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError, InputError, MissingDependency
from fleetfront.runtimes.cuda_device import (
    cuda_index,
    driver_version,
    has_context,
    open_cuda_device,
    why_no_device,
)


def test_names() -> None:
    assert [cuda_index(name) for name in ("cuda", "cuda:0", "cuda:11")] == [0, 0, 11]
    for name in ("cuda:", "cuda:-1", "cuda:a", "cudax"):
        with pytest.raises(InputError, match="cuda:0"):
            cuda_index(name)


def test_each_way_of_having_no_gpu_has_its_own_remedy() -> None:
    no_driver = why_no_device("2.13.0", "12.6", "")
    assert isinstance(no_driver, DeviceError)
    assert "no NVIDIA driver" in no_driver.message
    cpu_build = why_no_device("2.13.0+cpu", "", "570.86.15")
    assert isinstance(cpu_build, MissingDependency)
    assert cpu_build.remedy.startswith("Run: pip install torch")
    hidden = why_no_device("2.13.0", "12.6", "570.86.15")
    assert isinstance(hidden, DeviceError)
    assert "CUDA_VISIBLE_DEVICES" in hidden.remedy


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC 12\n",
            "550.54.14",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release Build\n", "580.65"),
        ("something else\n", ""),
    ],
)
def test_the_driver_is_read_from_the_kernel(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == version
    assert driver_version(tmp_path / "absent", ("no-such-program",)) == ""


@pytest.mark.parametrize(
    ("said", "version"),
    [("580.159.04\n580.159.04", "580.159.04"), ("Failed to initialize NVML: Driver/library version mismatch", "")],
)
def test_where_proc_hides_the_driver_its_own_program_is_asked(tmp_path: Path, said: str, version: str) -> None:
    ask = (sys.executable, "-c", f"print({said!r})")
    assert driver_version(tmp_path / "absent", ask) == version
    assert driver_version(tmp_path / "absent", (sys.executable, "-c", "raise SystemExit(9)")) == ""


def test_a_process_that_has_not_begun_is_none_of_those_that_compute() -> None:
    pytest.importorskip("torch")
    if not driver_version():
        assert not has_context(0)


@pytest.mark.skipif(bool(driver_version()), reason="an NVIDIA GPU is here")
def test_this_machine_has_none() -> None:
    pytest.importorskip("torch")
    with pytest.raises(DeviceError, match="sees no CUDA device"):
        open_cuda_device("cuda:0")

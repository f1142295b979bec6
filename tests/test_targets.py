"""Targets are spelled and read back, those behind other hosts, too, whose devices hold a slash themselves."""

import pytest

from fleetfront.errors import InputError
from fleetfront.targets import Target, precision_in, split_spelled, with_precision

FAR = ("ssh:pi/cpu", "ssh:me@pi.lan:2222/cuda:0", "ssh:bench_1/adb:192.168.1.5:5555@10.0.0.2:5038")


@pytest.mark.parametrize("device", ["cpu", "cuda:0", "adb:R58@desk2", *FAR])
def test_a_target_is_read_back_whole(device: str) -> None:
    target = Target(device, "litert", "int8", 2, 4, "gpu")
    spelled = str(target)
    assert Target.parse(spelled) == target
    assert split_spelled(spelled) == [device, "litert", "int8", "t2", "b4", "gpu"]
    assert precision_in(spelled) == "int8"
    assert with_precision(spelled, "fp32,int8") == f"{device}/litert/fp32,int8/t2/b4/gpu"
    assert "/" not in target.file_stem


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cpu", ["cpu"]),
        ("cpu/litert/int8", ["cpu", "litert", "int8"]),
        ("ssh:pi/cpu", ["ssh:pi/cpu"]),
        ("ssh:pi/cpu/litert", ["ssh:pi/cpu", "litert"]),
        ("ssh:pi", ["ssh:pi"]),
        ("", [""]),
        ("all/litert", ["all", "litert"]),
    ],
)
def test_a_narrowed_device_is_split_behind_the_device(name: str, parts: list[str]) -> None:
    assert split_spelled(name) == parts


@pytest.mark.parametrize(
    "device", ["ssh:-oProxyCommand=x/cpu", "ssh:/cpu", "ssh:pi/", "ssh:a b/cpu", "ssh:pi;x/cpu", "ssh:@pi/cpu"]
)
def test_a_host_that_ssh_would_take_for_something_else_is_no_device(device: str) -> None:
    with pytest.raises(InputError):
        Target(device, "litert")


def test_files_of_devices_behind_hosts_are_told_apart() -> None:
    one, other = (Target(f"ssh:{host}/cpu", "litert") for host in ("a@b", "a_b"))
    assert one.unmarked_file_stem == other.unmarked_file_stem
    assert one.file_stem != other.file_stem
    assert one.file_stem.startswith("ssh_a_b_cpu~")
    assert one.file_stem.endswith("_litert_fp32_t1_b1")
    assert Target("adb:R58", "tflite-cpu").file_stem == "adb_R58_tflite-cpu_fp32_t1_b1", "as ever"

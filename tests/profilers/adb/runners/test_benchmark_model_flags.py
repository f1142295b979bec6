"""Flags of ``benchmark_model`` by version and delegate, and logs of an NPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.adb.runners.benchmark_model import BenchmarkModelRunner, Found
from fleetfront.profilers.adb.runners.benchmark_model_output import undelegated
from fleetfront.targets import Target

FOUND = Found(Path("benchmark_model"), None, "0" * 64)


def runner(is_litert_2: bool, **options: object) -> BenchmarkModelRunner:
    made = BenchmarkModelRunner(FOUND, **options)  # type: ignore[arg-type]
    made._is_litert_2 = is_litert_2
    return made


def test_an_npu_is_reached_through_its_vendors_library_alone() -> None:
    told = runner(True, npu_libraries="/data/local/tmp/my npu").command(Target("adb:x", "tflite-npu"), 0)
    assert "--use_npu=true" in told
    assert "--use_cpu=false" in told
    assert "--require_full_delegation=true" in told
    assert "--dispatch_library_path='/data/local/tmp/my npu'" in told
    with pytest.raises(InputError, match=r"no LiteRT 2\.x"):
        runner(False).command(Target("adb:x", "tflite-npu"), 0)


def test_operators_are_profiled_when_asked() -> None:
    target = Target("adb:x", "tflite-cpu")
    assert "--enable_op_profiling=true" in runner(True, with_operators=True).command(target, 0)
    assert "--enable_op_profiling" not in runner(True).command(target, 0)


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("Replacing 1 out of 1 node(s) with delegate (DispatchDelegate) node, yielding 1 partitions", None),
        ("Replacing 3 out of 9 node(s) with delegate (DispatchDelegate) node, yielding 2 partitions", "whole model"),
        ("Replacing 9 out of 9 node(s) with delegate (TfLiteXNNPackDelegate) node", "nothing in the log"),
        ("", "nothing in the log"),
    ],
)
def test_an_npu_is_believed_only_if_the_log_proves_it(log: str, why: str | None) -> None:
    found = undelegated("tflite-npu", [log] if log else [])
    assert found is None if why is None else found is not None and why in found

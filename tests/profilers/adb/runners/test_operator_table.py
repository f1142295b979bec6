"""Operator profiles that ``benchmark_model`` really printed, in both of their forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetfront.profilers.adb.runners.benchmark_model_output import parse_report
from fleetfront.profilers.adb.runners.operator_table import ProfiledOperator, parse_operators


def test_the_table_of_commas_is_read(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "own_run_android_armv7_opprof_csv.txt").read_text()
    # The profile of loading, which comes first, is no operator of the runs.
    expected = ProfiledOperator("[serving_default_output_0_output]:0", "FULLY_CONNECTED", 0.0119477)
    assert parse_operators(text) == (expected,)


def test_the_table_of_tabs_is_read(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "public_tf2.8_sci_notation_opprof_table_riscv.txt").read_text()
    rows = parse_operators(text)
    assert [(row.kind, row.ms) for row in rows] == [
        ("CONV_2D", 60.957),
        ("DEPTHWISE_CONV_2D", 49.87),
        ("SQUEEZE", 0.017),
        ("SOFTMAX", 0.233),
    ]
    assert rows[0].name == "[MobilenetV1/MobilenetV1/Conv2d_0/Relu6]:0"
    # The measured runs beside it are still those before the summary.
    assert parse_report(text).measured is not None


@pytest.mark.parametrize(
    "name",
    ["public_tf2.3_cpu_opprof_issue42507.txt", "own_run_android_armv7_tf2.x_ok.txt", "own_run_android_armv7_gpu.txt"],
)
def test_a_log_without_a_whole_table_tells_nothing(shared_data: Path, name: str) -> None:
    assert parse_operators((shared_data / "benchmark_model" / name).read_text()) == ()

"""Tables of deployed files say each number once, and leave out what nobody knows."""

from dataclasses import replace

from fleetfront.quantities import UNKNOWN
from fleetfront.report.sections.deployed import (
    DeployedFile,
    accuracy_table,
    app_table,
    deployed_figures,
    latency_table,
    promise_table,
)

FILE = DeployedFile(
    "net", "a", "net/net.onnx", "onnx", "fp32", 2_000_000, "cpu/onnxruntime/fp32/t1/b1", "wall",
    1.0, 0.05, "measured", 1.1, None, "", None, None, "random", held=("0.90 to 1.1: held", "1.0 to 1.05: missed"),
)  # fmt: skip


def test_each_promise_has_a_column_of_its_own():
    (row,) = promise_table([FILE]).rows
    assert row[2:] == ("cpu/onnxruntime/fp32/t1/b1", "1.10", "0.90 to 1.1: held", "1.0 to 1.05: missed")
    assert latency_table([FILE]).rows[0][-1] == "+10.0 %"


def test_files_that_nothing_was_promised_of_have_no_row_of_promises():
    unpromised = replace(FILE, bundle="other", held=("", ""))
    assert [row[0] for row in promise_table([FILE, unpromised]).rows] == ["net"]
    assert promise_table([unpromised]).rows == ()


def test_columns_that_nothing_is_known_of_are_left_out():
    unmeasured = replace(FILE, measured_ms=None)
    assert latency_table([unmeasured]).headers[-1] == "predicted ms"
    assert len(latency_table([unmeasured, FILE]).headers) == 6
    table = accuracy_table([FILE])
    assert table.headers == ("network", "file", "size", "weights")
    assert table.rows == (("net", "onnx fp32", "2.0 MB", "random"),)
    assert table.numeric == {2}


def test_a_file_of_two_targets_has_one_size():
    other = replace(FILE, target="pixel3/onnxruntime/fp32/t1/b1")
    assert len(latency_table([FILE, other]).rows) == 2
    assert len(accuracy_table([FILE, other]).rows) == 1


def test_a_broken_bundle_says_why_where_its_latency_would_stand():
    broken = replace(FILE, problem="Its manifest is damaged.")
    assert latency_table([FILE, broken]).rows[1][:3] == ("net", UNKNOWN, "Its manifest is damaged.")
    assert accuracy_table([broken]).rows == app_table([broken]).rows == ()


def test_an_app_feels_four_latencies():
    (row,) = app_table([replace(FILE, app_ms=(3.0, 1.0, 1.2, 1.1))]).rows
    assert row[2:] == ("cpu/onnxruntime/fp32/t1/b1", "3.00", "1.00", "1.20", "1.10")


def test_labels_of_a_networks_files_differ_where_long_ones_are_cut():
    names = [replace(FILE, bundle="k" * 60, path=precision, precision=precision) for precision in ("fp32", "int8")]
    (figure,) = deployed_figures(names)
    assert {row["file"][:9] for row in figure.spec["data"]["values"]} == {"onnx fp32", "onnx int8"}

"""Tables of deployed files say each number once, and leave out what nobody knows."""

from dataclasses import replace

from fleetfront.report.sections.deployed import DeployedFile, accuracy_table, app_table, latency_table

FILE = DeployedFile(
    "net", "a", "net/net.onnx", "onnx", "fp32", 2_000_000, "cpu/onnxruntime/fp32/t1/b1", "wall",
    1.0, 0.05, "measured", 1.1, None, "", None, None, "random", held=("0.90 to 1.1: held", "1.0 to 1.05: missed"),
)  # fmt: skip


def test_each_promise_has_a_column_of_its_own():
    (row,) = latency_table([FILE]).rows
    assert row[-3:] == ("+10.0 %", "0.90 to 1.1: held", "1.0 to 1.05: missed")


def test_columns_that_nothing_is_known_of_are_left_out():
    unpromised = replace(FILE, held=("", ""))
    assert latency_table([unpromised]).headers[-1] == "measured against predicted"
    assert len(latency_table([unpromised, FILE]).headers) == 8
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
    assert latency_table([broken]).rows[0][:2] == ("net", "Its manifest is damaged.")
    assert accuracy_table([broken]).rows == app_table([broken]).rows == ()


def test_an_app_feels_four_latencies():
    (row,) = app_table([replace(FILE, app_ms=(3.0, 1.0, 1.2, 1.1))]).rows
    assert row[2:] == ("cpu/onnxruntime/fp32/t1/b1", "3.00", "1.00", "1.20", "1.10")

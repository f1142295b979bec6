"""Operators of a file find the times that runtimes tell under names of their own."""

from __future__ import annotations

from pathlib import Path

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.graphs.readers.file import read_graph
from fleetfront.pipelines.measure.file_operators import scale_times, told_groups
from fleetfront.predictors.operators.samples import Sample
from fleetfront.profilers.cpu.file_operators import time_file_operators
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.runtimes.operator_times import OperatorTime, OperatorTimes
from fleetfront.targets import Target


def test_what_is_fused_is_found_in_the_time_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "chain.onnx"
    path.write_bytes(write_onnx(Sample.parse("1x32x14x14|conv:64x3x3x1x1|relu6|conv:64x1x1x1x1").graph()))
    graph, times = read_graph(path), time_file_operators(load_runtime("onnxruntime"), path)
    first, cut, second = (operator.outputs[0] for operator in graph.operators)
    groups = told_groups(graph, times)
    assert groups[first] == groups[cut] != groups[second]
    assert times.operators[groups[first]].kind == times.operators[groups[second]].kind == "Conv"


def test_a_bias_is_part_of_its_product(tmp_path: Path) -> None:
    path = tmp_path / "product.onnx"
    path.write_bytes(write_onnx(Sample.parse("1x16x32|linear:24").graph()))
    graph, times = read_graph(path), time_file_operators(load_runtime("onnxruntime"), path)
    assert {times.operators[place].kind for place in told_groups(graph, times).values()} == {"Gemm"}


def test_shares_of_a_small_part_of_the_time_say_so() -> None:
    few, target = OperatorTimes((OperatorTime("a", "Conv", 0.4),), 0.0, "cutting"), Target("cpu", "litert")
    assert "0.4 of 1 ms" in scale_times(Path("f.tflite"), "0" * 64, target, 1.0, few).notes[0]
    assert not scale_times(Path("f.tflite"), "0" * 64, target, 0.7, few).notes

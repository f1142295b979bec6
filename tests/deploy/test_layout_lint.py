"""Counting what a file holds beside its arithmetic."""

import numpy as np
import pytest

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.contract import InputContract, contracted
from fleetfront.deploy.formats import FORMATS, FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini

EACH = pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)


def network() -> Graph:
    space = ofa_mbv3_mini()
    return space.subnet_graphs(space.sample(1, np.random.default_rng(2))[0])["network"][0]


@EACH
def test_a_float_cnn_has_nothing_it_does_not_need(kind: FileFormat) -> None:
    report = lint_layout(kind.write(network()), kind.name, "fp32", InputContract())
    assert (report.transposes, report.casts, report.undelegated) == (0, 0, ())
    assert report.is_clean
    assert sum(report.operators.values()) >= 40


@EACH
def test_a_contract_may_cost_what_it_asks_for(kind: FileFormat) -> None:
    contract = InputContract(input="uint8", onnx_layout="NHWC")
    graph = contracted(kind.half(network()), contract, kind.layout, Preprocessing(32))
    report = lint_layout(kind.write(graph), kind.name, "fp16", contract)
    assert report.is_clean
    assert report.to_dict()["needless"] == 0
    assert report.casts == (3 if kind.name == "onnx" else 1)
    assert report.transposes == (1 if kind.name == "onnx" else 0)


@EACH
def test_needless_work_is_counted(kind: FileFormat) -> None:
    b = GraphBuilder("back and forth")
    x = b.add("transpose", [b.input("input", (1, 3, 4, 5), layout="NCHW")], permutation=(0, 1, 3, 2))
    graph = b.build([b.add("cast", [x], dtype="int32")])
    report = lint_layout(kind.write(graph), kind.name, "fp32", InputContract())
    assert not report.is_clean
    assert report.to_dict()["needless"] == 2

"""Count what runtimes execute of a cell that merge equal operators or run branches side by side, by hand."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fleetfront.predictors.few_shot.prior import robust_least_squares
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.spaces.base import Mode
from fleetfront.spaces.nasbench201 import graph
from fleetfront.spaces.nasbench201.execution import dearest_path, merged_edges, shared_edges
from fleetfront.spaces.nasbench201.graph import CELLS, STAGES
from fleetfront.spaces.nasbench201.space import NasBench201Space

SPACE = NasBench201Space()
POOLS = "|avg_pool_3x3~0|+|avg_pool_3x3~0|none~1|+|avg_pool_3x3~0|skip_connect~1|skip_connect~2|"
REVERSED = "|skip_connect~0|+|skip_connect~0|avg_pool_3x3~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_1x1~2|"
TWINS = "|skip_connect~0|+|avg_pool_3x3~0|none~1|+|avg_pool_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|"
CONVS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("cell", "executed", "sums"),
    [
        # One pooling of the input serves three edges. Node 2 adds a product with zero, node 3 three terms.
        (POOLS, [True, False, True, False, True, True], 3),
        # Node 1 is the input, so its pooling and those of the input are one.
        (TWINS, [True, True, True, False, False, True], 3),
        # Convolutions have weights of their own. The products with zero are of three different nodes.
        (CONVS, [True, True, True, True, False, True], 3),
    ],
)
def test_equal_operators_run_once(cell: str, executed: list[bool], sums: int) -> None:
    edges, counted = merged_edges(SPACE.parse([cell]))
    assert edges[0].tolist() == executed
    assert counted.tolist() == [sums]


@pytest.mark.parametrize(
    ("cell", "executed", "activated", "sums"),
    [
        # Dead edges are no poolings; node 3 adds the pooling, twice over.
        (POOLS, [True, False, False, False, True, True], [False] * 6, [False, True, True]),
        # Both convolutions of the input read one activation. Node 3 is node 2 with another convolution.
        (
            "|nor_conv_1x1~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|",
            [True, True, True, False, True, True],
            [False, True, False, False, False, False],
            [True, False, True],
        ),
        # x + pool(x) is summed at node 2, and the other way round at node 3.
        (
            "|avg_pool_3x3~0|+|skip_connect~0|skip_connect~1|+|avg_pool_3x3~0|skip_connect~1|skip_connect~2|",
            [True, True, True, False, True, True],
            [False] * 6,
            [True, True, True],
        ),
        (
            REVERSED,
            [True, True, True, False, True, True],
            [False] * 6,
            [True, False, True],
        ),
    ],
)
def test_files_hold_equal_operators_once(
    cell: str, executed: list[bool], activated: list[bool], sums: list[bool]
) -> None:
    cells = SPACE.parse([cell])
    found = shared_edges(cells, SPACE.live_edges(cells))
    assert [columns[0].tolist() for columns in found] == [executed, activated, sums]


def test_blocks_count_the_operators_of_files() -> None:
    cells = SPACE.sample(60, np.random.default_rng(5))
    for cell, row in zip(cells, SPACE.block_indices(cells), strict=True):
        of_blocks = Counter(
            operator.family for at in row[row >= 0] for operator in graph.write_block(SPACE.vocabulary[at]).operators
        )
        network = SPACE.live_graph(cell)
        if SPACE.disconnected(cell[None])[0]:
            of_blocks["multiply"] += CELLS * len(STAGES)
        assert Counter(operator.family for operator in network.operators) == of_blocks


@pytest.mark.parametrize("cell", [POOLS, TWINS, REVERSED])
def test_sharing_leaves_the_function_alone(cell: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch, ort = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    from fleetfront.graphs.torch_module import TorchModule
    from tests.deploy.written import agree

    genotype = SPACE.parse([cell])[0]
    shared = SPACE.subnet_graphs(genotype)["network"][0]
    monkeypatch.setattr(graph, "share_equal", lambda made: made)
    apart = SPACE.subnet_graphs(genotype)["network"][0]
    images = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = TorchModule(apart).eval()(images)
        assert torch.equal(TorchModule(shared).eval()(images), expected)
    # The runtime finds nothing more to share: what it runs are the poolings of the file.
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    ort.InferenceSession(agree(shared)[0], options, providers=["CPUExecutionProvider"])
    import onnx

    run = Counter(node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node)
    held = Counter(operator.family for operator in shared.operators)
    assert run["AveragePool"] == held["average_pool2d"] < sum(o.family == "average_pool2d" for o in apart.operators)


def test_branches_side_by_side_take_as_long_as_the_dearest() -> None:
    cells = SPACE.parse(
        [
            "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|nor_conv_3x3~0|skip_connect~1|skip_connect~2|",
            "|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_1x1~1|none~2|",
            "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        ]
    )
    edges, sums = dearest_path(cells, SPACE.live_edges(cells))
    # Two 3 x 3 convolutions on the way over nodes 1 and 2; one 3 x 3 against two 1 x 1; nothing at all.
    assert edges[0].tolist() == [True, False, True, False, False, True]
    assert edges[1].tolist() == [False, False, False, True, False, False]
    assert not edges[2].any()
    assert sums.tolist() == [3, 1, 0]


def test_a_runtime_that_merges_is_linear_in_what_is_left(shared_data: Path) -> None:
    with (shared_data / "nb201/pi5_torchmobile.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["index"] == row["rep_index"]]
    cells = SPACE.parse([row["arch"] for row in rows])
    ms = np.array([float(row["lat_pi5_torchmobile_cifar100"]) for row in rows])
    work = NetworkWork(SPACE)
    errors = {}
    for mode in work.modes:
        columns = work(cells, mode)
        design = np.column_stack([np.ones(len(cells)), columns[:, columns.std(axis=0) > 0]])
        design /= design.mean(axis=0)
        errors[mode] = np.mean(np.abs(design @ robust_least_squares(design, ms) / ms - 1))
    assert errors[Mode.MERGED] < 0.02
    assert errors[Mode.SHARED] > 2 * errors[Mode.MERGED]
    others = set(errors) - {Mode.MERGED, Mode.SHARED}
    assert min(errors[mode] for mode in others) > 4 * errors[Mode.MERGED]

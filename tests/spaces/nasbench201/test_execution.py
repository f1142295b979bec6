"""Count what runtimes execute of a cell that merge equal operators or run branches side by side, by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fleetfront.predictors.few_shot.prior import robust_least_squares
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.spaces.base import Mode
from fleetfront.spaces.nasbench201.execution import dearest_path, merged_edges
from fleetfront.spaces.nasbench201.space import NasBench201Space

SPACE = NasBench201Space()
POOLS = "|avg_pool_3x3~0|+|avg_pool_3x3~0|none~1|+|avg_pool_3x3~0|skip_connect~1|skip_connect~2|"
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
    assert min(error for mode, error in errors.items() if mode is not Mode.MERGED) > 4 * errors[Mode.MERGED]

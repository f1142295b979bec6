"""Time that groups of operators save in layouts, counted by hand."""

import numpy as np
import pytest

from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.predictors.operators.kernels import graph_kernels
from fleetfront.predictors.operators.rules import Rules, group_kernels


def chain(*between: str) -> Graph:
    """A convolution to 16 channels of 8x8, what lies between, and one more."""
    builder = GraphBuilder("chain")
    data = builder.input("x", (1, 16, 8, 8), layout="NCHW")
    for stage in ("", *between):
        if stage:
            data = builder.add(stage, (data,))
        else:
            data = builder.conv2d(data, builder.weight("a", np.ones((16, 16, 1, 1), np.float32)))
    return builder.build([builder.conv2d(data, builder.weight("b", np.ones((16, 16, 1, 1), np.float32)))])


RULES = Rules((), ("pointwise",), ("sigmoid",), saved_ms=2.0)
#: Half of 2 ms a million elements, for 1,024 of them.
END_MS = 0.001024


@pytest.mark.parametrize(
    ("between", "saved"),
    [
        ((), (END_MS, END_MS)),
        (("sigmoid",), (END_MS, 0.0, END_MS)),
        (("sigmoid", "sigmoid"), (END_MS, 0.0, 0.0, END_MS)),
        (("hard_swish",), (0.0, 0.0, 0.0)),
        (("sigmoid", "hard_swish"), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_neighbours_in_one_layout_save_half_at_each_end(between, saved):
    groups = group_kernels(graph_kernels(chain(*between)), RULES)
    assert [group.saved_ms for group in groups] == pytest.approx(saved)


def test_rules_that_name_no_saving_save_nothing():
    groups = group_kernels(graph_kernels(chain()), Rules((), ("pointwise",), ("sigmoid",)))
    assert [group.saved_ms for group in groups] == [0.0, 0.0]

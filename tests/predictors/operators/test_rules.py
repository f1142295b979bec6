"""Time that groups of operators save in layouts, counted by hand."""

import numpy as np
import pytest

from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.predictors.operators.costs import group_ms
from fleetfront.predictors.operators.kernels import graph_kernels
from fleetfront.predictors.operators.rules import ChainTest, Rules, find_rules, group_kernels
from fleetfront.predictors.operators.samples import Sample


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


def saved_ms(key: str, rules: Rules) -> list[float]:
    return [group.saved_ms for group in group_kernels(graph_kernels(Sample.parse(key).graph()), rules)]


def test_few_channels_are_read_as_they_are_and_written_in_blocks() -> None:
    """The first changes its result back for the second, which saves nothing where it reads, but where it writes."""
    few = "1x16x8x8|conv:8x1x1x1x1|conv:16x1x1x1x1|conv:16x1x1x1x1"
    assert saved_ms(few, RULES) == pytest.approx([0.0, END_MS, END_MS])


def test_convolutions_that_are_not_in_blocks_save_nothing() -> None:
    assert saved_ms("1x16x8x8|conv:18x1x1x1x1|conv:16x1x1x1x1|conv:16x1x1x1x1", RULES) == pytest.approx([0.0] * 3)


@pytest.mark.parametrize(("channels", "saves"), [(16, True), (20, False)])
def test_parts_of_whole_blocks_are_joined_as_they_are(channels: int, saves: bool) -> None:
    builder = GraphBuilder("joined")
    data = builder.input("x", (1, channels, 8, 8), layout="NCHW")

    def conv(data: str, name: str, inner: int) -> str:
        return builder.conv2d(data, builder.weight(name, np.ones((channels, inner, 1, 1), np.float32)))

    pair = [conv(data, name, channels) for name in "ab"]
    joined = builder.add("concat", pair, axis=1)
    graph = builder.build([conv(joined, "c", 2 * channels)])
    rules = Rules((), ("pointwise",), ("concat",), saved_ms=2.0)
    saved = [group.saved_ms for group in group_kernels(graph_kernels(graph), rules)]
    assert [one > 0 for one in saved] == [saves, saves, False, saves]


@pytest.mark.parametrize(("scale", "saves"), [(2, True), (1, False)])
def test_pixels_that_are_repeated_stay_in_blocks(scale: int, saves: bool) -> None:
    """Averaged ones are half as many, and no multiple."""
    stage = "resize:2x1" if scale == 2 else "resize:2x1x2"
    rules = Rules((), ("pointwise",), ("resize linear", "resize linear antialias"), saved_ms=2.0)
    saved = saved_ms(f"1x16x8x8|conv:16x1x1x1x1|{stage}|conv:16x1x1x1x1", rules)
    assert [one > 0 for one in saved] == [saves, False, saves]


def pair(melements: float, saved: float) -> ChainTest:
    parts = (0.01 + melements,) * 2
    return ChainTest("layout", ("pointwise", "pointwise"), sum(parts) - saved, parts, melements)


def test_what_pairs_save_is_told_by_tensors_and_by_elements() -> None:
    rules = find_rules([pair(size, 0.004 + 0.2 * size) for size in (0.001, 0.01, 0.1, 0.3)])
    assert (rules.saved_each_ms, rules.saved_ms) == pytest.approx((0.004, 0.2))
    small = "1x16x2x2|conv:16x1x1x1x1|conv:16x1x1x1x1"
    assert saved_ms(small, rules) == pytest.approx([0.002 + 0.1 * 64e-6] * 2)


def test_linear_layers_of_one_matrix_are_asked_by_themselves() -> None:
    """Runtimes look behind a matrix, and not behind a batch of one."""

    def test(head: str, whole: float) -> list[ChainTest]:
        return [ChainTest("fused", (head, "relu"), whole, (1.0, 0.1), 0.1)] * 4

    rules = find_rules(
        [*test("linear flat", 1.0), *test("linear", 1.1), *test("pointwise", 1.0), *test("depthwise", 1.1)]
    )
    assert rules.fused == (("linear flat", "relu"),)
    for shape, groups in (("16x32", 1), ("1x16x32", 2)):
        kernels = graph_kernels(Sample.parse(f"{shape}|linear:8|relu").graph())
        assert len(group_kernels(kernels, rules)) == groups


@pytest.mark.parametrize("channels", [16, 18, 8])
def test_activations_vanish_behind_convolutions_of_whichever_channels(channels: int) -> None:
    rules = Rules((("pointwise", "relu"), ("depthwise", "relu")))
    kernels = graph_kernels(Sample.parse(f"1x{channels}x8x8|conv:{channels}x1x1x1x1|relu").graph())
    assert [len(group.members) for group in group_kernels(kernels, rules)] == [2]
    kernels = graph_kernels(Sample.parse(f"1x{channels}x8x8|conv:{channels}x3x3x1x{channels}|relu").graph())
    assert [len(group.members) for group in group_kernels(kernels, rules)] == [2]


def fused(head: str, saved: float, tail: float = 0.1, whole: float = 0.5) -> ChainTest:
    return ChainTest("fused", (head, "relu6"), whole + tail - saved, (whole, tail), 0.1)


def test_a_part_of_a_tail_may_vanish() -> None:
    """As of activations that are computed while results are written: some work is left."""
    rules = find_rules([fused("pointwise", saved) for saved in (0.03, 0.04, 0.05)] + [fused("depthwise", 0.0)] * 3)
    assert rules.fused == ()
    assert {one[:2]: one[2] for one in rules.partly} == {
        (head, "relu6"): pytest.approx(0.4) for head in ("conv", "grouped", "pointwise")
    }
    kernels = graph_kernels(Sample.parse("1x16x8x8|conv:16x1x1x1x1|relu6").graph())
    head, tail = group_kernels(kernels, rules)
    assert (head.saved_share, tail.saved_share) == (0.0, pytest.approx(0.4))
    assert (head.behind, tail.behind) == (None, 0)
    assert group_ms(kernels, (head, tail), np.array([1.0, 0.5])) == pytest.approx([1.0, 0.3])


def test_those_who_tell_surely_say_whether_a_tail_vanishes() -> None:
    """A tail behind a convolution that takes a thousand times as long is told by its noise."""
    noise = [fused("conv", saved, whole=100.0) for saved in (-0.4, 0.0, -0.2, 1.3)]
    rules = find_rules([*noise, *[fused("pointwise", 0.09)] * 3])
    assert rules.fused == tuple((head, "relu6") for head in ("conv", "grouped", "pointwise"))
    assert rules.partly == ()


def test_what_others_read_too_is_no_part_of_a_head() -> None:
    builder = GraphBuilder("fork")
    data = builder.input("x", (1, 16, 8, 8), layout="NCHW")
    made = builder.conv2d(data, builder.weight("a", np.ones((16, 16, 1, 1), np.float32)))
    graph = builder.build([builder.add("relu6", (made,)), builder.add("sigmoid", (made,))])
    rules = Rules(partly=(("pointwise", "relu6", 0.5),))
    assert [group.saved_share for group in group_kernels(graph_kernels(graph), rules)] == [0.0, 0.0, 0.0]

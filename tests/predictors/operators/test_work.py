import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.operators.work import (
    CLASSES,
    DETAILED_NAMES,
    QUANTITIES,
    WORK_NAMES,
    Mode,
    NetworkWork,
    graph_work,
)
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini


def of_class(work: np.ndarray, name: str) -> dict[str, float]:
    return dict(zip(QUANTITIES, work.reshape(len(CLASSES), -1)[CLASSES.index(name)].tolist(), strict=True))


def test_counts_of_a_small_graph_by_hand() -> None:
    builder = GraphBuilder("small")
    data = builder.input("x", (1, 4, 8, 8), layout="NCHW")
    data = builder.conv2d(data, builder.weight("a", np.zeros((6, 4, 3, 3), np.float32)), padding=1)
    data = builder.add("relu", (data,))
    data = builder.conv2d(data, builder.weight("b", np.zeros((6, 1, 3, 3), np.float32)), padding=1, groups=6)
    data = builder.add("global_average_pool", (data,))
    data = builder.conv2d(data, builder.weight("c", np.zeros((2, 6, 1, 1), np.float32)))
    data = builder.add("flatten", (data,))
    data = builder.add("linear", (data, builder.weight("d", np.zeros((5, 2), np.float32))))
    work = graph_work(builder.build((data,)))
    assert len(work) == len(WORK_NAMES)
    million = 1e6
    assert of_class(work, "convolution") == pytest.approx(
        {"launches": 1, "mmacs": 6 * 36 * 64 / million, "melements": 10 * 64 / million, "mweights": 216 / million}
    )
    assert of_class(work, "depthwise") == pytest.approx(
        {"launches": 1, "mmacs": 6 * 9 * 64 / million, "melements": 12 * 64 / million, "mweights": 54 / million}
    )
    vector = of_class(work, "vector")  # a convolution of one pixel and a linear layer
    assert vector == pytest.approx({"launches": 2, "mmacs": 22e-6, "melements": (8 + 7) / 1e6, "mweights": 22e-6})
    assert of_class(work, "elementwise")["launches"] == 1
    assert of_class(work, "pooling") == pytest.approx(
        {"launches": 1, "mmacs": 0, "melements": (6 * 64 + 6) / million, "mweights": 0}
    )


def test_multiply_accumulates_agree_with_the_spaces() -> None:
    mini, cells = ofa_mbv3_mini(), NasBench201Space()
    rng = np.random.default_rng(0)
    macs_at = [at for at, name in enumerate(WORK_NAMES) if name.endswith(".mmacs")]
    genotypes = mini.sample(20, rng)
    np.testing.assert_allclose(NetworkWork(mini)(genotypes)[:, macs_at].sum(1) * 1e6, mini.macs(genotypes))
    every = cells.every()
    biases = 10  # the published counts include the classifier's
    np.testing.assert_allclose(NetworkWork(cells)(every, Mode.ALL)[:, macs_at].sum(1) * 1e6 + biases, cells.macs(every))


def test_modes_differ_only_by_what_dead_edges_cost() -> None:
    space = NasBench201Space()
    work = NetworkWork(space)
    assert work.modes == tuple(Mode)
    modes = (Mode.LIVE, Mode.NEEDED, Mode.ALL)
    alive, fed_by_zeros, leading_nowhere = (
        space.parse([arch])
        for arch in (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|",
            "|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_3x3~1|none~2|",
            "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
        )
    )
    for mode in modes:
        np.testing.assert_allclose(work(alive, mode), work(alive, Mode.LIVE))
    convolutions, elementwise = WORK_NAMES.index("convolution.launches"), WORK_NAMES.index("elementwise.launches")
    # Of the five cells of each of three stages: two convolutions read node 0, and two node 1.
    assert work(alive, Mode.LIVE)[0, elementwise] - work(alive)[0, elementwise] == 2 * 15

    def launches(genotypes: np.ndarray, mode: Mode) -> float:
        return float(work(genotypes, mode)[0, convolutions] - work(space.parse([SKIPS]))[0, convolutions])

    assert [launches(fed_by_zeros, mode) for mode in modes] == [0, 15, 15]
    assert [launches(leading_nowhere, mode) for mode in modes] == [0, 0, 15]
    zeros = WORK_NAMES.index("elementwise.launches")
    with_none, with_skip = space.parse([SKIPS.replace("skip_connect~2", "none~2"), SKIPS])[:, None]
    assert work(with_none, Mode.ALL)[0, zeros] - work(with_skip, Mode.ALL)[0, zeros] == 15


SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def test_spaces_without_dead_branches_have_one_mode() -> None:
    assert NetworkWork(ofa_mbv3_mini()).modes == (Mode.LIVE,)


def test_operators_that_nobody_knows_are_never_free() -> None:
    builder = GraphBuilder("g")
    data = builder.input("x", (1, 4))
    data = builder.add("opaque", (data,), kind="Einsum", shapes=((1, 9),), dtypes=("float32",), layouts=("",))
    with pytest.raises(InputError, match=r"What Operator Einsum .* costs is not known"):
        graph_work(builder.build((data,)))


def test_only_a_leading_symbol_counts_as_one() -> None:
    builder = GraphBuilder("g")
    weight = builder.weight("w", np.zeros((5, 2), np.float32))
    batch = builder.add("linear", (builder.input("x", ("batch", 2)), weight))
    assert of_class(graph_work(builder.build((batch,))), "vector")["mmacs"] == pytest.approx(10e-6)
    sequence = builder.add("linear", (builder.input("y", (1, "time", 2)), weight))
    with pytest.raises(InputError, match="'time'"):
        graph_work(builder.build((sequence,)))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_convolutions_of_large_kernels_are_counted_once_more(kernel: int) -> None:
    space = ofa_mbv3_mini()
    genotypes = space.sample(200, np.random.default_rng(0))
    work = NetworkWork(space).detailed(genotypes, Mode.LIVE)
    wanted = np.zeros(len(genotypes))
    for row, genotype in enumerate(genotypes):
        for parts in space.subnet_graphs(genotype).values():
            graph = parts[0]
            for operator in graph.operators:
                if operator.family == "conv2d" and operator.attributes["groups"] > 1:
                    weight, out = graph.weights[operator.inputs[1]], graph.tensors[operator.output].shape
                    if weight.shape[-1] == kernel:
                        wanted[row] += weight.size * out[2] * out[3] / 1e6
    names = list(DETAILED_NAMES)
    assert (f"depthwise{kernel}.mmacs" in names) == (kernel > 3)
    assert wanted.any()
    if kernel > 3:
        np.testing.assert_allclose(work[:, names.index(f"depthwise{kernel}.mmacs")], wanted, rtol=1e-6)

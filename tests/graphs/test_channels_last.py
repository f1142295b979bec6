import numpy as np
import pytest
import torch

from fleetfront.graphs.channels_last import keeps_order, pad_apart, padding_scheme, window_shares
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.graphs.torch_module import run_graph


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "scheme"),
    [
        ((8, 8), (3, 3), (1, 1), (0, 0, 0, 0), "VALID"),
        ((8, 8), (3, 3), (1, 1), (1, 1, 1, 1), "SAME"),
        ((8, 8), (3, 3), (2, 2), (1, 1, 1, 1), ""),
        ((8, 8), (3, 3), (2, 2), (0, 0, 1, 1), "SAME"),
        ((7, 7), (3, 3), (2, 2), (1, 1, 1, 1), "SAME"),
        ((8, 7), (3, 3), (2, 2), (1, 1, 1, 1), ""),
        ((8, 8), (5, 3), (1, 1), (2, 1, 2, 1), "SAME"),
        ((8, 8), (2, 2), (1, 1), (0, 0, 1, 1), "SAME"),
        ((8, 8), (2, 2), (1, 1), (1, 1, 0, 0), ""),
    ],
)
def test_padding_scheme(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, ...], scheme: str
) -> None:
    assert padding_scheme(size, kernel, stride, (1, 1), padding) == scheme


def test_window_shares_take_padding_out_of_an_average() -> None:
    shares = window_shares((2, 2), (3, 1), (1, 1), (1, 0, 1, 0))
    np.testing.assert_allclose(shares[0, :, :, 0], [[1.5, 1.5], [1.5, 1.5]])


def test_order_is_kept_where_only_units_move() -> None:
    assert keeps_order((1, 6, 1, 1), (0, 2, 3, 1))
    assert keeps_order((2, 1, 5, 5), (0, 2, 3, 1))
    assert not keeps_order((2, 6, 5, 1), (0, 2, 3, 1))
    assert not keeps_order(("batch", 6, 1, 1), (1, 0, 2, 3))


def test_padding_apart_computes_the_same() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("windows")
    data = builder.input("x", (1, 6, 9, 8), layout=IMAGE)
    weight = builder.weight("w", rng.standard_normal((4, 6, 3, 3)).astype(np.float32))
    bias = builder.weight("b", rng.standard_normal(4).astype(np.float32))
    window = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1)}
    convolved = builder.add(
        "conv2d", (data, weight, bias), stride=(2, 2), padding=(1, 2, 0, 1), dilation=(1, 1), groups=1
    )
    found = [convolved, *(builder.add(kind, (data,), **window) for kind in ("max_pool2d", "average_pool2d"))]
    graph = builder.build([builder.add("relu", (one,)) for one in found])
    apart = pad_apart(graph)
    families = [operator.family for operator in apart.operators]
    assert families == ["pad", "conv2d", "pad", "max_pool2d", "pad", "average_pool2d", "multiply", *["relu"] * 3]
    assert not any(any(o.attributes["padding"]) for o in apart.operators if o.family.endswith("2d"))
    photo = [torch.from_numpy(rng.standard_normal((1, 6, 9, 8)).astype(np.float32)) - 3.0]
    before, after = (
        run_graph(one, {name: torch.from_numpy(array.copy()) for name, array in one.weights.items()}, photo)
        for one in (graph, apart)
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_windows_can_pad_stays_as_it_is() -> None:
    builder = GraphBuilder("same")
    data = builder.input("x", (1, 6, 8, 8), layout=IMAGE)
    pooled = builder.add("max_pool2d", (data,), kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1))
    graph = builder.build([pooled])
    assert pad_apart(graph) is graph

"""The contract that is written around a network, against numpy: bytes, channels, layout, softmax, batch."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.contract import InputContract, contracted, with_channels
from fleetfront.deploy.formats import FORMATS
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.catalogue import load_runtime

SIDE = 6


def colour_sensitive(seed: int = 0) -> Graph:
    """A padded convolution, so that padding happens after scaling, and a linear layer."""
    rng, b = np.random.default_rng(seed), GraphBuilder("colours")
    x = b.input("input", (1, 3, SIDE, SIDE), layout="NCHW")
    x = b.conv2d(x, b.weight("w", rng.normal(size=(4, 3, 3, 3)).astype(np.float32)), padding=1)
    x = b.add("flatten", [b.add("global_average_pool", [b.add("relu", [x])])])
    return b.build([b.add("linear", [x, b.weight("v", rng.normal(size=(5, 4)).astype(np.float32))], "logits")])


def run(graph: Graph, runtime: str, data: bytes, image: np.ndarray) -> np.ndarray:
    session = load_runtime(runtime).open(data)
    (result,) = session.run({graph.inputs[0]: image}).values()
    session.close()
    return result


fraction = st.floats(0.1, 0.9)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mean=st.tuples(fraction, fraction, fraction),
    std=st.tuples(fraction, fraction, fraction),
    contract=st.builds(
        InputContract,
        st.sampled_from(["float", "unit", "uint8"]),
        st.sampled_from(["rgb", "bgr"]),
        st.booleans(),
        st.sampled_from(["NCHW", "NHWC"]),
        st.sampled_from([1, 2, "batch"]),
    ),
    seed=st.integers(0, 9),
)
def test_a_file_under_any_contract_computes_the_plain_network(
    mean: tuple[float, ...], std: tuple[float, ...], contract: InputContract, seed: int
) -> None:
    graph = colour_sensitive(seed)
    preprocessing = Preprocessing(SIDE, mean, std)
    count = 3 if contract.batch == "batch" else int(contract.batch)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)
    floats = preprocessing.inputs(pixels)
    want = np.concatenate([run(graph, "torch", graph.to_bytes(), one[None]) for one in floats])
    if contract.softmax:
        want = np.exp(want - want.max(axis=1, keepdims=True))
        want /= want.sum(axis=1, keepdims=True)
    for kind in FORMATS.values():
        wrapped = contracted(with_channels(graph, contract.channels), contract, kind.layout, preprocessing)
        fed = contract.as_fed(contract.feed(pixels, preprocessing), contract.layout(kind.layout))
        got = run(wrapped, kind.runtime, kind.write(wrapped), fed)
        assert np.abs(got - want).max() <= 1e-4 * max(np.ptp(want), 1e-3), kind.name


def test_bytes_need_somebody_who_knows_their_scale() -> None:
    with pytest.raises(InputError, match="--images"):
        contracted(colour_sensitive(), InputContract(input="uint8"), "NCHW", None)


def test_channels_are_reordered_only_where_weights_can_be() -> None:
    b = GraphBuilder("no weights")
    graph = b.build([b.add("relu", [b.input("input", (1, 3, 4, 4), layout="NCHW")])])
    assert with_channels(graph, "rgb") is graph
    with pytest.raises(InputError, match="RGB"):
        with_channels(graph, "bgr")


@pytest.mark.parametrize(
    "wrong", [{"input": "uint9"}, {"channels": "rbg"}, {"onnx_layout": "CHWN"}, {"batch": 0}, {"batch": "many"}]
)
def test_words_that_mean_nothing_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError):
        InputContract(**wrong)  # type: ignore[arg-type]

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space, ofa_mbv3_mini, ofa_mbv3_w10, ofa_mbv3_w12

W10, W12, MINI = ofa_mbv3_w10(), ofa_mbv3_w12(), ofa_mbv3_mini()
STATISTICS = (".mean", ".variance")


def count_macs(graph: Graph) -> int:
    total = 0
    for operator in graph.operators:
        if operator.family in ("conv2d", "linear"):
            outputs = graph.tensors[operator.output].shape
            weight = graph.weights[operator.inputs[1]]
            total += int(np.prod([int(d) for d in outputs])) * int(np.prod(weight.shape[1:]))
    return total


def count_params(graph: Graph) -> int:
    return sum(array.size for name, array in graph.weights.items() if not name.endswith(STATISTICS))


def placeholders(weights: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.broadcast_to(np.float32(0), array.shape) for name, array in weights.items()}


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([W10, W12, MINI]), st.integers(0, 2**32 - 1))
def test_the_graph_holds_what_is_counted(space: OfaMbv3Space, seed: int) -> None:
    genotypes = space.sample(1, np.random.default_rng(seed))
    graph = space.live_graph(genotypes[0])
    assert count_macs(graph) == space.macs(genotypes)[0]
    assert count_params(graph) == space.params(genotypes)[0]
    resolution = space.to_config(genotypes[0])["resolution"]
    assert graph.tensors[graph.inputs[0]].shape == (1, 3, resolution, resolution)
    assert graph.outputs == ("logits",)
    assert graph.tensors["logits"].shape == (1, space.layout.classes)


def test_each_block_graph_holds_what_is_counted() -> None:
    rng = np.random.default_rng(0)
    blocks = [W10.vocabulary[i] for i in rng.choice(len(W10.vocabulary), 40, replace=False)] + list(MINI.vocabulary)
    for block, macs in zip(blocks, W10.block_macs(blocks), strict=True):
        graph = W10.block_graph(block)
        assert count_macs(graph) == macs, block.key
        assert not any(operator.family == "batch_norm" for operator in graph.operators)
        assert graph.tensors["input"].shape == (1, *block.inputs[0])


def test_blocks_fit_together() -> None:
    for genotype in W12.sample(5, np.random.default_rng(1)):
        parts = W12.parts(genotype)
        for (_, block), (_, following) in pairwise(parts):
            graph = W12.block_graph(block)
            assert graph.tensors[graph.outputs[0]].shape == (1, *following.inputs[0])


def test_names_of_weights_do_not_depend_on_depth() -> None:
    largest = MINI.parse(["k777777777777_e666666666666_d444_r32"])[0]
    smallest = MINI.parse(["k333333333333_e333333333333_d222_r32"])[0]
    all_names = set(MINI.live_graph(largest).weights)
    names = set(MINI.live_graph(smallest).weights)
    assert names < all_names
    assert {name.split(".")[0] for name in all_names - names} == {
        "slot3",
        "slot4",
        "slot7",
        "slot8",
        "slot11",
        "slot12",
    }
    assert {"stem.conv.weight", "stem.bn.scale", "first.depthwise.conv.weight", "slot5.se.reduce.bias"} <= names
    assert {"slot1.expand.bn.variance", "head.mix.conv.weight", "head.classifier.bias"} <= names


def test_slot_numbers_are_block_numbers_of_once_for_all_checkpoints() -> None:
    genotype = W10.parse(["k33003300330033003300_e33003300330033003300_d22222_r224"])[0]
    weights = W10.live_graph(genotype).weights
    assert weights["slot5.project.conv.weight"].shape == (40, 72, 1, 1)
    assert weights["slot17.expand.conv.weight"].shape == (336, 112, 1, 1)


def test_given_weights_are_used_as_they_are() -> None:
    genotype = MINI.sample(1, np.random.default_rng(2))[0]
    given = placeholders(MINI.live_graph(genotype).weights)
    graph = MINI.live_graph(genotype, given)
    assert all(graph.weights[name] is array for name, array in given.items())
    assert "weights" not in graph.labels


def test_weights_of_another_subnet_are_refused() -> None:
    small, large = (MINI.parse([f"k333333333333_e{e * 12}_d222_r32"])[0] for e in "36")
    with pytest.raises(InputError, match=r"has shape \(48, 8, 1, 1\), the subnet needs \(24, 8, 1, 1\)"):
        MINI.live_graph(small, MINI.live_graph(large).weights)
    deeper = MINI.parse(["k333333333333_e333333333333_d244_r32"])[0]
    with pytest.raises(InputError, match=r"lack 'slot7\.expand\.conv\.weight'"):
        MINI.live_graph(deeper, MINI.live_graph(small).weights)


def test_the_same_network_is_the_same_file_and_another_is_not() -> None:
    first, second = MINI.sample(2, np.random.default_rng(3))
    assert MINI.live_graph(first).content_hash == MINI.live_graph(first).content_hash
    assert MINI.live_graph(first).content_hash != MINI.live_graph(second).content_hash
    assert MINI.live_graph(first).labels == {"space": MINI.name, "arch": MINI.arch_id(first), "weights": "random"}
    block = MINI.vocabulary[5]
    assert MINI.block_graph(block).content_hash == ofa_mbv3_mini().block_graph(block).content_hash


def test_a_block_of_another_family_is_refused() -> None:
    with pytest.raises(InputError, match="not a block of a MobileNet space"):
        MINI.block_graph(Block.make("nb201_pool", ((16, 32, 32),)))


@pytest.mark.parametrize("space", [W10, MINI], ids=lambda space: space.name)
def test_folding_keeps_the_function_and_random_networks_neither_vanish_nor_explode(space: OfaMbv3Space) -> None:
    torch = pytest.importorskip("torch")
    from fleetfront.graphs.torch_module import TorchModule

    for genotype in space.sample(2, np.random.default_rng(4)):
        live = space.live_graph(genotype)
        graph, calls = space.subnet_graphs(genotype)["network"]
        assert calls == 1
        assert not any(operator.family == "batch_norm" for operator in graph.operators)
        image, other = (torch.from_numpy(x) for x in _images(live, 2))
        with torch.no_grad():
            expected, result, changed = (
                TorchModule(one).eval()(x) for one, x in ((live, image), (graph, image), (graph, other))
            )
        spread = float(expected.std())
        assert 0.05 < spread < 50
        assert float((result - expected).abs().max()) < 1e-5 * spread
        assert float((changed - result).std()) > 0.02 * spread


def _images(graph: Graph, n: int) -> list[Array]:
    rng = np.random.default_rng(5)
    shape = [int(d) for d in graph.tensors["input"].shape]
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(n)]

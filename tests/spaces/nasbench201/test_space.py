import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.spaces.base import Additive, DescribesBlocks, MayDisconnect, SearchSpace
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.nasbench201.space import NasBench201Space

SPACE = NasBench201Space()
EVERY = SPACE.every()
PATHS = ((0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3))


def edges_on_paths(genotype: np.ndarray) -> set[str]:
    operations = SPACE.to_config(genotype)
    live = set()
    for path in PATHS:
        edges = {f"edge_{a}_{b}" for a, b in pairwise(path)}
        if all(operations[edge] != "none" for edge in edges):
            live |= edges
    return live


def macs_of(graph: Graph) -> int:
    total = 0
    for operator in graph.operators:
        if operator.family in ("conv2d", "linear"):
            weight = graph.weights[operator.inputs[1]]
            total += int(np.prod([int(d) for d in graph.tensors[operator.output].shape])) * int(
                np.prod(weight.shape[1:])
            )
    return total


@pytest.fixture(scope="module")
def table(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "nb201" / "nb201.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ids_are_those_of_the_public_table(table: list[dict[str, str]]) -> None:
    ids = [row["arch"] for row in table]
    assert SPACE.arch_ids(SPACE.parse(ids)) == ids
    assert sorted(ids) == sorted(SPACE.arch_ids(EVERY))


def test_macs_and_params_equal_every_published_row(table: list[dict[str, str]]) -> None:
    genotypes = SPACE.parse([row["arch"] for row in table])
    # The table rounds to seven digits and to whole parameters.
    assert [f"{macs / 1e6:.7g}" for macs in SPACE.macs(genotypes)] == [row["mflops"] for row in table]
    assert [f"{params / 1e6:.6f}" for params in SPACE.params(genotypes)] == [row["params_m"] for row in table]


def test_offers_its_capabilities() -> None:
    for protocol in (SearchSpace, Additive, DescribesBlocks, MayDisconnect):
        assert isinstance(SPACE, protocol)


def test_341_cells_have_no_path_from_input_to_output() -> None:
    disconnected = SPACE.disconnected(EVERY)
    assert len(EVERY) == 15625
    assert disconnected.sum() == 341
    assert SPACE.disconnected(np.zeros((1, 6), dtype=np.int8)).all()


def test_live_edges_are_those_on_a_path() -> None:
    some = EVERY[np.random.default_rng(0).choice(len(EVERY), 400, replace=False)]
    for genotype, live in zip(some, SPACE.live_edges(some), strict=True):
        assert {name for name, is_live in zip(SPACE.gene_names, live, strict=True) if is_live} == edges_on_paths(
            genotype
        )


def test_every_genotype_is_canonical() -> None:
    assert len(np.unique(EVERY, axis=0)) == 15625
    assert np.array_equal(SPACE.canonical(EVERY), EVERY)
    assert SPACE.active(EVERY).all()
    drawn = SPACE.sample(300, np.random.default_rng(0))
    assert drawn.dtype == np.int8
    assert all(set(column.tolist()) == set(range(5)) for column in drawn.T)


def test_configurations_are_read_back() -> None:
    for genotype in SPACE.sample(20, np.random.default_rng(1)):
        assert np.array_equal(SPACE.from_config(SPACE.to_config(genotype)), genotype)
    config = SPACE.to_config(EVERY[-1])
    for wrong in (config | {"edge_0_1": "nor_conv_5x5"}, config | {"edge_3_0": "none"}, {}):
        with pytest.raises(InputError):
            SPACE.from_config(wrong)


@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        ("|nor_conv_3x2~0|+|none~0|none~1|+|none~0|none~1|none~2|", "Did you mean 'nor_conv_3x3'"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "Spell it like"),
        ("", "Spell it like"),
    ],
)
def test_what_is_not_a_cell_is_named(bad: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        SPACE.parse([SPACE.arch_id(EVERY[7]), bad])
    assert repr(bad) in caught.value.message
    assert remedy in caught.value.remedy


def test_sums_over_blocks_equal_the_fast_sums() -> None:
    values = np.random.default_rng(2).random(len(SPACE.vocabulary))
    indices = SPACE.block_indices(EVERY)
    np.testing.assert_allclose(SPACE.additive(values)(EVERY), np.append(values, 0.0)[indices].sum(axis=1))
    # What is counted includes dead edges, what is measured does not.
    without_dead_edges = (SPACE.live_edges(EVERY) == (EVERY != 0)).all(axis=1)
    for count, of_blocks in ((SPACE.macs, SPACE.block_macs), (SPACE.params, SPACE.block_params)):
        sums = np.append(of_blocks(SPACE.vocabulary), 0)[indices].sum(axis=1)
        assert np.array_equal(sums[without_dead_edges], count(EVERY)[without_dead_edges])
        assert (sums <= count(EVERY)).all()


def test_the_graph_holds_the_blocks() -> None:
    classifier_bias = 10
    for genotype in SPACE.sample(25, np.random.default_rng(3)):
        graph = SPACE.live_graph(genotype)
        blocks = [SPACE.vocabulary[i] for i in SPACE.block_indices(genotype[None])[0] if i >= 0]
        assert macs_of(graph) + classifier_bias == SPACE.block_macs(blocks).sum()
        params = sum(a.size for n, a in graph.weights.items() if not n.endswith((".mean", ".variance", ".zero")))
        assert params == SPACE.block_params(blocks).sum()
        in_cells = sum(block.family == "nb201_add" for block in blocks)
        assert sum(operator.family == "add" for operator in graph.operators) == in_cells + 2


def test_folding_keeps_the_function_and_only_connected_cells_see_the_input() -> None:
    torch = pytest.importorskip("torch")
    from fleetfront.graphs.torch_module import TorchModule

    connected = SPACE.sample(4, np.random.default_rng(4))
    nothing = EVERY[SPACE.disconnected(EVERY)][[0, -1]]
    images = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    for genotype in np.concatenate([connected, nothing]):
        live, (graph, _) = SPACE.live_graph(genotype), SPACE.subnet_graphs(genotype)["network"]
        with torch.no_grad():
            expected, result = TorchModule(live).eval()(images), TorchModule(graph).eval()(images)
        assert float((expected - result).abs().max()) < 1e-5
        assert 0.01 < float(expected.std()) < 100
        sees_input = float((result[0] - result[1]).abs().max()) > 1e-3
        assert sees_input == (not SPACE.disconnected(genotype[None])[0])


def test_blocks_alone_have_graphs_and_features() -> None:
    features, names = SPACE.block_features(SPACE.vocabulary)
    assert features.shape == (22, len(names))
    assert (features >= 0).all()
    assert len(np.unique(features, axis=0)) == 22
    for block, macs in zip(SPACE.vocabulary, SPACE.block_macs(SPACE.vocabulary), strict=True):
        graph = SPACE.block_graph(block)
        assert [graph.tensors[name].shape[1:] for name in graph.inputs] == list(block.inputs)
        assert macs_of(graph) + (10 if block.family == "nb201_head" else 0) == macs
    with pytest.raises(InputError, match="not a block of nasbench201"):
        SPACE.block_graph(Block.make("mbconv", ((16, 32, 32),)))


def test_indices_of_the_benchmark_are_read(shared_data: Path) -> None:
    with (shared_data / "nb201" / "pi5_torchmobile.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = SPACE.parse([row["index"] for row in rows])
    assert SPACE.arch_ids(found) == [row["arch"] for row in rows]
    with pytest.raises(InputError, match="'15625'") as caught:
        SPACE.parse(["15625"])
    assert "0 to 15624" in caught.value.remedy

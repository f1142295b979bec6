"""Check that a search space keeps the promises of ``SearchSpace`` and of every capability that it offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.spaces.base import (
    Additive,
    DescribesBlocks,
    DescribesNetworks,
    ExecutesDeadBranches,
    Genotypes,
    HasSupernet,
    Interpolable,
    KnownByTables,
    MayDisconnect,
    Mode,
    Relaxable,
    SearchSpace,
)
from fleetfront.spaces.outlines import OutlinesBlocks
from fleetfront.testing.checks import Fault, expect, expect_refusal, with_fault

#: Architectures that most checks look at; graphs are made of a few alone, for they take milliseconds to seconds each.
_ROWS, _GRAPHS = 64, 3


def any_genotypes(space: SearchSpace, n: int = _ROWS, seed: int = 0) -> Genotypes:
    """int8[n, v] whose inactive genes hold anything."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, len(values), n, dtype=np.int8) for values in space.choices], axis=1)


def check_names_and_choices(space: SearchSpace) -> None:
    """There is a name, and every gene has a name of its own and from one to 127 values."""
    expect(space.name, "a space has a name")
    names, choices = space.gene_names, space.choices
    expect(len(names) == len(choices) > 0, f"each gene has a name: {len(choices)} genes, {len(names)} names")
    expect(len(set(names)) == len(names), f"gene names are distinct: {names}")
    expect(all(0 < len(values) < 128 for values in choices), "each gene has from 1 to 127 values")
    keys = [block.key for block in space.vocabulary]
    has_blocks = bool(keys) or isinstance(space, KnownByTables)
    expect(has_blocks and len(set(keys)) == len(keys), "the vocabulary is not empty and its keys are distinct")


def check_sampling(space: SearchSpace) -> None:
    """Samples are canonical, within the choices, decided by the seed, and reach every value of every gene."""
    rows = space.sample(2000, np.random.default_rng(0))
    _expect_genotypes(space, rows, 2000)
    expect(np.array_equal(space.canonical(rows), rows), "samples are canonical")
    expect(np.array_equal(rows, space.sample(2000, np.random.default_rng(0))), "the generator alone decides a sample")
    active = space.active(rows)
    for gene, values in enumerate(space.choices):
        drawn = set(rows[active[:, gene], gene].tolist())
        expect(drawn == set(range(len(values))), f"every value of {space.gene_names[gene]} is drawn, not only {drawn}")


def check_canonical(space: SearchSpace) -> None:
    """Canonical rows have inactive genes zeroed and are the same network; doing it twice is the same."""
    rows = any_genotypes(space)
    before = rows.copy()
    canonical, active = space.canonical(rows), space.active(rows)
    expect(np.array_equal(rows, before), "canonical leaves its argument alone")
    _expect_genotypes(space, canonical, len(rows))
    expect(active.shape == rows.shape and active.dtype == np.bool_, "active is bool[n, v]")
    expect(not canonical[~active].any(), "inactive genes become 0")
    expect(np.array_equal(canonical[active], rows[active]), "active genes keep their values")
    expect(np.array_equal(space.canonical(canonical), canonical), "canonical of canonical is the same")
    for same in (space.block_indices, space.macs, space.params, space.arch_ids):
        expect(np.array_equal(same(canonical), same(rows)), f"{same.__name__} of a row and its canonical form is equal")


def check_spelling(space: SearchSpace) -> None:
    """Ids and configurations are read back, tell networks apart, and are refused with their reason where foreign."""
    rows = np.unique(space.sample(_ROWS, np.random.default_rng(1)), axis=0)
    ids = space.arch_ids(rows)
    expect(ids == [space.arch_id(row) for row in rows], "arch_ids is arch_id of each row")
    expect(len(set(ids)) == len(rows), "different networks have different ids")
    expect(np.array_equal(space.parse(ids), rows), "parse reads arch_ids back")
    _expect_genotypes(space, space.parse([]), 0)
    for row in rows[:8]:
        expect(np.array_equal(space.from_config(space.to_config(row)), row), "from_config reads to_config back")
    foreign = "this is no network"
    refusal = expect_refusal(InputError, "a foreign id is refused", space.parse, [ids[0], foreign])
    expect(foreign in str(refusal), f"the refusal of an id names it: {refusal}")
    expect_refusal(InputError, "an empty configuration is refused", space.from_config, {})


def check_counts(space: SearchSpace) -> None:
    """Blocks, MACs and parameters have their shapes and do not depend on what else is asked for."""
    rows = space.sample(_ROWS, np.random.default_rng(2))
    blocks = space.block_indices(rows)
    expect(blocks.dtype == np.int32 and blocks.ndim == 2, f"block_indices is int32[n, b], not {blocks.dtype}")
    expect(
        not blocks.size or (blocks.min() >= -1 and blocks.max() < len(space.vocabulary)),
        "block_indices are -1 or in the vocabulary",
    )
    for count in (space.macs, space.params):
        values = count(rows)
        expect(values.shape == (len(rows),) and values.dtype == np.int64, f"{count.__name__} is int64[n]")
        expect((values >= 0).all() and values.max() > 0, f"{count.__name__} is positive")
    for of_rows in (space.block_indices, space.macs, space.params):
        alone = np.concatenate([of_rows(row[None]) for row in rows[:8]])
        expect(np.array_equal(of_rows(rows)[:8], alone), f"{of_rows.__name__} looks at each row alone")


def check_graphs(space: SearchSpace) -> None:
    """Networks and blocks have graphs of batch 1, equal each time; those of a block take the block's inputs."""
    if isinstance(space, KnownByTables):
        row = space.sample(1, np.random.default_rng(3))[0]
        expect_refusal(InputError, "a network without a graph is refused with what to do", space.subnet_graphs, row)
        return
    for row in space.sample(_GRAPHS, np.random.default_rng(3)):
        parts = space.subnet_graphs(row)
        expect(parts, "a network has at least one part")
        again = space.subnet_graphs(row)
        for name, (graph, calls) in parts.items():
            expect(calls >= 1, f"part {name} is called at least once, not {calls} times")
            _expect_graph(graph, f"part {name}")
            expect(graph.content_hash == again[name][0].content_hash, f"part {name} has the same weights each time")
    rng = np.random.default_rng(4)
    for index in rng.choice(len(space.vocabulary), min(2 * _GRAPHS, len(space.vocabulary)), replace=False):
        block = space.vocabulary[index]
        graph = space.block_graph(block)
        _expect_graph(graph, block.key)
        shapes = tuple(tuple(graph.tensors[name].shape) for name in graph.inputs)
        expected = tuple((1, *shape) for shape in block.inputs)
        expect(shapes == expected, f"the graph of {block.key} takes {expected}, not {shapes}")
        expect(graph.content_hash == space.block_graph(block).content_hash, f"{block.key} is the same each time")


def check_outlines(space: SearchSpace) -> None:
    """Outlines of blocks are their graphs but for the numbers in the weights."""
    if not isinstance(space, OutlinesBlocks):
        return
    for block in space.vocabulary[:: max(1, len(space.vocabulary) // _GRAPHS)]:
        expect(_told(space.block_outline(block)) == _told(space.block_graph(block)), f"{block.key} has its own outline")


def check_additive(space: SearchSpace) -> None:
    """Fast sums equal the sums over ``block_indices``."""
    if not isinstance(space, Additive):
        return
    values = np.random.default_rng(5).random(len(space.vocabulary))
    rows = any_genotypes(space, 3000)
    expected = np.append(values, 0.0)[space.block_indices(rows)].sum(axis=1)
    found = space.additive(values)(rows)
    expect(found.shape == expected.shape, f"additive is float64[n], not {found.shape}")
    worst = np.abs(found / expected - 1).max()
    expect(worst < 1e-9, f"additive equals the sum over block_indices; it is off by {worst:.2g}")


def check_described_blocks(space: SearchSpace) -> None:
    """Counts and features of blocks are finite, not negative, and tell all blocks apart."""
    if not isinstance(space, DescribesBlocks):
        return
    blocks = space.vocabulary
    features, names = space.block_features(blocks)
    expect(features.shape == (len(blocks), len(names)), f"block_features is float64[m, {len(names)}]")
    expect(np.isfinite(features).all() and (features >= 0).all(), "block_features are finite and not negative")
    expect(len(np.unique(features, axis=0)) == len(blocks), "block_features tell all blocks apart")
    for count in (space.block_macs, space.block_params):
        expect(count(blocks).shape == (len(blocks),) and (count(blocks) >= 0).all(), f"{count.__name__} is int64[m]")
        expect(np.array_equal(count(blocks[:1]), count(blocks)[:1]), f"{count.__name__} looks at each block alone")


def check_interpolation(space: SearchSpace) -> None:
    """Blocks occur at their resolutions; within a layer, parameters are equal and each side occurs once."""
    if not isinstance(space, Interpolable):
        return
    sides = space.resolutions
    expect(sides and list(sides) == sorted(set(sides)), f"resolutions ascend: {sides}")
    occurring = np.unique(np.concatenate([space.blocks_at(side) for side in sides]))
    expect(len(occurring) == len(space.vocabulary), "each block occurs at some resolution")
    expect_refusal(InputError, "a foreign resolution is refused", space.blocks_at, sides[-1] + 1)
    group, side = space.interpolation_groups()
    size = (len(space.vocabulary),)
    expect(group.shape == side.shape == size, "interpolation_groups are int32[|V|] and float64[|V|]")
    expect(np.array_equal(np.unique(group), np.arange(group.max() + 1)), "layers are numbered from 0 without a gap")
    for layer in range(group.max() + 1):
        members = np.flatnonzero(group == layer)
        expect(len(set(side[members])) == len(members), f"each side occurs once in layer {layer}")


def check_connection(space: SearchSpace) -> None:
    """``disconnected`` is bool[n] and looks at each row alone."""
    if not isinstance(space, MayDisconnect):
        return
    rows = space.sample(_ROWS, np.random.default_rng(6))
    found = space.disconnected(rows)
    expect(found.shape == (len(rows),) and found.dtype == np.bool_, "disconnected is bool[n]")
    alone = [bool(space.disconnected(row[None])[0]) for row in rows]
    expect(found.tolist() == alone, "disconnected looks at each row alone")


def check_dead_branches(space: SearchSpace) -> None:
    """Files of this project hold the blocks of the network; every mode without sharing adds to that."""
    if not isinstance(space, ExecutesDeadBranches):
        return
    rows = space.sample(_ROWS, np.random.default_rng(8))
    size = len(space.vocabulary)
    executed = {mode: space.executed_blocks(rows, mode) for mode in Mode}
    for mode, counts in executed.items():
        shape = (len(rows), size + len(space.dead_blocks))
        expect(counts.shape == shape, f"executed_blocks({mode}) is float64{shape}, not {counts.shape}")
    in_order = (Mode.SHARED, Mode.LIVE, Mode.NEEDED, Mode.ALL)
    shared, live, needed, everything = (executed[mode].sum(axis=1) for mode in in_order)
    expect(np.array_equal(executed[Mode.SHARED][:, :size], _counts(space, rows)), "shared are those of block_indices")
    expect((shared <= live).all(), "live is more than shared")
    expect((live <= needed).all() and (needed <= everything).all(), "needed is more than live, and all is most")
    for block in space.dead_blocks:
        _expect_graph(space.block_graph(block), block.key)


def check_relaxation(space: SearchSpace) -> None:
    """At one-hot probabilities, blocks are expected as often as they occur; gradients flow."""
    if not isinstance(space, Relaxable):
        return
    import torch

    rows = space.sample(8, np.random.default_rng(9))
    genes = [np.eye(len(values), dtype=np.float64)[rows[:, i]] for i, values in enumerate(space.choices)]
    hot = [torch.tensor(gene, requires_grad=True) for gene in genes]
    expected = space.block_probabilities(hot)
    found = expected.detach().numpy()
    expect(np.allclose(found, _counts(space, rows)), "one-hot probabilities give the blocks of block_indices")
    weights = torch.arange(1.0, found.shape[1] + 1, dtype=expected.dtype)
    gradients = torch.autograd.grad((expected @ weights).sum(), hot, allow_unused=True)
    expect(any(bool((g != 0).any()) for g in gradients if g is not None), "gradients are not all zero")


def check_supernet(space: SearchSpace) -> None:
    """Weights cut from a supernet fit the live graph of the network, and another number of classes is another head."""
    if not isinstance(space, HasSupernet):
        return
    import torch

    shapes = space.supernet_shapes()
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    expect(space.classes_in(tensors) in (None, space.classes), f"a supernet tells apart {space.classes} classes")
    for row in space.sample(_GRAPHS, np.random.default_rng(10)):
        cut = {name: tensor.numpy() for name, tensor in space.cut(tensors, row).items()}
        wanted = {name: array.shape for name, array in space.live_graph(row).weights.items() if name in cut}
        found = {name: array.shape for name, array in cut.items()}
        expect(wanted == found, f"cut gives the weights of the live graph: {set(found.items()) ^ set(wanted.items())}")
        _expect_graph(space.live_graph(row, cut), "a cut network")
    other = space.with_classes(space.classes + 1)
    expect(other.classes == space.classes + 1 and other.supernet_shapes() != shapes, "with_classes changes the head")


def check_described_networks(space: SearchSpace) -> None:
    """Groups of features are finite, one row a network."""
    if not isinstance(space, DescribesNetworks):
        return
    rows = space.sample(_ROWS, np.random.default_rng(7))
    groups = space.network_features(rows)
    expect(groups, "network_features has at least one group")
    for name, values in groups.items():
        expect(values.ndim == 2 and len(values) == len(rows), f"network_features[{name!r}] is float64[n, f]")
        expect(np.isfinite(values).all(), f"network_features[{name!r}] is finite")


SPACE_CHECKS: tuple[Callable[[SearchSpace], None], ...] = (
    check_names_and_choices,
    check_sampling,
    check_canonical,
    check_spelling,
    check_counts,
    check_graphs,
    check_outlines,
    check_additive,
    check_described_blocks,
    check_interpolation,
    check_connection,
    check_dead_branches,
    check_relaxation,
    check_supernet,
    check_described_networks,
)


def _expect_genotypes(space: SearchSpace, rows: Genotypes, n: int) -> None:
    shape = (n, len(space.choices))
    expect(rows.shape == shape and rows.dtype == np.int8, f"genotypes are int8{shape}, not {rows.dtype}{rows.shape}")
    sizes = np.array([len(values) for values in space.choices])
    expect(((rows >= 0) & (rows < sizes)).all(), "genes are indices into their choices")


def _counts(space: SearchSpace, rows: Genotypes) -> NDArray[np.float64]:
    """float64[n, |V|]: how often each block of the vocabulary occurs."""
    counts = np.zeros((len(rows), len(space.vocabulary) + 1))
    np.add.at(counts, (np.arange(len(rows))[:, None], space.block_indices(rows)), 1)
    return counts[:, :-1]


def _expect_graph(graph: Graph, what: str) -> None:
    expect(graph.inputs and graph.outputs, f"the graph of {what} has inputs and outputs")
    made = {*graph.inputs, *(operator.output for operator in graph.operators)}
    expect(set(graph.outputs) <= made, f"the outputs of {what} are made by its operators")
    finite = all(np.isfinite(array).all() for array in graph.weights.values() if array.dtype.kind == "f")
    expect(finite, f"the weights of {what} are finite")


def _told(graph: Graph) -> tuple[object, ...]:
    weights = {name: (array.shape, array.dtype) for name, array in graph.weights.items()}
    return graph.inputs, graph.outputs, graph.operators, dict(graph.tensors), weights


def _next_gene(healthy: Callable[[Genotypes], Genotypes], rows: Genotypes) -> Genotypes:
    changed = healthy(rows).copy()
    changed[:, 0] = (changed[:, 0] + 1) % 2
    return changed


#: Faults by the promise that they break; ``faulty_space`` puts one in.
_FAULTS: dict[str, dict[str, Fault]] = {
    "canonical is not idempotent": {"canonical": _next_gene},
    "samples ignore the generator": {"sample": lambda sample, n, _rng: sample(n, np.random.default_rng())},
    "two networks share an id": {"arch_ids": lambda ids, rows: [ids(rows)[0]] * len(rows)},
    "counts depend on the batch": {"macs": lambda macs, rows: macs(rows) + len(rows)},
    "foreign ids are taken": {"parse": lambda parse, ids: parse([i for i in ids if "no network" not in i])},
    "weights change each time": {"block_graph": lambda graph, block: _shuffled(graph(block))},
    "outlines lack an operator": {"block_outline": lambda outline, block: _shortened(outline(block))},
    "probabilities count twice": {"block_probabilities": lambda expected, hot: 2 * expected(hot)},
    "no operator is executed": {"executed_blocks": lambda executed, rows, mode: 0 * executed(rows, mode)},
    "weights are cut too short": {"cut": lambda cut, tensors, row: {n: t[:1] for n, t in cut(tensors, row).items()}},
    "blocks are not in the vocabulary": {"block_indices": lambda blocks, rows: blocks(rows) + np.int32(10_000)},
}
SPACE_FAULTS = tuple(_FAULTS)


def faulty_space(space: SearchSpace, fault: str) -> SearchSpace:
    """A copy of ``space`` with one of ``SPACE_FAULTS``. Raises KeyError on others."""
    return with_fault(space, **_FAULTS[fault])


def _shortened(graph: Graph) -> Graph:
    return replace(graph, operators=graph.operators[:-1])


def _shuffled(graph: Graph) -> Graph:
    noise = np.random.default_rng()
    weights = {name: array + noise.normal(size=array.shape) for name, array in graph.weights.items()}
    return Graph(graph.name, graph.inputs, graph.outputs, graph.operators, graph.tensors, weights, graph.labels)

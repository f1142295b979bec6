"""NasBench201Space holds all 15,625 cells of six edges with five operations each. Blocks and operators are in
``nasbench201.graph``; accuracies and latencies of the cells are data, not part of the space.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.additive import SumOfTables
from fleetfront.spaces.base import Config, Genotypes, Mode
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.nasbench201.execution import dearest_path, merged_edges, shared_edges
from fleetfront.spaces.nasbench201.features import network_features
from fleetfront.spaces.nasbench201.graph import (
    CELLS,
    EDGES,
    KERNEL,
    OPERATIONS,
    STAGES,
    activated_block,
    add_block,
    block_features,
    block_macs,
    block_params,
    head_block,
    operation_block,
    reduction_block,
    stem_block,
    write_block,
    write_network,
    zero_block,
)

if TYPE_CHECKING:
    from torch import Tensor

#: Six digits to the base five: the number of a cell among all.
_RADIX = len(OPERATIONS) ** np.arange(len(EDGES))


@dataclass(frozen=True)
class NasBench201Space:
    """Networks of three stages of five equal cells, 16 to 64 channels, on 32-pixel images of ten classes.

    Genes are independent: a dead edge (it leads from a node that the input does not reach, or to one that does not
    reach the output) is still part of the cell's name, its parameters and its MACs, as in NAS-Bench-201. Blocks and
    graphs leave dead edges out, and compute what is equal once: what is measured and deployed is what computes
    something.
    """

    name: str = "nasbench201"

    @property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """The five operations, for each edge."""
        return (OPERATIONS,) * len(EDGES)

    @property
    def gene_names(self) -> tuple[str, ...]:
        """``edge_I_J`` for the edge from node I to node J."""
        return tuple(f"edge_{source}_{node}" for source, node in EDGES)

    # Genotypes

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly: int8[n, 6]."""
        return rng.integers(0, len(OPERATIONS), size=(n, len(EDGES)), dtype=np.int8)

    def every(self) -> Genotypes:
        """All cells, int8[15625, 6]."""
        numbers = np.arange(len(OPERATIONS) ** len(EDGES))
        return (numbers[:, None] // _RADIX % len(OPERATIONS)).astype(np.int8)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, 6], all true: even a dead edge is part of a cell's name."""
        return np.ones(genotypes.shape, dtype=np.bool_)

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """A copy: every genotype is canonical."""
        return genotypes.copy()

    def live_edges(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, 6]: whether an edge lies on a path from input to output. An edge of operation ``none`` never does."""
        present = genotypes != 0
        reached = np.zeros((len(genotypes), 4), dtype=np.bool_)
        reached[:, 0] = True
        for edge, (source, node) in enumerate(EDGES):
            reached[:, node] |= reached[:, source] & present[:, edge]
        sources, nodes = np.transpose(EDGES)
        live: NDArray[np.bool_] = present & reached[:, sources] & _reaching(present)[:, nodes]
        return live

    def disconnected(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: whether no path leads from a cell's input to its output. So it is for 341 of the 15,625 cells."""
        connected: NDArray[np.bool_] = np.any(self.live_edges(genotypes), axis=1)
        return ~connected

    def network_features(self, genotypes: Genotypes) -> dict[str, NDArray[np.float64]]:
        """Groups of numbers that explain accuracy: live operations, paths and their shape."""
        return network_features(genotypes, self.live_edges(genotypes))

    # Spelling

    @cached_property
    def _ids(self) -> tuple[tuple[str, ...], dict[str, int]]:
        ids = []
        for row in self.every().tolist():
            a, b, c, d, e, f = (OPERATIONS[gene] for gene in row)
            ids.append(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")
        return tuple(ids), {spelled: number for number, spelled in enumerate(ids)}

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, as NAS-Bench-201 spells cells."""
        ids = self._ids[0]
        return [ids[number] for number in (genotypes.astype(np.intp) @ _RADIX).tolist()]

    def arch_id(self, genotype: Genotypes) -> str:
        """``arch_ids`` of one."""
        return self.arch_ids(genotype[None])[0]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """int8[n, 6] of spelled cells, or of their places in the published benchmark (0 to 15624) as digits.

        Raises InputError naming the first string that is neither.
        """
        number = self._ids[1]
        found = [number[arch] if arch in number else self._of_index(arch) for arch in arch_ids]
        numbers = np.asarray(found, dtype=np.intp)
        return (numbers[:, None] // _RADIX % len(OPERATIONS)).astype(np.int8)

    def _of_index(self, arch: str) -> int:
        text = arch.strip()
        if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < len(self._published):
            return self._published[int(text)]
        raise self._not_a_cell(arch)

    @cached_property
    def _published(self) -> list[int]:
        """The number of the cell at each place of the published benchmark.

        Its authors list all cells, the last edge changing fastest, and shuffle them with ``random`` seeded by 88.
        """
        digits = np.arange(len(OPERATIONS) ** len(EDGES))[:, None] // _RADIX[::-1] % len(OPERATIONS)
        numbers: list[int] = (digits @ _RADIX).tolist()
        random.Random(88).shuffle(numbers)
        return numbers

    def _not_a_cell(self, arch: str) -> InputError:
        strange = [name for name in re.findall(r"\|([^|~+]+)~", arch) if name not in OPERATIONS]
        if strange:
            error = unknown("operation", strange[0], OPERATIONS)
            return InputError(f"{arch!r} is not an architecture of {self.name}. {error.message}", error.remedy)
        return InputError(
            f"{arch!r} is not an architecture of {self.name}.",
            f"Spell it like {self._ids[0][-1]}, or give its index in the benchmark, 0 to {len(self._ids[0]) - 1}.",
        )

    def to_config(self, genotype: Genotypes) -> Config:
        """Operation by the name of its edge."""
        return {name: OPERATIONS[gene] for name, gene in zip(self.gene_names, genotype.tolist(), strict=True)}

    def from_config(self, config: Config) -> Genotypes:
        """int8[6]. Raises InputError on a missing or unknown edge or operation."""
        for name in config:
            if name not in self.gene_names:
                raise unknown("edge", str(name), self.gene_names)
        for name in self.gene_names:
            if name not in config:
                raise InputError(f"The configuration lacks {name}.", f"Give all of {', '.join(self.gene_names)}.")
            if config[name] not in OPERATIONS:
                raise unknown("operation", str(config[name]), OPERATIONS)
        return np.asarray([OPERATIONS.index(config[name]) for name in self.gene_names], dtype=np.int8)

    # Blocks

    @cached_property
    def vocabulary(self) -> tuple[Block, ...]:
        """Stem, head, reductions, and for each stage what its edges and the sums at its nodes cost; at the end what
        convolutions cost whose input another one has activated.
        """
        blocks = [stem_block(), *(reduction_block(stage) for stage in range(len(STAGES) - 1)), head_block()]
        for stage in range(len(STAGES)):
            operations = (operation_block(operation, stage) for operation in OPERATIONS)
            blocks += [block for block in operations if block is not None]
            blocks.append(add_block(stage))
        blocks += [activated_block(operation, stage) for stage in range(len(STAGES)) for operation in KERNEL]
        return tuple(blocks)

    @cached_property
    def _edge_blocks(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Indices of the blocks of operations (-1 for none), int32[stages, operations], of sums, int32[stages], and of
        operations whose input is activated already, int32[stages, operations].
        """
        index: dict[Block | None, int] = {block: number for number, block in enumerate(self.vocabulary)}
        stages = range(len(STAGES))
        edges = [[index.get(operation_block(operation, stage), -1) for operation in OPERATIONS] for stage in stages]
        adds = [index[add_block(stage)] for stage in stages]
        activated = [[index[activated_block(o, stage)] if o in KERNEL else -1 for o in OPERATIONS] for stage in stages]
        return np.asarray(edges, np.int32), np.asarray(adds, np.int32), np.asarray(activated, np.int32)

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, 139]: stem, reductions, head, then the six edges and three sums of each cell; -1 for none.

        A node with k live inputs has k - 1 sums. What is equal in a cell is one block.
        """
        edge_blocks, add_blocks, activated_blocks = self._edge_blocks
        executed, is_activated, has_sum = shared_edges(genotypes, self.live_edges(genotypes))
        fixed = np.arange(len(STAGES) + 1, dtype=np.int32)
        columns = [np.broadcast_to(fixed, (len(genotypes), len(fixed)))]
        for stage in range(len(STAGES)):
            of_operations = np.where(is_activated, activated_blocks[stage][genotypes], edge_blocks[stage][genotypes])
            edges = np.where(executed, of_operations, np.int32(-1))
            adds = np.where(has_sum, add_blocks[stage], np.int32(-1))
            columns += [edges, adds] * CELLS
        return np.concatenate(columns, axis=1)

    @cached_property
    def dead_blocks(self) -> tuple[Block, ...]:
        """The products with zero of each stage: edges of operation ``none`` are none of the vocabulary's blocks."""
        return tuple(zero_block(stage) for stage in range(len(STAGES)))

    def executed_blocks(self, genotypes: Genotypes, mode: Mode) -> NDArray[np.float64]:
        """float64[n, |V| + stages]: how often each block, then each product with zero, is executed.

        In the published networks every edge is executed: ``none`` multiplies by zero, and the edges into a node are
        summed. Dead edges that the output depends on remain where only what it needs is executed.
        """
        if mode is Mode.SHARED:
            return np.hstack([self._block_counts[genotypes @ _RADIX], np.zeros((len(genotypes), len(STAGES)))])
        if mode is Mode.MERGED:
            edges, sums = merged_edges(genotypes)
        elif mode is Mode.SIDE_BY_SIDE:
            edges, sums = dearest_path(genotypes, self.live_edges(genotypes))
        else:
            edges = self._edges_in(genotypes, mode)
            entering = [[edge for edge, (_, to) in enumerate(EDGES) if to == node] for node in (1, 2, 3)]
            sums = np.sum([np.maximum(edges[:, of_node].sum(axis=1) - 1, 0) for of_node in entering], axis=0)
        blocks = len(self.vocabulary)
        edge_blocks, add_blocks, _ = self._edge_blocks
        counts = np.zeros((len(genotypes), blocks + len(STAGES) + 1))
        counts[:, : len(STAGES) + 1] = 1
        for stage in range(len(STAGES)):
            counts[:, add_blocks[stage]] += CELLS * sums
            # Skip connections are no block: they are counted in the last column, which is dropped.
            of_operation = np.append(blocks + stage, np.where(edge_blocks[stage] < 0, -1, edge_blocks[stage])[1:])
            for edge in range(len(EDGES)):
                counts[np.arange(len(genotypes)), of_operation[genotypes[:, edge]]] += CELLS * edges[:, edge]
        return counts[:, :-1]

    def _edges_in(self, genotypes: Genotypes, mode: Mode) -> NDArray[np.bool_]:
        """bool[n, 6]: live edges; needed ones (other than ``none``, into nodes from which a path leads to the output);
        or all.
        """
        if mode is Mode.LIVE:
            return self.live_edges(genotypes)
        if mode is Mode.ALL:
            return np.ones(genotypes.shape, np.bool_)
        present = genotypes != 0
        needed: NDArray[np.bool_] = present & _reaching(present)[:, [node for _, node in EDGES]]
        return needed

    # Costs

    @cached_property
    def _block_counts(self) -> NDArray[np.float64]:
        """float64[15625, |V|]: how often each block occurs in each network's file."""
        indices = self.block_indices(self.every())
        rows = np.broadcast_to(np.arange(len(indices))[:, None], indices.shape)
        counts = np.zeros((len(indices), len(self.vocabulary)))
        np.add.at(counts, (rows[indices >= 0], indices[indices >= 0]), 1.0)
        return counts

    def block_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How often each block is expected to occur, float[n, |V|]: the mean over all cells, for whether an edge is
        live depends on the other edges.
        """
        import torch

        cells = probabilities[0]
        for edge in probabilities[1:]:  # the first edge changes fastest in the numbers of cells
            cells = (edge[:, :, None] * cells[:, None, :]).flatten(1)
        return cells @ torch.from_numpy(self._block_counts).to(cells.dtype)

    def additive(self, values: NDArray[np.float64]) -> SumOfTables:
        """The sum of per-block ``values`` float64[|V|] as a fast function of genotypes: one gather a network."""
        totals = self._block_counts @ np.asarray(values, dtype=np.float64)
        return SumOfTables(_RADIX[None].astype(np.float32), np.zeros((1, 1), dtype=np.float32), totals)

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n], dead edges included: the published ``flops`` of CIFAR-10 networks."""
        return self._count(self.block_macs(self.vocabulary), genotypes)

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n], dead edges included: the published ``params`` of CIFAR-10 networks."""
        return self._count(self.block_params(self.vocabulary), genotypes)

    def _count(self, per_block: NDArray[np.int64], genotypes: Genotypes) -> NDArray[np.int64]:
        fixed = per_block[: len(STAGES) + 1].sum()
        # The index -1 of operations without a block reads the appended zero.
        per_operation = CELLS * np.append(per_block, 0)[self._edge_blocks[0]].sum(axis=0)
        total: NDArray[np.int64] = fixed + per_operation[genotypes].sum(axis=1)
        return total

    def block_macs(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Multiply-accumulates of m blocks, int64[m]."""
        return np.asarray([block_macs(block) for block in blocks], dtype=np.int64)

    def block_params(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Trainable parameters of m blocks, int64[m]."""
        return np.asarray([block_params(block) for block in blocks], dtype=np.int64)

    def block_features(self, blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Numbers that explain a block's latency: float64[m, f] and the f names."""
        return block_features(blocks)

    # Graphs

    def block_graph(self, block: Block) -> Graph:
        """The graph of one block, batch 1, with random weights (fixed seed, batch-norm folded)."""
        return fold_batch_norm(write_block(block))

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Graph:
        """The whole network with its batch_norm operators, batch 1; names of weights as in ``nasbench201.graph``.

        Dead edges are left out, what is equal is there once; a disconnected cell gives zeros. ``weights`` are used as
        they are, never copied; None draws random ones that the architecture alone decides and labels the graph
        ``weights: random``.
        """
        arch = self.arch_id(genotype)
        labels = {"space": self.name, "arch": arch} | ({"weights": "random"} if weights is None else {})
        live = np.where(self.live_edges(genotype[None])[0], genotype, 0)
        return write_network(f"{self.name}/{arch}", [OPERATIONS[gene] for gene in live.tolist()], labels, weights)

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """``network``: the live graph with batch-norm folded, one call an inference."""
        return {"network": (fold_batch_norm(self.live_graph(genotype, weights)), 1)}


def _reaching(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[n, 4]: nodes from which a path of ``present`` edges bool[n, 6] leads to the output."""
    reaching = np.zeros((len(present), 4), dtype=np.bool_)
    reaching[:, 3] = True
    for edge, (source, node) in reversed(list(enumerate(EDGES))):
        reaching[:, source] |= reaching[:, node] & present[:, edge]
    return reaching

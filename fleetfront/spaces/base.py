"""SearchSpace: the protocol of a family of networks. Everything that touches many architectures is vectorised.

Symbols in shapes: ``n`` architectures, ``v`` genes, ``b`` block slots, ``|V|`` blocks that can occur.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.blocks import Block

Genotypes = NDArray[np.int8]
Config = dict[str, Any]


@runtime_checkable
class SearchSpace(Protocol):
    """A family of networks. A genotype is ``int8[v]``; gene ``i`` is an index into ``choices[i]``."""

    @property
    def name(self) -> str:
        """E.g. ``ofa-mbv3-w1.2``."""

    @property
    def choices(self) -> tuple[tuple[Any, ...], ...]:
        """For each gene, the values it can take, in ascending order."""

    @property
    def gene_names(self) -> tuple[str, ...]:
        """For each gene, a readable name, e.g. ``kernel_3``."""

    @property
    def vocabulary(self) -> tuple[Block, ...]:
        """Every block that can occur."""

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly gene by gene, canonical: int8[n, v]."""

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: which genes change the network."""

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """Inactive genes set to 0, so that equal networks have equal rows."""

    def to_config(self, genotype: Genotypes) -> Config:
        """One genotype int8[v] as plain values."""

    def from_config(self, config: Config) -> Genotypes:
        """int8[v]. Raises InputError on values outside the space."""

    def arch_id(self, genotype: Genotypes) -> str:
        """The spelling of one canonical genotype int8[v] that outsiders rely on."""

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """``arch_id`` of n rows."""

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v] of spelled architectures. Raises InputError naming the first one outside the space."""

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, b]: indices into ``vocabulary`` of each network's blocks, padded with -1."""

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Multiply-accumulate operations of one inference, int64[n]."""

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Trainable parameters, int64[n]."""

    def block_graph(self, block: Block) -> Graph:
        """The graph of one block, batch 1, with random weights (fixed seed, batch-norm folded)."""

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """Part name -> (graph, calls per inference) of one genotype int8[v], batch-norm folded.

        ``weights`` are the arrays of that very subnet (a supernet cuts them); None gives random ones of a fixed seed.
        CNNs have one part, called ``network``.
        """


# What a space may offer beyond that; ask with isinstance.


@runtime_checkable
class Additive(Protocol):
    """A space that sums per-block values faster than through ``block_indices``."""

    def additive(self, values: NDArray[np.float64]) -> Callable[[Genotypes], NDArray[np.float64]]:
        """The sum of ``values`` float64[|V|] over each network's blocks, as a function int8[n, v] -> float64[n].

        Make it once, call it often.
        """

    def additive_costs(self, values: NDArray[np.float64], genotypes: Genotypes) -> NDArray[np.float64]:
        """The same in one step: float64[n]."""


@runtime_checkable
class DescribesBlocks(Protocol):
    """A space that knows what explains the latency of its blocks. Its methods take any m blocks of its families."""

    def block_macs(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Multiply-accumulate operations, int64[m]."""

    def block_params(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Trainable parameters, int64[m]."""

    def block_features(self, blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Non-negative numbers float64[m, f], and the names of the f columns."""


@runtime_checkable
class Interpolable(Protocol):
    """A space whose blocks recur at several input resolutions."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the input image in pixels, ascending."""

    def blocks_at(self, resolution: int) -> NDArray[np.int32]:
        """Indices into ``vocabulary`` of the blocks that can occur at one resolution. Raises InputError on others."""

    def interpolation_groups(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """For each block of the vocabulary: which layer it is regardless of resolution (int32[|V|], from 0), and an
        effective side in pixels (float64[|V|]); within a layer, work grows linearly with the square of the side.
        """


@runtime_checkable
class HasLiveGraph(Protocol):
    """A space whose networks can be trained: their graphs with batch-norm operators kept."""

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Graph:
        """The whole network of one genotype int8[v], batch 1. ``weights`` are used as they are, not copied."""


@runtime_checkable
class MayDisconnect(Protocol):
    """A space some of whose networks have no path from input to output."""

    def disconnected(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: whether the output of a network ignores its input."""


@runtime_checkable
class DescribesNetworks(Protocol):
    """A space that knows what explains how well its networks learn."""

    def network_features(self, genotypes: Genotypes) -> dict[str, NDArray[np.float64]]:
        """Named groups of numbers float64[n, f] about n networks; networks that compute the same have equal numbers.

        Distances within a group should mean something: its numbers have one unit.
        """

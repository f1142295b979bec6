"""ImageSpace shares what spaces of image networks have alike: blocks at each resolution, counts, classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph
from fleetfront.graphs.layers import EPSILON, Source, given_weights, no_weights, random_weights
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.image_graph import BlockWriter
from fleetfront.spaces.spelling import Digits, Spelling

if TYPE_CHECKING:
    from torch import Tensor

Sums = Callable[[Genotypes], NDArray[np.float64]]


class ImageLayout(Protocol):
    """The facts that no gene of a family changes."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the input image in pixels, ascending."""

    @property
    def classes(self) -> int:
        """Classes that the networks tell apart."""


@dataclass(frozen=True, slots=True)
class BlockRules:
    """The facts and functions that a family has for its blocks.

    Attributes:
        at: every block that can occur at a resolution, in an order that is the same at all of them.
        macs: multiply-accumulates of one block.
        params: its trainable parameters.
        effective_side: the side in pixels whose square its work is proportional to.
        features: name -> number that explains a block's latency, the same names for every block.
        writer: writes blocks as graphs.
    """

    at: Callable[[int], list[Block]]
    macs: Callable[[Block], int]
    params: Callable[[Block], int]
    effective_side: Callable[[Block], float]
    features: Callable[[Block], Mapping[str, float]]
    writer: type[BlockWriter]


L = TypeVar("L", bound=ImageLayout)


@dataclass(frozen=True)
class ImageSpace(ABC, Generic[L]):
    """A family of image networks whose last gene is the resolution. Equal by name and layout; tables are made on first
    use. Families add genes, spelling, where their blocks are, graphs and cutting.
    """

    name: str
    layout: L

    # What each family says

    @property
    @abstractmethod
    def choices(self) -> tuple[tuple[Any, ...], ...]:
        """For each gene, the values it can take, in ascending order."""

    @property
    @abstractmethod
    def rules(self) -> BlockRules:
        """The facts and functions that the family has for its blocks."""

    @property
    @abstractmethod
    def digits(self) -> tuple[Digits, ...]:
        """How the genes before the resolution are written."""

    @abstractmethod
    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: which genes change the network."""

    @abstractmethod
    def additive(self, values: NDArray[np.float64]) -> Sums:
        """The sum of per-block ``values`` float64[|V|] as a fast function of genotypes, inactive genes or not."""

    @abstractmethod
    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, slots]: the block at each place, -1 for none."""

    @property
    @abstractmethod
    def prefixes(self) -> tuple[str, ...]:
        """Beginnings of the names of weights at each place of ``block_indices``."""

    @property
    def epsilon(self) -> float:
        """Of every batch-norm of a network."""
        return EPSILON

    # Genotypes

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the input image in pixels, ascending."""
        return self.layout.resolutions

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly gene by gene, canonical: int8[n, v]."""
        counts = [len(values) for values in self.choices]
        return self.canonical(rng.integers(0, counts, size=(n, len(counts)), dtype=np.int8))

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """A copy with inactive genes set to 0."""
        kept: Genotypes = np.where(self.active(genotypes), genotypes, np.int8(0))
        return kept

    # Spelling

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self.name, self.digits, self.resolutions)

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """Letters and digits of the genes, digits of inactive slots 0, and ``r<pixels>``."""
        return self._spelling.write(genotypes, self.active(genotypes))

    def arch_id(self, genotype: Genotypes) -> str:
        """``arch_ids`` of one."""
        return self.arch_ids(genotype[None])[0]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v]. Digits of inactive slots may be 0 or any choice; they are dropped.

        Raises InputError naming the first id that is outside the space and what is wrong with it.
        """
        return self.canonical(self._spelling.read(arch_ids, self.active))

    # Blocks

    @cached_property
    def _blocks(self) -> tuple[tuple[Block, ...], NDArray[np.int32]]:
        """The vocabulary, and for each resolution where its blocks are: int32[resolutions, parts].

        Resolutions share blocks where rounding up makes their maps equal.
        """
        index: dict[Block, int] = {}
        rows = []
        for resolution in self.resolutions:
            rows.append([index.setdefault(block, len(index)) for block in self.rules.at(resolution)])
        return tuple(index), np.asarray(rows, dtype=np.int32)

    @property
    def vocabulary(self) -> tuple[Block, ...]:
        """Every block that can occur, without repetition."""
        return self._blocks[0]

    def blocks_at(self, resolution: int) -> NDArray[np.int32]:
        """Indices into ``vocabulary`` of every block that can occur at one input resolution in pixels.

        Raises InputError if the space has no such resolution.
        """
        if resolution not in self.resolutions:
            known = ", ".join(map(str, self.resolutions))
            raise InputError(f"{self.name} has no resolution {resolution}.", f"Use one of {known}.")
        found: NDArray[np.int32] = self._blocks[1][self.resolutions.index(resolution)]
        return found

    @cached_property
    def _macs(self) -> Sums:
        return self.additive(self.block_macs(self.vocabulary).astype(np.float64))

    @cached_property
    def _params(self) -> Sums:
        return self.additive(self.block_params(self.vocabulary).astype(np.float64))

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n]: convolutions and linear layers, squeeze-and-excitation included. Doubles hold them exactly."""
        return self._macs(genotypes).astype(np.int64)

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """int64[n]: weights, biases, batch-norm scales and shifts."""
        return self._params(genotypes).astype(np.int64)

    def block_macs(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Multiply-accumulates of m blocks, int64[m]."""
        return np.asarray([self.rules.macs(block) for block in blocks], dtype=np.int64)

    def block_params(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Trainable parameters of m blocks, int64[m]."""
        return np.asarray([self.rules.params(block) for block in blocks], dtype=np.int64)

    def block_features(self, blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Numbers that explain a block's latency: float64[m, f] and the f names."""
        rows = [self.rules.features(block) for block in blocks]
        return np.array([list(row.values()) for row in rows], dtype=np.float64), tuple(rows[0]) if rows else ()

    def interpolation_groups(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """For each block of the vocabulary, which layer it is regardless of resolution (int32[|V|], from 0), and the
        effective side in pixels (float64[|V|]) whose square its cost is linear in.
        """
        layers: dict[tuple[Any, ...], int] = {}
        group = [
            layers.setdefault((block.family, block.parameters, block.inputs[0][0]), len(layers))
            for block in self.vocabulary
        ]
        sides = [self.rules.effective_side(block) for block in self.vocabulary]
        return np.asarray(group, dtype=np.int32), np.asarray(sides)

    # Graphs

    def block_graph(self, block: Block) -> Graph:
        """The graph of one block, batch 1, with random weights (fixed seed, batch-norm folded)."""
        return self._block_alone(block, random_weights(block.key))

    def block_outline(self, block: Block) -> Graph:
        """The same graph with placeholders for weights."""
        return self._block_alone(block, no_weights)

    def _block_alone(self, block: Block, source: Source) -> Graph:
        writer = self.rules.writer(block.key, source)
        return fold_batch_norm(writer.write([(writer.alone.get(block.family, "block"), block)], {}))

    def parts(self, genotype: Genotypes) -> list[tuple[str, Block]]:
        """(prefix of the weights, block) in order of execution, of one genotype int8[v]."""
        indices, vocabulary = self.block_indices(genotype[None])[0].tolist(), self.vocabulary
        return [(prefix, vocabulary[i]) for prefix, i in zip(self.prefixes, indices, strict=True) if i >= 0]

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Graph:
        """The whole network with its batch_norm operators, batch 1; names of weights as the family's ``graph`` says.

        ``weights`` are used as they are, never copied; None draws random ones that the architecture alone decides and
        labels the graph ``weights: random``. Raises InputError on a missing array or a wrong shape.
        """
        arch = self.arch_id(genotype)
        labels, name = {"space": self.name, "arch": arch}, f"{self.name}/{arch}"
        if weights is None:
            labels["weights"] = "random"
        source = random_weights(name) if weights is None else given_weights(weights)
        return self.rules.writer(name, source, self.epsilon).write(self.parts(genotype), labels)

    def shapes(self, genotype: Genotypes) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight of one network int8[v]."""
        graph = self.rules.writer("", no_weights).write(self.parts(genotype), {})
        return {name: tuple(array.shape) for name, array in graph.weights.items()}

    def supernet_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor of a supernet: those of the largest network."""
        return self.shapes(np.asarray([len(values) - 1 for values in self.choices], dtype=np.int8))

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """``network``: the live graph with batch-norm folded, one call an inference."""
        return {"network": (fold_batch_norm(self.live_graph(genotype, weights)), 1)}

    # Supernet

    @property
    def identity(self) -> str:
        """Name and layout."""
        return repr(self)

    @property
    def classes(self) -> int:
        """Classes that the networks tell apart."""
        return self.layout.classes

    def with_classes(self, classes: int) -> Self:
        """The space with another number of classes; architectures stay the same."""
        return replace(self, layout=replace(self.layout, classes=classes))  # type: ignore[type-var]

    def classes_in(self, tensors: Mapping[str, Tensor]) -> int | None:
        """Outputs of the classifier in ``tensors``; None if they have none."""
        bias = tensors.get("head.classifier.bias")
        return len(bias) if bias is not None and bias.ndim == 1 else None

    def at_resolution(self, genotypes: Genotypes, side: int) -> Genotypes:
        """The same networks int8[..., v] for images of ``side`` pixels. Raises InputError if there are none."""
        self.blocks_at(side)
        changed = genotypes.copy()
        changed[..., -1] = self.resolutions.index(side)
        return changed

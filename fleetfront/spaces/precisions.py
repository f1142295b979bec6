"""Make the number format of a network's file one more gene of any space: ``SPACE@fp32,int8``.

Whatever a space offers beyond ``SearchSpace`` is kept: its class is put together from the capabilities that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces import base
from fleetfront.spaces.base import Config, Genotypes, Mode, SearchSpace
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.outlines import OutlinesBlocks

if TYPE_CHECKING:
    from torch import Tensor

#: Between a space, or a network of it, and its precisions; and between these.
SEPARATOR, COMMA = "@", ","
#: The gene's name.
GENE = "precision"
#: What a network's file can be written in, in ascending order of their names.
CHOICES = ("fp16", "fp32", "int8", "w4", "w8")


class PrecisionSpace:
    """The networks of a space, each in several number formats. Its last gene says in which.

    A network is spelled as the space spells it, with its precision behind it: ``ARCH@int8``.
    """

    def __init__(self, networks: Any, precisions: tuple[str, ...]) -> None:
        self._of, self.precisions = networks, precisions

    @property
    def networks(self) -> SearchSpace:
        """The space without that gene."""
        found: SearchSpace = self._of
        return found

    @property
    def name(self) -> str:
        """The space's own, then its precisions."""
        return f"{self._of.name}{SEPARATOR}{COMMA.join(self.precisions)}"

    @property
    def choices(self) -> tuple[tuple[Any, ...], ...]:
        """The space's own, then the precisions."""
        return (*self._of.choices, self.precisions)

    @property
    def gene_names(self) -> tuple[str, ...]:
        """The space's own, then ``precision``."""
        return (*self._of.gene_names, GENE)

    @property
    def vocabulary(self) -> tuple[Block, ...]:
        """The space's blocks, which are those of any precision."""
        found: tuple[Block, ...] = self._of.vocabulary
        return found

    def without(self, genotypes: Genotypes) -> Genotypes:
        """The networks int8[..., v] of genotypes int8[..., v + 1], whatever their precision."""
        return np.ascontiguousarray(genotypes[..., :-1])

    def in_precision(self, genotypes: Genotypes, precision: str) -> Genotypes:
        """Networks int8[n, v] in one precision: int8[n, v + 1]."""
        gene = np.full((len(genotypes), 1), self.precisions.index(precision), np.int8)
        return np.concatenate([genotypes, gene], axis=1)

    def precisions_of(self, genotypes: Genotypes) -> list[str]:
        """The precision of each of int8[n, v + 1]."""
        return [self.precisions[gene] for gene in genotypes[:, -1].tolist()]

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` networks of the space, each in a precision drawn by itself."""
        networks = self._of.sample(n, rng)
        genes = rng.integers(len(self.precisions), size=(n, 1)).astype(np.int8)
        return np.concatenate([networks, genes], axis=1)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """The space's own; precision always changes the file."""
        inside = self._of.active(self.without(genotypes))
        return np.concatenate([inside, np.ones((len(genotypes), 1), np.bool_)], axis=1)

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """Inactive genes of the networks set to 0."""
        return np.concatenate([self._of.canonical(self.without(genotypes)), genotypes[:, -1:]], axis=1)

    def to_config(self, genotype: Genotypes) -> Config:
        """The network's plain values, and its ``precision``."""
        return {**self._of.to_config(self.without(genotype)), GENE: self.precisions[int(genotype[-1])]}

    def from_config(self, config: Config) -> Genotypes:
        """int8[v + 1]. Raises InputError on values outside the space."""
        inside = {name: value for name, value in config.items() if name != GENE}
        gene = self._gene(str(config.get(GENE, "")), str(config))
        return np.append(self._of.from_config(inside), np.int8(gene))

    def arch_id(self, genotype: Genotypes) -> str:
        """``ARCH@int8``."""
        return self.arch_ids(genotype[None])[0]

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """``arch_id`` of n rows."""
        inside = self._of.arch_ids(self.without(genotypes))
        return [f"{arch}{SEPARATOR}{name}" for arch, name in zip(inside, self.precisions_of(genotypes), strict=True)]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v + 1]. Raises InputError naming the first outside the space, or without a precision."""
        pairs = [split_precision(arch) for arch in arch_ids]
        genes = np.array([[self._gene(precision, arch)] for arch, precision in pairs], np.int8).reshape(-1, 1)
        return np.concatenate([self._of.parse([arch for arch, _ in pairs]), genes], axis=1)

    def _gene(self, precision: str, network: str) -> int:
        if not precision:
            raise InputError(
                f"{network[:200]} is no network of {self.name}: its precision is missing.",
                f"Write it behind the network, e.g. ARCH{SEPARATOR}{self.precisions[-1]}.",
            )
        if precision not in self.precisions:
            raise unknown(f"precision of {self.name}", precision, self.precisions)
        return self.precisions.index(precision)

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """Of the networks, whatever their precision."""
        found: NDArray[np.int32] = self._of.block_indices(self.without(genotypes))
        return found

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Of the networks, whatever their precision."""
        found: NDArray[np.int64] = self._of.macs(self.without(genotypes))
        return found

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Of the networks, whatever their precision."""
        found: NDArray[np.int64] = self._of.params(self.without(genotypes))
        return found

    def block_graph(self, block: Block) -> Graph:
        """The block in float; files are quantised when they are written."""
        found: Graph = self._of.block_graph(block)
        return found

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """The network in float; files are quantised when they are written."""
        found: dict[str, tuple[Graph, int]] = self._of.subnet_graphs(self.without(genotype), weights)
        return found


class _Additive:
    _of: Any

    def additive(self, values: NDArray[np.float64]) -> Callable[[Genotypes], NDArray[np.float64]]:
        inside = self._of.additive(values)
        return lambda genotypes: inside(np.ascontiguousarray(genotypes[:, :-1]))


class _DescribesBlocks:
    _of: Any

    def block_macs(self, blocks: Sequence[Block]) -> Any:
        return self._of.block_macs(blocks)

    def block_params(self, blocks: Sequence[Block]) -> Any:
        return self._of.block_params(blocks)

    def block_features(self, blocks: Sequence[Block]) -> Any:
        return self._of.block_features(blocks)


class _Interpolable:
    _of: Any

    @property
    def resolutions(self) -> Any:
        return self._of.resolutions

    def blocks_at(self, resolution: int) -> Any:
        return self._of.blocks_at(resolution)

    def interpolation_groups(self) -> Any:
        return self._of.interpolation_groups()


class _OutlinesBlocks:
    _of: Any

    def block_outline(self, block: Block) -> Any:
        return self._of.block_outline(block)


class _MayDisconnect:
    _of: Any

    def disconnected(self, genotypes: Genotypes) -> Any:
        return self._of.disconnected(np.ascontiguousarray(genotypes[:, :-1]))


class _ExecutesDeadBranches:
    _of: Any

    @property
    def dead_blocks(self) -> Any:
        return self._of.dead_blocks

    def executed_blocks(self, genotypes: Genotypes, mode: Mode) -> Any:
        return self._of.executed_blocks(np.ascontiguousarray(genotypes[:, :-1]), mode)


class _WritesNetworks:
    _of: Any

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Any:
        return self._of.live_graph(np.ascontiguousarray(genotype[:-1]), weights)


class _HasSupernet(_WritesNetworks):
    """Weights are of the networks, whatever precision they are written in."""

    precisions: tuple[str, ...]

    @property
    def identity(self) -> Any:
        return self._of.identity

    @property
    def resolutions(self) -> Any:
        return self._of.resolutions

    @property
    def classes(self) -> Any:
        return self._of.classes

    def at_resolution(self, genotypes: Genotypes, side: int) -> Any:
        inside = self._of.at_resolution(np.ascontiguousarray(genotypes[..., :-1]), side)
        return np.concatenate([inside, genotypes[..., -1:]], axis=-1)

    def with_classes(self, classes: int) -> Any:
        return with_precisions(self._of.with_classes(classes), self.precisions)

    def supernet_shapes(self) -> Any:
        return self._of.supernet_shapes()

    def classes_in(self, tensors: Mapping[str, Tensor]) -> Any:
        return self._of.classes_in(tensors)

    def cut(self, tensors: Mapping[str, Tensor], genotype: Genotypes) -> Any:
        return self._of.cut(tensors, np.ascontiguousarray(genotype[:-1]))

    def graph_names(self, state: Mapping[str, Tensor]) -> Any:
        return self._of.graph_names(state)

    def describe_misfit(self, tensors: Mapping[str, Tensor]) -> Any:
        return self._of.describe_misfit(tensors)


class _Relaxable:
    _of: Any

    def block_probabilities(self, probabilities: Sequence[Tensor]) -> Any:
        return self._of.block_probabilities(probabilities[:-1])


class _RelaxesActivity:
    _of: Any

    def active_probabilities(self, probabilities: Sequence[Tensor]) -> Any:
        import torch

        inside = self._of.active_probabilities(probabilities[:-1])
        return torch.cat([inside, torch.ones_like(inside[:, :1])], dim=1)


class _DescribesNetworks:
    _of: Any
    precisions: tuple[str, ...]

    def network_features(self, genotypes: Genotypes) -> Any:
        inside = self._of.network_features(np.ascontiguousarray(genotypes[:, :-1]))
        return {**inside, GENE: np.eye(len(self.precisions))[genotypes[:, -1]]}


#: What a space may offer -> what forwards it.
_CAPABILITIES: tuple[tuple[type, type], ...] = (
    (base.Additive, _Additive),
    (base.DescribesBlocks, _DescribesBlocks),
    (base.Interpolable, _Interpolable),
    (OutlinesBlocks, _OutlinesBlocks),
    (base.MayDisconnect, _MayDisconnect),
    (base.ExecutesDeadBranches, _ExecutesDeadBranches),
    (base.HasSupernet, _HasSupernet),
    (base.WritesNetworks, _WritesNetworks),
    (base.Relaxable, _Relaxable),
    (base.RelaxesActivity, _RelaxesActivity),
    (base.DescribesNetworks, _DescribesNetworks),
)


def with_precisions(networks: SearchSpace, precisions: Sequence[str]) -> PrecisionSpace:
    """The networks of a space in each of some precisions.

    Raises InputError on an unknown precision, none, a space that has precisions already, or one of networks that no
    file is written of.
    """
    for name in precisions:
        if name not in CHOICES:
            raise unknown("precision", name, CHOICES)
    if not precisions:
        raise InputError("No precision is given.", f"Choose from {', '.join(CHOICES)}.")
    if isinstance(networks, base.HasPrecisions):
        raise InputError(f"Networks of {networks.name} are in several precisions already.", "Name the plain space.")
    if GENE in networks.gene_names:
        raise InputError(f"{networks.name} has a gene {GENE!r} of its own.", "Leave the precisions out.")
    if isinstance(networks, base.KnownByTables):
        raise InputError(
            f"{networks.name} is known by tables alone: no file is written of its networks, in no precision.",
            "Leave the precisions out.",
        )
    parts = tuple(part for capability, part in _CAPABILITIES if isinstance(networks, capability))
    kind = type(PrecisionSpace.__name__, (PrecisionSpace, *parts), {})
    made: PrecisionSpace = kind(networks, tuple(name for name in CHOICES if name in precisions))
    return made


def split_precision(arch: str) -> tuple[str, str]:
    """``ARCH@int8`` as (ARCH, int8); the precision is empty where none is behind it."""
    inside, separator, precision = arch.rpartition(SEPARATOR)
    return (inside, precision) if separator else (arch, "")

"""TabularSpace holds networks that are known by tables: genes chosen once or for every layer, spelling and sums.

Nothing is measured or deployed of them; what they cost and how good they are is imported, then learnt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.base import Config, Genotypes
from fleetfront.spaces.blocks import Block

if TYPE_CHECKING:
    from torch import Tensor

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Genes that share their values.

    Attributes:
        key: before their values in an architecture's id.
        name: of the gene, or of each with the number of its layer.
        slots: layers; 1 for what is chosen once.
        depth: name of the gene that says how many of the layers there are; empty if all are.
    """

    key: str
    name: str
    values: tuple[int, ...]
    slots: int = 1
    depth: str = ""


@dataclass(frozen=True)
class TabularSpace(ABC):
    """A space of groups of genes."""

    name: str
    groups: tuple[Group, ...]

    @property
    @abstractmethod
    def importer(self) -> str:
        """The command that imports a table of the space."""

    @abstractmethod
    def macs(self, genotypes: Genotypes) -> Counts:
        """Multiply-accumulate operations of one token, int64[n]."""

    @abstractmethod
    def params(self, genotypes: Genotypes) -> Counts:
        """Trainable parameters, int64[n]."""

    @cached_property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Values of every gene, group by group."""
        return tuple(group.values for group in self.groups for _ in range(group.slots))

    @cached_property
    def gene_names(self) -> tuple[str, ...]:
        """The group's name, with the number of the layer where there are several."""
        return tuple(
            group.name if group.slots == 1 else f"{group.name}_{layer}"
            for group in self.groups
            for layer in range(1, group.slots + 1)
        )

    @cached_property
    def _slices(self) -> tuple[slice, ...]:
        ends = np.cumsum([group.slots for group in self.groups]).tolist()
        return tuple(slice(end - group.slots, end) for end, group in zip(ends, self.groups, strict=True))

    # Genotypes

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly gene by gene, canonical: int8[n, v]."""
        counts = [len(values) for values in self.choices]
        return self.canonical(rng.integers(0, counts, size=(n, len(counts)), dtype=np.int8))

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: genes of layers that are not there change nothing."""
        found = np.ones(genotypes.shape, dtype=np.bool_)
        for group, at in zip(self.groups, self._slices, strict=True):
            if group.depth:
                gene = self.gene_names.index(group.depth)
                layers = np.asarray(self.choices[gene])[genotypes[:, gene]]
                found[:, at] = np.arange(group.slots) < layers[:, None]
        return found

    def active_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How likely each layer is there, for its genes, float[n, v]; all else is sure."""
        import torch

        columns = []
        for group in self.groups:
            if not group.depth:
                columns += [torch.ones_like(probabilities[0][:, 0])] * group.slots
                continue
            gene = self.gene_names.index(group.depth)
            depths = torch.tensor(self.choices[gene])
            columns += [probabilities[gene][:, depths > layer].sum(dim=1) for layer in range(group.slots)]
        return torch.stack(columns, dim=1)

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """A copy with inactive genes set to 0."""
        kept: Genotypes = np.where(self.active(genotypes), genotypes, np.int8(0))
        return kept

    # Spelling

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """Each group as its key and its values with dashes between; groups with ``_`` between."""
        values = np.stack([np.asarray(v)[genotypes[:, i]] for i, v in enumerate(self.choices)], axis=1)
        spelled = []
        for row, active in zip(values.tolist(), self.active(genotypes).tolist(), strict=True):
            parts = [
                group.key + "-".join(str(value) for value, there in zip(row[at], active[at], strict=True) if there)
                for group, at in zip(self.groups, self._slices, strict=True)
            ]
            spelled.append("_".join(parts))
        return spelled

    def arch_id(self, genotype: Genotypes) -> str:
        """``arch_ids`` of one."""
        return self.arch_ids(genotype[None])[0]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v]. Raises InputError naming the first id that is outside the space."""
        rows = np.zeros((len(arch_ids), len(self.choices)), dtype=np.int8)
        for at, arch in enumerate(arch_ids):  # Reading text: nothing to vectorise.
            try:
                rows[at] = self._read(arch)
            except (KeyError, ValueError) as error:
                example = self.arch_id(np.zeros(len(self.choices), np.int8))
                raise InputError(
                    f"{arch!r} is not an architecture of {self.name}.", f"Spell it like {example}."
                ) from error
        return rows

    def _read(self, arch: str) -> list[int]:
        """Genes of one id. Raises KeyError or ValueError on what is no such id."""
        parts = arch.split("_")
        genes: list[int] = []
        read: dict[str, int] = {}
        for group, part in zip(self.groups, parts, strict=True):
            values = part.removeprefix(group.key)
            numbers = [int(value) for value in values.split("-")] if values else []
            there = read[group.depth] if group.depth else group.slots
            if part == values or len(numbers) != there or values != "-".join(map(str, numbers)):
                raise ValueError(part)
            genes += [group.values.index(number) for number in numbers] + [0] * (group.slots - there)
            read[group.name] = numbers[0] if numbers else 0
        return genes

    def to_config(self, genotype: Genotypes) -> Config:
        """Name of each group -> its value, or those of its layers."""
        values = [values[gene] for values, gene in zip(self.choices, genotype.tolist(), strict=True)]
        active = self.active(genotype[None])[0].tolist()
        config: Config = {}
        for group, at in zip(self.groups, self._slices, strict=True):
            there = [value for value, is_there in zip(values[at], active[at], strict=True) if is_there]
            config[group.name] = there[0] if group.slots == 1 else there
        return config

    def from_config(self, config: Config) -> Genotypes:
        """int8[v], canonical. Raises InputError on a missing key or a value outside the space."""
        try:
            parts = [(group.key, config[group.name], group.slots) for group in self.groups]
            arch = "_".join(key + (str(v) if slots == 1 else "-".join(map(str, v))) for key, v, slots in parts)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{config!r} is not a configuration of {self.name} ({error!r}).",
                f"Give {', '.join(group.name for group in self.groups)}.",
            ) from error
        genotype: Genotypes = self.parse([arch])[0]
        return genotype

    # Sums

    def summary_weights(self) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """The sum of each group's values over the layers that are there, float64[f, groups]."""
        flat = [(i, v) for i, group in enumerate(self.groups) for _ in range(group.slots) for v in group.values]
        weights = np.zeros((len(flat), len(self.groups)))
        weights[np.arange(len(flat)), [column for column, _ in flat]] = [float(value) for _, value in flat]
        return weights, tuple(group.name for group in self.groups)

    def sums(self, genotypes: Genotypes) -> Counts:
        """The same of n genotypes, int64[groups, n]."""
        values = np.stack([np.asarray(v)[genotypes[:, i]] for i, v in enumerate(self.choices)], axis=1)
        values = np.where(self.active(genotypes), values, 0)
        return np.stack([values[:, at].sum(axis=1) for at in self._slices]).astype(np.int64)

    # Blocks and graphs, of which there are none

    @property
    def vocabulary(self) -> tuple[Block, ...]:
        """Empty."""
        return ()

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, 0]."""
        return np.zeros((len(genotypes), 0), dtype=np.int32)

    def block_graph(self, block: Block) -> Graph:
        """Raises InputError: there are no blocks."""
        raise self._no_graphs()

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """Raises InputError: no graph is written of these networks."""
        raise self._no_graphs()

    def _no_graphs(self) -> InputError:
        return InputError(
            f"Networks of {self.name} are known by tables alone: there is nothing to measure or to deploy.",
            f"Import a table: {self.importer}",
        )

"""TorchFamily is the search space of a user's file: genes, parts and files of its networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.additive import SumOfTables
from fleetfront.spaces.base import Config, Genotypes, OwnAccuracy
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.from_torch.family_file import (
    WHOLE,
    FamilyFile,
    Genes,
    Part,
    Value,
    spell_genes,
    unsteady,
)
from fleetfront.spaces.from_torch.own_data import calibrating, judged, no_calibration
from fleetfront.spaces.from_torch.tables import Slot
from fleetfront.spaces.from_torch.traces import FamilyParts, family_parts, split_calls, tracer_of
from fleetfront.spaces.slot_tables import codes, sum_tables

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Networks whose captured parts are kept: blocks of one network are written one after the other.
_KEPT = 2


class TorchFamily:
    """A ``SearchSpace`` of networks that a user's function makes; ``width=16,depth=3`` spells one."""

    def __init__(self, file: FamilyFile, parts: FamilyParts) -> None:
        """``parts`` are what its networks are made of."""
        self.file, self.parts = file, parts
        self.name = file.name
        self.gene_names = tuple(file.choices)
        self.choices: tuple[tuple[Any, ...], ...] = tuple(file.choices.values())
        self._counts = [len(values) for values in self.choices]
        self._spelled = [{str(value): place for place, value in enumerate(values)} for values in self.choices]
        self._captured: dict[str, dict[str, tuple[nn.Module, tuple[Tensor, ...]]]] = {}

    @property
    def is_shipped(self) -> bool:
        """True if fleetfront brings the file: its networks have random weights, and nobody writes into it."""
        return bool(self.file.shipped_as)

    @property
    def is_in_parts(self) -> bool:
        """True if the file gives ``parts``."""
        return self.file.parts is not None

    @property
    def own_accuracy(self) -> OwnAccuracy | None:
        """The file's own ``accuracy``, if it has one."""
        one = self.file
        if not one.judges:
            return None
        told = (one.unit, one.quality, one.is_higher_better, one.combines, one.objectives)
        return OwnAccuracy(one.path, "accuracy", *told)

    @property
    def own_file(self) -> Path:
        """The user's file."""
        return self.file.path

    def own_parts(self, genotype: Genotypes) -> dict[str, Part]:
        """The network of one genotype int8[v] as the file makes it, by the parts that have files of their own: module,
        what it is fed, calls an inference. Raises InputError if it is called otherwise than when it was traced.
        """
        rows = self.canonical(genotype[None])
        genes = self.genes(rows[0])
        made = self.file.of(genes)
        if self.is_in_parts:
            found = {name: part.calls for name, part in made.items()}
            traced: dict[str, int] = {}
            for slot, blocks, calls in zip(self.parts.slots, self._blocks, self._calls, strict=True):
                (at,) = codes(slot.genes, self._counts, rows)
                if blocks[at] >= 0:
                    traced[slot.place.partition("/")[0]] = int(calls[at])
            if found != found | traced:
                raise unsteady(self.file, genes, found, traced)
        return made

    def by_part(self, genotype: Genotypes, values: NDArray[np.float64]) -> dict[str, float]:
        """The sum of ``values`` float64[|V|] over all calls of what each part that has a file of its own is made of."""
        found: dict[str, float] = {}
        padded, rows = np.append(values, 0.0), self.canonical(genotype[None])
        for slot, blocks, calls in zip(self.parts.slots, self._blocks, self._calls, strict=True):
            (at,) = codes(slot.genes, self._counts, rows)
            if blocks[at] >= 0:
                name = slot.place.partition("/")[0] if self.is_in_parts else WHOLE
                found[name] = found.get(name, 0.0) + float(calls[at] * padded[blocks[at]])
        return found

    def check_calibration(self) -> None:
        """Raise InputError if the file has no ``calibration``."""
        if self.file.calibration is None:
            raise no_calibration(self.file)

    def own_calibration(self, genotype: Genotypes) -> list[tuple[Tensor, ...]]:
        """Inputs of one genotype int8[v] that int8 is calibrated and proven on. Raises InputError as the file does."""
        return calibrating(self.file, self.genes(self.canonical(genotype[None])[0]))

    @property
    def judges_files(self) -> bool:
        """True if the file gives ``judge``."""
        return self.file.judge is not None

    def own_judge(self, genotype: Genotypes, run: Callable[..., Any]) -> float:
        """Percent that the file's ``judge`` tells of ``run``, of one genotype int8[v]. Raises InputError as it does."""
        return judged(self.file, self.genes(self.canonical(genotype[None])[0]), run)

    # Genotypes

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` architectures drawn uniformly gene by gene, canonical: int8[n, v]."""
        return self.canonical(rng.integers(0, self._counts, size=(n, len(self._counts)), dtype=np.int8))

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: which genes change the network: those that the file names, or without that those whose other
        values would change some part of it. A gene that changes no part of any network is one of training, and counts.
        """
        found = np.ones(genotypes.shape, np.bool_)
        rows = genotypes.copy()
        named = None if self.file.active is None else self._named(genotypes)
        for gene, is_ever in enumerate(self._ever):
            if not is_ever:
                continue
            # One gene after the other: two that change nothing alone may do so together.
            matters = np.zeros(len(rows), np.bool_)
            for slot, sensitive in self._sensitive[gene]:
                matters |= sensitive[codes(slot.genes, self._counts, rows)]
            if named is not None:
                self._check_named(rows, gene, matters & ~named[:, gene] & (rows[:, gene] > 0))
                matters = named[:, gene]
            found[:, gene] = matters
            rows[~matters, gene] = 0
        if named is not None:
            found[:, ~self._ever] = named[:, ~self._ever]
        return found

    def _named(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        rows, places = np.unique(genotypes, axis=0, return_inverse=True)
        named = [self.file.active_names(self.genes(row)) for row in rows]
        table = np.array([[name in there for name in self.gene_names] for there in named], np.bool_)
        return np.asarray(table.reshape(len(rows), -1)[places.reshape(-1)], np.bool_)

    def _check_named(self, rows: Genotypes, gene: int, wrong: NDArray[np.bool_]) -> None:
        """Raise InputError for a gene that the file calls inactive, though another value makes another network."""
        if wrong.any():
            genes = spell_genes(self.genes(rows[int(np.argmax(wrong))]))
            raise InputError(
                f"active({genes}) of {self.file.path.name} leaves {self.gene_names[gene]} out, which changes that one.",
                "Name every gene that matters, or leave `active` out: what changes nothing is found without it.",
            )

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        """A copy with inactive genes set to 0."""
        kept: Genotypes = np.where(self.active(genotypes), genotypes, np.int8(0))
        return kept

    def genes(self, genotype: Genotypes) -> dict[str, Value]:
        """Gene -> value of one genotype int8[v], as the file's functions take them."""
        return {
            name: values[gene]
            for name, values, gene in zip(self.gene_names, self.choices, genotype.tolist(), strict=True)
        }

    def to_config(self, genotype: Genotypes) -> Config:
        """The genes by name."""
        return dict(self.genes(self.canonical(genotype[None])[0]))

    def from_config(self, config: Config) -> Genotypes:
        """int8[v], canonical. Raises InputError on missing or other genes, and values outside the choices."""
        unknown = [name for name in config if name not in self.file.choices]
        lacking = [name for name in self.gene_names if name not in config]
        if unknown or lacking:
            said = f"has no gene {unknown[0]!r}" if unknown else f"has the gene {lacking[0]!r}, too"
            raise InputError(f"{self.name} {said}.", f"Give {', '.join(self.gene_names)}.")
        genes: list[int] = []
        for name, values in self.file.choices.items():
            if str(config[name]) not in self._spelled[len(genes)]:
                listed = ", ".join(map(str, values))
                raise InputError(
                    f"{name} is {config[name]!r}, and no network of {self.name} has that.", f"Use {listed}."
                )
            genes.append(self._spelled[len(genes)][str(config[name])])
        canonical: Genotypes = self.canonical(np.array([genes], np.int8))[0]
        return canonical

    def arch_id(self, genotype: Genotypes) -> str:
        """E.g. ``width=16,depth=3``, inactive genes at their first values."""
        return self.arch_ids(genotype[None])[0]

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        """``arch_id`` of n rows."""
        return [spell_genes(self.genes(row)) for row in self.canonical(genotypes)]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        """Canonical int8[n, v]. Raises InputError naming the first id outside the space."""
        rows = np.zeros((len(arch_ids), len(self._counts)), np.int8)
        for at, arch in enumerate(arch_ids):  # Reading text: nothing to vectorise.
            pairs = [part.partition("=")[::2] for part in arch.split(",")]
            try:
                if len(dict(pairs)) < len(pairs):
                    raise InputError("A gene is there twice.", "Give each once.")
                rows[at] = self.from_config(dict(pairs))
            except InputError as error:
                example = self.arch_id(np.zeros(len(self._counts), np.int8))
                raise InputError(
                    f"{arch!r} is no network of {self.name}: {error.message}",
                    f"Spell it like {example}. {error.remedy}",
                ) from error
        return rows

    # Parts

    @cached_property
    def _order(self) -> dict[str, int]:
        return {signature: place for place, signature in enumerate(self.parts.described)}

    @cached_property
    def vocabulary(self) -> tuple[Block, ...]:
        """Every part that can occur, named after its first module."""
        return tuple(
            Block.make(one.label.lower(), one.inputs, part=signature) for signature, one in self.parts.described.items()
        )

    @cached_property
    def _values(self) -> list[NDArray[np.int64]]:
        """For each slot and combination of its genes, a number that is equal for equal contents."""
        numbers: dict[str, int] = {}
        return [
            np.array([numbers.setdefault(held, len(numbers)) for held in slot.held], np.int64)
            for slot in self.parts.slots
        ]

    @cached_property
    def _blocks(self) -> list[NDArray[np.int32]]:
        """For each slot and combination of its genes, the part there; -1 for none."""
        found = [[self._order.get(split_calls(held)[0], -1) for held in slot.held] for slot in self.parts.slots]
        return [np.array(one, np.int32) for one in found]

    @cached_property
    def _calls(self) -> list[NDArray[np.int32]]:
        """For each slot and combination of its genes, how often an inference calls what is there."""
        return [np.array([split_calls(held)[1] for held in slot.held], np.int32) for slot in self.parts.slots]

    @cached_property
    def _sensitive(self) -> list[list[tuple[Slot, NDArray[np.bool_]]]]:
        """For each gene the slots that depend on it, and for which combinations another value of it changes them."""
        found: list[list[tuple[Slot, NDArray[np.bool_]]]] = [[] for _ in self._counts]
        for slot, values in zip(self.parts.slots, self._values, strict=True):
            table = values.reshape([self._counts[gene] for gene in slot.genes])
            for axis, gene in enumerate(slot.genes):
                changes = (table != table.take([0], axis=axis)).any(axis=axis, keepdims=True)
                if changes.any():
                    found[gene].append((slot, np.broadcast_to(changes, table.shape).ravel()))
        return found

    @cached_property
    def _ever(self) -> NDArray[np.bool_]:
        """bool[v]: genes that change some part of some network."""
        return np.array([bool(slots) for slots in self._sensitive], np.bool_)

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, b]: indices into ``vocabulary`` of each network's parts, once for each call, padded with -1."""
        columns = []
        for slot, blocks, calls in zip(self.parts.slots, self._blocks, self._calls, strict=True):
            if (blocks >= 0).any():
                chosen = codes(slot.genes, self._counts, genotypes)
                is_called = np.arange(calls[blocks >= 0].max()) < calls[chosen][:, None]
                columns.append(np.where(is_called, blocks[chosen][:, None], np.int32(-1)))
        return np.concatenate(columns, axis=1)

    def additive(self, values: NDArray[np.float64]) -> Callable[[Genotypes], NDArray[np.float64]]:
        """The sum of ``values`` float64[|V|] over all calls of each network's parts, as a function int8[n, v] ->
        float64[n].
        """
        padded = np.append(values, 0.0)
        return self._summed([calls * padded[blocks] for blocks, calls in zip(self._blocks, self._calls, strict=True)])

    def _summed(self, tables: Sequence[NDArray[np.float64]]) -> SumOfTables:
        return sum_tables([slot.genes for slot in self.parts.slots], self._counts, tables)

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Multiply-accumulates of all calls of the parts, int64[n]."""
        return np.rint(self.additive(self.block_macs(self.vocabulary).astype(np.float64))(genotypes)).astype(np.int64)

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """Numbers in the weights, those between the parts too, int64[n]."""
        padded = np.append(self.block_params(self.vocabulary).astype(np.float64), 0.0)
        inside = self._summed([padded[blocks] for blocks in self._blocks])(genotypes)
        loose = sum(np.array(counts)[codes(slot.genes, self._counts, genotypes)] for slot, counts in self.parts.loose)
        return np.rint(inside + loose).astype(np.int64)

    def _described(self, blocks: Sequence[Block]) -> list[Any]:
        return [self.parts.described[str(block.parameter("part"))] for block in blocks]

    def block_macs(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Multiply-accumulates, int64[m]."""
        return np.array([one.macs for one in self._described(blocks)], np.int64)

    def block_params(self, blocks: Sequence[Block]) -> NDArray[np.int64]:
        """Numbers in the weights, int64[m]."""
        return np.array([one.params for one in self._described(blocks)], np.int64)

    def block_features(self, blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Work, weights, numbers moved, operators, and which class the part begins with: float64[m, f]."""
        labels = list(dict.fromkeys(one.label for one in self.parts.described.values()))
        order = {block.key: place for place, block in enumerate(self.vocabulary)}
        rows = [
            [one.macs, one.params, one.moved, one.operators, labels.index(one.label), order[block.key]]
            for one, block in zip(self._described(blocks), blocks, strict=True)
        ]
        return np.array(rows, np.float64), ("macs", "params", "moved", "operators", "class", "number")

    # Files

    def block_graph(self, block: Block) -> Graph:
        """The graph of a part, batch 1, with the weights that it has in one network; torch writes its files."""
        from fleetfront.spaces.from_torch.exporting import exported_graph

        one = self.parts.described[str(block.parameter("part"))]
        module, sample = self._capture(one.genes)[one.place]
        return exported_graph(block.key, module, sample, is_inside=True)

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        """The graph of a network, batch 1, as the file makes it, or of each of its parts; torch writes their files.
        ``weights`` are the modules' own: InputError for others.
        """
        from fleetfront.spaces.from_torch.exporting import exported_graph

        if weights is not None:
            raise InputError(
                f"Networks of {self.name} have the weights that {self.file.path.name} gives them.",
                "Load them in make(**genes).",
            )
        made = self.own_parts(genotype).items()
        return {name: (exported_graph(self.name, one.module, one.sample), one.calls) for name, one in made}

    def _capture(self, genes: Genes) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        key = spell_genes(genes)
        if key not in self._captured:
            while len(self._captured) >= _KEPT:
                del self._captured[next(iter(self._captured))]
            self._captured[key] = tracer_of(self.file, self.parts).capture(genes)
        return self._captured[key]


def make_family(file: FamilyFile, progress: Progress = SILENT) -> TorchFamily:
    """The space of a user's file; its networks are traced, or read from the cache of an earlier time.

    Raises InputError if a network cannot be made or run, or if what they are made of cannot be told.
    """
    return TorchFamily(file, family_parts(file, progress))

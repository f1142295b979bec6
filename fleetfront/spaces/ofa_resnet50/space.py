"""OfaResNet50Space holds once-for-all ResNet-D networks: genotypes, spelling, blocks, exact sums, shared weights.

A genotype is an expansion gene a slot, a depth gene for the stem and each stage, a width gene for the stem's inside,
its output and each stage, and a resolution gene: indices into choices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.spaces.additive import SumOfTables
from fleetfront.spaces.base import Config, Genotypes
from fleetfront.spaces.image_space import BlockRules, ImageSpace
from fleetfront.spaces.ofa_resnet50.graph import ResNetWriter
from fleetfront.spaces.ofa_resnet50.layout import (
    MINI_LAYOUT,
    Layout,
    block_features,
    block_macs,
    block_params,
    blocks_at,
    effective_side,
    resnet50_layout,
)
from fleetfront.spaces.slot_tables import SlotTable, expected_blocks, look_up, sum_tables
from fleetfront.spaces.spelling import Digits
from fleetfront.spaces.supernet.once_for_all import plain_name

if TYPE_CHECKING:
    from torch import Tensor

#: Once-for-all's name of a part -> the name in a graph.
_PARTS = {
    "input_stem.0.": "stem.conv1.",
    "input_stem.1.conv.": "stem.conv2.",
    "input_stem.2.": "stem.conv3.",
    "classifier.linear.": "head.classifier.",
}


def ofa_resnet50() -> OfaResNet50Space:
    """Widths 0.65 to 1.0 at 128 to 224 pixels in steps of 16."""
    return OfaResNet50Space("ofa-resnet50", resnet50_layout(tuple(range(128, 225, 16))))


def ofa_resnet_mini() -> OfaResNet50Space:
    """Three stages on maps of 24 pixels, images of 96, ten classes: what ``fleetfront quickstart`` searches."""
    return OfaResNet50Space("ofa-resnet-mini", MINI_LAYOUT)


@dataclass(frozen=True)
class OfaResNet50Space(ImageSpace[Layout]):
    """A once-for-all family of ResNet-D networks."""

    @cached_property
    def choices(self) -> tuple[tuple[int | float, ...], ...]:
        """Expansions of every slot; depths of the stem and of every stage; widths inside the stem, of its output and of
        every stage; resolutions.
        """
        one = self.layout
        stages = len(one.base_depths)
        stem = (one.depths[0], one.depths[-1])
        return (
            *(one.expansions,) * one.slots,
            stem,
            *(one.depths,) * stages,
            *(one.widths,) * (stages + 2),
            one.resolutions,
        )

    @cached_property
    def gene_names(self) -> tuple[str, ...]:
        """``expansion_1``.., ``depth_stem``, ``depth_1``.., ``width_inside_stem``, ``width_stem``, ``width_1``..,
        ``resolution``; slots and stages count from 1.
        """
        slots, stages = range(1, self.layout.slots + 1), range(1, len(self.layout.base_depths) + 1)
        expansions, depths = [f"expansion_{i}" for i in slots], [f"depth_{i}" for i in stages]
        widths = ["width_inside_stem", "width_stem", *(f"width_{i}" for i in stages)]
        return (*expansions, "depth_stem", *depths, *widths, "resolution")

    @cached_property
    def _places(self) -> tuple[tuple[int, int], ...]:
        """(stage, place within it) of every slot."""
        one = self.layout
        return tuple((i, j) for i, base in enumerate(one.base_depths) for j in range(base + one.depths[-1]))

    @property
    def _depth(self) -> int:
        """The gene of the stem's depth; those of the stages follow, then the widths."""
        return self.layout.slots

    @property
    def _width(self) -> int:
        return self._depth + 1 + len(self.layout.base_depths)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: the expansion of a slot beyond its stage's depth changes nothing."""
        found = np.ones(genotypes.shape, dtype=np.bool_)
        depths = np.asarray(self.layout.depths)[genotypes[:, self._depth + 1 : self._width]]
        for slot, (stage, within) in enumerate(self._places):
            found[:, slot] = within < self.layout.base_depths[stage] + depths[:, stage]
        return found

    @cached_property
    def digits(self) -> tuple[Digits, ...]:
        """An expansion a slot, 1 for the smallest; once-for-all's depths; its widths, 0 for the smallest."""
        one = self.layout
        expansions = "".join(str(place + 1) for place in range(len(one.expansions)))
        named = {f"{share:g}": digit for share, digit in zip(one.expansions, expansions, strict=True)}
        depths, widths = "".join(map(str, one.depths)), "".join(str(place) for place in range(len(one.widths)))
        stages = len(one.base_depths)
        return (
            Digits("e", "e", "expansion", (expansions,) * one.slots, unset=True, theirs=named),
            Digits("d", "d", "depth", (depths[0] + depths[-1], *(depths,) * stages)),
            Digits("w", "w", "width", (widths,) * (stages + 2)),
        )

    def to_config(self, genotype: Genotypes) -> Config:
        """``expansions`` of every slot (0 where inactive), ``depths``, ``widths`` (stem, stages) and ``resolution``."""
        active = self.active(genotype[None])[0]
        values = [self.choices[i][gene] if active[i] else 0 for i, gene in enumerate(genotype.tolist())]
        return {
            "expansions": values[: self._depth],
            "depths": values[self._depth : self._width],
            "widths": values[self._width : -1],
            "resolution": values[-1],
        }

    def from_config(self, config: Config) -> Genotypes:
        """int8[v], canonical. Raises InputError on a missing key, a wrong length or a value outside the space."""
        try:
            values = [*config["expansions"], *config["depths"], *config["widths"], config["resolution"]]
            genes = [
                0 if value == 0 and gene < self._depth else choices.index(value)
                for gene, (value, choices) in enumerate(zip(values, self.choices, strict=True))
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{config!r} is not a configuration of {self.name} ({error!r}).",
                "Give lists expansions, depths and widths, and a resolution.",
            ) from error
        canonical: Genotypes = self.canonical(np.array([genes], np.int8))[0]
        return canonical

    # Blocks

    @cached_property
    def rules(self) -> BlockRules:
        """Stems, each stage's first and later blocks, heads."""
        at = partial(blocks_at, self.layout)
        return BlockRules(at, block_macs, block_params, effective_side, block_features, ResNetWriter)

    @cached_property
    def _counts(self) -> list[int]:
        return [len(values) for values in self.choices]

    @cached_property
    def _slots(self) -> list[SlotTable]:
        """Stem, every slot, head; the resolution is the last gene of each."""
        one, parts, last = self.layout, self._blocks[1], len(self.choices) - 1
        widths, expansions, depth, width = len(one.widths), len(one.expansions), self._depth, self._width
        first, later = widths * widths * expansions, widths * expansions
        start = 2 * widths * widths
        found = [_slot((depth, width, width + 1, last), parts[:, :start].T)]
        for slot, (stage, within) in enumerate(self._places):
            begin = start + stage * (first + later)
            if not within:
                found.append(
                    _slot((width + 1 + stage, width + 2 + stage, slot, last), parts[:, begin : begin + first].T)
                )
                continue
            blocks = parts[:, begin + first : begin + first + later].T
            is_there = np.asarray(one.depths) + one.base_depths[stage] > within
            genes = (depth + 1 + stage, width + 2 + stage, slot, last)
            found.append(_slot(genes, np.where(is_there[:, None, None], blocks[None], -1)))
        return [*found, _slot((width + 1 + len(one.base_depths), last), parts[:, -widths:].T)]

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, slots + 2]: stem, slots (-1 beyond a stage's depth), head."""
        return look_up(self._slots, self._counts, genotypes)

    def additive(self, values: NDArray[np.float64]) -> SumOfTables:
        """The sum of per-block ``values`` float64[|V|] as a fast function of genotypes, inactive genes or not."""
        padded = np.append(np.asarray(values, dtype=np.float64), 0.0)
        genes, tables = [slot.genes for slot in self._slots], [padded[slot.blocks] for slot in self._slots]
        return sum_tables(genes, self._counts, tables)

    def block_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How often each block is expected to occur, float[n, |V|]."""
        return expected_blocks(self._slots, probabilities, len(self.vocabulary))

    def active_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How likely a slot is within its stage's depth, for its expansion; all else is sure."""
        import torch

        one, sure = self.layout, torch.ones_like(probabilities[0][:, 0])
        columns = [
            probabilities[self._depth + 1 + i][:, [d + one.base_depths[i] > j for d in one.depths]].sum(1)
            for i, j in self._places
        ]
        return torch.stack([*columns, *[sure] * (len(self.choices) - len(columns))], dim=1)

    # Graphs and weights

    @property
    def prefixes(self) -> tuple[str, ...]:
        """``stem``, ``slot1``.., ``head``."""
        return ("stem", *(f"slot{slot + 1}" for slot in range(self.layout.slots)), "head")

    def cut(self, tensors: Mapping[str, Tensor], genotype: Genotypes) -> dict[str, Tensor]:
        """The weights of one network int8[v]: the first channels of each layer, as views of ``tensors``."""
        shapes = self.shapes(genotype)
        return {name: tensors[name][tuple(slice(size) for size in shape[:2])] for name, shape in shapes.items()}

    def graph_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A once-for-all state dict under the names of ``supernet_shapes``; counters of batches are dropped."""
        return {_graph_name(name): t for name, t in state.items() if not name.endswith("num_batches_tracked")}

    def describe_misfit(self, tensors: Mapping[str, Tensor]) -> str:
        """Which family ``tensors`` seem to be of."""
        return " They seem to be of MobileNet blocks." if "first.project.conv.weight" in tensors else ""


def _slot(genes: tuple[int, ...], blocks: NDArray[np.int32]) -> SlotTable:
    return SlotTable(genes, np.ascontiguousarray(blocks).ravel())


def _graph_name(name: str) -> str:
    """A name of a once-for-all state dict, in any of its published spellings, as a graph has it."""

    def in_graph(plain: str) -> str:
        for theirs, ours in _PARTS.items():
            if plain.startswith(theirs):
                return ours + plain.removeprefix(theirs)
        return re.sub(r"^blocks\.(\d+)\.", lambda found: f"slot{int(found[1]) + 1}.", plain)

    return plain_name(name, in_graph)

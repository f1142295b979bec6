"""OfaMbv3Space holds once-for-all networks of MobileNet blocks: genotypes, spelling, blocks, sums, shared weights.

A genotype is a kernel and an expansion gene a slot, a depth gene a stage and a resolution gene: indices into choices.
"""

from __future__ import annotations

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
from fleetfront.spaces.ofa_mbv3.graph import MobileNetWriter
from fleetfront.spaces.ofa_mbv3.layout import (
    MINI64_LAYOUT,
    MINI_LAYOUT,
    Layout,
    block_features,
    block_macs,
    block_params,
    blocks_at,
    effective_side,
    full_layout,
    proxyless_layout,
)
from fleetfront.spaces.ofa_mbv3.sums import stage_sums
from fleetfront.spaces.ofa_mbv3.supernet import cut, describe_misfit, graph_name, with_matrices
from fleetfront.spaces.spelling import Digits

if TYPE_CHECKING:
    from torch import Tensor


def ofa_mbv3_w10() -> OfaMbv3Space:
    """Width 1.0 at 128 to 224 pixels in steps of 4."""
    return OfaMbv3Space("ofa-mbv3-w1.0", full_layout(1.0, tuple(range(128, 225, 4))))


def ofa_mbv3_w12() -> OfaMbv3Space:
    """Width 1.2 at 160 to 224 pixels in steps of 16."""
    return OfaMbv3Space("ofa-mbv3-w1.2", full_layout(1.2, tuple(range(160, 225, 16))))


def ofa_mbv3_mini() -> OfaMbv3Space:
    """Three narrow stages at 32 pixels, ten classes: the same family at a size that trains in minutes."""
    return OfaMbv3Space("ofa-mbv3-mini", MINI_LAYOUT)


def ofa_mbv3_mini64() -> OfaMbv3Space:
    """Three stages at 64 pixels, ten classes, one to three blocks each, with choices far apart."""
    return OfaMbv3Space("ofa-mbv3-mini64", MINI64_LAYOUT)


def ofa_proxyless() -> OfaMbv3Space:
    """ProxylessNAS blocks, width 1.3 at 128 to 224 pixels in steps of 4."""
    return OfaMbv3Space("ofa-proxyless", proxyless_layout(1.3, tuple(range(128, 225, 4))))


@dataclass(frozen=True)
class OfaMbv3Space(ImageSpace[Layout]):
    """A once-for-all family of MobileNet blocks."""

    @cached_property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """Kernels of every slot, expansions of every slot, depths of every stage, resolutions."""
        one = self.layout
        kernels, expansions = (one.kernels,) * one.slots, (one.expansions,) * one.slots
        return (*kernels, *expansions, *(one.depths,) * len(one.stages), one.resolutions)

    @cached_property
    def gene_names(self) -> tuple[str, ...]:
        """``kernel_1``.., ``expansion_1``.., ``depth_1``.., ``resolution``; slots and stages count from 1."""
        slots, stages = range(1, self.layout.slots + 1), range(1, len(self.layout.stages) + 1)
        kernels, expansions = [f"kernel_{i}" for i in slots], [f"expansion_{i}" for i in slots]
        return (*kernels, *expansions, *(f"depth_{i}" for i in stages), "resolution")

    def active_slots(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, slots]: whether a slot lies within its stage's depth."""
        one = self.layout
        depths = np.asarray(one.depths, dtype=np.int8)[genotypes[:, 2 * one.slots : -1]]
        within = np.arange(one.slots_per_stage, dtype=np.int8) < depths[:, :, None]
        chosen = len(one.stages) * one.slots_per_stage
        slots = np.ones((len(genotypes), one.slots), dtype=np.bool_)
        slots[:, :chosen] = within.reshape(len(genotypes), chosen)
        return slots

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n, v]: kernel and expansion of slots beyond a stage's depth change nothing."""
        slots = self.active_slots(genotypes)
        always = np.ones((len(genotypes), len(self.layout.stages) + 1), dtype=np.bool_)
        return np.concatenate([slots, slots, always], axis=1)

    def to_config(self, genotype: Genotypes) -> Config:
        """``kernels``, ``expansions`` of every slot (0 where inactive), ``depths`` of every stage, ``resolution``."""
        slots, one = self.layout.slots, genotype[None]
        active = self.active(one)[0]
        values = [self.choices[i][gene] if active[i] else 0 for i, gene in enumerate(genotype.tolist())]
        return {
            "kernels": values[:slots],
            "expansions": values[slots : 2 * slots],
            "depths": values[2 * slots : -1],
            "resolution": values[-1],
        }

    def from_config(self, config: Config) -> Genotypes:
        """int8[v], canonical. Raises InputError on a missing key, a wrong length or a value outside the space."""
        try:
            kernels, expansions, depths = (config[name] for name in ("kernels", "expansions", "depths"))
            spelled = ["".join(map(str, values)) for values in (kernels, expansions, depths)]
            arch = f"k{spelled[0]}_e{spelled[1]}_d{spelled[2]}_r{config['resolution']}"
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{config!r} is not a configuration of {self.name} ({error!r}).",
                "Give lists kernels, expansions and depths, and a resolution.",
            ) from error
        genotype: Genotypes = self.parse([arch])[0]
        return genotype

    @cached_property
    def digits(self) -> tuple[Digits, ...]:
        """A kernel and an expansion a slot, a depth a stage."""
        one = self.layout
        kernels, expansions, depths = ("".join(map(str, some)) for some in (one.kernels, one.expansions, one.depths))
        return (
            Digits("k", "ks", "kernel", (kernels,) * one.slots, unset=True),
            Digits("e", "e", "expansion", (expansions,) * one.slots, unset=True),
            # Once-for-all writes a depth for the tail, too, and leaves it at its one block whatever is written.
            Digits("d", "d", "depth", (depths,) * len(one.stages), spare=one.tail is not None),
        )

    # Blocks

    @cached_property
    def rules(self) -> BlockRules:
        """Stem, first block, the variants of every stage's first slot and later slots, and of the tail, head."""
        at = partial(blocks_at, self.layout)
        return BlockRules(at, block_macs, block_params, effective_side, block_features, MobileNetWriter)

    @cached_property
    def _slot_parts(self) -> NDArray[np.int32]:
        """int32[slots, variants]: where in a resolution's parts each variant of each slot is."""
        one = self.layout
        slot = np.arange(one.slots)
        stage, within = np.divmod(slot, one.slots_per_stage)
        first_part = 2 + (2 * stage + (within > 0)) * one.variants
        return (first_part[:, None] + np.arange(one.variants)).astype(np.int32)

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        """int32[n, slots + 3]: stem, first block, slots (-1 beyond a stage's depth), head."""
        one, parts, slots = self.layout, self._blocks[1], self.layout.slots
        variant = genotypes[:, :slots].astype(np.intp) * len(one.expansions) + genotypes[:, slots : 2 * slots]
        part = self._slot_parts[np.arange(slots), variant]
        resolution = genotypes[:, -1].astype(np.intp)
        indices = np.empty((len(genotypes), slots + 3), dtype=np.int32)
        indices[:, :2] = parts[resolution, :2]
        indices[:, 2:-1] = np.where(self.active_slots(genotypes), parts[resolution[:, None], part], np.int32(-1))
        indices[:, -1] = parts[resolution, -1]
        return indices

    def block_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How often each block is expected to occur, float[n, |V|]: a slot is there as likely as its stage's depth
        reaches it, and its block as likely as its kernel, its expansion and the resolution are chosen together.
        """
        import torch

        one, at = self.layout, torch.from_numpy(self._blocks[1]).long()
        kernels, expansions, depths = (
            probabilities[: one.slots],
            probabilities[one.slots : 2 * one.slots],
            probabilities[2 * one.slots : -1],
        )
        columns = [torch.ones_like(probabilities[-1][:, :1])] * at.shape[1]
        columns[2:-1] = [torch.zeros_like(columns[0])] * (at.shape[1] - 3)
        for slot, parts in enumerate(self._slot_parts.tolist()):
            stage, within = divmod(slot, one.slots_per_stage)
            is_there = (
                depths[stage][:, [depth > within for depth in one.depths]].sum(dim=1)
                if stage < len(depths)
                else torch.ones_like(probabilities[-1][:, 0])
            )
            chosen = kernels[slot][:, :, None] * expansions[slot][:, None, :] * is_there[:, None, None]
            for part, column in zip(parts, chosen.flatten(1).unbind(1), strict=True):
                columns[part] = columns[part] + column[:, None]
        joint = probabilities[-1][:, :, None] * torch.cat(columns, dim=1)[:, None, :]
        empty = torch.zeros(len(joint), len(self.vocabulary), dtype=joint.dtype)
        return empty.index_add(1, at.flatten(), joint.flatten(1))

    def active_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """How likely a slot is within its stage's depth, for its kernel and its expansion; all else is sure."""
        import torch

        one = self.layout
        depths = probabilities[2 * one.slots : -1]
        reach = [
            depths[i][:, [d > j for d in one.depths]].sum(1) for i, j in np.ndindex(len(depths), one.slots_per_stage)
        ]
        reach += [torch.ones_like(reach[0])] * (one.slots - len(reach))
        slots = torch.stack(reach, dim=1)
        return torch.cat([slots, slots, torch.ones_like(slots[:, : len(depths) + 1])], dim=1)

    # Costs

    def additive(self, values: NDArray[np.float64]) -> SumOfTables:
        """The sum of per-block ``values`` float64[|V|] as a fast function of genotypes, inactive genes or not."""
        return stage_sums(self.layout, np.asarray(values, dtype=np.float64)[self._blocks[1]], self._slot_parts)

    # Graphs and weights

    @property
    def prefixes(self) -> tuple[str, ...]:
        """``stem``, ``first``, ``slot1``.., ``head``."""
        return ("stem", "first", *(f"slot{slot + 1}" for slot in range(self.layout.slots)), "head")

    @property
    def epsilon(self) -> float:
        """The layout's."""
        return self.layout.epsilon

    def supernet_shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of the largest network, and ``slotN.depthwise.conv.7to5`` (25, 25) and ``.5to3`` (9, 9) a slot."""
        return with_matrices(super().supernet_shapes(), self.layout.kernels)

    def cut(self, tensors: Mapping[str, Tensor], genotype: Genotypes) -> dict[str, Tensor]:
        """The weights of one network int8[v], views of ``tensors`` except where a kernel shrinks."""
        return cut(tensors, self.parts(genotype), self.layout.kernels)

    def graph_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A once-for-all state dict under the names of ``supernet_shapes``; counters of batches are dropped."""
        return {graph_name(name): t for name, t in state.items() if not name.endswith("num_batches_tracked")}

    def describe_misfit(self, tensors: Mapping[str, Tensor]) -> str:
        """Which member of the family ``tensors`` seem to be of."""
        return describe_misfit(tensors)

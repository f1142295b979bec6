"""Look up what each place of a network holds in tables over the few genes that decide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.spaces.additive import SumOfTables
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SlotTable:
    """A place of the networks.

    Attributes:
        genes: which decide what it holds, in the order of the table.
        blocks: the block's index for each combination of them, the last gene fastest; -1 where it holds none.
    """

    genes: tuple[int, ...]
    blocks: NDArray[np.int32]


def codes(genes: Sequence[int], counts: Sequence[int], genotypes: Genotypes) -> NDArray[np.intp]:
    """Which combination of ``genes`` each of n genotypes int8[n, v] has: intp[n]. Genes have ``counts`` choices."""
    found = np.zeros(len(genotypes), np.intp)
    for gene in genes:
        found = found * counts[gene] + genotypes[:, gene]
    return found


def look_up(slots: Sequence[SlotTable], counts: Sequence[int], genotypes: Genotypes) -> NDArray[np.int32]:
    """int32[n, slots]: the block at each place, -1 for none."""
    return np.stack([slot.blocks[codes(slot.genes, counts, genotypes)] for slot in slots], axis=1)


def sum_tables(
    genes: Sequence[Sequence[int]], counts: Sequence[int], tables: Sequence[NDArray[np.float64]]
) -> SumOfTables:
    """The sum of one entry of each table, chosen by the genes that decide its place, as a function of genotypes."""
    radix = np.zeros((len(tables), len(counts)), np.float32)
    for row, deciding in zip(radix, genes, strict=True):
        weight = 1
        for gene in reversed(deciding):
            row[gene], weight = weight, weight * counts[gene]
    offset = np.cumsum([0, *(len(table) for table in tables[:-1])])
    return SumOfTables(radix, offset.astype(np.float32)[:, None], np.concatenate(tables))


def expected_blocks(slots: Sequence[SlotTable], probabilities: Sequence[Tensor], blocks: int) -> Tensor:
    """How often each of ``blocks`` blocks is expected, float[n, blocks], where genes are chosen independently."""
    import torch

    rows, dtype = len(probabilities[0]), probabilities[0].dtype
    places, shares = [], []
    for slot in slots:
        joint = torch.ones(rows, 1, dtype=dtype)
        for gene in slot.genes:
            joint = (joint[:, :, None] * probabilities[gene][:, None, :]).flatten(1)
        there = np.flatnonzero(slot.blocks >= 0)
        places.append(torch.from_numpy(slot.blocks[there]).long())
        shares.append(joint[:, torch.from_numpy(there)])
    return torch.zeros(rows, blocks, dtype=dtype).index_add(1, torch.cat(places), torch.cat(shares, dim=1))

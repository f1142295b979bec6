"""Sum values of blocks over networks of stages, by tables of all combinations that a stage can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fleetfront.spaces.additive import SumOfTables
from fleetfront.spaces.ofa_mbv3.layout import Layout


def stage_sums(layout: Layout, parts: NDArray[np.float64], slot_parts: NDArray[np.int32]) -> SumOfTables:
    """The sum over a network's blocks as a function of genotypes, inactive genes or not.

    Every stage has two tables: its slots that are always there, and the others together with the depth. Their
    entries are the sums of all combinations, so an architecture is two gathers a stage.

    Args:
        layout: of the family.
        parts: the value of every block that can occur at each resolution, float64[resolutions, parts].
        slot_parts: int32[slots, variants]: where in ``parts`` each variant of each slot is.
    """
    one = layout
    resolutions, stages = len(one.resolutions), len(one.stages)
    always = one.depths[0]
    genes = 2 * one.slots + stages + 1
    kinds, radix, tables = one.variants, np.zeros((2 * stages, genes), dtype=np.float32), []
    fixed = parts[:, 0] + parts[:, 1] + parts[:, -1]
    for stage in range(stages):
        slots = range(stage * one.slots_per_stage, (stage + 1) * one.slots_per_stage)
        per_slot = [parts[:, slot_parts[slot]] for slot in slots]
        base = fixed[:, None] if stage == 0 else np.zeros((resolutions, 1))
        tables.append(_combinations(base, per_slot[:always]))
        later = [_combinations(np.zeros((resolutions, 1)), per_slot[always:depth]) for depth in one.depths]
        width = kinds ** (one.slots_per_stage - always)
        tables.append(np.concatenate([np.tile(sums, width // sums.shape[1]) for sums in later], axis=1))
        for code, members in ((2 * stage, slots[:always]), (2 * stage + 1, slots[always:])):
            for position, slot in enumerate(members):
                radix[code, slot] = len(one.expansions) * kinds**position
                radix[code, one.slots + slot] = kinds**position
        radix[2 * stage + 1, 2 * one.slots + stage] = width
    if one.tail is not None:
        last, row = one.slots - 1, np.zeros((1, genes), dtype=np.float32)
        row[0, [last, one.slots + last]] = len(one.expansions), 1
        radix = np.concatenate([radix, row])
        tables.append(parts[:, slot_parts[last]])
    sizes = [table.shape[1] for table in tables]
    radix[:, -1] = sum(sizes)
    offset = np.cumsum([0, *sizes[:-1]]).astype(np.float32)[:, None]
    return SumOfTables(radix, offset, np.concatenate(tables, axis=1).ravel())


def _combinations(base: NDArray[np.float64], slots: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Sums of one value from each slot (float64[r, variants]), the first changing fastest: float64[r, products]."""
    sums = base
    for values in slots:
        sums = (values[:, :, None] + sums[:, None, :]).reshape(len(sums), -1)
    return sums

"""Section 5: what each device likes and dislikes: blocks by kernel and expansion where a space has them, else genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleetfront.predictors.base import CostModel
from fleetfront.predictors.calibrated_table import CalibratedTable
from fleetfront.predictors.lookup_table import Filled
from fleetfront.report.contents import HeatCell, HeatMap
from fleetfront.report.sampling import sample_networks
from fleetfront.report.sources import Sources
from fleetfront.spaces.base import DescribesBlocks, Interpolable, SearchSpace
from fleetfront.spaces.blocks import Block

#: Networks over which the effect of a gene is averaged: enough for a few parts in a hundred of the spread.
_SAMPLE = 4096

_BLOCKS = "Latency of a block for its arithmetic, compared with the device's median block (1)."
_GENES = "Mean latency of networks with this choice, compared with all networks (1)."


def heat_maps(sources: Sources) -> tuple[HeatMap, ...]:
    """A heat map for each target that has a latency model."""
    found = []
    for name in sources.spaces:
        space = sources.space(name)
        if space is None:
            continue
        pairs = sources.targets(name)
        sources.progress.start(f"Latency models of {name}", len(pairs))
        for device, target in pairs:
            model = sources.model(space, device, target)
            label = sources.label(device, target)
            drawn = None if model is None else _heat_map(space, model, label, target)
            if drawn is not None and drawn.cells:
                found.append(drawn)
            sources.progress.advance(1, device)
        sources.progress.finish()
    return tuple(found)


def _heat_map(space: SearchSpace, model: CostModel, label: str, target: str) -> HeatMap | None:
    if isinstance(model, CalibratedTable) and isinstance(space, DescribesBlocks):
        rows = _kernel_and_expansion(space)
        if rows:
            return _of_blocks(space, model, rows, label, target)
    return _of_genes(space, model, label, target)


def _kernel_and_expansion(space: SearchSpace) -> list[int]:
    """Rows of the vocabulary that have a kernel and a real expansion, at the largest resolution."""
    vocabulary = space.vocabulary
    rows: Sequence[int] = range(len(vocabulary))
    if isinstance(space, Interpolable):
        rows = space.blocks_at(space.resolutions[-1]).tolist()
    return [row for row in dict.fromkeys(rows) if _kernel_expansion(vocabulary[row]) is not None]


def _kernel_expansion(block: Block) -> tuple[int, int] | None:
    values = dict(block.parameters)
    kernel, expansion = values.get("k"), values.get("e")
    if not isinstance(kernel, int) or not isinstance(expansion, int) or expansion == 1:
        return None
    return kernel, expansion


def _of_blocks(
    space: SearchSpace, model: CalibratedTable, rows: Sequence[int], label: str, target: str
) -> HeatMap | None:
    table = model.model.table
    entry = {key: i for i, key in enumerate(table.keys)}
    blocks = [space.vocabulary[row] for row in rows if space.vocabulary[row].key in entry]
    if not blocks or not isinstance(space, DescribesBlocks):
        return None
    at = [entry[block.key] for block in blocks]
    ms = table.ms[at]
    per_work = ms / np.maximum(space.block_macs(blocks), 1)
    ratio = per_work / np.median(per_work)
    cells = []
    for block, name, i, value, latency in zip(blocks, _stages(blocks), at, ratio.tolist(), ms.tolist(), strict=True):
        kernel, expansion = _kernel_expansion(block) or (0, 0)
        stage, slot = name
        how = "" if table.filled[i] is Filled.MEASURED else f", {table.filled[i].value}"
        detail = f"{block.key}: {latency:.3g} ms alone{how}"
        cells.append(HeatCell(f"{stage} e{expansion}", f"{slot} k{kernel}", value, f"{latency:.2g}", detail))
    sides = sorted({block.inputs[0][-1] for block in blocks}, reverse=True)
    title = f"stage and expansion (maps of {sides[0]} to {sides[-1]} pixels); numbers are ms"
    return HeatMap(label, target, space.name, _BLOCKS, title, "slot and kernel", tuple(cells))


def _stages(blocks: Sequence[Block]) -> list[tuple[str, str]]:
    """(stage, slot) of each block, in order of execution.

    Blocks that differ in kernel and expansion alone are a slot. One that keeps width and side and is otherwise like the
    slot before it, is a later one of that stage; any other begins a stage.
    """
    names: dict[Block, tuple[str, str]] = {}
    stage, before = 0, None
    for slot in map(_slot, blocks):
        if slot not in names:
            values = dict(slot.parameters)
            stride = values.pop("s", 1)
            is_later = stride == 1 and values.get("out") == slot.inputs[0][0] and values == before
            stage += not is_later
            names[slot] = (f"s{stage}", "later" if is_later else "first")
            before = values
    return [names[slot] for slot in map(_slot, blocks)]


def _slot(block: Block) -> Block:
    """A block without what its slot may choose."""
    kept = tuple((name, value) for name, value in block.parameters if name not in ("k", "e"))
    return Block(block.family, kept, block.inputs)


def _of_genes(space: SearchSpace, model: CostModel, label: str, target: str) -> HeatMap | None:
    genotypes = sample_networks(space, [model], _SAMPLE)
    if len(genotypes) < 2:
        return None
    latency = model.predict(genotypes).mean
    mean = float(latency.mean())
    active = space.active(genotypes)
    cells = []
    for gene, (name, choices) in enumerate(zip(space.gene_names, space.choices, strict=True)):
        for value, choice in enumerate(choices if len(choices) > 1 else ()):
            with_it = active[:, gene] & (genotypes[:, gene] == value)
            if with_it.any():
                ratio = float(latency[with_it].mean()) / mean
                detail = f"{name} = {choice}: {100 * (ratio - 1):+.1f} % over {int(with_it.sum()):,} networks"
                cells.append(HeatCell(name, str(choice), ratio, f"{100 * (ratio - 1):+.0f}%", detail))
    return HeatMap(label, target, space.name, _GENES, "gene", "choice", tuple(cells))

"""Section 5: what each device likes and dislikes: blocks by kernel and expansion where a space has them, else genes.

Where a model knows no latency of a block alone (it was transferred or estimated), a block shows in the difference that
it makes to the latency of whole networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from fleetfront.errors import FleetfrontError
from fleetfront.predictors.base import BlockCosts, CostModel, NetworkCosts
from fleetfront.predictors.table.lookup import Filled
from fleetfront.report.sections.contents import HeatCell, HeatMap
from fleetfront.report.sections.sampling import sample_networks
from fleetfront.report.sources import Sources
from fleetfront.spaces.base import DescribesBlocks, Genotypes, Interpolable, SearchSpace
from fleetfront.spaces.blocks import Block

#: Networks over which the effect of a gene is averaged: enough for a few parts in a hundred of the spread.
_SAMPLE = 4096
#: Networks that each slot is changed in: a block makes nearly the same difference in all of them.
_CHANGED = 16
_SLOT_GENE = re.compile(r"(kernel|expansion)_(\d+)")

_BLOCKS = "Latency of a block for its arithmetic, compared with the device's median block (1)."
_DIFFERENCES = (
    "Difference in whole-network latency where one slot changes from its smallest block to this one, for the "
    "arithmetic that this adds, compared with the device's median difference (1)."
)
_SLOTS = "slot and kernel"
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
            drawn = None if model is None else _drawn(sources, space, model, label, target)
            if drawn is not None and drawn.cells:
                found.append(drawn)
            sources.progress.advance(1, device)
        sources.progress.finish()
    return tuple(found)


def _drawn(sources: Sources, space: SearchSpace, model: CostModel, label: str, target: str) -> HeatMap | None:
    try:
        return _heat_map(space, model, label, target)
    except FleetfrontError as error:
        # A model that cannot answer for these networks costs its own map alone.
        sources.note(error)
        return None


def _heat_map(space: SearchSpace, model: CostModel, label: str, target: str) -> HeatMap | None:
    if isinstance(space, DescribesBlocks) and not isinstance(model, NetworkCosts):
        rows = _kernel_and_expansion(space)
        if rows and isinstance(model, BlockCosts):
            return _of_blocks(space, model, model, rows, label, target)
        if rows:
            return _of_differences(space, model, rows, label, target)
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
    space: SearchSpace, model: CostModel, values: BlockCosts, rows: Sequence[int], label: str, target: str
) -> HeatMap | None:
    if not isinstance(space, DescribesBlocks):
        return None
    blocks = [space.vocabulary[row] for row in rows]
    origins = values.block_origins()
    ms = values.block_values()[list(rows)]
    per_work = ms / np.maximum(space.block_macs(blocks), 1)
    ratio = per_work / np.median(per_work)
    cells = []
    for row, block, name, value, latency in zip(
        rows, blocks, _stages(blocks), ratio.tolist(), ms.tolist(), strict=True
    ):
        kernel, expansion = _kernel_expansion(block) or (0, 0)
        stage, slot = name
        how = "" if origins[row] == Filled.MEASURED else f", {origins[row]}"
        detail = f"{block.key}: {latency:.3g} ms alone{how}"
        cells.append(HeatCell(f"{stage} e{expansion}", f"{slot} k{kernel}", value, f"{latency:.2g}", detail))
    return HeatMap(label, target, space.name, model.tier.value, _BLOCKS, _sizes(blocks), _SLOTS, tuple(cells))


def _sizes(blocks: Sequence[Block]) -> str:
    sides = sorted({block.inputs[0][-1] for block in blocks}, reverse=True)
    return f"stage and expansion (maps of {sides[0]} to {sides[-1]} pixels); numbers are ms"


def _of_differences(
    space: SearchSpace, model: CostModel, rows: Sequence[int], label: str, target: str
) -> HeatMap | None:
    blocks = [space.vocabulary[row] for row in rows]
    names = dict(zip(rows, _stages(blocks), strict=True))
    added: dict[int, list[tuple[float, float]]] = {row: [] for row in rows}
    for genotypes, changed in _changed_slots(space):
        ms = model.predict(genotypes).mean.reshape(len(changed), -1)
        macs = space.macs(genotypes).reshape(len(changed), -1)
        for row, more_ms, more_macs in zip(
            changed, (ms - ms[0]).mean(axis=1), (macs - macs[0]).mean(axis=1), strict=True
        ):
            if row in added:
                added[row].append((float(more_ms), float(more_macs)))
    mean = {row: np.mean(values, axis=0).tolist() for row, values in added.items() if values}
    rates = [ms / macs for ms, macs in mean.values() if macs > 0]
    typical = float(np.median(rates)) if rates else 0.0
    if typical <= 0:
        return None
    cells = [_difference_cell(space.vocabulary[row], names[row], ms, macs, typical) for row, (ms, macs) in mean.items()]
    meaning, sizes = _DIFFERENCES, _sizes(blocks)
    return HeatMap(label, target, space.name, model.tier.value, meaning, sizes, _SLOTS, tuple(cells))


def _difference_cell(block: Block, name: tuple[str, str], ms: float, macs: float, typical: float) -> HeatCell:
    kernel, expansion = _kernel_expansion(block) or (0, 0)
    x, y = f"{name[0]} e{expansion}", f"{name[1]} k{kernel}"
    if macs <= 0:
        return HeatCell(x, y, 1.0, "0", f"{block.key}: the smallest block of its slot, which others are compared with")
    # Anything that makes a network faster with more arithmetic is off the scale at its fast end.
    return HeatCell(x, y, max(ms / macs / typical, 0.0), f"{ms:+.2g}", f"{block.key}: {ms:+.3g} ms in a whole network")


def _changed_slots(space: SearchSpace) -> Iterator[tuple[Genotypes, list[int]]]:
    """For each slot: networks int8[c * n, v], n at a time alike but for the block in that slot, the smallest first; and
    these c blocks as rows of the vocabulary. At the largest resolution."""
    genes = [_SLOT_GENE.fullmatch(name) for name in space.gene_names]
    places = {(gene[1], gene[2]): at for at, gene in enumerate(genes) if gene is not None}
    networks = space.sample(16 * _CHANGED, np.random.default_rng(0))
    if "resolution" in space.gene_names:
        networks[:, space.gene_names.index("resolution")] = len(space.choices[space.gene_names.index("resolution")]) - 1
    active = space.active(networks)
    for slot in dict.fromkeys(slot for _, slot in places):
        kernel, expansion = places.get(("kernel", slot)), places.get(("expansion", slot))
        if kernel is None or expansion is None:
            continue
        base = networks[active[:, kernel] & active[:, expansion]][:_CHANGED]
        pairs = [(k, e) for k in range(len(space.choices[kernel])) for e in range(len(space.choices[expansion]))]
        if not len(base) or len(pairs) < 2:
            continue
        changed = np.repeat(base[None], len(pairs), axis=0)
        changed[:, :, [kernel, expansion]] = np.array(pairs, dtype=np.int8)[:, None, :]
        indices = space.block_indices(changed[:, 0])
        (column,) = np.flatnonzero((indices != indices[0]).any(axis=0))[:1]
        yield space.canonical(changed.reshape(-1, changed.shape[2])), indices[:, column].tolist()


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
    return HeatMap(label, target, space.name, model.tier.value, _GENES, "gene", "choice", tuple(cells))

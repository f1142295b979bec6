"""Show what each device likes and dislikes: blocks by kernel and expansion where a space has them, else genes.

Where a model knows no latency of a block alone (it was transferred or estimated), a block shows in the difference that
it makes to the latency of whole networks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetfront.errors import FleetfrontError
from fleetfront.predictors.base import BlockCosts, CostModel, NetworkCosts
from fleetfront.predictors.table.lookup import Filled
from fleetfront.quantities import UNKNOWN, Metric
from fleetfront.report.figures.specifications import SQUARE, Figure, figure_spec, nominal, slug, tooltip
from fleetfront.report.figures.theme import variable
from fleetfront.report.markdown import table_lines
from fleetfront.report.section import Section, Words
from fleetfront.report.sections.relations import sample_networks
from fleetfront.report.sources import Sources
from fleetfront.report.tables import Table
from fleetfront.spaces.base import DescribesBlocks, Genotypes, Interpolable, SearchSpace
from fleetfront.spaces.blocks import Block

#: Networks over which the effect of a gene is averaged: enough for a few parts in a hundred of the spread.
_SAMPLE = 4096
#: Networks that each slot is changed in: a block makes nearly the same difference in all of them.
_CHANGED = 16
_SLOT_GENE = re.compile(r"(kernel|expansion)_(\d+)")
_BLOCKS = "{metric} of a block for its arithmetic, compared with the device's median block (1)."
_DIFFERENCES = (
    "Difference in whole-network {metric} where one slot changes from its smallest block to this one, for the "
    "arithmetic that this adds, compared with the device's median difference (1)."
)
_SLOTS = "slot and kernel"
_GENES = "Mean {metric} of networks with this choice, compared with all networks (1)."
#: Characters below an axis that a phone can show in one line.
_NAMES_IN_A_LINE = 30
#: Pixels across a character of the numbers in a map.
_CHARACTER = 6


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One square of a heat map: ``value`` is what it is coloured by, ``text`` what is written in it."""

    x: str
    y: str
    value: float
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The likes and dislikes of a target. ``meaning`` says what ``value`` is; 1 is neutral, above 1 is slow. ``tier``
    is that of the latencies.
    """

    label: str
    target: str
    space: str
    metric: Metric
    tier: str
    meaning: str
    x_title: str
    y_title: str
    cells: tuple[HeatCell, ...]


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
            model = sources.model(space, target)
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
    costs = values.block_values()[list(rows)]
    per_work = costs / np.maximum(space.block_macs(blocks), 1)
    ratio = per_work / np.median(per_work)
    cells = []
    for row, block, name, value, cost in zip(
        rows, blocks, _stages(blocks), ratio.tolist(), costs.tolist(), strict=True
    ):
        kernel, expansion = _kernel_expansion(block) or (0, 0)
        stage, slot = name
        how = "" if origins[row] == Filled.MEASURED else f", {origins[row]}"
        detail = f"{block.key}: {cost:.3g} {model.metric.unit} alone{how}"
        cells.append(HeatCell(f"{stage} e{expansion}", f"{slot} k{kernel}", value, f"{cost:.2g}", detail))
    meaning, sizes = _BLOCKS.format(metric=model.metric.title.capitalize()), _sizes(blocks, model.metric)
    return HeatMap(label, target, space.name, model.metric, model.tier.value, meaning, sizes, _SLOTS, tuple(cells))


def _sizes(blocks: Sequence[Block], metric: Metric) -> str:
    sides = sorted({block.inputs[0][-1] for block in blocks}, reverse=True)
    return f"stage and expansion (maps of {sides[0]} to {sides[-1]} pixels); numbers are {metric.unit}"


def _of_differences(
    space: SearchSpace, model: CostModel, rows: Sequence[int], label: str, target: str
) -> HeatMap | None:
    blocks = [space.vocabulary[row] for row in rows]
    names = dict(zip(rows, _stages(blocks), strict=True))
    added: dict[int, list[tuple[float, float]]] = {row: [] for row in rows}
    for genotypes, changed in _changed_slots(space):
        costs = model.predict(genotypes).mean.reshape(len(changed), -1)
        macs = space.macs(genotypes).reshape(len(changed), -1)
        for row, more, more_macs in zip(
            changed, (costs - costs[0]).mean(axis=1), (macs - macs[0]).mean(axis=1), strict=True
        ):
            if row in added:
                added[row].append((float(more), float(more_macs)))
    mean = {row: np.mean(values, axis=0).tolist() for row, values in added.items() if values}
    rates = [cost / macs for cost, macs in mean.values() if macs > 0]
    typical = float(np.median(rates)) if rates else 0.0
    if typical <= 0:
        return None
    cells = [
        _difference_cell(space.vocabulary[row], names[row], cost, model.metric.unit, macs, typical)
        for row, (cost, macs) in mean.items()
    ]
    meaning, sizes = _DIFFERENCES.format(metric=model.metric.title), _sizes(blocks, model.metric)
    return HeatMap(label, target, space.name, model.metric, model.tier.value, meaning, sizes, _SLOTS, tuple(cells))


def _difference_cell(
    block: Block, name: tuple[str, str], cost: float, unit: str, macs: float, typical: float
) -> HeatCell:
    kernel, expansion = _kernel_expansion(block) or (0, 0)
    x, y = f"{name[0]} e{expansion}", f"{name[1]} k{kernel}"
    if macs <= 0:
        return HeatCell(x, y, 1.0, "0", f"{block.key}: the smallest block of its slot, which others are compared with")
    # Anything that makes a network cheaper with more arithmetic is off the scale at its cheap end.
    detail = f"{block.key}: {cost:+.3g} {unit} in a whole network"
    return HeatCell(x, y, max(cost / macs / typical, 0.0), f"{cost:+.2g}", detail)


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
    costs = model.predict(genotypes).mean
    mean = float(costs.mean())
    active = space.active(genotypes)
    cells = []
    for gene, (name, choices) in enumerate(zip(space.gene_names, space.choices, strict=True)):
        for value, choice in enumerate(choices if len(choices) > 1 else ()):
            with_it = active[:, gene] & (genotypes[:, gene] == value)
            if with_it.any():
                ratio = float(costs[with_it].mean()) / mean
                detail = f"{name} = {choice}: {100 * (ratio - 1):+.1f} % over {int(with_it.sum()):,} networks"
                cells.append(HeatCell(name, str(choice), ratio, f"{100 * (ratio - 1):+.0f}%", detail))
    meaning = _GENES.format(metric=model.metric.title)
    return HeatMap(label, target, space.name, model.metric, model.tier.value, meaning, "gene", "choice", tuple(cells))


def heat_table(view: HeatMap) -> Table:
    """A device's likes and dislikes, as a grid."""
    columns = list(dict.fromkeys(cell.x for cell in view.cells))
    lines = list(dict.fromkeys(cell.y for cell in view.cells))
    cells = {(cell.x, cell.y): cell for cell in view.cells}
    rows = [(y, *(_heat_text(cells.get((x, y)), view.metric.unit) for x in columns)) for y in lines]
    of_tier = f" ({view.tier})" if view.tier else ""
    return Table(
        f"{view.label}{of_tier}: {view.meaning}", ("", *columns), tuple(rows), frozenset(range(1, len(columns) + 1))
    )


def taste_table(views: Sequence[HeatMap]) -> Table:
    """Tabulate what each device likes and dislikes most."""
    rows = []
    for view in views:
        ordered = sorted(view.cells, key=lambda cell: cell.value)
        ends = [f"{cell.x} {cell.y} ({cell.value:.2f}×)" for cell in (ordered[0], ordered[-1])]
        rows.append((view.label, view.space, view.tier or UNKNOWN, *ends))
    meanings = " ".join(dict.fromkeys(view.meaning for view in views))
    return Table(
        f"What is fastest and slowest. {meanings}", ("device", "space", "tier", "likes", "dislikes"), tuple(rows)
    )


def _heat_text(cell: HeatCell | None, unit: str) -> str:
    if cell is None:
        return UNKNOWN
    return cell.text if cell.text.endswith("%") else f"{cell.value:.2f} ({cell.text} {unit})"


def heat_figures(view: HeatMap) -> Iterator[Figure]:
    """The heat map."""
    yield _heat(view)


def _heat(view: HeatMap) -> Figure:
    """Blue squares are fast for what they are, orange ones slow."""
    values: list[dict[str, Any]] = [
        {"x": c.x, "y": c.y, "log": math.log2(max(c.value, 1e-6)), "text": c.text, "detail": c.detail, "ratio": c.value}
        for c in view.cells
    ]
    columns, lines = len({cell.x for cell in view.cells}), len({cell.y for cell in view.cells})
    of_tier = "" if view.tier in ("", "measured") else f" {view.metric.title.capitalize()} is {view.tier}."
    said = f"{view.meaning}{of_tier} {_extremes(view)}"
    # What costs nothing at all lies beyond any scale; the colours are those of the others.
    reach = max(0.25, min(3.0, max((abs(row["log"]) for row in values if row["ratio"] > 0), default=0.0)))
    spec = figure_spec(said, _heat_layers(reach), values=values, height=max(110, 26 * lines))
    longest = max(len(cell.x) for cell in view.cells)
    # Names that do not fit beside each other on a phone are set at an angle everywhere.
    angle = -90 if columns > 8 else -40 if columns * longest > _NAMES_IN_A_LINE else 0
    spec["encoding"] = {
        "x": nominal("x", view.x_title, sort=None, axis={"labelAngle": angle, "orient": "bottom"}),
        "y": nominal("y", view.y_title, sort=None),
    }
    name, title = f"heat-map-{slug(view.label)}", f"What {view.label} likes and dislikes"
    square = max(SQUARE, 8 + _CHARACTER * max(len(cell.text) for cell in view.cells))
    return Figure(name, title, said, spec, 110 + square * columns)


def _heat_layers(reach: float) -> list[dict[str, Any]]:
    """Squares with numbers in them. Colours run over ``reach`` powers of two to either side of no difference."""
    colour = {
        "field": "log",
        "type": "quantitative",
        "title": None,
        "scale": {"scheme": "blueorange", "domain": [-reach, 0, reach], "clamp": True},
        "legend": {
            "values": [-reach, 0, reach],
            "labelExpr": "format(pow(2, datum.value), '.2f') + '×'",
            "labelOverlap": False,
            "gradientLength": 180,
        },
    }
    on_dark = {"test": f"abs(datum.log) > {0.7 * reach}", "value": "#fff"}
    return [
        {
            "mark": {"type": "rect", "stroke": variable("surface")},
            "encoding": {"color": colour, "tooltip": tooltip(detail="block", ratio="compared")},
        },
        {
            "mark": {"type": "text", "fontSize": 10, "aria": False},
            "encoding": {"text": {"field": "text"}, "color": {"condition": on_dark, "value": "#1b1f24"}},
        },
    ]


def _extremes(view: HeatMap) -> str:
    ordered = sorted(view.cells, key=lambda cell: cell.value)
    best, worst = ordered[0], ordered[-1]
    return f"Lowest: {best.x} {best.y} ({best.value:.2f}×); highest: {worst.x} {worst.y} ({worst.value:.2f}×)."


HEAT_MAPS = Section(
    "heat_maps",
    "heat-maps",
    "What each device likes and dislikes",
    "Likes and dislikes",
    heat_maps,
    gap="There is no latency model yet.",
    command="fleetfront profile",
    figures=heat_figures,
    tables=lambda view: (heat_table(view),),
    brief=lambda views: table_lines(taste_table(views)),
    words=lambda view: Words(view.label, ", ".join(filter(None, (view.tier, view.space)))),
    are_views_folded=True,
)

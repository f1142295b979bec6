"""Describe networks as pictures: how each block is called, how wide it is drawn and how it is coloured."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.blocks import Block

#: Networks with more blocks than this are drawn with equal blocks together.
_MOST_ROWS = 32

_EDGE = re.compile(r"edge_(\d+)_(\d+)")
#: The operation of an edge that is not there.
_ABSENT = "none"


@dataclass(frozen=True, slots=True)
class BlockPicture:
    """A block as it is drawn.

    Attributes:
        label: e.g. ``k5 e6 40→80 /2``.
        group: what it is coloured by, e.g. ``kernel 5``.
        width: channels in its widest part.
        side: of its input map, in pixels.
    """

    key: str
    label: str
    group: str
    width: int
    side: int


@dataclass(frozen=True, slots=True)
class Networks:
    """Pictures of some architectures.

    Attributes:
        rows: for each, (row in ``blocks``, how often) in order of execution.
        blocks: every block that occurs.
        cells: for each, (from node, to node, operation) where genes are the edges of a cell; empty in other spaces.
    """

    rows: tuple[tuple[tuple[int, int], ...], ...]
    blocks: tuple[BlockPicture, ...]
    cells: tuple[tuple[tuple[int, int, str], ...], ...] = ()


def draw_networks(space: SearchSpace, genotypes: Genotypes) -> Networks:
    """The pictures of n genotypes int8[n, v], and the blocks that occur in them."""
    vocabulary = space.vocabulary
    indices = space.block_indices(genotypes).tolist()
    position: dict[int, int] = {}
    rows = []
    for network in indices:  # Every network is drawn; a front has some hundred.
        present = [block for block in network if block >= 0]
        counted = [(block, 1) for block in present] if len(present) <= _MOST_ROWS else _grouped(present, vocabulary)
        rows.append(tuple((position.setdefault(block, len(position)), count) for block, count in counted))
    pictures = tuple(picture(vocabulary[block]) for block in position)
    return Networks(tuple(rows), pictures, _cells(space, genotypes))


def picture(block: Block) -> BlockPicture:
    """How a block is drawn: read from its parameters where they have the usual names, else from its key."""
    values = dict(block.parameters)
    width_in, side = _width_and_side(block)
    out = int(values["out"]) if isinstance(values.get("out"), int) else width_in
    expansion = values.get("e", 1)
    width = max(width_in * int(expansion), out, *(int(values.get(name, 0)) for name in ("expand", "mix")))
    return BlockPicture(block.key, _label(block, width_in, out), _group(block), width, side)


def _grouped(present: Sequence[int], vocabulary: Sequence[Block]) -> list[tuple[int, int]]:
    """Equal blocks together, from the large maps to the small ones, what changes the width last among its equals."""

    def place(item: tuple[int, int]) -> tuple[int, int, bool]:
        block = vocabulary[item[0]]
        width, side = _width_and_side(block)
        values = dict(block.parameters)
        return -side, width, values.get("out", width) != width or "classes" in values

    return sorted(Counter(present).items(), key=place)


def _cells(space: SearchSpace, genotypes: Genotypes) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    edges = [_EDGE.fullmatch(name) for name in space.gene_names]
    if not all(edges):
        return ()
    ends = [(int(edge[1]), int(edge[2])) for edge in edges if edge is not None]
    return tuple(
        tuple(
            (*end, str(choices[gene]))
            for end, choices, gene in zip(ends, space.choices, row, strict=True)
            if choices[gene] != _ABSENT
        )
        for row in genotypes.tolist()
    )


def _width_and_side(block: Block) -> tuple[int, int]:
    shape = block.inputs[0] if block.inputs else ()
    return (int(shape[0]) if shape else 1), (int(shape[-1]) if len(shape) > 1 else 1)


def _label(block: Block, width_in: int, out: int) -> str:
    values = dict(block.parameters)
    words = [_family(block)]
    if "k" in values and block.family != "mbv3_stem":
        words.append(f"{values['k']}×{values['k']}")
    if isinstance(values.get("e"), int) and values["e"] != 1:
        words.append(f"e{values['e']}")
    words.append(f"{width_in}→{out}" if out != width_in else f"{out}")
    if values.get("s", 1) != 1:
        words.append(f"/{values['s']}")
    if values.get("se"):
        words.append("SE")
    return " ".join(words)


def _family(block: Block) -> str:
    # ``mbv3_stem``, ``nb201_conv``: what stands before the underscore names the space, which the reader knows.
    return block.family.rpartition("_")[2]


def _group(block: Block) -> str:
    kernel = dict(block.parameters).get("k")
    return _family(block) if kernel is None or block.family.endswith("_stem") else f"kernel {kernel}"

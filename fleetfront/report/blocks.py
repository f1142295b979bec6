"""Networks as pictures: what each block of an architecture is called, how wide it is drawn and how it is coloured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetfront.report.contents import BlockPicture
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.blocks import Block

#: Networks with more blocks than this are drawn with equal blocks together.
_MOST_ROWS = 32


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks as rows of blocks: for each, (row in ``blocks``, how often) in order of execution."""

    rows: tuple[tuple[tuple[int, int], ...], ...]
    blocks: tuple[BlockPicture, ...]


def draw_networks(space: SearchSpace, genotypes: Genotypes) -> Networks:
    """The pictures of n genotypes int8[n, v], and the blocks that occur in them."""
    vocabulary = space.vocabulary
    indices = space.block_indices(genotypes).tolist()
    position: dict[int, int] = {}
    rows = []
    for network in indices:  # Every network is drawn; a front has some hundred.
        present = [block for block in network if block >= 0]
        counted = [(block, 1) for block in present] if len(present) <= _MOST_ROWS else _grouped(present)
        rows.append(tuple((position.setdefault(block, len(position)), count) for block, count in counted))
    return Networks(tuple(rows), tuple(picture(vocabulary[block]) for block in position))


def picture(block: Block) -> BlockPicture:
    """How a block is drawn: read from its parameters where they have the usual names, else from its key."""
    values = dict(block.parameters)
    width_in, side = _width_and_side(block)
    out = int(values["out"]) if isinstance(values.get("out"), int) else width_in
    expansion = values.get("e", 1)
    width = max(width_in * int(expansion), out, *(int(values.get(name, 0)) for name in ("expand", "mix")))
    return BlockPicture(block.key, _label(block, width_in, out), _group(block), width, side)


def _grouped(present: Sequence[int]) -> list[tuple[int, int]]:
    counts: dict[int, int] = {}
    for block in present:
        counts[block] = counts.get(block, 0) + 1
    return list(counts.items())


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

"""Describe walks through stored tensors: runs and dimensions that lie together, and steps that crowd caches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

#: Lines that caches keep side by side: a second one has so many sets, a first one 64 of eight lines each. Walks that
#: meet few sets are crowded once they are longer than those hold, so that each line is gone before its next element is
#: asked for: three to seven times slower under ONNX Runtime and LiteRT on x86, from nine rows by steps of 4 KiB, from
#: seventeen by steps of 2 KiB, and not at all below.
_SETS, _LINE_BYTES, _FEW_SETS = 1024, 64, 32
_FIRST_SETS, _FIRST_WAYS, _MOST_LINES = 64, 8, 64.0


class Walk(NamedTuple):
    """So many ``steps`` of ``pitch`` elements of four bytes each."""

    steps: float
    pitch: float

    def sets(self, of: int = _SETS) -> float:
        """The sets, of a cache with so many, that it reaches: few where steps are powers of two."""
        lines, rest = divmod(4 * int(self.pitch), _LINE_BYTES)
        return float(of) if rest or not lines else of / math.gcd(lines, of)

    @property
    def lines_a_set(self) -> float:
        """How many of its lines share one set of a first cache: beyond some it makes no difference."""
        return min(max(self.steps / self.sets(_FIRST_SETS), 1.0), _MOST_LINES)

    @property
    def word(self) -> str:
        return " crowded" if self.sets() <= _FEW_SETS and self.lines_a_set > _FIRST_WAYS else ""

    def sizes(self) -> dict[str, float]:
        return {"stride": self.sets(), "groups": self.lines_a_set}


def runs(elements: float, run: float, **sizes: float) -> dict[str, float]:
    """Sizes of what is worked through in runs that lie together: how many there are counts as much as how long."""
    return {"rows": elements / run, "width": run, "padded": elements / run / 1e6, **sizes}


def merged(sizes: Sequence[int], marks: Sequence[object], *, counts_ones: bool = False) -> list[tuple[int, object]]:
    """Neighbouring dimensions of one mark as one, without those of one element unless they count."""
    pairs = [(size, mark) for size, mark in zip(sizes, marks, strict=True) if size != 1 or counts_ones]
    return [(math.prod(size for size, _ in group), mark) for mark, group in groupby(pairs, lambda pair: pair[1])]


def block_axes(kept: Sequence[int], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Each axis with the number of its block: one goes on where the axis is the next that has elements."""
    following = {}
    before: int | None = None
    for axis in (axis for axis, size in enumerate(shape) if size != 1):
        following[before], before = axis, axis
    found, block = list[tuple[int, int]](), -1
    for place, axis in enumerate(kept):
        block += place == 0 or following.get(kept[place - 1]) != axis
        found.append((block, axis))
    return found

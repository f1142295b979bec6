"""Outline blocks: their graphs without values of weights, for whoever counts what they hold and ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fleetfront.graphs.graph import Graph
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.blocks import Block


@runtime_checkable
class OutlinesBlocks(Protocol):
    """A space whose blocks' graphs can be had without their weights, in a small part of the time."""

    def block_outline(self, block: Block) -> Graph:
        """The ``block_graph`` of a block with placeholders for weights."""


def outline_blocks(space: SearchSpace, blocks: Sequence[Block]) -> list[Graph]:
    """The graphs of blocks; those of an ``OutlinesBlocks`` have placeholders for weights."""
    write = space.block_outline if isinstance(space, OutlinesBlocks) else space.block_graph
    return [write(block) for block in blocks]

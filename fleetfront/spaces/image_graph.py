"""Write blocks of image networks as a graph, one after the other, batch-norm kept; families add what a block is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from fleetfront.graphs.graph import Graph
from fleetfront.graphs.layers import LayerWriter
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.spaces.blocks import Block


class BlockWriter(LayerWriter, ABC):
    """Adds the blocks of a family."""

    #: Block family -> the prefix of its weights where it stands alone; ``block`` for others.
    alone: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def block(self, data: str, prefix: str, block: Block) -> str:
        """Add a block behind ``data``, the names of its weights beginning with ``prefix``."""

    def write(self, parts: Iterable[tuple[str, Block]], labels: Mapping[str, str]) -> Graph:
        """Blocks one after the other, each with its prefix, batch 1.

        Raises InputError if given weights lack an array or one has another shape than the blocks ask for.
        """
        data = ""
        for prefix, block in parts:
            data = data or self.builder.input("input", (1, *block.inputs[0]), layout=IMAGE)
            data = self.block(data, prefix, block)
        return self.builder.build((data,), labels)

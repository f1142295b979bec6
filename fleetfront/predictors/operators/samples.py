"""Sample spells a small chain of operators as a key, and builds its Graph: what operator costs are measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.predictors.operators.stages import BYTES, HOW, STAGES, Chain
from fleetfront.predictors.operators.stages import random_array as random_array

#: Stages and permutations whose four dimensions are heads of attention, and no image.
_OF_HEADS, _TURNS = ("matmul", "softmax"), ((0, 2, 1, 3), (0, 1, 3, 2))
#: What keys of samples in int8 begin with; of those whose weights are from 0 to 255.
_NARROW, _UNSIGNED = "int8 ", "uint8 "


@dataclass(frozen=True, slots=True)
class Stage:
    """One operator of a chain: its name in ``STAGES`` and its numbers, in the order that the name documents."""

    name: str
    numbers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ":".join((self.name, *(["x".join(map(str, self.numbers))] if self.numbers else [])))


@dataclass(frozen=True, slots=True)
class Sample:
    """An input and the operators that run on it, one after the other; ``is_narrow`` in int8 from end to end, with
    weights from 0 to 255 if ``is_unsigned``.
    """

    shape: tuple[int, ...]
    stages: tuple[Stage, ...]
    is_narrow: bool = False
    is_unsigned: bool = False

    @property
    def key(self) -> str:
        """Its spelled form, e.g. ``1x32x56x56|conv:64x3x3x1x1|relu``, or ``int8 1x64|linear:10``."""
        return (_UNSIGNED if self.is_unsigned else _NARROW if self.is_narrow else "") + "|".join(
            ("x".join(map(str, self.shape)), *map(str, self.stages))
        )

    @classmethod
    def parse(cls, key: str) -> Sample:
        """Read ``key`` back. Raises InputError on anything else."""
        try:
            is_unsigned, is_narrow = key.startswith(_UNSIGNED), key.startswith((_UNSIGNED, _NARROW))
            shape, *stages = (key.partition(" ")[2] if is_narrow else key).split("|")
            parts = [stage.partition(":") for stage in stages]
            made = tuple(Stage(name, _numbers(text)) for name, _, text in parts)
            sample = cls(_numbers(shape), made, is_narrow, is_unsigned)
        except ValueError as error:
            raise InputError(f"{key!r} is no chain of operators.", "Measure the device's operators again.") from error
        unknown = [stage.name for stage in sample.stages if stage.name not in STAGES]
        if unknown or not sample.stages:
            raise InputError(f"{key!r} names no operators that are known.", "Measure the device's operators again.")
        return sample

    def graph(self) -> Graph:
        """The chain as a Graph with random weights. Raises InputError if the stages do not fit together."""
        graph = self.float_graph()
        if not self.is_narrow:
            return graph
        return graph.rewrite(
            inputs=lambda writer, tensor: writer.redeclare(tensor, dtype="int8"),
            weights=lambda _, array: (
                array.astype(np.uint8 if self.is_unsigned else np.int8) if array.ndim > 1 else array
            ),
        )

    def float_graph(self) -> Graph:
        """The same in float32: what files of narrow numbers are made of."""
        builder = GraphBuilder("operators")
        first_stage = self.stages[0]
        is_image = len(self.shape) == 4 and first_stage.name not in _OF_HEADS and first_stage.numbers not in _TURNS
        is_image = is_image and not (first_stage.name == "resize" and first_stage.numbers[2:] == (HOW.index("inside"),))
        dtype = BYTES[first_stage.numbers[0]] if first_stage.name == "dequantise" else "float32"
        start = builder.input("x", self.shape, dtype=dtype, layout=IMAGE if is_image else "")
        data, first, counted = start, "", list[str]()
        for stage in self.stages:
            data = STAGES[stage.name](Chain(builder, first or start, counted), data, *stage.numbers)
            first = first or data
        return builder.build([data])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("x")) if text else ()

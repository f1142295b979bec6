"""Outline collects the operators that a reader finds into a Graph whose weights are placeholders of the right shape.

Shapes come from the families' own rules; where the file or framework says another one, or no rule fits, the operator is
kept as an opaque one with the shapes that were said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fleetfront.errors import FileError, InputError
from fleetfront.graphs.graph import Array, Graph, GraphBuilder, Origin
from fleetfront.graphs.input_shapes import ANONYMOUS
from fleetfront.graphs.operators.base import IMAGE, Shape, Value
from fleetfront.graphs.operators.catalogue import family_of

#: Constants of more elements are never looked at: shapes, axes and sizes are shorter.
MOST_LOOKED_AT = 4096
#: Elements that no tensor of a real network has; a file that claims more is damaged or wants to do harm.
_MOST_ELEMENTS = 1 << 44
#: numpy's own limit.
_MOST_DIMENSIONS = 64

#: What the shape of a tensor is when nothing says even its rank.
UNKNOWN: Shape = (ANONYMOUS,)

#: Families that take the layout of what they read.
_LAYOUT_FOLLOWS = frozenset(
    {"add", "multiply", "elementwise", "cast", "concat", "split", "batch_norm", "quantise", "dequantise", "softmax"}
    | {"relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "group_norm", "l2_norm", "local_response_norm"}
)
_LAYOUT_DECLARED = frozenset({"reshape", "transpose"})


class Found(NamedTuple):
    """An output as the file has it: its name, and its shape and type where it says them."""

    name: str
    value: Value | None = None


#: What an operator gives that gives nothing, as one that sets a variable.
_DONE = Value((0,), "int64")


def is_known(shape: Shape) -> bool:
    """Tell whether every dimension is a number."""
    return all(isinstance(size, int) for size in shape)


def dtype_of(name: str) -> np.dtype[Any]:
    """numpy's dtype of that name; also those of ``ml_dtypes``, such as ``bfloat16`` and ``int4``."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


class Outline(GraphBuilder):
    """Adds what a reader finds, in order of execution. Names are the file's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        #: Tensor -> the place of the operator that makes it.
        self._places: dict[str, int] = {}

    def placeholder(self, name: str, shape: Sequence[int], dtype: str) -> str:
        """A constant of which only shape and type matter, under ``name`` or a free name like it."""
        _check(name, tuple(shape))
        self._has_placeholders = True
        return self.constant(name, np.broadcast_to(np.zeros((), dtype_of(dtype)), tuple(shape)))

    def number(self, value: float, dtype: str) -> str:
        """A constant of one number, the same one each time."""
        name = f"number {value} {dtype}"
        return name if self.is_weight(name) else self.placeholder(name, (), dtype)

    def like(self, name: str, value: Value) -> str:
        """A placeholder of the shape and type of ``value``, which must be known."""
        return self.placeholder(name, [int(size) for size in value.shape], value.dtype)

    def constant(self, name: str, array: Array) -> str:
        """A constant with its data, under ``name`` or a free name like it."""
        return self.weight(self.free(name), array)

    def free(self, name: str) -> str:
        """``name``, or a name like it that is not taken."""
        while self.has(name):
            name += "_"
        return name

    def is_weight(self, name: str) -> bool:
        """Tell whether that is a constant."""
        return name in self._weights

    def permuted(self, name: str, axes: Sequence[int]) -> str:
        """The constant with its axes in another order. Raises LookupError for what is no constant."""
        array, turned = self._weights[name], f"{name}.{''.join(map(str, axes))}"
        return turned if self.is_weight(turned) else self.weight(turned, array.transpose(tuple(axes)))

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        """A tensor in another shape."""
        return self.add("reshape", (name,), self.free(f"{name}.reshaped"), shape=tuple(shape))

    def found(
        self, family: str, inputs: Iterable[str], outputs: Sequence[Found], origin: Origin, **attributes: Any
    ) -> None:
        """Append an operator; an opaque one if ``family`` is empty, its rule refuses, or the file says otherwise."""
        operands, outputs = tuple(inputs), outputs or [Found(self.free(f"{origin.name} done"), _DONE)]
        results = self._results(family, operands, outputs, attributes) if family else None
        if results is None:
            self._add_opaque(operands, outputs, origin)
            return
        for found, result in zip(outputs, results, strict=False):
            _check(found.name, result.shape)
        names = [found.name or self.free(f"{origin.name}.{place}") for place, found in enumerate(outputs)]
        names += [self.free(f"{names[0]}.{place}") for place in range(len(names), len(results))]
        self.add_all(family, operands, names, origin, **attributes)
        self._places.update(dict.fromkeys(names, len(self._operators) - 1))

    def finish(self, outputs: Iterable[str], labels: dict[str, str]) -> Graph:
        """The finished graph; an output that is an input or a constant is left out, as nothing computes it."""
        made = {name for operator in self._operators for name in operator.outputs}
        read = {name for operator in self._operators for name in operator.inputs}
        self._weights = {name: array for name, array in self._weights.items() if name in read}
        return self.build(dict.fromkeys(name for name in outputs if name in made), labels)

    def declare_image(self, name: str, layout: str = IMAGE) -> None:
        """Declare a tensor an image, and those that it is made of, up to where a layout can be said."""
        pending = [name]
        while pending:
            one = pending.pop()
            tensor = self._tensors.get(one)
            if tensor is None or tensor.layout or len(tensor.shape) != len(layout):
                continue
            self._tensors[one] = replace(tensor, layout=layout)
            place = self._places.get(one)
            if place is None:
                continue
            producer = self._operators[place]
            if "layouts" in producer.attributes:
                given = zip(producer.outputs, producer.attributes["layouts"], strict=True)
                said = {"layouts": tuple(layout if name == one else before for name, before in given)}
                self._operators[place] = replace(producer, attributes={**producer.attributes, **said})
            elif producer.family in _LAYOUT_DECLARED:
                self._operators[place] = replace(producer, attributes={**producer.attributes, "layout": layout})
            elif producer.family in _LAYOUT_FOLLOWS:
                pending += producer.inputs

    def _results(
        self, family: str, operands: tuple[str, ...], outputs: Sequence[Found], attributes: dict[str, Any]
    ) -> list[Value] | None:
        try:
            values = [self.value(name) for name in operands]
            results = list(family_of(family).results(values, attributes))
        except (InputError, LookupError, TypeError, ValueError, ArithmeticError):
            return None
        named = [found for found in outputs if found.name]
        fits = len(named) <= len(results) and all(
            found.value is None or _agree(found.value.shape, result.shape)
            for found, result in zip(named, results, strict=False)
        )
        return results if fits else None

    def _add_opaque(self, operands: tuple[str, ...], outputs: Sequence[Found], origin: Origin) -> None:
        said = [(found.name, found.value or Value(UNKNOWN)) for found in outputs if found.name]
        for name, value in said:
            _check(name, value.shape)
        self.add_all(
            "opaque",
            operands,
            [name for name, _ in said],
            origin,
            kind=origin.kind,
            shapes=tuple(value.shape for _, value in said),
            dtypes=tuple(value.dtype for _, value in said),
            layouts=tuple(value.layout for _, value in said),
        )
        self._places.update(dict.fromkeys((name for name, _ in said), len(self._operators) - 1))


def _check(name: str, shape: Shape) -> None:
    sizes = [size for size in shape if isinstance(size, int)]
    if len(shape) > _MOST_DIMENSIONS or any(size < 0 for size in sizes) or math.prod(sizes) > _MOST_ELEMENTS:
        raise FileError(
            f"Tensor {name!r} would have the shape {list(shape)[:8]}, which no machine can hold.",
            "The file is damaged, or not meant to be run: write it again from its source.",
        )


def _agree(said: Shape, ruled: Shape) -> bool:
    if said == UNKNOWN:
        return True
    return len(said) == len(ruled) and all(
        isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(said, ruled, strict=True)
    )

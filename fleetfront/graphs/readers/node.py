"""Node is one operator of a file as a reader meets it, Plan the operator of a graph that it becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array
from fleetfront.graphs.operators.base import Shape, Value
from fleetfront.graphs.readers.outline import Found, Outline, is_known

#: What may come of a file that says other things than its operators allow.
WRONG = (InputError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


class Asked(Mapping[str, Any]):
    """The attributes of an operator, which remember those that a rule has looked at."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said, self._asked = dict(said), set[str]()

    def __getitem__(self, name: str) -> Any:
        self._asked.add(name)
        return self._said[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def beside(self, usual: Mapping[str, Any], plain: Collection[str]) -> dict[str, str]:
        """As an attribute of a graph's operator, what it says that no rule looked at; none is said if nothing is left.

        ``usual`` values are those that stand for nothing said, ``plain`` names change numbers alone, not what there is
        to do.
        """
        left = {name: value for name, value in self._said.items() if name not in self._asked and name not in plain}
        words = [f"{name}={_word(value)}" for name, value in sorted(left.items()) if not _is(value, usual.get(name))]
        return {"beside": " ".join(words)} if words else {}


def _is(value: Any, usual: Any) -> bool:
    return usual is not None and bool(np.all(np.asarray(value) == np.asarray(usual)))


def _word(value: Any) -> str:
    """A value without spaces, as kinds are told apart by them."""
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else "".join(str(value).split())[:40]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes:
        kind: the file's word for it.
        name: the file's name of it; that of its first output where it has none.
        inputs: names of tensors and constants, empty for those that are left out.
        outputs: with shapes and types where the file says them.
        attributes: as the file has them.
        outline: what was read so far.
        constants: small constants with their data, by name.
        version: of the operator set that its kind belongs to; 0 where files have none.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[Found, ...]
    attributes: Mapping[str, Any]
    outline: Outline
    constants: Mapping[str, Array]
    version: int = 0

    def has(self, place: int) -> bool:
        """Tell whether an operand is there."""
        return place < len(self.inputs) and bool(self.inputs[place])

    def value(self, place: int) -> Value:
        """Shape, type and layout of an operand. Raises LookupError if it is left out."""
        return self.outline.value(self.inputs[place])

    def shape(self, place: int = 0) -> Shape:
        """Shape of an operand."""
        return self.value(place).shape

    def numbers(self, place: int) -> list[int]:
        """The whole numbers of an operand that is a small constant. Raises LookupError for any other."""
        return [int(number) for number in self.constants[self.inputs[place]].ravel()]

    def is_constant(self, place: int) -> bool:
        """Tell whether an operand is a constant, of any size."""
        return self.has(place) and self.outline.is_weight(self.inputs[place])

    def result(self, place: int = 0) -> Value:
        """The shape and type of an output, as the file says. Raises ValueError if it does not say its shape."""
        value = self.outputs[place].value
        if value is None or not is_known(value.shape):
            raise ValueError(f"the shape of {self.outputs[place].name!r} is not said")
        return value

    def result_type(self) -> str:
        """The type of the first output. Raises ValueError if the file does not say it."""
        value = self.outputs[0].value
        if value is None:
            raise ValueError(f"the type of {self.outputs[0].name!r} is not said")
        return value.dtype

    def operands(self, *places: int) -> tuple[str, ...]:
        """Names of the operands at some places, of those that are there; of all by default."""
        wanted = places or range(len(self.inputs))
        return tuple(self.inputs[place] for place in wanted if self.has(place))

    def said(self, shapes: Sequence[Shape] = ()) -> dict[str, Any]:
        """The attributes of families that are told what they give: as the file says, or of the shapes given."""
        named = [(place, found) for place, found in enumerate(self.outputs) if found.name]
        if shapes:
            types = [found.value.dtype if found.value else self.value(0).dtype for _, found in named]
            values = [Value(shape, dtype) for shape, dtype in zip(shapes, types, strict=True)]
        else:
            values = [self.result(place) for place, _ in named]
        return {
            "shapes": tuple(value.shape for value in values),
            "dtypes": tuple(value.dtype for value in values),
            "layouts": tuple(value.layout for value in values),
        }


class Plan(NamedTuple):
    """An operator of a graph: its family, operands and attributes. ``image``: the layout to declare its operand 0."""

    family: str
    inputs: Sequence[str]
    attributes: Mapping[str, Any] = {}
    image: str = ""


#: Makes a plan of a node, or several in order, of which the last gives the node's outputs; None if it is not known.
Rule = Callable[[Node], Plan | None]


def planned(rule: Rule | None, node: Node) -> Plan | None:
    """Apply a rule to a node; None if there is none, or it does not know such a node: that stays as it is."""
    try:
        return rule(node) if rule else None
    except WRONG:
        return None


def same_padding(
    sides: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], lower: bool = False
) -> tuple[int, ...]:
    """All begins, then all ends, so that there are ceil(side / stride) windows; of an odd padding the larger half goes
    to the end, or to the begin if ``lower``."""
    total = [
        max((-(-side // step) - 1) * step + (width - 1) * gap + 1 - side, 0)
        for side, width, step, gap in zip(sides, kernel, stride, dilation, strict=True)
    ]
    small, large = [one // 2 for one in total], [one - one // 2 for one in total]
    return (*large, *small) if lower else (*small, *large)


def contraction(equation: str, shapes: Sequence[Shape]) -> dict[str, Any] | None:
    """The attributes of a ``contract`` that an einsum of two operands is, with one sum over what both have.

    None for any other einsum. Raises ValueError if the equation does not fit the shapes.
    """
    terms, _, result = "".join(equation.split()).partition("->")
    if len(shapes) != 2 or terms.count(",") != 1 or "." in equation or not result:
        return None
    sizes: dict[str, int] = {}
    for letters, shape in zip(terms.split(","), shapes, strict=True):
        sizes.update(zip(letters, map(int, shape), strict=True))
    summed = math.prod(size for letter, size in sizes.items() if letter not in result)
    return {"summed": summed, "shape": tuple(sizes[letter] for letter in result)}

"""OperatorFamily records everything that is known of one family of operators.

``catalogue`` lists the records; a further family is a further record in one of the files beside this one. Images are
described channels first (N, C, H, W) whatever layout a file uses. A dimension is an int or a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from fleetfront.errors import InputError, OpenSize

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor

    from fleetfront.graphs.graph import Graph, Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter

Shape = tuple[int | str, ...]
Attributes = Mapping[str, Any]

#: The layout of images. Other tensors have none: an empty string.
IMAGE = "NCHW"
#: An image whose channels come last in the graph itself, as an app may feed it.
CHANNELS_LAST = "NHWC"

#: Operators of one class have one launch overhead, one rate and one bandwidth on a device. ``vector``: linear layers
#: and convolutions of a single pixel, which are bound by reading their weights. ``movement``: data is only rearranged.
CLASSES = ("convolution", "depthwise", "vector", "pooling", "elementwise", "movement")
#: Classes of operators that networks of the shipped spaces do not hold, so that no shipped estimate has coefficients of
#: them. ``matrix``: products of many rows. ``lookup``: rows are read by their numbers.
KINDS = (
    *CLASSES,
    *("matrix", "attention", "normalisation", "recurrent", "lookup", "resampling", "reduction", "quantisation"),
)


class Value(NamedTuple):
    """An operand or a result as a rule knows it: shape, numpy dtype name, layout (``IMAGE``, ``""``, ...)."""

    shape: Shape
    dtype: str = "float32"
    layout: str = ""


class Work(NamedTuple):
    """The demand of one operator on a device.

    Attributes:
        kind: one of ``KINDS``, or None for what costs nothing.
        macs: multiply-accumulates.
        read: elements that it reads of its first operand; None for all of them.
    """

    kind: str | None
    macs: float = 0.0
    read: float | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The circumstances of a run in torch: what batch-norm does here, and what symbolic dimensions are this time.

    Attributes:
        graph: that is run.
        normalise: (operator, data, scale, shift, mean, variance) -> data normalised.
        symbols: size of each symbolic dimension of the inputs.
    """

    graph: Graph
    normalise: Callable[..., TorchTensor]
    symbols: Mapping[str, int]


#: (operands, attributes) -> the results. Raises InputError if they do not fit together.
ResultRule = Callable[[Sequence[Value], Attributes], Sequence[Value]]
#: (operands, operator, surroundings) -> the result, or a sequence of several.
TorchRule = Callable[["Sequence[TorchTensor]", "Operator", Running], "TorchTensor | Sequence[TorchTensor]"]
OnnxRule = Callable[["OnnxEmitter", "Operator"], None]
#: The string is the activation that the operator takes in: NONE, RELU or RELU6.
TfliteRule = Callable[["TfliteEmitter", "Operator", str], None]
WorkRule = Callable[["Graph", "Operator"], Work]


@dataclass(frozen=True, slots=True)
class OperatorFamily:
    """One family.

    Attributes:
        name: e.g. ``conv2d``.
        reads: its operands and attributes, in words.
        results: shape, type and layout of what it gives.
        torch: what it computes; differentiable.
        onnx: writes it into an ONNX file. None if no file holds it as it is: it is folded before.
        tflite: writes it into a TFLite file, likewise.
        work: its class of cost and its multiply-accumulates.
        is_weighted: whether operand 1 is a weight (out, ...) that each output channel is a product with, and operand 2
            a bias, so that a scale of the output channels can go into them.
        fuses: whether its TFLite operator takes an activation in.
        fused_as: what TFLite calls it where it is taken in by the operator before; empty if it never is.
    """

    name: str
    reads: str
    results: ResultRule
    torch: TorchRule
    onnx: OnnxRule | None
    tflite: TfliteRule | None
    work: WorkRule
    is_weighted: bool = False
    fuses: bool = False
    fused_as: str = ""


def plain_work(kind: str | None) -> WorkRule:
    """The rule of families that multiply nothing up."""
    work = Work(kind)
    return lambda graph, operator: work


def one_node(kind: str, translate: Callable[[Attributes], dict[str, Any]] = lambda _: {}) -> OnnxRule:
    """The rule of families that are one ONNX node, its attributes translated from the graph's."""

    def write(file: OnnxEmitter, operator: Operator) -> None:
        file.node(kind, operator.inputs, operator.outputs, **translate(operator.attributes))

    return write


def described(
    name: str,
    reads: str,
    results: ResultRule,
    work: WorkRule,
    onnx: OnnxRule | None = None,
    tflite: TfliteRule | None = None,
) -> OperatorFamily:
    """A family that readers of files and modules find, and that nothing here computes. Some are written into files, so
    that operators can be timed alone."""

    def torch_rule(_: Sequence[TorchTensor], __: Operator, ___: Running) -> TorchTensor:
        refuse(f"Operator family {name!r} is not computed here.", "Run the file or module that it came from.")

    return OperatorFamily(name, reads, results, torch_rule, onnx, tflite, work)


def declared(_: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    """The rule of families whose attributes ``shapes``, ``dtypes`` and ``layouts`` say what they give."""
    results = zip(attributes["shapes"], attributes["dtypes"], attributes["layouts"], strict=True)
    return [Value(tuple(shape), dtype, layout) for shape, dtype, layout in results]


def as_first(values: Sequence[Value], _: Attributes) -> Sequence[Value]:
    """The rule of families whose result is like their first operand."""
    return values[:1]


def number(dimension: int | str) -> int:
    """A dimension that must be known. Raises OpenSize for a symbol."""
    if isinstance(dimension, str):
        raise OpenSize(f"The symbolic dimension {dimension!r} cannot be added or multiplied up.", "Give it a number.")
    return int(dimension)


def elements(shape: Shape) -> float:
    """Number of elements at batch 1: a leading symbol is the batch. Raises OpenSize for any other symbol."""
    known = shape[1:] if shape and isinstance(shape[0], str) else shape
    return float(math.prod(number(dimension) for dimension in known))


def check_image(value: Value, family: str, attributes: Attributes | None = None) -> None:
    """Raise InputError if an operand that must be an image is not declared as one.

    Operators of files whose images are channels last say so: their attribute ``channels_last`` is true.
    """
    wanted = CHANNELS_LAST if attributes and attributes.get("channels_last") else IMAGE
    if value.layout != wanted:
        said = f"is declared {value.layout}" if value.layout else "does not say its layout"
        refuse(
            f"{family} reads an image, and its operand of shape {value.shape} {said}.",
            f"Declare it where it is made: layout={wanted!r}.",
        )


def refuse(message: str, remedy: str) -> NoReturn:
    """Raise InputError."""
    raise InputError(message, remedy)

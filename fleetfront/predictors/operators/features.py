"""Count what the time of an operator depends on: the work, what is moved, and the sizes of both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.operators.base import Shape, Work, elements
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.quantities import FloatArray

#: What is known of every operator. Counts in millions: multiply-accumulates, elements of activations read and written,
#: elements of weights; ``padded`` are the multiply-accumulates if channels came in sixteens, as vectors want them, or
#: the runs of what is worked through run by run.
#: Then sizes: of the windows, and of the product (rows x inner -> columns, so many times), or of the last two
#: dimensions where nothing is multiplied.
FEATURES = (
    "mmacs",
    "padded",
    "read",
    "written",
    "weights",
    "window",
    "stride",
    "groups",
    "rows",
    "inner",
    "columns",
    "times",
    "width",
)
#: Floats that vectors hold at most.
VECTOR = 16
#: Kinds whose elements are each for itself, in whichever type, and the sizes that are of no account there.
_ONE_BY_ONE = frozenset(
    {"relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "silu", "tanh", "erf", "exp", "sqrt", "leakyrelu"}
    | {"gelu", "gelu halved", "gelu tanh", "add", "multiply", "sub", "div", "arithmetic number", "div number"}
)
_OF_NO_ACCOUNT = [FEATURES.index(name) for name in ("rows", "inner", "columns", "width")]


def one_by_one(kind: str, features: FloatArray) -> FloatArray:
    """The features without the sizes of dimensions where each element is for itself."""
    if kind.removesuffix(" int8") not in _ONE_BY_ONE:
        return features
    found = features.copy()
    found[_OF_NO_ACCOUNT] = 1.0
    return found


def work_of(graph: Graph, operator: Operator) -> Work:
    """Count what an operator asks of a device, as its family does."""
    return family_of(operator.family).work(graph, operator)


def plain_features(graph: Graph, operator: Operator, macs: float) -> FloatArray:
    """float64[len(FEATURES)] of what is no product: the last two dimensions are its sizes, and without ``macs`` a
    window is looked at for each element.
    """
    shape = graph.tensors[operator.outputs[0]].shape
    window = math.prod(operator.attributes.get("kernel", (1,)))
    stride = float(next(iter(operator.attributes.get("stride", (1,)))))
    written = elements(shape)
    operands = [name for name in operator.inputs if name in graph.tensors]
    narrow = min((sized(graph.value(name).shape) for name in operator.inputs), default=1.0)
    sizes = (window, stride, len(operands), sized(shape[:-2]), sized(shape[-2:-1]), narrow, 1, sized(shape[-1:]))
    read, wrote, weights = moved_elements(graph, operator)
    asked = None if operator.family == "opaque" else work_of(graph, operator)
    if asked is not None and asked.read is not None:
        # Of a table that is looked up, its rows are read, whether it is a weight or not.
        read, weights = asked.read / 1e6, 0.0
    return np.array([(macs or window * written) / 1e6] * 2 + [read, wrote, weights, *map(float, sizes)])


def moved_elements(graph: Graph, operator: Operator) -> tuple[float, float, float]:
    """Millions of elements read, written, and of weights."""
    read = sum(elements(graph.tensors[name].shape) for name in operator.inputs if name in graph.tensors)
    written = sum(elements(graph.tensors[name].shape) for name in operator.outputs)
    weights = sum(graph.weights[name].size for name in operator.inputs if name in graph.weights)
    return read / 1e6, written / 1e6, weights / 1e6


def sized(shape: Shape | Sequence[int]) -> float:
    """The number of elements, a symbolic size as 1."""
    return elements(tuple(shape))


def filled(channels: int) -> int:
    """The channels of whole vectors that hold so many."""
    return -(-channels // VECTOR) * VECTOR

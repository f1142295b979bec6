"""Arithmetic on shapes computes the small constants of ONNX graphs: what networks work out of their inputs' sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fleetfront.graphs.graph import Array
from fleetfront.graphs.readers.outline import MOST_LOOKED_AT

Attributes = Mapping[str, Any]
#: (operands, None for those left out; attributes) -> results
Kernel = Callable[[Sequence[Array | None], Attributes], Sequence[Array]]


class TooLarge(ValueError):
    """The result would not be small."""


def fold(kind: str, operands: Sequence[Array | None], attributes: Attributes) -> list[Array] | None:
    """The results of a node whose operands are small constants; None if it is not known here, or large.

    An operand that is left out is None.
    """
    kernel = _KERNELS.get(kind)
    if kernel is None:
        return None
    try:
        with np.errstate(all="ignore"):
            results = [np.asarray(result) for result in kernel(operands, attributes)]
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
        # numpy's words for operands that do not fit; the operator stays, and says its own shape.
        return None
    return results if all(result.size <= MOST_LOOKED_AT for result in results) else None


def _there(operand: Array | None) -> Array:
    if operand is None:
        raise ValueError("an operand is missing")
    return operand


def _plain(function: Callable[..., Any]) -> Kernel:
    return lambda operands, _: [function(*map(_there, operands))]


def _sized(shape: Iterable[Any]) -> tuple[int, ...]:
    """A shape that may be made. Raises TooLarge."""
    sizes = tuple(int(size) for size in shape)
    if float(np.prod([float(size) for size in sizes])) > MOST_LOOKED_AT:
        raise TooLarge("a large constant")
    return sizes


def _axes(operands: Sequence[Array | None], attributes: Attributes, place: int = 1) -> list[int] | None:
    given = operands[place] if len(operands) > place else None
    axes = given.ravel().tolist() if given is not None else attributes.get("axes")
    return None if axes is None else [int(axis) for axis in axes]


def _divide(left: Array, right: Array) -> Array:
    if left.dtype.kind in "iu":
        # ONNX cuts off towards zero.
        quotient: Array = np.trunc(left / right).astype(left.dtype)
        return quotient
    return np.asarray(left / right)


def _cast(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    from onnx.helper import tensor_dtype_to_np_dtype

    return [_there(operands[0]).astype(tensor_dtype_to_np_dtype(attributes["to"]))]


def _gather(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    data, indices = map(_there, operands)
    return [np.take(data, indices.astype(np.int64), axis=attributes.get("axis", 0))]


def _slice(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    data = _there(operands[0])
    if len(operands) == 1:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes"), None
    else:
        starts, ends, axes, steps = [
            None if one is None else one.ravel().tolist() for one in (*operands[1:], None, None)[:4]
        ]
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cut = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end below the first element is spelled as a large negative number.
        before_first = step < 0 and end < -data.shape[axis]
        cut[axis] = slice(start, None if before_first else end, step)
    return [data[tuple(cut)]]


def _squeeze(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    axes = _axes(operands, attributes)
    return [np.squeeze(_there(operands[0]), None if axes is None else tuple(axes))]


def _unsqueeze(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    return [np.expand_dims(_there(operands[0]), tuple(_axes(operands, attributes) or ()))]


def _reshape(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    data, target = map(_there, operands)
    sizes = [int(size) for size in target]
    if not attributes.get("allowzero"):
        sizes = [data.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return [data.reshape(sizes)]


def _range(start: Array, limit: Array, delta: Array) -> Array:
    _sized([max(int((limit - start) / delta), 0)])
    made: Array = np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)
    return made


def _constant_of_shape(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    value = attributes.get("value", np.zeros(1, np.float32))
    made: Array = np.full(_sized(_there(operands[0])), value.ravel()[0], value.dtype)
    return [made]


def _expand(data: Array, shape: Array) -> Array:
    target = np.broadcast_shapes(data.shape, _sized(shape))
    return np.broadcast_to(data, _sized(target))


def _tile(data: Array, repeats: Array) -> Array:
    _sized([data.size, int(np.prod(repeats.astype(float)))])
    return np.tile(data, repeats.astype(np.int64))


def _reduced(function: Callable[..., Any]) -> Kernel:
    def kernel(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
        axes = _axes(operands, attributes)
        data = _there(operands[0])
        made = function(data, axis=None if axes is None else tuple(axes), keepdims=bool(attributes.get("keepdims", 1)))
        return [np.asarray(made).astype(data.dtype)]

    return kernel


def _split(operands: Sequence[Array | None], attributes: Attributes) -> Sequence[Array]:
    data, axis = _there(operands[0]), attributes.get("axis", 0)
    given = operands[1].tolist() if len(operands) > 1 and operands[1] is not None else attributes.get("split")
    if given is None:
        return np.array_split(data, attributes["num_outputs"], axis)
    return np.split(data, np.cumsum(given)[:-1], axis)


def _many(function: Callable[[Array, Array], Any]) -> Kernel:
    def kernel(operands: Sequence[Array | None], _: Attributes) -> Sequence[Array]:
        result, *others = map(_there, operands)
        for one in others:
            result = function(result, one)
        return [result]

    return kernel


_KERNELS: Mapping[str, Kernel] = {
    "Identity": _plain(lambda data: data),
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Concat": lambda operands, attributes: [np.concatenate([*map(_there, operands)], axis=attributes["axis"])],
    "Range": _plain(_range),
    "ConstantOfShape": _constant_of_shape,
    "Expand": _plain(_expand),
    "Tile": _plain(_tile),
    "Transpose": lambda operands, attributes: [np.transpose(_there(operands[0]), attributes.get("perm"))],
    "Split": _split,
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Div": _plain(_divide),
    "Mod": lambda operands, attributes: [
        (np.fmod if attributes.get("fmod") else np.mod)(_there(operands[0]), _there(operands[1]))
    ],
    "Pow": _plain(lambda base, exponent: np.power(base, exponent).astype(base.dtype)),
    "Neg": _plain(np.negative),
    "Abs": _plain(np.abs),
    "Floor": _plain(np.floor),
    "Ceil": _plain(np.ceil),
    "Round": _plain(np.round),
    "Sqrt": _plain(np.sqrt),
    "Min": _many(np.minimum),
    "Max": _many(np.maximum),
    "Where": _plain(np.where),
    "Equal": _plain(np.equal),
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "And": _plain(np.logical_and),
    "Or": _plain(np.logical_or),
    "Not": _plain(np.logical_not),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "CumSum": lambda operands, _: [np.cumsum(_there(operands[0]), int(_there(operands[1])))],
    "NonZero": _plain(lambda data: np.array(np.nonzero(data), np.int64)),
}

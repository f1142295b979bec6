"""Stages are operators by name and numbers: each adds one to a chain that operator costs are measured on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetfront.graphs.graph import Array, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE

#: Random weights are cut out of one array: drawing them anew for each file takes longer than timing it.
_POOL_SIZE = 1 << 22
_STEP = 7919
#: What resizing does beside its mode: by numbers of its stage.
_MODES, HOW = ("nearest", "linear", "cubic"), ("", "floor", "antialias", "inside", "along")
BYTES = ("uint8", "int8")
_FUNCTIONS, _REDUCTIONS = ("add", "multiply", "div"), ("mean", "sum", "max")
_drawn: Array | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain as a stage may need it: the builder, what the chain's first operator made, and what else was added."""

    builder: GraphBuilder
    first: str
    counted: list[str]

    def weight(self, name: str, *shape: int) -> str:
        self.counted.append(name)
        return self.builder.weight(f"{name}{len(self.counted)}", random_array(shape, len(self.counted)))

    def side(self, data: str) -> str:
        """Another input like ``data``."""
        value = self.builder.value(data)
        self.counted.append(data)
        return self.builder.input(f"side{len(self.counted)}", value.shape, layout=value.layout)


def random_array(shape: Sequence[int], place: int = 0) -> Array:
    """Small random float32 weights, not to be written to; equal shapes and places give equal arrays."""
    global _drawn
    if _drawn is None:
        _drawn = np.random.default_rng(0).standard_normal(_POOL_SIZE, dtype=np.float32)
        _drawn *= 0.05
        _drawn.flags.writeable = False
    size = math.prod(shape)
    if size >= _POOL_SIZE:
        return np.resize(_drawn, tuple(shape)).copy()
    # Writers keep equal arrays once, and a network's weights lie apart. A copy of each would take gigabytes.
    start = place * _STEP % (_POOL_SIZE - size)
    return _drawn[start : start + size].reshape(shape)


def _conv(
    chain: Chain, data: str, out: int, kernel_h: int, kernel_w: int, stride: int, groups: int, is_fed: int = 0
) -> str:
    """``is_fed``: its weight is another input."""
    channels = int(chain.builder.shape(data)[1])
    sizes = (out, channels // groups, kernel_h, kernel_w)
    weight = chain.builder.input("fed", sizes) if is_fed else chain.weight("w", *sizes)
    pads = ((kernel_h - 1) // 2, (kernel_w - 1) // 2) * 2
    return chain.builder.add(
        "conv2d",
        (data, weight, chain.weight("b", out)),
        stride=(stride, stride),
        padding=pads,
        dilation=(1, 1),
        groups=groups,
    )


def _pad(chain: Chain, data: str, each: int) -> str:
    return chain.builder.add("pad", (data,), padding=(each,) * 4)


def _linear(chain: Chain, data: str, out: int) -> str:
    width = int(chain.builder.shape(data)[-1])
    return chain.builder.add("linear", (data, chain.weight("w", out, width), chain.weight("b", out)))


def _pool(kind: str) -> Callable[..., str]:
    def add(chain: Chain, data: str, kernel: int, stride: int) -> str:
        pad = (kernel - 1) // 2
        return chain.builder.add(kind, (data,), kernel=(kernel, kernel), stride=(stride, stride), padding=(pad,) * 4)

    return add


def _unary(family: str) -> Callable[..., str]:
    return lambda chain, data: chain.builder.add(family, (data,))


def _binary(family: str) -> Callable[..., str]:
    return lambda chain, data: chain.builder.add(family, (data, chain.side(data)))


def _scaled(chain: Chain, data: str) -> str:
    """Each channel of an image by a number of its own, as squeeze and excitation end."""
    channels = chain.builder.shape(data)[1]
    chain.counted.append(data)
    factors = chain.builder.input(f"side{len(chain.counted)}", (1, channels, 1, 1), layout=IMAGE)
    return chain.builder.add("multiply", (data, factors))


def _spread_over(chain: Chain, data: str, function: int, is_constant: int, *shape: int) -> str:
    """With an operand of another shape that broadcasting fits, a constant or another input."""
    name = _FUNCTIONS[function]
    if is_constant:
        other = chain.weight("k", *shape)
    else:
        chain.counted.append(data)
        layout = chain.builder.value(data).layout if len(shape) == len(chain.builder.shape(data)) else ""
        other = chain.builder.input(f"side{len(chain.counted)}", shape, layout=layout)
    if name == "div":
        return chain.builder.add("elementwise", (data, other), function=name)
    return chain.builder.add(name, (data, other))


def _expand(chain: Chain, data: str, *shape: int) -> str:
    said: dict[str, Any] = {"shapes": (shape,), "dtypes": (chain.builder.value(data).dtype,), "layouts": ("",)}
    return chain.builder.add("rearrange", (data,), function="expand", **said)


def _concat(chain: Chain, data: str, axis: int, others: int = 1) -> str:
    return chain.builder.add("concat", (data, *(chain.side(data) for _ in range(others))), axis=axis)


def _transpose(chain: Chain, data: str, *permutation: int) -> str:
    return chain.builder.add("transpose", (data,), permutation=permutation)


def _function(name: str, operands: int = 1) -> Callable[..., str]:
    def add(chain: Chain, data: str) -> str:
        return chain.builder.add("elementwise", (data, *([chain.side(data)] * (operands - 1))), function=name)

    return add


def _gelu_halved(chain: Chain, data: str) -> str:
    """x (erf(x / sqrt 2) + 1) / 2 in five operators, its gate halved before it meets x: torch's exporter writes so."""
    builder = chain.builder
    root, one, half = (
        builder.weight(name, np.array(number, np.float32))
        for name, number in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))
    )
    raised = builder.add("elementwise", (data, root), function="div")
    gate = builder.add("add", (builder.add("elementwise", (raised,), function="erf"), one))
    return builder.add("multiply", (data, builder.add("multiply", (half, gate))))


def _silu(chain: Chain, data: str) -> str:
    return chain.builder.add("multiply", (data, chain.builder.add("sigmoid", (data,))))


def _matmul(chain: Chain, data: str, columns: int) -> str:
    *times, _, inner = (int(size) for size in chain.builder.shape(data))
    layout = chain.builder.value(data).layout
    chain.counted.append(data)
    other = chain.builder.input(f"side{len(chain.counted)}", (*times, inner, columns), layout=layout)
    return chain.builder.add("matmul", (data, other))


def _layer_norm(chain: Chain, data: str) -> str:
    width = int(chain.builder.shape(data)[-1])
    return chain.builder.add("layer_norm", (data, chain.weight("s", width), chain.weight("b", width)), axis=-1)


def _skip_norm(chain: Chain, data: str) -> str:
    """Of the sum of two."""
    return _layer_norm(chain, chain.builder.add("add", (data, chain.side(data))))


def _typed(family: str) -> Callable[..., str]:
    """From floats to whole numbers of one byte with one scale for all, or back."""

    def add(chain: Chain, data: str, place: int) -> str:
        scale = chain.builder.weight("scale", np.array(0.02, np.float32))
        zero = chain.builder.weight("zero", np.zeros((), BYTES[place]))
        dtype = BYTES[place] if family == "quantise" else "float32"
        return chain.builder.add(family, (data, scale, zero), dtype=dtype)

    return add


def _mean(chain: Chain, data: str, axis: int) -> str:
    return chain.builder.add("reduce", (data,), function="mean", axes=(axis,), keep=False)


def _batch_norm(chain: Chain, data: str) -> str:
    """By itself, as behind a concatenation."""
    channels = int(chain.builder.shape(data)[1])
    variance = chain.weight("v", channels)
    chain.builder._weights[variance] = np.ones(channels, np.float32)
    learnt = [chain.weight(name, channels) for name in ("s", "b", "m")]
    return chain.builder.add("batch_norm", (data, *learnt, variance), epsilon=1e-5, stays=True)


def _reduce(chain: Chain, data: str, function: int, *axes: int) -> str:
    return chain.builder.add("reduce", (data,), function=_REDUCTIONS[function], axes=axes, keep=True)


def _pick(chain: Chain, data: str, axis: int, count: int) -> str:
    """So many along an axis, each some places behind the one before."""
    indices = chain.weight("places", count)
    chain.builder._weights[indices] = np.arange(count, dtype=np.int64) * 7 % int(chain.builder.shape(data)[axis])
    return chain.builder.add("gather", (data, indices), axis=axis)


def _gather(chain: Chain, data: str, rows: int) -> str:
    """Rows of a table of so many rows and as wide as the chain's input is long."""
    indices = chain.weight("rows", rows)
    chain.builder._weights[indices] = np.arange(rows, dtype=np.int64) % int(chain.builder.shape(data)[0])
    return chain.builder.add("gather", (data, indices), axis=0)


def _spread(chain: Chain, data: str, out: int, kernel: int, stride: int, groups: int = 1) -> str:
    channels = int(chain.builder.shape(data)[1])
    operands = (data, chain.weight("w", channels, out // groups, kernel, kernel), chain.weight("b", out))
    pads, strides = ((kernel - stride) // 2,) * 4, (stride, stride)
    return chain.builder.add("conv_transpose", operands, stride=strides, padding=pads, dilation=(1, 1), groups=groups)


def _resize(chain: Chain, data: str, scale: int, mode: int, how: int = 0) -> str:
    """So many times larger, or smaller where pixels are averaged; ``along`` the last dimension alone."""
    value = chain.builder.value(data)
    sizes = [int(size) for size in value.shape]
    sides = {"inside": (1, 2), "along": (len(sizes) - 1,)}.get(HOW[how], (2, 3))
    is_averaged = HOW[how] == "antialias"
    for axis in sides:
        sizes[axis] = max(1, sizes[axis] // scale) if is_averaged else sizes[axis] * scale
    said: dict[str, Any] = {"shapes": (tuple(sizes),), "dtypes": (value.dtype,), "layouts": (value.layout,)}
    said |= {"antialias": True} if is_averaged else {"places": "floor"} if HOW[how] == "floor" else {}
    return chain.builder.add("resize", (data,), mode=_MODES[mode], **said)


def _cell(family: str, gates: int) -> Callable[..., str]:
    def add(chain: Chain, data: str, hidden: int, directions: int = 1) -> str:
        steps, batch, features = (int(size) for size in chain.builder.shape(data))
        shapes = ((directions, gates * hidden, features), (directions, gates * hidden, hidden))
        matrices = (chain.weight("w", *shapes[0]), chain.weight("r", *shapes[1]))
        operands = (data, *matrices, chain.weight("b", directions, 2 * gates * hidden))
        whole = (steps, directions, batch, hidden)
        said: dict[str, Any] = {"shapes": (whole,), "dtypes": ("float32",), "layouts": ("",)}
        return chain.builder.add(family, operands, matrices=2, **said)

    return add


def _split(chain: Chain, data: str, axis: int, parts: int = 2) -> str:
    size = int(chain.builder.shape(data)[axis])
    sizes = (*[size // parts] * (parts - 1), size - size // parts * (parts - 1))
    return chain.builder.add_all("split", (data,), axis=axis, sizes=sizes)[0]


def _flip(chain: Chain, data: str, *axes: int) -> str:
    """The same from back to front."""
    value = chain.builder.value(data)
    said: dict[str, Any] = {"shapes": (value.shape,), "dtypes": (value.dtype,), "layouts": (value.layout,)}
    steps = tuple(-1 if place in axes else 1 for place in range(len(value.shape)))
    return chain.builder.add("rearrange", (data,), function="slice", steps=steps, **said)


def _blocks(function: str, *modes: str) -> Callable[..., str]:
    """Channels as finer pixels in one of the orders, or pixels as channels."""

    def add(chain: Chain, data: str, block: int, mode: int = 0) -> str:
        value = chain.builder.value(data)
        batch, channels, height, width = (int(size) for size in value.shape)
        shape = (batch, channels * block**2, height // block, width // block)
        if modes:
            shape = (batch, channels // block**2, height * block, width * block)
        said: dict[str, Any] = {"shapes": (shape,), "dtypes": (value.dtype,), "layouts": (value.layout,)}
        said |= {"mode": modes[mode]} if modes else {}
        return chain.builder.add("rearrange", (data,), function=function, block=block, **said)

    return add


def _slice(chain: Chain, data: str, axis: int, step: int = 1) -> str:
    """The first half along an axis, or every so manieth."""
    value = chain.builder.value(data)
    whole = [int(size) for size in value.shape]
    shape = tuple(max(1, size // max(2, step)) if place == axis else size for place, size in enumerate(whole))
    said: dict[str, Any] = {"shapes": (shape,), "dtypes": (value.dtype,), "layouts": (value.layout,)}
    steps = tuple(step if place == axis else 1 for place in range(len(whole)))
    return chain.builder.add("rearrange", (data,), function="slice", steps=steps, **said)


def _pool1d(chain: Chain, data: str, kernel: int) -> str:
    window: dict[str, Any] = {"kernel": (kernel,), "stride": (kernel,), "padding": (0, 0), "dilation": (1,)}
    return chain.builder.add("pool", (data,), function="max", **window)


def _conv1d(chain: Chain, data: str, out: int, kernel: int, stride: int, groups: int) -> str:
    channels = int(chain.builder.shape(data)[1])
    weight = chain.weight("w", out, channels // groups, kernel)
    pads = ((kernel - 1) // 2,) * 2
    operands = (data, weight, chain.weight("b", out))
    return chain.builder.add("conv1d", operands, stride=(stride,), padding=pads, dilation=(1,), groups=groups)


def _softmax(chain: Chain, data: str, *axis: int) -> str:
    return chain.builder.add("softmax", (data,), axis=axis[0] if axis else -1)


#: Name -> what adds it. Numbers: conv out x height x width x stride x groups [x whether its weight is fed]; conv1d out
#: x length x stride x groups; conv_transpose out x side x stride [x groups]; resize scale x mode [x how]; lstm and gru
#: hidden [x directions]; linear out; matmul columns; pools kernel x stride; pool1d kernel; pad pixels on each side;
#: mean axis; split axis [x parts]; concat axis [x others]; quantise and dequantise 0 without sign, 1 with one; slice
#: axis [x step]; flip axes; finer block x order; coarser block; transpose its permutation; gather rows; pick axis x
#: how many; softmax nothing, or an axis that is not the last; spread function x whether constant x shape; expand and
#: copy shape; reduce function x axes. ``residual`` adds what the chain's first operator made.
STAGES: dict[str, Callable[..., str]] = {
    "conv": _conv,
    "pad": _pad,
    "linear": _linear,
    "max_pool": _pool("max_pool2d"),
    "average_pool": _pool("average_pool2d"),
    "global_pool": _unary("global_average_pool"),
    "relu": _unary("relu"),
    "relu6": _unary("relu6"),
    "hard_swish": _unary("hard_swish"),
    "hard_sigmoid": _unary("hard_sigmoid"),
    "sigmoid": _unary("sigmoid"),
    "add": _binary("add"),
    "multiply": _binary("multiply"),
    "residual": lambda chain, data: chain.builder.add("add", (data, chain.first)),
    "scale": _scaled,
    "concat": _concat,
    "transpose": _transpose,
    "flat": _unary("flatten"),
    "softmax": _softmax,
    "matmul": _matmul,
    "layer_norm": _layer_norm,
    "skip_norm": _skip_norm,
    "mean": _mean,
    "gather": _gather,
    "conv1d": _conv1d,
    "split": _split,
    "finer": _blocks("depthtospace", "crd", "dcr"),
    "coarser": _blocks("spacetodepth"),
    "slice": _slice,
    "flip": _flip,
    "quantise": _typed("quantise"),
    "dequantise": _typed("dequantise"),
    "batch_norm": _batch_norm,
    "pool1d": _pool1d,
    "conv_transpose": _spread,
    "resize": _resize,
    "spread": _spread_over,
    "expand": _expand,
    "reduce": _reduce,
    "pick": _pick,
    "copy": lambda chain, data, *shape: chain.builder.add("reshape", (data,), shape=shape),
    "gelu_tanh": lambda chain, data: chain.builder.add("elementwise", (data,), function="gelu", approximate="tanh"),
    "gelu_halved": _gelu_halved,
    "silu": _silu,
    "lstm": _cell("lstm", 4),
    "gru": _cell("gru", 3),
    **{name: _function(name) for name in ("gelu", "erf", "exp", "tanh", "sqrt", "leakyrelu")},
    **{name: _function(name, 2) for name in ("sub", "div")},
}

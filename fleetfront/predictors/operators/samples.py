"""Sample spells a small chain of operators as a key, and builds its Graph: what operator costs are measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE

#: Random weights are cut out of one array: drawing them anew for each file takes longer than timing it.
_POOL_SIZE = 1 << 20
_STEP = 7919
#: Stages and permutations whose four dimensions are heads of attention, and no image.
_OF_HEADS, _TURNS = ("matmul", "softmax"), ((0, 2, 1, 3), (0, 1, 3, 2))
#: What keys of samples in int8 begin with; of those whose weights are from 0 to 255.
_NARROW, _UNSIGNED = "int8 ", "uint8 "
#: What resizing does beside its mode: by numbers of its stage.
_MODES, _HOW = ("nearest", "linear", "cubic"), ("", "floor", "antialias", "inside")
_FUNCTIONS, _REDUCTIONS = ("add", "multiply", "div"), ("mean", "sum", "max")
_drawn: Array | None = None


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
        is_image = is_image and not (
            first_stage.name == "resize" and first_stage.numbers[2:] == (_HOW.index("inside"),)
        )
        start = builder.input("x", self.shape, layout=IMAGE if is_image else "")
        data, first, counted = start, "", list[str]()
        for stage in self.stages:
            data = STAGES[stage.name](_Chain(builder, first or start, counted), data, *stage.numbers)
            first = first or data
        return builder.build([data])


@dataclass(frozen=True, slots=True)
class _Chain:
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
    """Small random float32 weights; equal shapes and places give equal arrays."""
    global _drawn
    if _drawn is None:
        _drawn = (0.05 * np.random.default_rng(0).standard_normal(_POOL_SIZE)).astype(np.float32)
    # Writers keep equal arrays once, and a network's weights lie apart.
    return np.resize(_drawn[place * _STEP % (_POOL_SIZE // 2) :], tuple(shape))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("x")) if text else ()


def _conv(chain: _Chain, data: str, out: int, kernel_h: int, kernel_w: int, stride: int, groups: int) -> str:
    channels = int(chain.builder.shape(data)[1])
    weight = chain.weight("w", out, channels // groups, kernel_h, kernel_w)
    pads = ((kernel_h - 1) // 2, (kernel_w - 1) // 2) * 2
    return chain.builder.add(
        "conv2d",
        (data, weight, chain.weight("b", out)),
        stride=(stride, stride),
        padding=pads,
        dilation=(1, 1),
        groups=groups,
    )


def _pad(chain: _Chain, data: str, each: int) -> str:
    return chain.builder.add("pad", (data,), padding=(each,) * 4)


def _linear(chain: _Chain, data: str, out: int) -> str:
    width = int(chain.builder.shape(data)[-1])
    return chain.builder.add("linear", (data, chain.weight("w", out, width), chain.weight("b", out)))


def _pool(kind: str) -> Callable[..., str]:
    def add(chain: _Chain, data: str, kernel: int, stride: int) -> str:
        pad = (kernel - 1) // 2
        return chain.builder.add(kind, (data,), kernel=(kernel, kernel), stride=(stride, stride), padding=(pad,) * 4)

    return add


def _unary(family: str) -> Callable[..., str]:
    return lambda chain, data: chain.builder.add(family, (data,))


def _binary(family: str) -> Callable[..., str]:
    return lambda chain, data: chain.builder.add(family, (data, chain.side(data)))


def _scaled(chain: _Chain, data: str) -> str:
    """Each channel of an image by a number of its own, as squeeze and excitation end."""
    channels = chain.builder.shape(data)[1]
    chain.counted.append(data)
    factors = chain.builder.input(f"side{len(chain.counted)}", (1, channels, 1, 1), layout=IMAGE)
    return chain.builder.add("multiply", (data, factors))


def _spread_over(chain: _Chain, data: str, function: int, is_constant: int, *shape: int) -> str:
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


def _expand(chain: _Chain, data: str, *shape: int) -> str:
    said: dict[str, Any] = {"shapes": (shape,), "dtypes": (chain.builder.value(data).dtype,), "layouts": ("",)}
    return chain.builder.add("rearrange", (data,), function="expand", **said)


def _concat(chain: _Chain, data: str, axis: int) -> str:
    return chain.builder.add("concat", (data, chain.side(data)), axis=axis)


def _transpose(chain: _Chain, data: str, *permutation: int) -> str:
    return chain.builder.add("transpose", (data,), permutation=permutation)


def _function(name: str, operands: int = 1) -> Callable[..., str]:
    def add(chain: _Chain, data: str) -> str:
        return chain.builder.add("elementwise", (data, *([chain.side(data)] * (operands - 1))), function=name)

    return add


def _gelu_halved(chain: _Chain, data: str) -> str:
    """x (erf(x / sqrt 2) + 1) / 2 in five operators, its gate halved before it meets x: torch's exporter writes so."""
    builder = chain.builder
    root, one, half = (
        builder.weight(name, np.array(number, np.float32))
        for name, number in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))
    )
    raised = builder.add("elementwise", (data, root), function="div")
    gate = builder.add("add", (builder.add("elementwise", (raised,), function="erf"), one))
    return builder.add("multiply", (data, builder.add("multiply", (half, gate))))


def _silu(chain: _Chain, data: str) -> str:
    return chain.builder.add("multiply", (data, chain.builder.add("sigmoid", (data,))))


def _matmul(chain: _Chain, data: str, columns: int) -> str:
    *times, _, inner = (int(size) for size in chain.builder.shape(data))
    layout = chain.builder.value(data).layout
    chain.counted.append(data)
    other = chain.builder.input(f"side{len(chain.counted)}", (*times, inner, columns), layout=layout)
    return chain.builder.add("matmul", (data, other))


def _layer_norm(chain: _Chain, data: str) -> str:
    width = int(chain.builder.shape(data)[-1])
    return chain.builder.add("layer_norm", (data, chain.weight("s", width), chain.weight("b", width)), axis=-1)


def _mean(chain: _Chain, data: str, axis: int) -> str:
    return chain.builder.add("reduce", (data,), function="mean", axes=(axis,), keep=False)


def _reduce(chain: _Chain, data: str, function: int, *axes: int) -> str:
    return chain.builder.add("reduce", (data,), function=_REDUCTIONS[function], axes=axes, keep=True)


def _pick(chain: _Chain, data: str, axis: int, count: int) -> str:
    """So many along an axis, each some places behind the one before."""
    indices = chain.weight("places", count)
    chain.builder._weights[indices] = np.arange(count, dtype=np.int64) * 7 % int(chain.builder.shape(data)[axis])
    return chain.builder.add("gather", (data, indices), axis=axis)


def _gather(chain: _Chain, data: str, rows: int) -> str:
    """Rows of a table of so many rows and as wide as the chain's input is long."""
    indices = chain.weight("rows", rows)
    chain.builder._weights[indices] = np.arange(rows, dtype=np.int64) % int(chain.builder.shape(data)[0])
    return chain.builder.add("gather", (data, indices), axis=0)


def _spread(chain: _Chain, data: str, out: int, kernel: int, stride: int, groups: int = 1) -> str:
    channels = int(chain.builder.shape(data)[1])
    operands = (data, chain.weight("w", channels, out // groups, kernel, kernel), chain.weight("b", out))
    pads, strides = ((kernel - stride) // 2,) * 4, (stride, stride)
    return chain.builder.add("conv_transpose", operands, stride=strides, padding=pads, dilation=(1, 1), groups=groups)


def _resize(chain: _Chain, data: str, scale: int, mode: int, how: int = 0) -> str:
    """So many times larger, or smaller where pixels are averaged."""
    value = chain.builder.value(data)
    sizes = [int(size) for size in value.shape]
    sides = (1, 2) if _HOW[how] == "inside" else (2, 3)
    is_averaged = _HOW[how] == "antialias"
    for axis in sides:
        sizes[axis] = max(1, sizes[axis] // scale) if is_averaged else sizes[axis] * scale
    said: dict[str, Any] = {"shapes": (tuple(sizes),), "dtypes": (value.dtype,), "layouts": (value.layout,)}
    said |= {"antialias": True} if is_averaged else {"places": "floor"} if _HOW[how] == "floor" else {}
    return chain.builder.add("resize", (data,), mode=_MODES[mode], **said)


def _cell(family: str, gates: int) -> Callable[..., str]:
    def add(chain: _Chain, data: str, hidden: int, directions: int = 1) -> str:
        steps, batch, features = (int(size) for size in chain.builder.shape(data))
        shapes = ((directions, gates * hidden, features), (directions, gates * hidden, hidden))
        matrices = (chain.weight("w", *shapes[0]), chain.weight("r", *shapes[1]))
        operands = (data, *matrices, chain.weight("b", directions, 2 * gates * hidden))
        whole = (steps, directions, batch, hidden)
        said: dict[str, Any] = {"shapes": (whole,), "dtypes": ("float32",), "layouts": ("",)}
        return chain.builder.add(family, operands, matrices=2, **said)

    return add


def _split(chain: _Chain, data: str, axis: int) -> str:
    size = int(chain.builder.shape(data)[axis])
    halves = (size // 2, size - size // 2)
    return chain.builder.add_all("split", (data,), axis=axis, sizes=halves)[0]


def _slice(chain: _Chain, data: str, axis: int, step: int = 1) -> str:
    """The first half along an axis, or every so manieth."""
    value = chain.builder.value(data)
    whole = [int(size) for size in value.shape]
    shape = tuple(max(1, size // max(2, step)) if place == axis else size for place, size in enumerate(whole))
    said: dict[str, Any] = {"shapes": (shape,), "dtypes": (value.dtype,), "layouts": (value.layout,)}
    steps = tuple(step if place == axis else 1 for place in range(len(whole)))
    return chain.builder.add("rearrange", (data,), function="slice", steps=steps, **said)


def _pool1d(chain: _Chain, data: str, kernel: int) -> str:
    window: dict[str, Any] = {"kernel": (kernel,), "stride": (kernel,), "padding": (0, 0), "dilation": (1,)}
    return chain.builder.add("pool", (data,), function="max", **window)


def _conv1d(chain: _Chain, data: str, out: int, kernel: int, stride: int, groups: int) -> str:
    channels = int(chain.builder.shape(data)[1])
    weight = chain.weight("w", out, channels // groups, kernel)
    pads = ((kernel - 1) // 2,) * 2
    operands = (data, weight, chain.weight("b", out))
    return chain.builder.add("conv1d", operands, stride=(stride,), padding=pads, dilation=(1,), groups=groups)


def _softmax(chain: _Chain, data: str, *axis: int) -> str:
    return chain.builder.add("softmax", (data,), axis=axis[0] if axis else -1)


#: Name -> what adds it. Numbers: conv out x height x width x stride x groups; conv1d out x length x stride x groups;
#: conv_transpose out x side x stride [x groups]; resize scale x mode [x how]; lstm and gru hidden [x directions];
#: linear out; matmul columns; pools kernel x stride; pool1d kernel; pad pixels on each side; concat, split and mean
#: axis; slice axis [x step]; transpose its permutation; gather rows; pick axis x how many; softmax nothing, or an axis
#: that is not the last; spread function x whether constant x shape; expand and copy shape; reduce function x axes.
#: ``residual`` adds what the chain's first operator made.
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
    "softmax": _softmax,
    "matmul": _matmul,
    "layer_norm": _layer_norm,
    "mean": _mean,
    "gather": _gather,
    "conv1d": _conv1d,
    "split": _split,
    "slice": _slice,
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

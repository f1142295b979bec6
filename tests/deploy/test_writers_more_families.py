"""Files of single operators that torch's functions are asked for: the families that no graph computes by itself."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.runtimes.catalogue import load_runtime
from tests.deploy.written import Builder, image_or_not

#: Of the values' size; values are near one.
ROUNDING = 1e-5
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
SOUND, PICTURE, TOKENS = (2, 6, 11), (2, 6, 9, 8), (2, 5, 8)

Results = Tensor | Sequence[Tensor]


class Case(NamedTuple):
    """``build`` adds one operator to inputs and weights; ``compute`` is torch's answer to the operator's operands."""

    build: Callable[[Builder], Sequence[str]]
    compute: Callable[..., Results]
    has_tflite: bool = False
    has_onnx: bool = True


def given(*shapes: int | str) -> dict[str, Any]:
    """Attributes of an operator that is told what it gives: one float32 result that is no image."""
    return {"shapes": (shapes,), "dtypes": ("float32",), "layouts": ("",)}


def x(b: Builder, shape: tuple[int, ...], name: str = "x") -> str:
    return image_or_not(b, name, shape)


def convolved(
    shape: tuple[int, ...], weight: tuple[int, ...], stride: int, pads: tuple[int, int], dilation: int, groups: int
) -> Case:
    said = {"stride": (stride,), "padding": pads, "dilation": (dilation,), "groups": groups}
    return Case(
        lambda b: [b.add("conv1d", [x(b, shape), b.array(weight, 0.3), b.array(weight[:1])], **said)],
        lambda data, w, bias: functional.conv1d(
            functional.pad(data, pads), w, bias, stride=stride, dilation=dilation, groups=groups
        ),
    )


def spread(
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    stride: int,
    pads: tuple[int, ...],
    dilation: int = 1,
    groups: int = 1,
    extra: int = 0,
) -> Case:
    """A transposed convolution; padding is what torch's whole result is cut by."""
    rank = len(shape) - 2
    said = {"stride": (stride,) * rank, "padding": pads, "dilation": (dilation,) * rank, "groups": groups}
    said |= {"output_padding": (extra,) * rank} if extra else {}
    function = functional.conv_transpose1d if rank == 1 else functional.conv_transpose2d

    def compute(data: Tensor, w: Tensor, bias: Tensor) -> Tensor:
        whole = function(data, w, bias, stride=stride, output_padding=extra, groups=groups, dilation=dilation)
        for side in range(rank):
            length = whole.shape[2 + side] - pads[side] - pads[rank + side]
            whole = whole.narrow(2 + side, pads[side], length)
        return whole

    def build(b: Builder) -> Sequence[str]:
        bias = b.array((weight[1] * groups,))
        return [b.add("conv_transpose", [x(b, shape), b.array(weight, 0.3), bias], **said)]

    return Case(build, compute)


def function(name: str, compute: Callable[[Tensor], Tensor], shape: tuple[int, ...] = PICTURE, **said: Any) -> Case:
    has_tflite = name in ("exp", "gelu", "tanh")
    return Case(lambda b: [b.add("elementwise", [x(b, shape)], function=name, **said)], compute, has_tflite)


def pair(
    name: str, compute: Callable[[Tensor, Tensor], Tensor], left: tuple[int, ...], right: tuple[int, ...], mean: float
) -> Case:
    """With a weight whose values are near ``mean``."""

    def build(b: Builder) -> Sequence[str]:
        return [b.add("elementwise", [x(b, left), b.array(right, 0.1, mean)], function=name)]

    return Case(build, compute, True)


def pair_of_inputs(name: str, compute: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> Case:
    def build(b: Builder) -> Sequence[str]:
        return [b.add("elementwise", [x(b, shape), x(b, shape, "y")], function=name)]

    return Case(build, compute, True)


def root(shape: tuple[int, ...]) -> Case:
    """Of weights, since inputs are negative, too."""
    return Case(
        lambda b: [
            b.add("elementwise", [b.weight("w", b.rng.uniform(0.1, 3, shape).astype(np.float32))], function="sqrt")
        ],
        torch.sqrt,
        True,
    )


def gathered(shape: tuple[int, ...], indices: Any, axis: int, dtype: str = "int64") -> Case:
    places = np.array(indices, dtype)

    def compute(data: Tensor, rows: Tensor) -> Tensor:
        side = axis % data.dim()
        flat = data.index_select(side, rows.long().reshape(-1) % data.shape[side])
        return flat.reshape(*data.shape[:side], *rows.shape, *data.shape[side + 1 :])

    return Case(lambda b: [b.add("gather", [x(b, shape), b.weight("rows", places)], axis=axis)], compute)


def normalised(shape: tuple[int, ...], axis: int, parameters: int, epsilon: float | None = None) -> Case:
    said = {} if epsilon is None else {"epsilon": epsilon}
    size = shape[axis:]

    def build(b: Builder) -> Sequence[str]:
        operands = [b.array(size, 0.1, 1.0), b.array(size)][:parameters]
        return [b.add("layer_norm", [x(b, shape), *operands], axis=axis, **said)]

    return Case(build, lambda data, *rest: functional.layer_norm(data, size, *rest, eps=epsilon or 1e-5))


def multiplied(left: tuple[int, ...], right: tuple[int, ...], is_constant: bool = False) -> Case:
    def build(b: Builder) -> Sequence[str]:
        other = b.array(right) if is_constant else b.input("y", right)
        return [b.add("matmul", [b.input("x", left), other])]

    return Case(build, torch.matmul, True)


def turned(left: tuple[int, ...], right: tuple[int, ...], **said: bool) -> Case:
    """TFLite's product transposes its operands itself; ONNX's does not."""

    def compute(one: Tensor, other: Tensor) -> Tensor:
        one = one.mT if said.get("transpose_left") else one
        return one @ (other.mT if said.get("transpose_right") else other)

    def build(b: Builder) -> Sequence[str]:
        return [b.add("matmul", [b.input("x", left), b.input("y", right)], **said)]

    return Case(build, compute, has_tflite=True, has_onnx=False)


def windowed(shape: tuple[int, ...], **window: tuple[int, ...]) -> Case:
    """The largest of each window; nothing that pads is."""
    rank = len(shape) - 2

    def compute(data: Tensor) -> Tensor:
        pads = window["padding"]
        around = [pad for side in reversed(range(rank)) for pad in (pads[side], pads[rank + side])]
        padded = functional.pad(data, around, value=float("-inf"))
        pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[rank - 1]
        return pool(padded, window["kernel"], window["stride"], dilation=window.get("dilation", (1,) * rank))

    return Case(lambda b: [b.add("pool", [x(b, shape)], function="max", **window)], compute)


def bordered(pads: tuple[int, ...], value: float = 0.0) -> Case:
    """Top, left, bottom, right."""
    said = {"padding": pads, **({"value": value} if value else {})}
    top, left, bottom, right = pads
    return Case(
        lambda b: [b.add("pad", [x(b, PICTURE)], **said)],
        lambda data: functional.pad(data, (left, right, top, bottom), value=value),
        has_tflite=True,
    )


def sliced(shape: tuple[int, ...], left: tuple[int, ...], *steps: int) -> Case:
    said = {"steps": steps} if steps else {}
    ends = [(size - 1) * step + 1 for size, step in zip(left, steps or (1,) * len(left), strict=True)]
    return Case(
        lambda b: [b.add("rearrange", [b.input("x", shape)], function="slice", **said, **given(*left))],
        lambda data: data[
            tuple(slice(0, end, step) for end, step in zip(ends, steps or (1,) * len(left), strict=True))
        ],
    )


def expanded(shape: tuple[int, ...], wide: tuple[int, ...]) -> Case:
    def build(b: Builder) -> Sequence[str]:
        return [b.add("rearrange", [b.input("x", shape)], function="expand", **given(*wide))]

    return Case(build, lambda data: data.expand(wide))


def averaged(shape: tuple[int, ...], axes: tuple[int, ...], keep: bool, function: str = "mean") -> Case:
    compute = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}[function]
    return Case(
        lambda b: [b.add("reduce", [x(b, shape)], function=function, axes=axes, keep=keep)],
        lambda data: compute(data, dim=axes, keepdim=keep) if axes else data,
    )


def resized(shape: tuple[int, ...], sides: tuple[int, ...], mode: str, torch_mode: str, **said: Any) -> Case:
    is_averaged = bool(said.get("antialias"))
    return Case(
        lambda b: [b.add("resize", [b.input("x", shape)], mode=mode, **said, **given(*shape[:2], *sides))],
        lambda data: functional.interpolate(data, size=sides, mode=torch_mode, antialias=is_averaged),
    )


#: Family -> the places of torch's gates in ONNX's order.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


def recurrent(family: str, directions: int, has_bias: bool = True, outputs: int = 1) -> Case:
    """Torch's module with weights of ONNX's order: gates in another one, directions first, both biases in one."""
    steps, batch, features, hidden = 5, 2, 4, 3
    order = GATES[family]
    rows = len(order) * hidden
    states = 2 if family == "lstm" else 1
    shapes = ((steps, directions, batch, hidden), *[(directions, batch, hidden)] * states)[:outputs]
    said = {"shapes": shapes, "dtypes": ("float32",) * outputs, "layouts": ("",) * outputs, "matrices": 2}

    def build(b: Builder) -> Sequence[str]:
        matrices = [b.array((directions, rows, width), 0.5) for width in (features, hidden)]
        bias = [b.array((directions, 2 * rows), 0.5)] if has_bias else []
        return b.add_all(family, [b.input("x", (steps, batch, features)), *matrices, *bias], **said)

    def compute(data: Tensor, *weights: Tensor) -> Results:
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[family]
        module = kind(features, hidden, bias=has_bias, bidirectional=directions == 2)
        for direction in range(directions):
            parts = [weights[0][direction], weights[1][direction]]
            parts += list(weights[2][direction].split(rows)) if has_bias else []
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            for name, part in zip(names, parts, strict=False):
                gates = part.reshape(len(order), hidden, *part.shape[1:])
                turned = torch.empty_like(gates)
                for place, torch_place in enumerate(order):
                    turned[torch_place] = gates[place]
                getattr(module, name + "_reverse" * direction).data = turned.reshape(part.shape)
        whole, state = module(data)
        sequence = whole.reshape(steps, batch, directions, hidden).transpose(1, 2)
        return (sequence, *(state if family == "lstm" else (state,)))[:outputs]

    return Case(build, compute)


CASES: dict[str, Case] = {
    "conv1d": convolved(SOUND, (5, 6, 3), 1, (1, 1), 1, 1),
    "conv1d stride 2 lopsided": convolved(SOUND, (5, 6, 4), 2, (2, 0), 1, 1),
    "conv1d dilated": convolved(SOUND, (5, 6, 3), 1, (2, 2), 2, 1),
    "conv1d in groups": convolved(SOUND, (9, 2, 3), 1, (1, 1), 1, 3),
    "conv1d depthwise": convolved(SOUND, (6, 1, 5), 1, (2, 2), 1, 6),
    "conv_transpose": spread(PICTURE, (6, 4, 2, 2), 2, (0, 0, 0, 0)),
    "conv_transpose padded": spread(PICTURE, (6, 4, 4, 4), 2, (1, 1, 1, 1)),
    "conv_transpose lopsided": spread(PICTURE, (6, 4, 3, 3), 2, (1, 0, 0, 2)),
    "conv_transpose in groups": spread(PICTURE, (6, 2, 3, 3), 1, (1, 1, 1, 1), groups=3),
    "conv_transpose dilated": spread(PICTURE, (6, 4, 3, 3), 1, (1, 1, 1, 1), dilation=2),
    "conv_transpose with output padding": spread(PICTURE, (6, 4, 3, 3), 2, (0, 0, 0, 0), extra=1),
    "conv_transpose of a sound": spread(SOUND, (6, 4, 4), 2, (1, 1)),
    "pad": bordered((1, 1, 1, 1)),
    "pad lopsided with a number": bordered((0, 2, 1, 3), -2.5),
    "erf": function("erf", torch.erf),
    "exp": function("exp", torch.exp),
    "exp of a sequence": function("exp", torch.exp, TOKENS),
    "gelu": function("gelu", functional.gelu),
    "gelu of a sequence": function("gelu", functional.gelu, TOKENS),
    "gelu nearly": function("gelu", partial(functional.gelu, approximate="tanh"), approximate="tanh"),
    "leakyrelu": function("leakyrelu", functional.leaky_relu),
    "sqrt": root(TOKENS),
    "tanh": function("tanh", torch.tanh),
    "sub": pair_of_inputs("sub", torch.sub, PICTURE),
    "sub a column": pair("sub", torch.sub, PICTURE, (6, 1, 1), 0.0),
    "sub from a sequence": pair("sub", torch.sub, TOKENS, (5, 1), 0.0),
    "div": pair("div", torch.div, PICTURE, PICTURE, 2.0),
    "div by a column": pair("div", torch.div, PICTURE, (6, 1, 1), 2.0),
    "div of a sequence": pair("div", torch.div, TOKENS, (8,), 2.0),
    "gather rows": gathered((7, 4), [3, 0, 6, 3], 0),
    "gather columns": gathered((7, 4), [[1, 3], [0, 0]], 1),
    "gather from behind": gathered(TOKENS, [4, 1], -2),
    "gather one": gathered(TOKENS, 2, 1),
    "gather by negative numbers": gathered(TOKENS, [-1, 0], 2, "int32"),
    "layer_norm": normalised(TOKENS, -1, 2),
    "layer_norm without shift": normalised(TOKENS, -1, 1),
    "layer_norm of two axes": normalised(TOKENS, 1, 2),
    "layer_norm of an image": normalised(PICTURE, -3, 2),
    "layer_norm of a wide epsilon": normalised(TOKENS, -1, 2, 0.5),
    "matmul": multiplied((3, 4), (4, 5)),
    "matmul of heads": multiplied((2, 3, 5, 4), (2, 3, 4, 6)),
    "matmul by one matrix": multiplied((2, 5, 4), (4, 6), is_constant=True),
    "matmul that broadcasts": multiplied((3, 1, 5, 4), (2, 4, 6)),
    "matmul of a turned right side": turned((2, 5, 4), (2, 6, 4), transpose_right=True),
    "matmul of a turned left side": turned((2, 4, 5), (2, 4, 6), transpose_left=True),
    "matmul of both turned": turned((2, 4, 5), (2, 6, 4), transpose_left=True, transpose_right=True),
    "pool": windowed(SOUND, kernel=(2,), stride=(2,), padding=(0, 0), dilation=(1,)),
    "pool padded": windowed(SOUND, kernel=(3,), stride=(2,), padding=(1, 2), dilation=(1,)),
    "pool dilated": windowed(PICTURE, kernel=(2, 3), stride=(1, 2), padding=(1, 0, 0, 1), dilation=(2, 2)),
    "pool of a volume": windowed((1, 2, 4, 5, 6), kernel=(2, 2, 3), stride=(2, 1, 2), padding=(0, 1, 1, 0, 0, 1)),
    "rearrange": sliced(TOKENS, (2, 3, 8)),
    "rearrange all sides": sliced(PICTURE, (1, 4, 9, 3)),
    "rearrange by steps": sliced(PICTURE, (2, 3, 9, 4), 1, 2, 1, 2),
    "rearrange wider": expanded((1, 6, 1, 8), PICTURE),
    "reduce": averaged(TOKENS, (1,), False),
    **{f"reduce to the {name}": averaged(PICTURE, (1, 3), True, name) for name in ("sum", "max", "min")},
    "reduce and keep": averaged(TOKENS, (-1,), True),
    "reduce several": averaged(PICTURE, (-1, 1), False),
    "reduce all": averaged(TOKENS, (0, 1, 2), True),
    "reduce nothing": averaged(TOKENS, (), True),
    "resize nearest": resized(PICTURE, (18, 16), "nearest", "nearest"),
    "resize nearest thrice": resized(PICTURE, (27, 24), "nearest", "nearest"),
    "resize nearest unevenly": resized(PICTURE, (13, 20), "nearest", "nearest"),
    "resize nearest to less": resized(PICTURE, (3, 4), "nearest", "nearest"),
    "resize nearest to the pixel before": resized(PICTURE, (18, 16), "nearest", "nearest", places="floor"),
    "resize linear by averages": resized(PICTURE, (3, 4), "linear", "bilinear", antialias=True),
    "resize linear": resized(PICTURE, (18, 16), "linear", "bilinear"),
    "resize linear unevenly": resized(PICTURE, (13, 5), "linear", "bilinear"),
    "resize linear of a sound": resized(SOUND, (22,), "linear", "linear"),
    "resize cubic": resized(PICTURE, (18, 12), "cubic", "bicubic"),
    **{
        f"{family}{words}": recurrent(family, *settings)
        for family in GATES
        for words, settings in {
            "": (1,),
            " without bias": (1, False),
            " of both directions": (2,),
            " with its states": (1, True, 3 if family == "lstm" else 2),
            " of both directions with their states": (2, True, 3 if family == "lstm" else 2),
        }.items()
    },
}


def one_operator(name: str) -> Graph:
    builder = Builder()
    return builder.build(CASES[name].build(builder), {"case": name})


def run(graph: Graph, file: bytes, runtime: str, feeds: dict[str, Any]) -> list[Any]:
    """The file's outputs as the graph has them, channels first."""

    def is_turned(name: str) -> bool:
        return runtime == "litert" and graph.tensors[name].layout == IMAGE

    session = load_runtime(runtime).open(file)
    try:
        fed = {name: feed.transpose(TO_LAST) if is_turned(name) else feed for name, feed in feeds.items()}
        results = session.run(fed)
    finally:
        session.close()
    return [results[name].transpose(TO_FIRST) if is_turned(name) else results[name] for name in graph.outputs]


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_the_same_in_every_runtime(name: str) -> None:
    case, graph = CASES[name], one_operator(name)
    (operator,) = graph.operators
    rng = np.random.default_rng(1)
    feeds = {one: rng.normal(0, 1, graph.tensors[one].shape).astype(np.float32) for one in graph.inputs}
    operands = [torch.from_numpy(np.array({**graph.weights, **feeds}[one])) for one in operator.inputs]
    with torch.no_grad():
        computed = case.compute(*operands)
    wanted = [computed] if isinstance(computed, Tensor) else list(computed)
    files = {}
    if case.has_onnx:
        files["onnxruntime"] = write_onnx(graph)
        onnx.checker.check_model(onnx.load_from_string(files["onnxruntime"]), full_check=True)
    if case.has_tflite:
        files["litert"] = write_tflite(graph)
    for runtime, file in files.items():
        got = run(graph, file, runtime, feeds)
        for one, have, want in zip(graph.outputs, got, wanted, strict=True):
            assert tuple(want.shape) == tuple(have.shape) == graph.tensors[one].shape
            np.testing.assert_allclose(have, want.numpy(), rtol=ROUNDING, atol=ROUNDING, err_msg=f"{runtime}: {one}")


def test_families_of_both_files_are_compared_in_both() -> None:
    compared = {one_operator(name).operators[0].family for name, case in CASES.items() if case.has_tflite}
    held = {one_operator(name).operators[0].family for name in CASES}
    assert compared == {family for family in held if family_of(family).tflite is not None}

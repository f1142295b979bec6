"""Rules tell which operator of a graph each of torch's own operators is. One without a rule is opaque."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.graphs.operators.base import IMAGE, Value
from fleetfront.graphs.readers.node import Plan, contraction, same_padding
from fleetfront.graphs.readers.outline import Outline
from fleetfront.graphs.readers.torch_words import (
    BESIDE,
    ELEMENTWISE,
    FUNCTIONS,
    LOOKED_UP,
    MOVED,
    MOVES,
    PADDED,
    REDUCED,
    REDUCTIONS,
    RESIZED,
    SCANNED,
    VIEWS,
    words,
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operator.

    Attributes:
        kind: torch's name of it, e.g. ``conv2d``.
        given: its arguments by torch's names; tensors as names of the outline, lists of tensors as lists of such.
        results: shape and type of each tensor that it gave.
        outline: what was read so far.
    """

    kind: str
    given: Mapping[str, Any]
    results: tuple[Value, ...]
    outline: Outline

    def value(self, name: str) -> Value:
        """Shape and type of an argument that is a tensor."""
        return self.outline.value(self.given[name])

    def sizes(self, name: str, count: int, default: int = 1) -> tuple[int, ...]:
        """An argument that is a number or one for each of ``count`` sides."""
        given = self.given.get(name)
        if given is None or (isinstance(given, Sequence) and not given):
            return (default,) * count
        return (int(given),) * count if isinstance(given, int) else tuple(map(int, given)) * (count // len(given))

    def operand(self, name: str) -> str | None:
        """An argument that is a tensor, or the constant that files have for a number; None if it is neither."""
        given = self.given.get(name)
        if isinstance(given, Ref):
            return given
        if isinstance(given, bool) or not isinstance(given, int | float):
            return None
        others = [self.outline.value(one).dtype for one in self.tensors()]
        dtype = next((one for one in others if one != "bool"), self.results[0].dtype)
        return self.outline.number(given, dtype)

    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors that were given, in order."""
        return tuple(
            name
            for given in self.given.values()
            for name in (given if isinstance(given, list) else [given])
            if isinstance(name, Ref)
        )

    def said(self) -> dict[str, Any]:
        """The attributes of families that are told what they give."""
        return {
            "shapes": tuple(value.shape for value in self.results),
            "dtypes": tuple(value.dtype for value in self.results),
            "layouts": ("",) * len(self.results),
        }


class Ref(str):
    """The name of a tensor, told apart from an argument that is text."""

    __slots__ = ()


Rule = Callable[[Call], Plan | None]


def _there(*names: Any) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def _convolution(call: Call) -> Plan:
    given, weight = call.given, call.value("weight").shape
    rank = len(weight) - 2
    kernel = [int(side) for side in weight[2:]]
    stride, dilation = (call.sizes(name, rank) for name in ("stride", "dilation"))
    if given.get("padding") == "same":
        sides = [int(side) for side in call.value("input").shape[2:]]
        padding = same_padding(sides, kernel, stride, dilation)
    elif given.get("padding") == "valid":
        padding = (0,) * 2 * rank
    else:
        padding = call.sizes("padding", rank, 0) * 2
    said = {"stride": stride, "padding": padding, "dilation": dilation, "groups": int(given.get("groups", 1))}
    if given.get("transposed") or "transpose" in call.kind:
        said["output_padding"] = call.sizes("output_padding", rank, 0)
        family = "conv_transpose"
    else:
        family = {1: "conv1d", 2: "conv2d", 3: "conv3d"}[rank]
    operands = _there(given["input"], given["weight"], given.get("bias"))
    return Plan(family, operands, said, IMAGE if rank == 2 else "")


def _linear(call: Call) -> Plan:
    given = call.given
    if not call.outline.is_weight(given["weight"]):
        return Plan("matmul", (given["input"], given["weight"]), {"transpose_right": True})
    return Plan("linear", _there(given["input"], given["weight"], given.get("bias")))


def _product(call: Call) -> Plan:
    """mm, bmm, matmul and their forms that add something."""
    given = call.given
    left: str = next(given[name] for name in ("mat1", "batch1", "self") if name in given)
    right: str = next(given[name] for name in ("mat2", "batch2", "other") if name in given)
    if call.outline.is_weight(right) and len(call.outline.shape(right)) == 2:
        weight = call.outline.permuted(right, (1, 0))
        bias = given["self"] if "mat1" in given and len(call.outline.shape(given["self"])) == 1 else None
        return Plan("linear", _there(left, weight, bias))
    return Plan("matmul", (left, right))


def recurrent(outline: Outline, family: str, operands: Sequence[str]) -> Plan:
    """A layer of cells: (data, parameters, states), its parameters joined as ONNX has them, directions first.

    Those of one with a projection stay apart: no file holds such a cell.
    """
    data, *others = operands
    shapes = {name: outline.shape(name) for name in others}
    matrices = [name for name in others if len(shapes[name]) == 2]
    if len({shapes[name] for name in matrices}) > 2:
        parts = (*matrices, *(name for name in others if name not in matrices))
        return Plan(family, (data, *parts), {"matrices": len(matrices)})
    vectors = [name for name in others if len(shapes[name]) == 1]
    ways, dtype = len(matrices) // 2, outline.value(data).dtype
    joined = [outline.placeholder(name, (ways, *map(int, shapes[name])), dtype) for name in matrices[:2]]
    if vectors:
        joined.append(outline.placeholder(vectors[0], (ways, 2 * int(shapes[vectors[0]][0])), dtype))
    states = [name for name in others if len(shapes[name]) == 3]
    return Plan(family, (data, *joined, *states), {"matrices": 2})


def _batch_norm(call: Call) -> Plan | None:
    given = call.given
    if given.get("running_mean") is None or given.get("running_var") is None:
        return Plan("group_norm", (given["input"],), {"groups": 1})
    mean = call.value("running_mean")
    learnt = [given.get(word) or call.outline.like(f"batch_norm.{word}", mean) for word in ("weight", "bias")]
    parameters = (*learnt, given["running_mean"], given["running_var"])
    return Plan("batch_norm", (given["input"], *parameters), {"epsilon": float(given["eps"])})


def _axis_norm(call: Call) -> Plan:
    given = call.given
    axis = -len(given["normalized_shape"])
    family = "rms_norm" if call.kind == "rms_norm" else "layer_norm"
    return Plan(family, _there(given["input"], given.get("weight"), given.get("bias")), {"axis": axis})


def _group_norm(call: Call) -> Plan:
    given = call.given
    groups = given.get("num_groups") or call.value("input").shape[1]
    return Plan("group_norm", _there(given["input"], given.get("weight"), given.get("bias")), {"groups": groups})


def _pool(call: Call) -> Plan:
    given, shape = call.given, call.value("self").shape
    rank = int(call.kind[-2])
    kernel = call.sizes("kernel_size", rank)
    stride = call.sizes("stride", rank) if given.get("stride") else kernel
    dilation, before = call.sizes("dilation", rank), call.sizes("padding", rank, 0)
    function = "max" if call.kind.startswith("max") else "average"
    # The ends are so wide that the windows which torch counts fit, as its ceil_mode has it.
    ends = [
        max((int(out) - 1) * step + gap * (width - 1) + 1 - int(side) - begin, 0)
        for out, side, width, step, gap, begin in zip(
            call.results[0].shape[-rank:], shape[-rank:], kernel, stride, dilation, before, strict=True
        )
    ]
    said = {"kernel": kernel, "stride": stride, "padding": (*before, *ends)}
    fits = all(pad < width for pad, width in zip(said["padding"], kernel * 2, strict=True))
    if rank == 2 and len(shape) == 4 and set(dilation) == {1} and fits:
        return Plan(f"{function}_pool2d", (given["self"],), said, IMAGE)
    return Plan("pool", (given["self"],), {"function": function, **said, "dilation": dilation})


def _same(family: str) -> Rule:
    return lambda call: Plan(family, call.tensors())


#: What may be a number where others have a tensor; the bounds of a clip and the slope of an activation are no operands.
_OPERANDS = ("self", "other", "exponent", "end", "tensor1", "tensor2", "weight", "input", "condition")


def _elementwise(call: Call) -> Plan:
    found = [call.operand(name) for name in call.given if name in _OPERANDS]
    operands = _there(*found) or call.tensors()
    said = {"function": FUNCTIONS.get(call.kind, call.kind), "dtype": call.results[0].dtype}
    if call.given.get("approximate", "none") != "none":
        said["approximate"] = call.given["approximate"]
    return Plan("elementwise", operands[::-1] if call.kind == "rsub" else operands, said)


def _two(family: str) -> Rule:
    """add and mul: of operands of one type, else like any other function."""

    def rule(call: Call) -> Plan:
        operands = _there(call.operand("self"), call.operand("other"))
        types = {call.outline.value(name).dtype for name in operands}
        return Plan(family, operands) if types == {call.results[0].dtype} else _elementwise(call)

    return rule


def _softmax(call: Call) -> Plan:
    return Plan("softmax", (call.tensors()[0],), {"axis": int(call.given["dim"])})


def _clamp(call: Call) -> Plan:
    low, high = (call.given.get("min_val", call.given.get("min")), call.given.get("max_val", call.given.get("max")))
    if (low, high) == (0, 6):
        return Plan("relu6", (call.tensors()[0],))
    if call.kind == "clamp" and None in (low, high):
        # A bound of clamp is an operand of the larger or smaller of two; that of hardtanh is not.
        operands = _there(call.tensors()[0], call.operand("min"), call.operand("max"))
        return Plan("elementwise", operands, {"function": "max" if high is None else "min"})
    return Plan("elementwise", call.tensors(), {"function": "clip"})


def _reduce(call: Call) -> Plan:
    rank = len(call.outline.shape(call.tensors()[0]))
    axes = call.given.get("dim")
    axes = list(range(rank)) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    keep = bool(call.given.get("keepdim", False))
    if call.kind == "mean" and keep and rank == 4 and sorted(axis % 4 for axis in axes) == [2, 3]:
        return Plan("global_average_pool", (call.tensors()[0],), image=IMAGE)
    function = REDUCTIONS.get(call.kind, call.kind)
    if call.kind == "linalg_vector_norm" and call.given.get("ord", 2) == 1:
        function = "l1"
    said = {"function": function, "axes": tuple(axes), "keep": keep, "dtype": call.results[0].dtype}
    return Plan("reduce", (call.tensors()[0],), said)


def _reshape(call: Call) -> Plan:
    return Plan("reshape", (call.tensors()[0],), {"shape": tuple(call.results[0].shape)})


def _transpose(call: Call) -> Plan:
    rank = len(call.value("self").shape)
    order = list(range(rank))
    if call.kind == "permute":
        order = [axis % rank for axis in call.given["dims"]]
    elif rank > 1:
        first, second = (int(call.given.get(name, default)) for name, default in (("dim0", 0), ("dim1", 1)))
        order[first], order[second] = order[second], order[first]
    return Plan("transpose", (call.given["self"],), {"permutation": tuple(order)})


def _concat(call: Call) -> Plan:
    # Torch passes over empty tensors of one dimension.
    parts = [name for name in call.given["tensors"] if 0 not in call.outline.shape(name)]
    return Plan("concat", parts, {"axis": int(call.given.get("dim", 0))})


def _split(call: Call) -> Plan:
    axis = int(call.given.get("dim", 0))
    return Plan("split", (call.given["self"],), {"axis": axis, "sizes": tuple(v.shape[axis] for v in call.results)})


def _embedding(call: Call) -> Plan:
    return Plan("gather", (call.given["weight"], call.given["indices"]), {"axis": 0})


def _select(call: Call) -> Plan:
    index = call.outline.number(call.given["index"], "int64")
    return Plan("gather", (call.given["self"], index), {"axis": int(call.given["dim"])})


def _index_select(call: Call) -> Plan:
    return Plan("gather", (call.given["self"], call.given["index"]), {"axis": int(call.given["dim"])})


def _index(call: Call) -> Plan:
    """By one tensor along one axis, rows are gathered; by several, single elements."""
    indices = call.given["indices"]
    places = [place for place, one in enumerate(indices) if isinstance(one, Ref)]
    if len(places) == 1 and call.outline.value(indices[places[0]]).dtype == "int64":
        return Plan("gather", (call.given["self"], indices[places[0]]), {"axis": places[0]})
    return Plan("lookup", call.tensors(), {"function": "gathernd", **call.said()})


def _einsum(call: Call) -> Plan | None:
    operands = call.given["tensors"]
    found = contraction(str(call.given["equation"]), [call.outline.shape(name) for name in operands])
    return None if found is None else Plan("contract", operands, found)


def _resize(call: Call) -> Plan:
    word = call.kind.removeprefix("_").removeprefix("upsample_")
    said = {"antialias": True} if word.endswith("_aa") else {"places": "floor"} if word.startswith("nearest") else {}
    if "nearest_exact" in word:
        said = {}
    word = word.removesuffix("_aa")
    return Plan("resize", (call.tensors()[0],), {"mode": RESIZED.get(word[:-2], word), **said, **call.said()})


def _told(family: str, everything: bool = True) -> Rule:
    def rule(call: Call) -> Plan:
        operands = call.tensors() if everything and call.kind != "expand_as" else call.tensors()[:1]
        word = MOVES.get(call.kind, call.kind)
        return Plan(family, operands, {"function": word, **_beside(call), **call.said()})

    return rule


def _beside(call: Call) -> dict[str, Any]:
    """The attributes of files that tell variants of what moves data apart."""
    given, rank = call.given, len(call.outline.shape(call.tensors()[0]))
    if call.kind == "slice" and given.get("step", 1) != 1:
        axis = int(given.get("dim", 0)) % rank
        return {"steps": tuple(int(given["step"]) if place == axis else 1 for place in range(rank))}
    if call.kind == "flip":
        axes = {axis % rank for axis in given["dims"]}
        return {"steps": tuple(-1 if place in axes else 1 for place in range(rank))}
    if call.kind == "pixel_shuffle":
        return {"block": int(given["upscale_factor"]), "mode": "crd"}
    word = BESIDE.get(call.kind) or PADDED.get(str(given.get("mode", "constant")) if call.kind == "pad" else "")
    return {"beside": word} if word else {}


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        words("conv1d conv2d conv3d convolution _convolution conv_transpose1d conv_transpose2d conv_transpose3d"),
        _convolution,
    ),
    "linear": _linear,
    **dict.fromkeys(words("mm bmm matmul addmm baddbmm"), _product),
    **dict.fromkeys(words("batch_norm native_batch_norm _native_batch_norm_legit_no_training"), _batch_norm),
    **dict.fromkeys(words("layer_norm native_layer_norm rms_norm"), _axis_norm),
    **dict.fromkeys(words("group_norm instance_norm"), _group_norm),
    **dict.fromkeys(words("max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d"), _pool),
    "relu": _same("relu"),
    "relu6": _same("relu6"),
    "sigmoid": _same("sigmoid"),
    "hardswish": _same("hard_swish"),
    "hardsigmoid": _same("hard_sigmoid"),
    "add": _two("add"),
    "mul": _two("multiply"),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(words("softmax _softmax _safe_softmax"), _softmax),
    **dict.fromkeys(("hardtanh", "clamp"), _clamp),
    **dict.fromkeys(REDUCED, _reduce),
    **dict.fromkeys(VIEWS, _reshape),
    **dict.fromkeys(words("permute transpose t"), _transpose),
    **dict.fromkeys(words("cat concat concatenate"), _concat),
    **dict.fromkeys(words("split split_with_sizes chunk tensor_split unsafe_split unsafe_chunk"), _split),
    "embedding": _embedding,
    "select": _select,
    "index_select": _index_select,
    "index": _index,
    "einsum": _einsum,
    **dict.fromkeys(
        words(
            "upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d upsample_linear1d "
            "upsample_nearest3d upsample_trilinear3d _upsample_bilinear2d_aa "
            "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d"
        ),
        _resize,
    ),
    **dict.fromkeys(MOVED, _told("rearrange")),
    **dict.fromkeys(LOOKED_UP, _told("lookup")),
    **dict.fromkeys(SCANNED, _told("scan", everything=False)),
}

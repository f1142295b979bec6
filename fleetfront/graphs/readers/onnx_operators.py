"""Rules tell which operator of a graph each kind of ONNX node is. A kind without a rule stays opaque."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fleetfront.graphs.operators.base import IMAGE, Shape, Value
from fleetfront.graphs.operators.products import spatial
from fleetfront.graphs.readers import onnx_variants
from fleetfront.graphs.readers.node import Node, Plan, Rule, contraction, same_padding
from fleetfront.graphs.readers.onnx_quantised import quantised_rules
from fleetfront.graphs.readers.outline import is_known

#: Rank of the data -> the family of a convolution.
_CONVOLUTIONS = {3: "conv1d", 4: "conv2d", 5: "conv3d"}
_SAME = {"SAME_UPPER": False, "SAME_LOWER": True}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Kinds that combine operands element by element. Comparisons and tests give bool.
_ELEMENTWISE = _words("""
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BitShift Ceil Celu Cos Cosh Div Elu
    Erf Exp Floor LeakyRelu Log LogSoftmax Max Mean Min Mish Mod Neg Pow Reciprocal Round Selu Shrink Sign
    Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu FastGelu QuickGelu BiasGelu Hardmax
""")
_TESTS = _words("And Or Not Xor Equal Greater GreaterOrEqual Less LessOrEqual IsInf IsNaN")
_REARRANGED = _words("""
    CenterCropPad Col2Im Compress Expand EyeLike Pad ReverseSequence Tile Trilu Upsample
    GridSample AffineGrid RoiAlign
""")
_LOOKED_UP = _words("GatherElements GatherND OneHot ScatterElements ScatterND Scatter TensorScatter")
_SCANNED = _words("CumSum TopK Unique NonMaxSuppression")
_REDUCED = _words("Max Min Mean Sum Prod L1 L2 LogSum LogSumExp SumSquare")


def _window(node: Node, kernel: list[int]) -> dict[str, Any]:
    """Stride, padding and dilation of a window over operand 0, spelled out."""
    said, sides = node.attributes, spatial(_as_image(node.value(0)))
    stride = list(said.get("strides") or [1] * len(sides))
    dilation = list(said.get("dilations") or [1] * len(sides))
    automatic = said.get("auto_pad", "NOTSET")
    if automatic in _SAME:
        padding = same_padding(sides, kernel, stride, dilation, _SAME[automatic])
    else:
        padding = tuple(said.get("pads") or [0] * 2 * len(sides)) if automatic == "NOTSET" else (0,) * 2 * len(sides)
    if min(*stride, *dilation, *kernel) < 1 or len(padding) != 2 * len(sides):
        raise ValueError("a window without extent")
    if said.get("ceil_mode"):
        padding = _rounded_up(sides, kernel, stride, dilation, padding)
    return {"stride": tuple(stride), "padding": padding, "dilation": tuple(dilation)}


def _rounded_up(
    sides: tuple[int, ...], kernel: list[int], stride: list[int], dilation: list[int], padding: tuple[int, ...]
) -> tuple[int, ...]:
    """Padding with the ends so wide that the last, partly empty window fits; one that starts outside does not count."""
    ends = []
    for axis, side in enumerate(sides):
        begin, end = padding[axis], padding[axis + len(sides)]
        extent = dilation[axis] * (kernel[axis] - 1) + 1
        count = math.ceil((side + begin + end - extent) / stride[axis]) + 1
        count -= (count - 1) * stride[axis] >= side + begin
        ends.append(max((count - 1) * stride[axis] + extent - side - begin, 0))
    return (*padding[: len(sides)], *ends)


def _as_image(value: Value) -> Value:
    return value._replace(layout=IMAGE)


def _convolution(node: Node, data: int = 0, weight: int = 1, bias: int = 2) -> Plan:
    shape = node.shape(weight)
    attributes = _window(node, [int(side) for side in shape[2:]])
    family = _CONVOLUTIONS[len(shape)]
    image = IMAGE if family == "conv2d" else ""
    return Plan(
        family, node.operands(data, weight, bias), {**attributes, "groups": node.attributes.get("group", 1)}, image
    )


def _transposed_convolution(node: Node) -> Plan:
    weight = [int(side) for side in node.shape(1)]
    said, kernel = node.attributes, weight[2:]
    rank, sides = len(kernel), [int(side) for side in node.shape(0)[2:]]
    stride, dilation = (tuple(said.get(name) or [1] * rank) for name in ("strides", "dilations"))
    extra = tuple(said.get("output_padding") or [0] * rank)
    padding = tuple(said.get("pads") or [0] * 2 * rank)
    wanted = said.get("output_shape")
    if said.get("auto_pad", "NOTSET") in _SAME and not wanted:
        wanted = [side * step for side, step in zip(sides, stride, strict=True)]
    if wanted:
        full = [
            (side - 1) * step + gap * (width - 1) + 1 + more
            for side, step, gap, width, more in zip(sides, stride, dilation, kernel, extra, strict=True)
        ]
        total = [have - want for have, want in zip(full, list(wanted)[-rank:], strict=True)]
        padding = (*(one // 2 for one in total), *(one - one // 2 for one in total))
    attributes = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": extra}
    groups = {"groups": said.get("group", 1)}
    return Plan("conv_transpose", node.operands(0, 1, 2), attributes | groups, IMAGE if rank == 2 else "")


def _pool(node: Node) -> Plan:
    kernel = list(node.attributes["kernel_shape"])
    window = _window(node, kernel)
    function = {"MaxPool": "max", "AveragePool": "average"}.get(node.kind, "lp")
    rank, padding = len(kernel), window["padding"]
    is_plain = rank == 2 and function != "lp" and set(window["dilation"]) == {1}
    if is_plain and all(pad < kernel[place % rank] for place, pad in enumerate(padding)):
        del window["dilation"]
        return Plan(f"{function}_pool2d", node.operands(0), {"kernel": tuple(kernel), **window}, IMAGE)
    return Plan("pool", node.operands(0), {"function": function, "kernel": tuple(kernel), **window})


def _global_pool(node: Node) -> Plan:
    function = node.kind.removeprefix("Global").removesuffix("Pool").lower()
    rank = len(node.shape())
    if rank == 4 and function == "average":
        return Plan("global_average_pool", node.operands(0), image=IMAGE)
    return Plan("reduce", node.operands(0), {"function": function, "axes": tuple(range(2, rank)), "keep": True})


def _gemm(node: Node) -> Plan:
    said = node.attributes
    if node.is_constant(1) and not said.get("transA"):
        weight = node.inputs[1] if said.get("transB") else node.outline.permuted(node.inputs[1], (1, 0))
        bias = node.operands(2) if node.has(2) and node.shape(2) else ()
        return Plan("linear", (node.inputs[0], weight, *bias))
    turned = {"transpose_left": bool(said.get("transA")), "transpose_right": bool(said.get("transB"))}
    return Plan("matmul", node.operands(0, 1), turned)


def _matmul(node: Node) -> Plan:
    if node.is_constant(1) and len(node.shape(1)) == 2:
        return Plan("linear", (node.inputs[0], node.outline.permuted(node.inputs[1], (1, 0))))
    return Plan("matmul", node.operands(0, 1))


def _integer_matmul(node: Node) -> Plan:
    return Plan("matmul", node.operands(0, 1), {"dtype": "int32"})


def _quantised_convolution(node: Node) -> Plan:
    return _convolution(node, 0, 3, 8)


def _integer_convolution(node: Node) -> Plan:
    return _convolution(node, 0, 1, len(node.inputs))


def _einsum(node: Node) -> Plan | None:
    found = contraction(str(node.attributes["equation"]), [node.shape(place) for place in range(len(node.inputs))])
    return None if found is None else Plan("contract", node.operands(), found)


def _recurrent(node: Node) -> Plan:
    value = node.value(0)
    batch_first = node.attributes.get("layout", 0)
    steps, batch = (value.shape[:2])[:: -1 if batch_first else 1]
    directions, hidden = node.shape(2)[0], node.shape(2)[2]
    state: Shape = (batch, directions, hidden) if batch_first else (directions, batch, hidden)
    whole: Shape = (batch, steps, directions, hidden) if batch_first else (steps, directions, batch, hidden)
    count = len(node.outputs)
    attributes = {
        "matrices": 2,
        "shapes": (whole, state, state)[:count],
        "dtypes": (value.dtype,) * count,
        "layouts": ("",) * count,
    }
    node.attributes.get("direction")
    return Plan(node.kind.lower(), node.operands(), attributes)


def _axis_norm(family: str) -> Rule:
    def rule(node: Node) -> Plan:
        return Plan(family, node.operands(), {"axis": node.attributes.get("axis", -1)})

    return rule


def _group_norm(node: Node) -> Plan:
    groups = node.attributes.get("num_groups") or node.shape()[1]
    return Plan("group_norm", node.operands(), {"groups": groups})


def _batch_norm(node: Node) -> Plan:
    return Plan("batch_norm", node.operands(0, 1, 2, 3, 4), {"epsilon": node.attributes.get("epsilon", 1e-5)})


def _elementwise(node: Node) -> Plan:
    # Clip's bounds, and the number of a scale, are part of the instruction.
    return Plan("elementwise", node.operands(), {"function": node.kind.lower()})


def _sloped(node: Node) -> Plan:
    """Older files give a slope for each channel as one dimension."""
    slope, rank = node.inputs[1], len(node.shape())
    if node.is_constant(1) and node.shape(1) == node.shape()[1:2] and rank > 2:
        slope = node.outline.placeholder(slope, (int(node.shape(1)[0]), *(1,) * (rank - 2)), node.value(1).dtype)
    return Plan("elementwise", (node.inputs[0], slope), {"function": "prelu"})


def _test(node: Node) -> Plan:
    return Plan("elementwise", node.operands(), {"function": node.kind.lower(), "dtype": "bool"})


def _where(node: Node) -> Plan:
    return Plan("elementwise", node.operands(), {"function": "where", "dtype": node.value(1).dtype})


def _clip(node: Node) -> Plan:
    low, high = (_bound(node, name, place) for name, place in (("min", 1), ("max", 2)))
    if low == 0 and high == 6:
        return Plan("relu6", node.operands(0))
    return Plan("elementwise", node.operands(0), {"function": "clip"})


def _bound(node: Node, name: str, place: int) -> float | None:
    if node.has(place):
        array = node.constants.get(node.inputs[place])
        return None if array is None or array.size != 1 else float(array.ravel()[0])
    bound = node.attributes.get(name)
    return None if bound is None else float(bound)


def _reduce(node: Node) -> Plan:
    keep = bool(node.attributes.get("keepdims", 1))
    axes = node.attributes.get("axes")
    if node.has(1):
        axes = node.numbers(1)
    if not axes:
        axes = [] if node.attributes.get("noop_with_empty_axes") else list(range(len(node.shape())))
    function = node.kind.removeprefix("Reduce").lower()
    if function == "mean" and keep and len(node.shape()) == 4 and sorted(axis % 4 for axis in axes) == [2, 3]:
        return Plan("global_average_pool", node.operands(0), image=IMAGE)
    return Plan("reduce", node.operands(0), {"function": function, "axes": tuple(axes), "keep": keep})


def _extreme_place(node: Node) -> Plan:
    axes = (node.attributes.get("axis", 0),)
    said = {"function": node.kind.lower(), "axes": axes, "keep": bool(node.attributes.get("keepdims", 1))}
    return Plan("reduce", node.operands(0), {**said, "dtype": "int64"})


def _reshape(node: Node) -> Plan:
    before = node.shape()
    if node.kind == "Reshape":
        target = node.numbers(1)
        if not node.attributes.get("allowzero"):
            target = [int(before[place]) if size == 0 else size for place, size in enumerate(target)]
    elif node.kind == "Flatten":
        axis = node.attributes.get("axis", 1)
        axis += len(before) if axis < 0 else 0
        sizes = [int(size) for size in before]
        target = [math.prod(sizes[:axis]), math.prod(sizes[axis:])]
    elif node.kind == "Squeeze":
        axes = node.numbers(1) if node.has(1) else node.attributes.get("axes")
        gone = {axis % len(before) for axis in axes} if axes else {a for a, size in enumerate(before) if size == 1}
        target = [int(size) for axis, size in enumerate(before) if axis not in gone]
    else:
        axes = node.numbers(1) if node.has(1) else list(node.attributes["axes"])
        rank = len(before) + len(axes)
        places, left = {axis % rank for axis in axes}, iter(before)
        target = [1 if axis in places else int(next(left)) for axis in range(rank)]
    if -1 in target:
        known = math.prod(size for size in target if size != -1)
        target[target.index(-1)] = math.prod(int(size) for size in before) // max(known, 1)
    return Plan("reshape", node.operands(0), {"shape": tuple(target)})


def _transpose(node: Node) -> Plan:
    permutation = node.attributes.get("perm") or list(range(len(node.shape())))[::-1]
    return Plan("transpose", node.operands(0), {"permutation": tuple(permutation)})


def _concat(node: Node) -> Plan:
    return Plan("concat", node.operands(), {"axis": node.attributes["axis"]})


def _split(node: Node) -> Plan:
    axis = node.attributes.get("axis", 0)
    sizes = node.numbers(1) if node.has(1) else node.attributes.get("split")
    if not sizes:
        count, whole = len(node.outputs), int(node.shape()[axis])
        part = -(-whole // count)
        sizes = [part] * (count - 1) + [whole - part * (count - 1)]
    return Plan("split", node.operands(0), {"axis": axis, "sizes": tuple(sizes)})


def _gather(node: Node) -> Plan:
    return Plan("gather", node.operands(0, 1), {"axis": node.attributes.get("axis", 0)})


def _cast(node: Node) -> Plan:
    return Plan("cast", node.operands(0), {"dtype": node.result_type()})


def _quantise(node: Node) -> Plan:
    family = "dequantise" if node.kind.startswith("Dequantize") else "quantise"
    default = node.value(1).dtype if family == "dequantise" else node.value(2).dtype if node.has(2) else "uint8"
    said = node.outputs[0].value
    has_axis = node.has(1) and node.shape(1) not in ((), (1,))
    axis = {"axis": node.attributes.get("axis", 1)} if has_axis else {}
    return Plan(family, node.operands(), {"dtype": said.dtype if said is not None else default, **axis})


def _told(family: str, *places: int) -> Rule:
    """A family whose results the file says."""

    def rule(node: Node) -> Plan:
        return Plan(family, node.operands(*places), {"function": node.kind.lower(), **node.said()})

    return rule


def _attention(node: Node) -> Plan | None:
    if not is_known(node.shape()) or len(node.outputs) != 1 or node.has(4) or node.has(5):
        return None
    return Plan("attention", node.operands(0, 1, 2, 3))


def _same(family: str, *places: int) -> Rule:
    return lambda node: Plan(family, node.operands(*places))


#: Kind of node -> its rule.
RULES: Mapping[str, Rule] = {
    **quantised_rules(_quantised_convolution, _pool, _global_pool),
    "Conv": _convolution,
    "FusedConv": _convolution,
    "ConvInteger": _integer_convolution,
    "ConvTranspose": _transposed_convolution,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(("Gemm", "FusedGemm"), _gemm),
    "MatMul": _matmul,
    "MatMulInteger": _integer_matmul,
    "Einsum": _einsum,
    "Attention": _attention,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _axis_norm("layer_norm"),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), _axis_norm("rms_norm")),
    **dict.fromkeys(("LpNormalization", "MeanVarianceNormalization"), _axis_norm("l2_norm")),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization"), _group_norm),
    "LRN": lambda node: Plan("local_response_norm", node.operands(0), {"size": node.attributes["size"]}),
    "Relu": _same("relu", 0),
    "Sigmoid": _same("sigmoid", 0),
    "HardSigmoid": _same("hard_sigmoid", 0),
    "HardSwish": _same("hard_swish", 0),
    "Add": _same("add"),
    "Mul": _same("multiply"),
    "Clip": _clip,
    "Where": _where,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    "PRelu": _sloped,
    **dict.fromkeys(_TESTS, _test),
    **{f"Reduce{function}": _reduce for function in _REDUCED},
    **dict.fromkeys(("ArgMax", "ArgMin"), _extreme_place),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Softmax": onnx_variants.plan_softmax,
    "Concat": _concat,
    "Split": _split,
    "Gather": _gather,
    "Cast": _cast,
    "Resize": onnx_variants.plan_resize,
    "Slice": onnx_variants.plan_slice,
    "Gelu": onnx_variants.plan_gelu,
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), onnx_variants.plan_blocks),
    **dict.fromkeys(("QuantizeLinear", "DynamicQuantizeLinear", "DequantizeLinear"), _quantise),
    **dict.fromkeys(_REARRANGED, _told("rearrange", 0)),
    **dict.fromkeys(_LOOKED_UP, _told("lookup")),
    **dict.fromkeys(_SCANNED, _told("scan")),
}
#: Kinds whose output is their operand.
ALIASES = frozenset({"Identity", "Dropout"})

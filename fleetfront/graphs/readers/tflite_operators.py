"""Rules tell which operator of a graph each kind of TFLite operator is. A kind without a rule stays opaque.

Images are channels last here, as the file stores them, and weights are described as the families have them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fleetfront.graphs.operators.base import CHANNELS_LAST
from fleetfront.graphs.readers.node import WRONG, Node, Plan, Rule, same_padding
from fleetfront.graphs.readers.tflite_shapes import worked_out

#: Axes of a stored weight in the order of the families'.
_CONV, _DEPTHWISE = (0, 3, 1, 2), (3, 0, 1, 2)
_SAME = 0
_LONG = ("Height", "Width")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ELEMENTWISE = _words("""
    SUB DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD ATAN2 ADD_N FLOOR TANH EXP NEG SIN COS LOG SQRT
    RSQRT SQUARE ABS CEIL ELU ROUND SIGN LEAKY_RELU PRELU RELU_N1_TO_1 RELU_0_TO_1 LOG_SOFTMAX BITWISE_XOR
    RIGHT_SHIFT ZEROS_LIKE FAKE_QUANT
""")
_TESTS = _words("LESS GREATER GREATER_EQUAL LESS_EQUAL EQUAL NOT_EQUAL LOGICAL_OR LOGICAL_AND LOGICAL_NOT")
_REARRANGED = _words("""
    DEPTH_TO_SPACE SPACE_TO_DEPTH PAD PADV2 MIRROR_PAD BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TILE
    REVERSE_V2 REVERSE_SEQUENCE BROADCAST_TO FILL DILATE DYNAMIC_UPDATE_SLICE UNPACK
""")
_LOOKED_UP = _words("GATHER_ND SCATTER_ND ONE_HOT HASHTABLE_LOOKUP SPARSE_TO_DENSE EMBEDDING_LOOKUP_SPARSE")
_SCANNED = _words("TOPK_V2 CUMSUM UNIQUE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 RFFT2D")
_REDUCED = {
    "MEAN": "mean",
    "SUM": "sum",
    "REDUCE_PROD": "prod",
    "REDUCE_MAX": "max",
    "REDUCE_MIN": "min",
    "REDUCE_ANY": "any",
    "REDUCE_ALL": "all",
}
_RESHAPED = _words("RESHAPE SQUEEZE EXPAND_DIMS BITCAST")


#: Options that change numbers, or how they are said, and not how much there is to do.
PLAIN = frozenset(
    _words("""
    AlignCorners Alpha Axis BeginMask Bias CacheCoefficient DepthMultiplier EllipsisMask EndMask
    FusedActivationFunction HalfPixelCenters InDataType KeepDims KeepNumDims NewAxisMask NewShape Num NumBits NumSplits
    Offset OutDataType OutputType Pot3ScaleInt16 PotScaleInt16 QuantizedBiasType ShrinkAxisMask SqueezeDims ValuesCount
""")
)


def _window(node: Node, sides: list[int], kernel: list[int], dilation: list[int], axes: str = "HW") -> dict[str, Any]:
    """Stride, padding and dilation of a window, spelled out."""
    stride = [int(node.attributes[f"Stride{axis}"]) for axis in axes]
    if min(*stride, *dilation, *kernel) < 1:
        raise ValueError("a window without extent")
    is_same = node.attributes["Padding"] == _SAME
    padding = same_padding(sides, kernel, stride, dilation) if is_same else (0,) * 2 * len(kernel)
    return {"stride": tuple(stride), "padding": padding, "dilation": tuple(dilation)}


def _convolution(node: Node) -> Plan:
    is_depthwise = node.kind == "DEPTHWISE_CONV_2D"
    weight = node.outline.permuted(node.inputs[1], _DEPTHWISE if is_depthwise else _CONV)
    (_, depth, *kernel), data = [int(size) for size in node.outline.shape(weight)], node.shape()
    sides, channels = [int(size) for size in data[1:3]], int(data[3])
    dilation = [int(node.attributes[f"Dilation{axis}Factor"]) for axis in "HW"]
    attributes = _window(node, sides, kernel, dilation) | {"groups": channels // depth, "channels_last": True}
    return Plan("conv2d", (node.inputs[0], weight, *node.operands(2)), attributes, CHANNELS_LAST)


def _transposed_convolution(node: Node) -> Plan:
    """The operands are the output's shape, the weight (out, height, width, in), the data, a bias."""
    weight = node.outline.permuted(node.inputs[1], (3, 0, 1, 2))
    kernel = [int(size) for size in node.outline.shape(weight)[2:]]
    sides, wanted = ([int(size) for size in shape[1:3]] for shape in (node.shape(2), _given(node)["shapes"][0]))
    stride = [int(node.attributes[f"Stride{axis}"]) for axis in "HW"]
    total = [
        (side - 1) * step + width - want for side, step, width, want in zip(sides, stride, kernel, wanted, strict=True)
    ]
    padding = (*(one // 2 for one in total), *(one - one // 2 for one in total))
    attributes = {"stride": tuple(stride), "padding": padding, "dilation": (1, 1), "groups": 1}
    return Plan("conv_transpose", (node.inputs[2], weight, *node.operands(3)), attributes, CHANNELS_LAST)


def _pool(node: Node) -> Plan:
    sides, kernel = [int(size) for size in node.shape()[1:3]], [int(node.attributes[f"Filter{a}"]) for a in _LONG]
    window = _window(node, sides, kernel, [1, 1])
    function = {"MAX_POOL_2D": "max", "AVERAGE_POOL_2D": "average"}.get(node.kind, "l2")
    said = {"kernel": tuple(kernel), **window, "channels_last": True}
    if function == "l2":
        return Plan("pool", node.operands(0), {"function": function, **said}, CHANNELS_LAST)
    return Plan(f"{function}_pool2d", node.operands(0), said, CHANNELS_LAST)


def _fully_connected(node: Node) -> Plan:
    if not node.is_constant(1):
        return Plan("matmul", node.operands(0, 1), {"transpose_right": True})
    width = int(node.shape(1)[1])
    data, before = node.inputs[0], node.shape()
    if before[-1:] != (width,) or (len(before) > 2 and not node.attributes.get("KeepNumDims")):
        rows = math.prod(int(size) for size in before) // width
        data = node.outline.reshaped(data, (rows, width))
    return Plan("linear", (data, node.inputs[1], *node.operands(2)))


def _matmul(node: Node) -> Plan:
    turned = {"transpose_left": bool(node.attributes["AdjX"]), "transpose_right": bool(node.attributes["AdjY"])}
    if node.is_constant(1) and len(node.shape(1)) == 2 and not turned["transpose_left"]:
        weight = node.inputs[1] if turned["transpose_right"] else node.outline.permuted(node.inputs[1], (1, 0))
        return Plan("linear", (node.inputs[0], weight))
    return Plan("matmul", node.operands(0, 1), turned)


def _recurrent(node: Node) -> Plan:
    """Operands: the data, then up to eight matrices of an LSTM or two of a plain cell, then what has one dimension."""
    places = [place for place in range(1, 9) if node.has(place) and len(node.shape(place)) == 2]
    family = "lstm" if node.kind.endswith("LSTM") else "rnn"
    return Plan(family, node.operands(0, *places), {"matrices": len(places), **node.said()})


def _reduce(node: Node) -> Plan:
    keep = bool(node.attributes.get("KeepDims"))
    axes = tuple(node.numbers(1))
    if node.kind == "MEAN" and keep and len(node.shape()) == 4 and sorted(axis % 4 for axis in axes) == [1, 2]:
        return Plan("global_average_pool", node.operands(0), {"channels_last": True}, CHANNELS_LAST)
    return Plan("reduce", node.operands(0), {"function": _REDUCED[node.kind], "axes": axes, "keep": keep})


def _extreme_place(node: Node) -> Plan:
    said = {"function": node.kind.replace("_", "").lower(), "axes": tuple(node.numbers(1)), "keep": False}
    return Plan("reduce", node.operands(0), {**said, "dtype": node.result_type()})


def _concat(node: Node) -> Plan:
    return Plan("concat", node.operands(), {"axis": int(node.attributes["Axis"])})


def _pack(node: Node) -> Plan:
    return Plan("rearrange", node.operands(), {"function": "pack", **_given(node)})


def _split(node: Node) -> Plan:
    data, axis = (0, 2) if node.kind == "SPLIT_V" else (1, 0)
    (place,) = node.numbers(axis)
    count = len(node.outputs)
    sizes = node.numbers(1) if node.kind == "SPLIT_V" else [int(node.shape(data)[place]) // count] * count
    return Plan("split", node.operands(data), {"axis": place, "sizes": tuple(sizes)})


def _gather(node: Node) -> Plan:
    if node.kind == "EMBEDDING_LOOKUP":
        return Plan("gather", node.operands(1, 0), {"axis": 0})
    if node.attributes.get("BatchDims"):
        return Plan("lookup", node.operands(), {"function": "gather", **node.said()})
    return Plan("gather", node.operands(0, 1), {"axis": int(node.attributes["Axis"])})


def _reshape(node: Node) -> Plan:
    """To the shape that is a constant beside the data, with one size left to be worked out; else to what is said."""
    if node.kind in ("EXPAND_DIMS", "SQUEEZE"):
        return Plan("reshape", node.operands(0), {"shape": _given(node)["shapes"][0]})
    if node.kind != "RESHAPE" or not node.is_constant(1):
        return Plan("reshape", node.operands(0), {"shape": tuple(node.result().shape)})
    target, count = node.numbers(1), math.prod(int(size) for size in node.shape())
    if -1 in target:
        target[target.index(-1)] = count // max(math.prod(size for size in target if size != -1), 1)
    return Plan("reshape", node.operands(0), {"shape": tuple(target)})


def _elementwise(node: Node) -> Plan:
    return Plan("elementwise", node.operands(), {"function": node.kind.lower()})


def _test(node: Node) -> Plan:
    return Plan("elementwise", node.operands(), {"function": node.kind.lower(), "dtype": "bool"})


def _select(node: Node) -> Plan:
    return Plan("elementwise", node.operands(), {"function": "where", "dtype": node.value(1).dtype})


def _told(family: str, *places: int) -> Rule:
    return lambda node: Plan(family, node.operands(*places), {"function": node.kind.lower(), **_given(node)})


def _given(node: Node) -> dict[str, Any]:
    """The results of an operator: as its operands have them where that is known here, else as the file says."""
    try:
        return node.said(worked_out(node))
    except WRONG:
        return node.said()


def _resize(node: Node) -> Plan:
    mode = "linear" if node.kind == "RESIZE_BILINEAR" else "nearest"
    return Plan("resize", node.operands(0), {"mode": mode, **_given(node)})


def _gelu(node: Node) -> Plan:
    how = {"approximate": "tanh"} if node.attributes.get("Approximate") else {}
    return Plan("elementwise", node.operands(), {"function": "gelu", **how})


def _slice(node: Node) -> Plan:
    """Where it begins is of no account, steps are; none are said of those fed, or of axes that join or go."""
    shape, said = node.shape(), [1] * len(node.shape())
    if node.kind == "STRIDED_SLICE":
        said = node.numbers(3) if node.is_constant(3) else []
    given = _given(node)
    steps = tuple(said) if len(given["shapes"][0]) == len(said) == len(shape) else ()
    return Plan("rearrange", node.operands(0), {"function": "slice", "steps": steps, **given})


def _response_norm(node: Node) -> Plan:
    node.attributes.get("Beta")
    return Plan("local_response_norm", node.operands(), {"size": 2 * int(node.attributes["Radius"]) + 1})


def _softmax(node: Node) -> Plan:
    """Sharpness other than 1 is multiplied in before."""
    sharpness = float(node.attributes.get("Beta", 1.0))
    return Plan(
        "softmax", node.operands(), {"axis": -1} | ({} if sharpness in (0.0, 1.0) else {"sharpness": sharpness})
    )


def _same(family: str, **attributes: Any) -> Rule:
    return lambda node: Plan(family, node.operands(), attributes)


#: Kind of operator -> its rule.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    "TRANSPOSE_CONV": _transposed_convolution,
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"), _pool),
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matmul,
    **dict.fromkeys(
        _words("LSTM RNN UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN"),
        _recurrent,
    ),
    "ADD": _same("add"),
    "MUL": _same("multiply"),
    "RELU": _same("relu"),
    "RELU6": _same("relu6"),
    "LOGISTIC": _same("sigmoid"),
    "HARD_SWISH": _same("hard_swish"),
    "SOFTMAX": _softmax,
    "L2_NORMALIZATION": _same("l2_norm", axis=-1),
    "LOCAL_RESPONSE_NORMALIZATION": _response_norm,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_TESTS, _test),
    **dict.fromkeys(("SELECT", "SELECT_V2"), _select),
    **dict.fromkeys(_REDUCED, _reduce),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _extreme_place),
    **dict.fromkeys(_RESHAPED, _reshape),
    "TRANSPOSE": lambda node: Plan("transpose", node.operands(0), {"permutation": tuple(node.numbers(1))}),
    "CONCATENATION": _concat,
    "PACK": _pack,
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    **dict.fromkeys(("GATHER", "EMBEDDING_LOOKUP"), _gather),
    "CAST": lambda node: Plan("cast", node.operands(0), {"dtype": node.result_type()}),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
    "QUANTIZE": lambda node: Plan("quantise", node.operands(0), {"dtype": node.result_type()}),
    "DEQUANTIZE": lambda node: Plan("dequantise", node.operands(0), {"dtype": node.result_type()}),
    **dict.fromkeys(_REARRANGED, _told("rearrange", 0)),
    **dict.fromkeys(("STRIDED_SLICE", "SLICE"), _slice),
    "GELU": _gelu,
    **dict.fromkeys(_LOOKED_UP, _told("lookup")),
    **dict.fromkeys(_SCANNED, _told("scan", 0)),
}

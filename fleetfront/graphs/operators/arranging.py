"""Families that look elements up, move, resample, sum up, normalise or quantise them, as model files hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.graphs.operators.base import (
    Attributes,
    OperatorFamily,
    Value,
    Work,
    as_first,
    declared,
    described,
    elements,
    number,
    one_node,
    plain_work,
    refuse,
)
from fleetfront.graphs.operators.pointwise import broadcast_shapes

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Graph, Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter


def _combined(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    shape = broadcast_shapes(*(value.shape for value in values))
    layouts = {value.layout for value in values if value.shape == shape} - {""}
    dtype = attributes.get("dtype", values[0].dtype)
    return [Value(shape, dtype, layouts.pop() if len(layouts) == 1 else "")]


def _gathered(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    data, indices = values[0].shape, values[1].shape
    axis = attributes["axis"]
    if not -len(data) <= axis < len(data):
        refuse(f"{data} has no axis {axis}.", "Gather along one that it has.")
    axis %= len(data)
    return [Value((*data[:axis], *indices, *data[axis + 1 :]), values[0].dtype)]


def _rows_work(graph: Graph, operator: Operator) -> Work:
    """Rows that are looked up are read, not the whole table."""
    return Work("lookup", read=sum(elements(graph.value(name).shape) for name in operator.outputs))


def _rearranged_work(graph: Graph, operator: Operator) -> Work:
    """A part that is cut out is all that is read."""
    given = sum(elements(graph.value(name).shape) for name in operator.outputs)
    return Work("movement", read=min(given, elements(graph.value(operator.inputs[0]).shape)))


def _reduced(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    value, rank = values[0], len(values[0].shape)
    axes = attributes["axes"]
    if any(not -rank <= axis < rank for axis in axes):
        refuse(f"{value.shape} has not all of the axes {tuple(axes)}.", "Reduce along those that it has.")
    gone = {axis % rank for axis in axes}
    kept = attributes["keep"]
    shape = tuple(1 if axis in gone else size for axis, size in enumerate(value.shape) if kept or axis not in gone)
    dtype = attributes.get("dtype", value.dtype)
    return [Value(shape, dtype, value.layout if kept else "")]


def _typed(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    return [values[0]._replace(dtype=attributes["dtype"])]


def _axis(attributes: Attributes) -> dict[str, Any]:
    return {"axis": attributes["axis"]} if "axis" in attributes else {}


#: The operator sets that know Gelu and resizing by averages.
_OPSET_OF_GELU, _OPSET_OF_AVERAGES = 20, 18
#: Function -> what ONNX and TFLite call it. Gelu is spelled out below: it is younger than the operator set written.
_ONNX = {name.lower(): name for name in ("Div", "Erf", "Exp", "LeakyRelu", "Sqrt", "Sub", "Tanh")}
_TFLITE = {"div": "DIV", "exp": "EXP", "gelu": "GELU", "sqrt": "SQRT", "sub": "SUB", "tanh": "TANH"}
_TABLES = {"DIV": "DivOptions", "EXP": "ExpOptions", "GELU": "GeluOptions", "SUB": "SubOptions"}


def _onnx_elementwise(file: OnnxEmitter, operator: Operator) -> None:
    function = str(operator.attributes["function"])
    if function == "gelu" and "approximate" in operator.attributes:
        file.require(_OPSET_OF_GELU)
        file.node("Gelu", operator.inputs, operator.outputs, approximate=str(operator.attributes["approximate"]))
    elif function == "gelu":
        _onnx_gelu(file, operator)
    elif function in _ONNX:
        file.node(_ONNX[function], operator.inputs, operator.outputs)
    else:
        refuse(f"The function {function!r} of {operator.output!r} is not written.", "Use the file that it came from.")


def _onnx_gelu(file: OnnxEmitter, operator: Operator) -> None:
    """x (1 + erf(x / sqrt 2)) / 2, as exporters spell it and runtimes find it again."""
    (data,), output = operator.inputs, operator.output
    dtype = file.value(output).dtype
    root, one, half = (
        file.constant(f"{output}.{name}", np.array(value, dtype))
        for name, value in (("root", math.sqrt(2)), ("one", 1.0), ("half", 0.5))
    )
    divided, erf, raised, gated = (file.free(f"{output}.{step}") for step in ("divided", "erf", "raised", "gated"))
    file.node("Div", [data, root], [divided])
    file.node("Erf", [divided], [erf])
    file.node("Add", [erf, one], [raised])
    file.node("Mul", [data, raised], [gated])
    file.node("Mul", [gated, half], [output])


def _tflite_elementwise(file: TfliteEmitter, operator: Operator, _: str) -> None:
    kind = _TFLITE.get(str(operator.attributes["function"]))
    if kind is None:
        refuse(f"The function of {operator.output!r} is not written.", "Use the file that it came from.")
    layout = file.value(operator.output).layout
    operands = [file.read(name, operator, layout) for name in operator.inputs]
    options = {"approximate": True} if "approximate" in operator.attributes else {}
    file.operator(kind, operands, (file.output(operator.output),), table=_TABLES.get(kind, ""), **options)


def _onnx_layer_norm(file: OnnxEmitter, operator: Operator) -> None:
    said = operator.attributes
    file.node(
        "LayerNormalization", operator.inputs, operator.outputs, axis=said["axis"], epsilon=said.get("epsilon", 1e-5)
    )


def _onnx_reduce(file: OnnxEmitter, operator: Operator) -> None:
    said = operator.attributes
    kind = _ONNX_REDUCTIONS.get(said["function"])
    if kind is None:
        refuse(f"Reduction {operator.output!r} is not written.", "Use the file that it came from.")
    if not said["axes"]:  # ONNX would reduce everything.
        file.node("Identity", operator.inputs, operator.outputs)
        return
    if kind == "ReduceSum":
        axes = file.constant(f"{operator.output}.axes", np.array(said["axes"], np.int64))
        file.node(kind, [operator.inputs[0], axes], operator.outputs, keepdims=int(said["keep"]))
        return
    file.node(kind, operator.inputs, operator.outputs, axes=list(said["axes"]), keepdims=int(said["keep"]))


_ONNX_BLOCKS = {"depthtospace": "DepthToSpace", "spacetodepth": "SpaceToDepth"}
_ONNX_REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}


def _onnx_rearranged(file: OnnxEmitter, operator: Operator) -> None:
    """A slice begins with what is first on every side, or with what is last and goes back one by one: where else it
    might is not known.
    """
    function, output = operator.attributes["function"], operator.outputs[0]
    shape = [int(size) for size in operator.attributes["shapes"][0]]
    if function == "expand":
        file.node("Expand", [operator.inputs[0], file.constant(f"{output}.shape", np.array(shape, np.int64))], [output])
        return
    if function in _ONNX_BLOCKS and "block" in operator.attributes:
        mode = {"mode": str(operator.attributes["mode"]).upper()} if "mode" in operator.attributes else {}
        node = _ONNX_BLOCKS[function]
        file.node(node, [operator.inputs[0]], [output], blocksize=int(operator.attributes["block"]), **mode)
        return
    steps = operator.attributes.get("steps", (1,) * len(shape))
    if function != "slice" or min(steps, default=0) < -1 or 0 in steps:
        refuse(f"Operator {output!r} is not written.", "Use the file that it came from.")
    begins = [-1 if step < 0 else 0 for step in steps]
    ends = [-size - 1 if step < 0 else (size - 1) * step + 1 for size, step in zip(shape, steps, strict=True)]
    said = {"begins": begins, "ends": ends}
    said |= {"axes": list(range(len(shape))), "steps": list(steps)} if set(steps) != {1} else {}
    places = [file.constant(f"{output}.{name}", np.array(numbers, np.int64)) for name, numbers in said.items()]
    file.node("Slice", [operator.inputs[0], *places], operator.outputs)


def _onnx_resize(file: OnnxEmitter, operator: Operator) -> None:
    """As torch samples: between centres of pixels, the nearest one at or before the place. ONNX's own nearest pixel is
    the same one where sizes become whole multiples."""
    mode = str(operator.attributes["mode"])
    if mode not in ("nearest", "linear", "cubic"):
        refuse(f"The mode {mode!r} of {operator.outputs[0]!r} is not written.", "Use the file that it came from.")
    sizes = [int(size) for size in operator.attributes["shapes"][0]]
    before = [number(size) for size in file.value(operator.inputs[0]).shape]
    is_even = not any(size % old for size, old in zip(sizes, before, strict=True))
    said = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    wanted = file.constant(f"{operator.outputs[0]}.sizes", np.array(sizes, np.int64))
    is_floored = mode == "nearest" and (not is_even or operator.attributes.get("places") == "floor")
    places: dict[str, Any] = dict(said) if is_floored else {}
    if operator.attributes.get("antialias"):
        file.require(_OPSET_OF_AVERAGES)
        places |= {"antialias": 1, "exclude_outside": 1}
    file.node("Resize", [operator.inputs[0], "", "", wanted], operator.outputs, mode=mode, **places)


def _onnx_gather(file: OnnxEmitter, operator: Operator) -> None:
    file.node("Gather", operator.inputs, operator.outputs, axis=operator.attributes["axis"])


def _normalisation(name: str, reads: str) -> OperatorFamily:
    return described(name, reads, as_first, plain_work("normalisation"))


_DECLARED = "shapes, dtypes and layouts, one an output"

FAMILIES = (
    described(
        "elementwise",
        "(operands, ...), broadcast as numpy does: function, ONNX's word in lower case; dtype where it is not the "
        "first one's",
        _combined,
        plain_work("elementwise"),
        _onnx_elementwise,
        _tflite_elementwise,
    ),
    described(
        "layer_norm",
        "(data[, scale[, shift]]): axis, from which on all are normalised together; epsilon where it is not 1e-5",
        as_first,
        plain_work("normalisation"),
        _onnx_layer_norm,
    ),
    _normalisation("rms_norm", "(data[, scale]): axis, likewise"),
    _normalisation("group_norm", "(data[, scale, shift]): groups; as many as channels for instance norm"),
    _normalisation("local_response_norm", "(data): size"),
    _normalisation("l2_norm", "(data): axis"),
    described("gather", "(data, indices): axis. Rows of an embedding, too", _gathered, _rows_work, _onnx_gather),
    described("lookup", f"(data, ...), rows or elements found by number: function, {_DECLARED}", declared, _rows_work),
    described(
        "rearrange",
        f"(data, ...), elements moved: function, {_DECLARED}. Of a slice only how much is left is known",
        declared,
        _rearranged_work,
        _onnx_rearranged,
    ),
    described(
        "resize", f"(data, ...): mode, antialias, places, {_DECLARED}", declared, plain_work("resampling"), _onnx_resize
    ),
    described(
        "reduce",
        "(data): function, axes, keep, dtype where it is not the data's",
        _reduced,
        plain_work("reduction"),
        _onnx_reduce,
    ),
    described(
        "scan", f"(data, ...), every element waits for others: function, {_DECLARED}", declared, plain_work("reduction")
    ),
    *(
        described(
            family,
            "(data, ...): dtype, axis of several scales",
            _typed,
            plain_work("quantisation"),
            one_node(kind, _axis),
        )
        for family, kind in (("quantise", "QuantizeLinear"), ("dequantise", "DequantizeLinear"))
    ),
)

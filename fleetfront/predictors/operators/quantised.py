"""Tell which operators between changes of type a runtime computes in narrow numbers, and which it leaves in floats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fleetfront.graphs.graph import Graph, Operator

#: Types of numbers that are not counted with float32.
NARROW = ("int8", "uint8", "float16", "int16")
#: Activations that a quantised result is cut off by, at no cost if its type holds nothing beyond what is least and most
#: behind them.
_CUTS = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
_INT8 = " int8"
#: The same with weights from 0 to 255, which few instructions multiply.
UNSIGNED = " int8 unsigned"
#: In place of an addition: computed in floats between changes of type.
IN_FLOATS = "float32"
_MULTIPLIED = ("conv2d", "conv1d", "conv_transpose", "linear", "matmul")
#: What ONNX Runtime overlooks where it compares bounds of floats.
_EPSILON = float(np.finfo(np.float32).eps)


def quantised_codes(graph: Graph) -> dict[str, str]:
    """Additions to kinds of operators between dequantised operands and a quantised result, by output.

    Data is signed or not in one kind: ONNX Runtime changes one into the other as the processor wants it. Empty for
    operators that such a pattern needs none of: the activation that the result is cut off by, and the changes of type
    around it, unless somebody else reads floats from them. On x86 ONNX Runtime computes in floats what is signed and
    not between a change of type and one back that nobody else reads (seen in version 1.32): it widens the weights at
    each run then.
    """
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    readers: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        for name in dict.fromkeys(operator.inputs):
            readers.setdefault(name, []).append(operator)
    found: dict[str, str] = {}
    for operator in graph.operators:
        if operator.family != "quantise" or graph.tensors[operator.outputs[0]].dtype not in NARROW:
            continue
        swallowed, at, is_cut = [operator], makers.get(operator.inputs[0]), True
        while at is not None and at.family in _CUTS and len(readers[at.outputs[0]]) == 1:
            swallowed.append(at)
            is_cut = is_cut and _is_cut(graph, operator, at)
            at = makers.get(at.inputs[0])
        if at is None or len(readers[at.outputs[0]]) != 1:
            continue
        sources = [makers.get(name) for name in at.inputs if name in graph.tensors]
        widened = [source for source in sources if source is not None and source.family == "dequantise"]
        if not sources or len(widened) < len(sources):
            continue
        data = [source.inputs[0] for source in widened if source.inputs[0] not in graph.weights]
        if not is_cut or not all(_is_between(graph, name, makers, readers) for name in (*data, operator.outputs[0])):
            found[at.outputs[0]] = IN_FLOATS
            continue
        stored = [graph.value(source.inputs[0]).dtype for source in widened if source.inputs[0] in graph.weights]
        is_unsigned = at.family in _MULTIPLIED and "uint8" in stored
        found[at.outputs[0]] = UNSIGNED if is_unsigned else _INT8
        found |= {one.outputs[0]: "" for one in swallowed}
    for operator in graph.operators:
        if operator.family != "dequantise":
            continue
        follow = readers.get(operator.outputs[0], ())
        is_stored = operator.inputs[0] in graph.weights
        if is_stored:
            # Weights alone are narrow: whoever multiplies floats with them has them widened.
            found |= {one.outputs[0]: IN_FLOATS for one in follow if one.outputs[0] not in found}
        codes = [found.get(one.outputs[0]) for one in follow]
        if (is_stored and IN_FLOATS not in codes) or (codes and all(code in (_INT8, UNSIGNED) for code in codes)):
            found[operator.outputs[0]] = ""
    return found


def _is_between(
    graph: Graph, name: str, makers: Mapping[str, Operator], readers: Mapping[str, Sequence[Operator]]
) -> bool:
    """Tell whether a quantised tensor is made by one change of type and read by the one back alone, if it is signed."""
    if graph.tensors[name].dtype != "int8":
        return True
    after = readers.get(name, ())
    made = makers.get(name)
    is_pair = made is not None and made.family == "quantise" and [one.family for one in after] == ["dequantise"]
    return is_pair and len(readers.get(after[0].outputs[0], ())) <= 1


def _is_cut(graph: Graph, quantise: Operator, activation: Operator) -> bool:
    """Tell whether a quantised type holds nothing beyond an activation's bounds: runtimes leave that out then."""
    dtype = np.dtype(graph.tensors[quantise.outputs[0]].dtype)
    scale, zero = (graph.weights.get(name) for name in (*quantise.inputs[1:3], "", "")[:2])
    if dtype.kind not in "iu" or scale is None:
        return True
    numbers = np.iinfo(dtype)
    places = (np.array([numbers.min, numbers.max]) - (0 if zero is None else zero.astype(int).ravel()[0])).tolist()
    least, most = (float(np.float32(place) * np.float32(scale.ravel()[0])) for place in places)
    low, high = _CUTS[activation.family]
    return low - least <= _EPSILON and most - high <= _EPSILON

"""Spell a graph as ONNX files of torch modules hold it: Gelu in its parts, means over axes, transposes joined."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from fleetfront.graphs.graph import Graph, Operator, Rewriter

#: Of Gelu's approximation by tanh: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
_CUBIC = 0.044715


def spell_exported(graph: Graph) -> Graph:
    """The same network with the operators that torch's exporter writes where torch has one, or several, of its own."""
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    makers = {operator.output: operator for operator in graph.operators if operator.family == "transpose"}
    joined = {
        operator.inputs[0]
        for operator in graph.operators
        if operator.family == "transpose" and operator.inputs[0] in makers and readers[operator.inputs[0]] == 1
    }

    def spell(writer: Rewriter, operator: Operator) -> None:
        if operator.attributes.get("function") == "gelu":
            _spell_gelu(writer, operator)
        elif operator.family == "global_average_pool":
            data = writer.now(operator.inputs[0])
            writer.add("reduce", (data,), operator.output, function="mean", axes=(2, 3), keep=True)
        elif operator.family == "transpose" and operator.output in joined:
            writer.stand_in(operator.output, writer.now(operator.inputs[0]))
        elif operator.family == "transpose" and operator.inputs[0] in joined:
            _join(writer, operator, makers, joined)
        else:
            writer.keep(operator)

    return graph.rewrite(spell)


def _join(writer: Rewriter, operator: Operator, makers: dict[str, Operator], joined: set[str]) -> None:
    """One transpose in place of a chain of them."""
    permutation, data = tuple(operator.attributes["permutation"]), operator.inputs[0]
    while data in joined:
        permutation = tuple(makers[data].attributes["permutation"][axis] for axis in permutation)
        data = makers[data].inputs[0]
    source = writer.now(data)
    if permutation == tuple(range(len(permutation))) and operator.output not in writer.graph.outputs:
        writer.stand_in(operator.output, source)
        return
    layout = writer.graph.tensors[operator.output].layout
    said = {"layout": layout} if layout else {}
    writer.add("transpose", (source,), operator.output, permutation=permutation, **said)


def _spell_gelu(writer: Rewriter, operator: Operator) -> None:
    data, dtype = writer.now(operator.inputs[0]), np.dtype(writer.graph.tensors[operator.output].dtype)

    def number(value: float) -> str:
        return writer.weight(writer.free(f"{operator.output}.{value:.3g}"), np.array(value, dtype))

    def function(name: str, *operands: str) -> str:
        return writer.add("elementwise", operands, function=name)

    if operator.attributes.get("approximate") == "tanh":
        cubic = writer.add("multiply", (number(_CUBIC), function("pow", data, number(3.0))))
        inner = writer.add("multiply", (number(math.sqrt(2 / math.pi)), writer.add("add", (data, cubic))))
        gate = writer.add("add", (number(1.0), function("tanh", inner)))
        writer.add("multiply", (writer.add("multiply", (number(0.5), data)), gate), operator.output)
        return
    gate = writer.add("add", (function("erf", function("div", data, number(math.sqrt(2)))), number(1.0)))
    writer.add("multiply", (data, writer.add("multiply", (number(0.5), gate))), operator.output)

"""Rules for ONNX nodes that compute in whole numbers: scales and zeros stand among their operands.

Those of ONNX Runtime's own domain are what its quantiser writes; shapes pass through none but rules like these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleetfront.graphs.readers.node import Node, Plan, Rule


def _matmul(node: Node) -> Plan:
    return Plan("matmul", (node.inputs[0], node.inputs[3]), {"dtype": node.value(7).dtype if node.has(7) else "uint8"})


def _gemm(node: Node) -> Plan | None:
    if not node.is_constant(3) or node.attributes.get("transA"):
        return None
    weight = node.inputs[3]
    turned = weight if node.attributes.get("transB") else node.outline.permuted(weight, (1, 0))
    return Plan("linear", (node.inputs[0], turned, *node.operands(6)))


def _concat(node: Node) -> Plan:
    """Scale and zero of the result come first, then each operand with its own."""
    return Plan("concat", node.inputs[2::3], {"axis": node.attributes["axis"]})


def _pooled(rule: Rule) -> Rule:
    """A pool as it is of floats, of data that comes channels first."""

    def plan(node: Node) -> Plan | None:
        kind = node.kind.removeprefix("QLinear")
        return None if node.attributes.get("channels_last") else rule(replace(node, kind=kind))

    return plan


def _same(family: str, *places: int) -> Rule:
    return lambda node: Plan(family, node.operands(*places))


def quantised_rules(convolution: Rule, pool: Rule, global_pool: Rule) -> Mapping[str, Rule]:
    """Kind of node -> its rule, given those of the kinds that compute the same of floats."""
    return {
        "QLinearConv": convolution,
        "QLinearMatMul": _matmul,
        "QGemm": _gemm,
        "QLinearAdd": _same("add", 0, 3),
        "QLinearMul": _same("multiply", 0, 3),
        "QLinearSigmoid": _same("sigmoid", 0),
        "QLinearLeakyRelu": lambda node: Plan("elementwise", node.operands(0), {"function": "leakyrelu"}),
        "QLinearSoftmax": lambda node: Plan("softmax", node.operands(0), {"axis": node.attributes.get("axis", -1)}),
        "QLinearConcat": _concat,
        "QLinearAveragePool": _pooled(pool),
        "QLinearGlobalAveragePool": _pooled(global_pool),
    }

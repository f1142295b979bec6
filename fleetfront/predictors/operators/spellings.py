"""Find what files spell with several operators, and runtimes compute as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleetfront.graphs.graph import Graph, Operator


def spelled_activations(graph: Graph, *, is_last: bool) -> dict[str, tuple[str, Operator] | None]:
    """Outputs of operators that spell one activation: None, but for the last one its kind and its first operator.

    Gelu is x (1 + erf(x / sqrt 2)) / 2: runtimes know the spelling that multiplies by x first; where the gate is halved
    before, they run what is written. SiLU is x sigmoid(x). A sum that a norm alone reads is part of it. Batch-norm by
    itself stays one operator in files that keep channels first.
    """
    readers: dict[str, list[Operator]] = {}
    makers = {name: operator for operator in graph.operators for name in operator.outputs}
    for operator in graph.operators:
        for name in operator.inputs:
            readers.setdefault(name, []).append(operator)
    found: dict[str, tuple[str, Operator] | None] = {}
    for operator in graph.operators:
        source = makers.get(operator.inputs[0]) if operator.inputs else None
        if operator.family == "layer_norm" and source is not None and _is_skipped(graph, source, readers):
            found.update({source.outputs[0]: None, operator.outputs[0]: ("layer_norm skip", operator)})
        if not is_last and source is not None and _is_batch_norm(source, operator):
            found.update({source.outputs[0]: None, operator.outputs[0]: ("batch_norm", source)})
        if operator.family == "sigmoid":
            found.update(_spelled_silu(operator, readers.get(operator.outputs[0], [])))
        if operator.attributes.get("function") != "erf":
            continue
        steps, at = [operator], operator
        for family in ("add", "multiply", "multiply"):
            following = readers.get(at.outputs[0], [])
            if len(following) != 1 or following[0].family != family:
                break
            at = following[0]
            steps.append(at)
        source = makers.get(operator.inputs[0])
        if len(steps) == 4 and source is not None:
            kind = "gelu halved" if any(name in graph.weights for name in steps[2].inputs) else "gelu"
            found.update({step.outputs[0]: (kind, operator) if step is at else None for step in (source, *steps)})
    return found


def _is_batch_norm(scaled: Operator, shifted: Operator) -> bool:
    """Tell whether a product and a sum are what one operator of a file was spelled as."""
    is_one = scaled.origin is not None and scaled.origin == shifted.origin
    return is_one and (scaled.family, shifted.family) == ("multiply", "add")


def _is_skipped(graph: Graph, added: Operator, readers: Mapping[str, Sequence[Operator]]) -> bool:
    """Tell whether two batches of rows are added for a norm alone: a kernel of its own, and dearer than the two."""
    operands = [graph.tensors.get(name) for name in added.inputs]
    shapes = {operand.shape for operand in operands if operand is not None}
    is_plain = added.family == "add" and None not in operands and len(shapes) == 1 and len(operands) == 2
    is_alone = len(readers[added.outputs[0]]) == 1 and added.outputs[0] not in graph.outputs
    return is_plain and is_alone and all(len(shape) == 3 for shape in shapes)


def _spelled_silu(gate: Operator, readers: Sequence[Operator]) -> dict[str, tuple[str, Operator] | None]:
    if len(readers) != 1 or readers[0].family != "multiply":
        return {}
    if sorted(readers[0].inputs) != sorted((gate.inputs[0], gate.outputs[0])):
        return {}
    return {gate.outputs[0]: None, readers[0].outputs[0]: ("silu", gate)}


def reading_weights(graph: Graph, operators: Sequence[Operator]) -> list[Operator]:
    """Operators with the weights that they read widened in place of what widens them."""
    widened = {
        o.outputs[0]: o.inputs[0] for o in operators if o.family == "dequantise" and o.inputs[0] in graph.weights
    }
    return [
        replace(one, inputs=tuple(widened.get(name, name) for name in one.inputs))
        if widened and not widened.keys().isdisjoint(one.inputs)
        else one
        for one in operators
    ]

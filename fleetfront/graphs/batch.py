"""The same network for another batch: a graph's shapes made again with another leading dimension."""

from __future__ import annotations

from typing import Any

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder, Operator


def with_batch(graph: Graph, batch: int | str) -> Graph:
    """``graph`` with ``batch`` as the leading dimension of every input; a string such as ``"batch"`` is symbolic.

    Raises:
        InputError: the batch is no positive number or name, or the graph mixes the batch with other dimensions.
    """
    if batch == "" or (isinstance(batch, int) and batch < 1):
        raise InputError(f"{batch!r} is not a batch.", "Use a number from 1, or a name for a symbolic batch.")
    builder = GraphBuilder(graph.name)
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if not tensor.shape:
            raise InputError(f"Input {name!r} of graph {graph.name!r} has no batch.", "Write this graph as it is.")
        builder.input(name, (batch, *tensor.shape[1:]), tensor.dtype)
    for name, array in graph.weights.items():
        builder.weight(name, array)
    for operator in graph.operators:
        attributes = _with_leading(graph, operator, batch)
        builder.add(operator.family, operator.inputs, operator.output, **attributes)
    return builder.build(graph.outputs, graph.labels)


def _with_leading(graph: Graph, operator: Operator, batch: int | str) -> dict[str, Any]:
    attributes = dict(operator.attributes)
    if operator.family == "reshape" and operator.inputs[0] in graph.tensors:
        before, after = graph.tensors[operator.inputs[0]].shape, tuple(attributes["shape"])
        if before[:1] != after[:1]:
            raise InputError(
                f"Reshape {operator.output!r} from {before} to {after} moves the batch.",
                "Keep the batch as the leading dimension, or write this graph as it is.",
            )
        attributes["shape"] = (batch, *after[1:])
    return attributes

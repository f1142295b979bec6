"""Leaving out what no output needs. Nothing is computed or changed otherwise."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from fleetfront.graphs.graph import Graph


def drop_unread(graph: Graph) -> Graph:
    """The graph without operators and weights that reach no output; inputs stay, read or not.

    Some runtimes execute such operators and some do not, so a file that holds them would not say what it costs.
    """
    needed = set(graph.outputs)
    kept = []
    for operator in reversed(graph.operators):
        if operator.output in needed:
            needed.update(operator.inputs)
            kept.append(operator)
    if len(kept) == len(graph.operators) and needed.issuperset(graph.weights):
        return graph
    alive = needed | set(graph.inputs)
    return replace(
        graph,
        operators=tuple(reversed(kept)),
        tensors=MappingProxyType({name: tensor for name, tensor in graph.tensors.items() if name in alive}),
        weights=MappingProxyType({name: array for name, array in graph.weights.items() if name in needed}),
    )

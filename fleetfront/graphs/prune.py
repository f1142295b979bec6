"""Leave out what no output needs. Nothing is computed or changed otherwise."""

from __future__ import annotations

from fleetfront.graphs.graph import Graph, Operator, Rewriter


def drop_unread(graph: Graph) -> Graph:
    """The graph without operators and weights that reach no output; inputs stay, read or not.

    Some runtimes execute such operators and some do not, so a file that holds them would not say what it costs.
    """
    needed = set(graph.outputs)
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)

    def keep(writer: Rewriter, operator: Operator) -> None:
        if needed.intersection(operator.outputs):
            writer.keep(operator)

    is_whole = needed.issuperset(graph.weights) and all(needed.intersection(o.outputs) for o in graph.operators)
    return graph if is_whole else graph.rewrite(keep)

"""Leave out what no output needs, and what another operator computes already. Nothing is changed otherwise."""

from __future__ import annotations

import json
from collections.abc import Container

from fleetfront.graphs.graph import Graph, Operator, Rewriter

#: Families whose result is the same to the last bit in whichever order two operands come.
_COMMUTATIVE = ("add", "multiply")


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


def share_equal(graph: Graph, families: Container[str] | None = None) -> Graph:
    """The graph with equal operators once: of one family, with the same inputs, weights and attributes.

    ``families`` are those that it is done for; all by default.

    Some runtimes look for them and some do not, so a file that holds them would not say what it costs. An operator
    that makes an output of the graph stays.
    """
    first: dict[tuple[str, tuple[str, ...], str], tuple[str, ...]] = {}

    def share(writer: Rewriter, operator: Operator) -> None:
        if families is not None and operator.family not in families:
            writer.keep(operator)
            return
        inputs = [writer.now(name) for name in operator.inputs]
        operands = tuple(sorted(inputs) if operator.family in _COMMUTATIVE else inputs)
        key = operator.family, operands, json.dumps(dict(operator.attributes), sort_keys=True)
        if key in first and not set(operator.outputs).intersection(graph.outputs):
            for before, now in zip(operator.outputs, first[key], strict=True):
                writer.stand_in(before, now)
            return
        writer.keep(operator)
        first.setdefault(key, tuple(writer.now(name) for name in operator.outputs))

    return graph.rewrite(share)

"""Change the batch of a network: a graph's shapes worked out again with another leading dimension."""

from __future__ import annotations

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, Operator, Rewriter, Tensor


def with_batch(graph: Graph, batch: int | str) -> Graph:
    """``graph`` with ``batch`` as the leading dimension of every input; a string such as ``"batch"`` is symbolic.

    Raises:
        InputError: the batch is no positive number or name, or the graph mixes the batch with other dimensions.
    """
    if batch == "" or (isinstance(batch, int) and batch < 1):
        raise InputError(f"{batch!r} is not a batch.", "Use a number from 1, or a name for a symbolic batch.")

    def declare(writer: Rewriter, tensor: Tensor) -> str:
        if not tensor.shape:
            raise InputError(f"Input {tensor.name!r} of graph {graph.name!r} has no batch.", "Write it as it is.")
        return writer.redeclare(tensor, shape=(batch, *tensor.shape[1:]))

    def keep(writer: Rewriter, operator: Operator) -> None:
        if operator.family == "opaque":
            raise InputError(
                f"What operator {operator.attributes['kind']} makes of another batch is not known.",
                "Export the network for that batch.",
            )
        if operator.family != "reshape" or operator.inputs[0] not in graph.tensors:
            writer.keep(operator)
            return
        before, after = graph.tensors[operator.inputs[0]].shape, tuple(operator.attributes["shape"])
        if before[:1] != after[:1]:
            raise InputError(
                f"Reshape {operator.output!r} from {before} to {after} moves the batch.",
                "Keep the batch as the leading dimension, or write this graph as it is.",
            )
        writer.keep(operator, shape=(batch, *after[1:]))

    return graph.rewrite(keep, inputs=declare)

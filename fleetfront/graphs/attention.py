"""Spell attention out as files hold it: an equal graph of products and a softmax. Exporters have no operator for it."""

from __future__ import annotations

import numpy as np

from fleetfront.graphs.graph import Graph, Operator, Rewriter


def spell_attention(graph: Graph) -> Graph:
    """The same network with each attention as the operators that ONNX files made of torch modules have for it.

    Attention whose key has fewer heads than its query, or whose mask is no float, stays as it is.
    """
    if not any(_is_plain(graph, operator) for operator in graph.operators):
        return graph

    def spell(writer: Rewriter, operator: Operator) -> None:
        if not _is_plain(graph, operator):
            writer.keep(operator)
            return
        query, key, value, *masks = map(writer.now, operator.inputs)
        axes = range(len(writer.value(key).shape))
        dtype = np.dtype(writer.value(query).dtype)
        scale = writer.weight(writer.free(f"{operator.output}.scale"), np.array([1.0], dtype))
        turned = writer.add("transpose", (key,), permutation=(*axes[:-2], axes[-1], axes[-2]))
        scores = writer.add("matmul", [writer.add("multiply", (side, scale)) for side in (query, turned)])
        for mask in masks:
            scores = writer.add("add", (scores, mask))
        shares = writer.add("softmax", (scores,), axis=len(axes) - 1)
        writer.add("matmul", (shares, value), operator.output)

    return graph.rewrite(spell)


def _is_plain(graph: Graph, operator: Operator) -> bool:
    if operator.family != "attention":
        return False
    query, key, value, *masks = map(graph.value, operator.inputs)
    is_float = all("float" in one.dtype for one in (query, *masks))
    return is_float and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]

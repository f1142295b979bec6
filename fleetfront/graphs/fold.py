"""Fold batch-norm: an equal graph without batch_norm operators. Recalibrating statistics belongs to the supernet."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, Operator, Rewriter
from fleetfront.graphs.operators.catalogue import family_of

_Vector = NDArray[np.float64]
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


class _Affine(NamedTuple):
    """The scale and shift of a batch_norm, by channel."""

    scale: _Vector
    shift: _Vector


def fold_batch_norm(graph: Graph) -> Graph:
    """The same function of the inputs without batch_norm operators.

    A batch_norm that alone reads a convolution, or a linear of two dimensions, with constant weights is folded into
    them; any other becomes a multiply and an add by constants. Arithmetic is in float64, results have the weights'
    dtype. Operators, tensors and weights that no batch_norm touches stay as they are, under their names; so does a
    batch_norm that says so (``stays``), to be measured by itself.

    Raises:
        InputError: the parameters of a batch_norm are computed rather than constant.
    """
    norms = {
        operator.inputs[0]: operator
        for operator in graph.operators
        if operator.family == "batch_norm" and not operator.attributes.get("stays")
    }
    if not norms:
        return graph
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    absorbed: set[str] = set()

    def fold(writer: Rewriter, operator: Operator) -> None:
        if operator.family == "batch_norm" and not operator.attributes.get("stays"):
            if operator.output not in absorbed:
                _spell_out(writer, operator, _affine(graph, operator))
            return
        chain: list[Operator] = []
        if _can_absorb(graph, operator):
            last = operator.output
            while last in norms and readers[last] == 1:
                chain.append(norms[last])
                last = norms[last].output
        if not chain:
            writer.keep(operator)
            return
        absorbed.update(norm.output for norm in chain)
        _absorb(writer, operator, chain, readers)

    return graph.rewrite(fold)


def _affine(graph: Graph, norm: Operator) -> _Affine:
    parameters = norm.inputs[1:]
    computed = [name for name in parameters if name not in graph.weights]
    if computed:
        raise InputError(
            f"Batch-norm {norm.output!r} of {graph.name!r} reads {computed[0]!r}, which is computed.",
            "Make scale, shift, mean and variance weights of the graph.",
        )
    gamma, beta, mean, variance = (graph.weights[name].astype(np.float64) for name in parameters)
    scale = gamma / np.sqrt(variance + norm.attributes["epsilon"])
    return _Affine(scale, beta - mean * scale)


def _can_absorb(graph: Graph, operator: Operator) -> bool:
    if not family_of(operator.family).is_weighted and operator.family not in _CONVOLUTIONS:
        return False
    # Batch-norm normalises dimension 1, which for linear is the dimension of its outputs only without time steps.
    flat = operator.family in _CONVOLUTIONS or len(graph.tensors[operator.output].shape) == 2
    return flat and all(name in graph.weights for name in operator.inputs[1:])


def _absorb(writer: Rewriter, operator: Operator, chain: list[Operator], readers: Counter[str]) -> None:
    graph = writer.graph
    data, weight_name, *bias_names = operator.inputs
    weight = graph.weights[weight_name]
    bias = graph.weights[bias_names[0]].astype(np.float64) if bias_names else np.zeros(len(weight))
    # Of placeholders nothing is computed.
    for norm in () if graph.has_placeholders else chain:
        scale, shift = _affine(graph, norm)
        column = scale.reshape(-1, *(1,) * (weight.ndim - 1))
        weight = (weight.astype(np.float64) * column).astype(weight.dtype)
        bias = (bias * scale + shift).astype(weight.dtype).astype(np.float64)
    bias_name = bias_names[0] if bias_names else f"{chain[0].output}.bias"
    operands = [writer.now(data)]
    for name, array in ((weight_name, weight), (bias_name, bias.astype(weight.dtype))):
        # The name of a weight that this operator alone reads is kept; a shared one stays for the others.
        alone = readers[name] == 1 and name in graph.weights
        operands.append(writer.weight(name if alone else writer.free(name), array))
    writer.add_all(operator.family, operands, chain[-1].outputs, **operator.attributes)


def _spell_out(writer: Rewriter, norm: Operator, affine: _Affine) -> None:
    data = writer.now(norm.inputs[0])
    value = writer.value(data)
    aligned = (-1, *(1,) * (len(value.shape) - 2))
    scale, shift = (
        writer.weight(writer.free(f"{norm.output}.{name}"), array.reshape(aligned).astype(value.dtype))
        for name, array in (("scale", affine.scale), ("shift", affine.shift))
    )
    (scaled,) = writer.add_all("multiply", (data, scale), [writer.free(f"{norm.output}.scaled")], norm.origin)
    writer.add_all("add", (scaled, shift), norm.outputs, norm.origin)

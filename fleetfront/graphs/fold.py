"""Batch-norm folding: an equal graph without batch_norm operators. Recalibrating statistics belongs to the supernet."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph, Operator, Tensor

_Vector = NDArray[np.float64]


def fold_batch_norm(graph: Graph) -> Graph:
    """The same function of the inputs without batch_norm operators.

    A batch_norm that alone reads a conv2d, or a linear of two dimensions, with constant weights is folded into them;
    any other becomes a multiply and an add by constants. Arithmetic is in float64, results have the weights' dtype.
    Operators, tensors and weights that no batch_norm touches stay as they are, under their names.

    Raises:
        InputError: the parameters of a batch_norm are computed rather than constant.
    """
    if all(operator.family != "batch_norm" for operator in graph.operators):
        return graph
    folding = _Folding(graph)
    for operator in graph.operators:
        if operator.family == "batch_norm":
            folding.fold(operator)
        else:
            folding.keep(operator)
    return folding.result()


class _Folding:
    """The new operators and weights while the old ones are walked through."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._operators: list[Operator] = []
        self._made_by: dict[str, int] = {}
        self._tensors: dict[str, Tensor] = dict(graph.tensors)
        self._weights: dict[str, Array] = dict(graph.weights)
        readers = Counter(name for operator in graph.operators for name in operator.inputs)
        readers.update(graph.outputs)
        self._readers = readers

    def keep(self, operator: Operator) -> None:
        self._made_by[operator.output] = len(self._operators)
        self._operators.append(operator)

    def fold(self, operator: Operator) -> None:
        scale, shift = self._scale_and_shift(operator)
        data = operator.inputs[0]
        index = self._made_by.get(data)
        if index is not None and self._readers[data] == 1 and self._can_absorb(self._operators[index]):
            self._operators[index] = self._absorbed(self._operators[index], operator, scale, shift)
            self._made_by[operator.output] = index
            del self._tensors[data]
        else:
            self._spell_out(operator, scale, shift)

    def _scale_and_shift(self, operator: Operator) -> tuple[_Vector, _Vector]:
        parameters = operator.inputs[1:]
        computed = [name for name in parameters if name not in self._graph.weights]
        if computed:
            raise InputError(
                f"Batch-norm {operator.output!r} of {self._graph.name!r} reads {computed[0]!r}, which is computed.",
                "Make scale, shift, mean and variance weights of the graph.",
            )
        gamma, beta, mean, variance = (self._graph.weights[name].astype(np.float64) for name in parameters)
        scale = gamma / np.sqrt(variance + operator.attributes["epsilon"])
        return scale, beta - mean * scale

    def _can_absorb(self, producer: Operator) -> bool:
        if producer.family not in ("conv2d", "linear"):
            return False
        # Batch-norm normalises dimension 1, which for linear is the dimension of its outputs only without time steps.
        flat = producer.family == "conv2d" or len(self._tensors[producer.output].shape) == 2
        return flat and all(name in self._weights for name in producer.inputs[1:])

    def _absorbed(self, producer: Operator, operator: Operator, scale: _Vector, shift: _Vector) -> Operator:
        data, weight_name, *bias_names = producer.inputs
        weight = self._weights[weight_name]
        bias = self._weights[bias_names[0]].astype(np.float64) if bias_names else np.zeros_like(shift)
        column = scale.reshape(-1, *(1,) * (weight.ndim - 1))
        new_weight = self._store(weight_name, (weight.astype(np.float64) * column).astype(weight.dtype))
        bias_name = bias_names[0] if bias_names else f"{operator.output}.bias"
        new_bias = self._store(bias_name, (bias * scale + shift).astype(weight.dtype))
        return replace(producer, inputs=(data, new_weight, new_bias), output=operator.output)

    def _spell_out(self, operator: Operator, scale: _Vector, shift: _Vector) -> None:
        data = operator.inputs[0]
        tensor = self._tensors[data]
        aligned = (-1, *(1,) * (len(tensor.shape) - 2))
        dtype = np.dtype(tensor.dtype)
        scale_name = self._store(f"{operator.output}.scale", scale.reshape(aligned).astype(dtype))
        shift_name = self._store(f"{operator.output}.shift", shift.reshape(aligned).astype(dtype))
        scaled = self._fresh(f"{operator.output}.scaled")
        self._tensors[scaled] = replace(self._tensors[operator.output], name=scaled)
        none: dict[str, Any] = {}
        self.keep(Operator("multiply", (data, scale_name), scaled, none))
        self.keep(Operator("add", (scaled, shift_name), operator.output, none))

    def _store(self, name: str, array: Array) -> str:
        """Keep the name of a weight that one operator alone reads; a shared one stays for the others."""
        if name not in self._weights or self._readers[name] > 1:
            self._readers[name] -= 1
            name = self._fresh(name)
        self._weights[name] = array
        return name

    def _fresh(self, name: str) -> str:
        while name in self._tensors or name in self._weights:
            name += "_"
        return name

    def result(self) -> Graph:
        read = {name for operator in self._operators for name in operator.inputs}
        dropped = {
            name for operator in self._graph.operators if operator.family == "batch_norm" for name in operator.inputs
        }
        weights = {name: array for name, array in self._weights.items() if name in read or name not in dropped}
        return replace(
            self._graph,
            operators=tuple(self._operators),
            tensors=MappingProxyType(self._tensors),
            weights=MappingProxyType(weights),
        )

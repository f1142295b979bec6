"""Costs of a graph's operators: multiply-accumulates, bytes moved, parameters; and the memory of its activations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph, Operator
from fleetfront.graphs.operators.base import Shape
from fleetfront.graphs.operators.catalogue import family_of

#: Types of which several elements share a byte; those of numpy say their own size.
_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}
#: Indices and masks: no parameters, though constants.
_NO_PARAMETERS = frozenset({"int64", "bool", "object"})


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """The demand of one operator on a device for one inference of the graph's shapes.

    Attributes:
        operator: the operator.
        kind: its class of cost, one of ``base.KINDS``; None for what costs nothing, as a reshape.
        is_known: whether what it computes is known, and all its sizes; of others bytes alone are counted, as far as
            they are known.
        macs: multiply-accumulates.
        read_bytes, written_bytes: of activations.
        weight_bytes: of constants that it reads; a constant of one element is part of the instruction.
    """

    operator: Operator
    kind: str | None
    is_known: bool
    macs: float
    read_bytes: float
    written_bytes: float
    weight_bytes: float

    @property
    def moved_bytes(self) -> float:
        """Everything that is read or written."""
        return self.read_bytes + self.written_bytes + self.weight_bytes


def operator_costs(graph: Graph) -> tuple[OperatorCost, ...]:
    """The cost of each operator, in order of execution."""
    return tuple(_cost(graph, operator) for operator in graph.operators)


def count_parameters(graph: Graph) -> int:
    """Elements of the constants that operators read, each once whoever shares it; indices and masks do not count."""
    return sum(array.size for array in _distinct(graph) if array.dtype.name not in _NO_PARAMETERS)


def weights_by_type(graph: Graph) -> Mapping[str, float]:
    """Bytes of constants by numpy's word for their type, the largest first."""
    found: Counter[str] = Counter()
    for array in _distinct(graph):
        found[array.dtype.name] += int(array.size * element_bytes(array.dtype.name))
    return dict(found.most_common())


def peak_activation_bytes(graph: Graph) -> float:
    """The most bytes of activations that are alive at once in the graph's order, none overwritten in place.

    Inputs live until they are last read, outputs to the end; a reshape is another name of the same memory. Tensors of
    unknown size are left out.
    """
    owner = {name: name for name in graph.inputs}
    for operator in graph.operators:
        is_view = operator.family in ("reshape", "flatten") and operator.inputs[0] in owner
        owner |= {name: owner[operator.inputs[0]] if is_view else name for name in operator.outputs}
    last: dict[str, int] = {}
    for place, operator in enumerate(graph.operators):
        last |= {owner[name]: place for name in (*operator.inputs, *operator.outputs) if name in owner}
    last |= {owner[name]: len(graph.operators) for name in graph.outputs}
    sizes = {name: _bytes(graph, name) or 0.0 for name in set(owner.values())}
    ends: dict[int, list[str]] = {}
    for name, place in last.items():
        ends.setdefault(place, []).append(name)
    alive = sum(sizes[name] for name in graph.inputs if name in last)
    peak = alive
    for place, operator in enumerate(graph.operators):
        alive += sum(sizes[name] for name in operator.outputs if owner[name] == name)
        peak = max(peak, alive)
        alive -= sum(sizes[name] for name in ends.get(place, ()))
    return peak


def element_bytes(dtype: str) -> float:
    """Bytes of one element of a type; 8 for those whose elements are references."""
    if dtype in _BITS:
        return _BITS[dtype] / 8
    try:
        return float(np.dtype(dtype).itemsize)
    except TypeError:
        return 1.0 if "8" in dtype else 2.0


def _cost(graph: Graph, operator: Operator) -> OperatorCost:
    constants = [graph.weights[name] for name in operator.inputs if name in graph.weights]
    weights = sum(array.size * element_bytes(array.dtype.name) for array in constants if array.size > 1)
    inputs = [name for name in dict.fromkeys(operator.inputs) if name in graph.tensors]
    read, written = (sum(_bytes(graph, name) or 0.0 for name in names) for names in (inputs, operator.outputs))
    kind, is_known, macs = None, all(_bytes(graph, name) is not None for name in (*inputs, *operator.outputs)), 0.0
    try:
        work = family_of(operator.family).work(graph, operator)
    except InputError:
        is_known = False
    else:
        kind, macs = work.kind, work.macs if is_known else 0.0
        if is_known and work.kind is None:
            return OperatorCost(operator, None, True, 0.0, 0.0, 0.0, 0.0)
        if is_known and work.read is not None:
            read, weights = _read_in_part(graph, operator, work.read, read, weights)
    return OperatorCost(operator, kind, is_known, macs, read, written, weights)


def _read_in_part(graph: Graph, operator: Operator, count: float, read: float, weights: float) -> tuple[float, float]:
    """Bytes of activations and of constants, where so many elements of the first operand are all that is read."""
    first = operator.inputs[0]
    value = graph.value(first)
    saved = (_elements(value.shape) or 0.0) - count
    saved = max(saved, 0.0) * element_bytes(value.dtype)
    return (read, weights - saved) if first in graph.weights else (read - saved, weights)


def _bytes(graph: Graph, name: str) -> float | None:
    tensor = graph.tensors[name]
    count = _elements(tensor.shape)
    return None if count is None else count * element_bytes(tensor.dtype)


def _elements(shape: Shape) -> float | None:
    """Number of elements; None if a dimension is open."""
    count = 1.0
    for size in shape:
        if isinstance(size, str):
            return None
        count *= size
    return count


def _distinct(graph: Graph) -> Iterator[Array]:
    """The constants that operators read, each once: what is turned for one reader is the same constant."""
    seen = set()
    read = dict.fromkeys(name for operator in graph.operators for name in operator.inputs if name in graph.weights)
    for array in map(graph.weights.__getitem__, read):
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if array.size > 1 and (id(owner), array.size) not in seen:
            seen.add((id(owner), array.size))
            yield array


def group_by_kind(costs: Sequence[OperatorCost]) -> dict[str, list[OperatorCost]]:
    """Costs by the kind that operators had where they came from, the most multiply-accumulates first."""
    groups: dict[str, list[OperatorCost]] = {}
    for cost in costs:
        origin = cost.operator.origin
        groups.setdefault(origin.kind if origin else cost.operator.family, []).append(cost)
    order = sorted(
        groups, key=lambda kind: (-sum(c.macs for c in groups[kind]), -sum(c.moved_bytes for c in groups[kind]))
    )
    return {kind: groups[kind] for kind in order}

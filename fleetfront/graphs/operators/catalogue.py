"""List every operator family by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fleetfront.errors import unknown
from fleetfront.graphs.operators import arranging, matrices, pointwise, pooling, products, shaping, windows
from fleetfront.graphs.operators.base import OperatorFamily

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Graph

#: Family by name.
FAMILIES: Mapping[str, OperatorFamily] = {
    family.name: family
    for group in (products, windows, matrices, pointwise, pooling, shaping, arranging)
    for family in group.FAMILIES
}


def family_of(name: str) -> OperatorFamily:
    """The family called ``name``. Raises InputError with the nearest known names for any other."""
    if name not in FAMILIES:
        raise unknown("operator family", name, FAMILIES)
    return FAMILIES[name]


def graph_macs(graph: Graph) -> float:
    """Multiply-accumulates of one inference at batch 1. Raises InputError if an operator is opaque."""
    return sum(family_of(operator.family).work(graph, operator).macs for operator in graph.operators)

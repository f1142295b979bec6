"""Say in words why a model is not predicted, and what to type instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleetfront.errors import OpenSize
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.predict.predictions import Refusal

#: Between the parts of a narrowed device, ``cpu/onnxruntime``.
SEPARATOR = "/"
#: So many kinds, devices or files of weights are listed.
LISTED = 6
#: How kinds of operators with narrow weights beside floats end, behind the type of these.
_WEIGHTS = " weights"


def listed(kinds: Iterable[str]) -> str:
    """The kinds once each, the first six by name."""
    names = sorted(set(kinds))
    return ", ".join(names[:LISTED]) + (" and more" if len(names) > LISTED else "")


def together(refused: Sequence[Refusal]) -> str:
    """Each reason once, behind the devices that have it."""
    devices: dict[str, list[str]] = {}
    for one in refused:
        devices.setdefault(one.error, []).extend([one.device] if one.device else [])
    named = {reason: ", ".join(dict.fromkeys(names)) for reason, names in devices.items()}
    return "; ".join(f"{names}: {reason}" if names else reason for reason, names in named.items())


def beside_floats(kinds: Iterable[str]) -> str:
    """Of unknown kinds of operators that multiply floats by narrow weights: runtimes have several ways of doing so."""
    found = listed(kind.removesuffix(_WEIGHTS).rpartition(" ")[0] for kind in kinds if kind.endswith(_WEIGHTS))
    return found and f"it multiplies floats by narrow weights ({found}), as files in w8 and w4 do, which is not priced"


def uncountable(graph: Graph, error: OpenSize) -> str:
    """Of a graph whose operators cannot be counted."""
    open_sizes = [
        name
        for operator in graph.operators
        for name in operator.outputs
        if any(isinstance(size, str) for size in graph.tensors[name].shape)
    ]
    # A first size alone may be the batch.
    certain = (name for name in open_sizes if any(isinstance(size, str) for size in graph.tensors[name].shape[1:]))
    name = next(certain, next(iter(open_sizes), ""))
    return told_by_running(graph, name) if name else error.message


def told_by_running(graph: Graph, name: str) -> str:
    """Of a tensor whose size depends on values."""
    made = (one.origin.kind if one.origin else one.family for one in graph.operators if name in one.outputs)
    by = f", which its {kind} gives" if (kind := next(made, "")) else ""
    return f"nothing says before it runs how large {name} is{by}"

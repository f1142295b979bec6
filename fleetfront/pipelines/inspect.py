"""Inspect a model file or torch module: what it is fed, what it computes and moves, who will not take it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.graphs.costs import (
    OperatorCost,
    count_parameters,
    group_by_kind,
    operator_costs,
    peak_activation_bytes,
    weights_by_type,
)
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.input_shapes import Port, batch_notes
from fleetfront.graphs.readers.file import read_graph
from fleetfront.profilers.file_facts import file_inputs, file_precision, file_signatures
from fleetfront.runtimes.catalogue import all_facts

if TYPE_CHECKING:
    from torch import nn

SCHEMA = "fleetfront.inspection/1"

#: Kinds that hold graphs of their own, in the words of both formats.
CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap", "IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE"})
#: So many names are listed where there may be very many.
_LISTED = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """All operators of one kind, in the file's word. ``unknown`` of them are not counted in ``macs``."""

    name: str
    operators: int
    macs: float
    parameters_bytes: float
    moved_bytes: float
    unknown: int


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Operators that a runtime or delegate does not take, as far as its makers' lists say; none where it is for another
    reason. ``leaves`` says what becomes of them; empty where the file is refused."""

    engine: str
    operators: Mapping[str, int]
    reason: str
    leaves: str


@dataclass(frozen=True)
class Inspection:
    """A model as it is known without running it.

    Attributes:
        path: of the file; None for a module.
        sha256: of the file; empty for a module.
        file_bytes: of the file; 0 for a module.
        graph: its operators and shapes; weights are placeholders.
        precision: what most weights have, e.g. ``int8``.
        declared: the inputs as the file leaves them open.
        signatures: of a TFLite file with several, the one that is told first.
        notes: in words, what a reader should know.
    """

    path: Path | None
    sha256: str
    file_bytes: int
    graph: Graph
    precision: str
    declared: tuple[Port, ...] = ()
    signatures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def costs(self) -> tuple[OperatorCost, ...]:
        """The cost of each operator, in order of execution."""
        return operator_costs(self.graph)

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """Costs by kind, the most multiply-accumulates first."""
        return tuple(
            Kind(
                name,
                len(costs),
                sum(cost.macs for cost in costs),
                sum(cost.weight_bytes for cost in costs),
                sum(cost.moved_bytes for cost in costs),
                sum(not cost.is_known for cost in costs),
            )
            for name, costs in group_by_kind(self.costs).items()
        )

    @property
    def macs(self) -> float:
        """Multiply-accumulates of one inference, of the operators that are known."""
        return sum(cost.macs for cost in self.costs)

    @property
    def moved_bytes(self) -> float:
        """Bytes that operators read and write if nothing is fused."""
        return sum(cost.moved_bytes for cost in self.costs)

    @property
    def parameters(self) -> int:
        """Elements of the constants that operators read."""
        return count_parameters(self.graph)

    @property
    def peak_bytes(self) -> float:
        """The most bytes of activations that are alive at once."""
        return peak_activation_bytes(self.graph)

    @property
    def open_inputs(self) -> tuple[Port, ...]:
        """Inputs of which the file leaves a size open."""
        return tuple(port for port in self.declared if not all(isinstance(size, int) for size in port.shape))

    @cached_property
    def not_taken(self) -> tuple[NotTaken, ...]:
        """Who will not take all of the file."""
        return tuple(_not_taken(self))

    def to_frame(self) -> Any:
        """One row an operator, as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([_operator(self.graph, cost) for cost in self.costs])

    def to_json(self) -> dict[str, Any]:
        """Plain values; sizes that are not known are names, counts of them None."""
        return {
            "schema": SCHEMA,
            "file": None if self.path is None else str(self.path),
            "sha256": self.sha256 or None,
            "file_bytes": self.file_bytes,
            "inputs": [_port(self.graph, name) for name in self.graph.inputs],
            "outputs": [_port(self.graph, name) for name in self.graph.outputs],
            "open_inputs": {port.name: list(port.shape) for port in self.open_inputs},
            "signatures": list(self.signatures),
            "precision": self.precision,
            "weights_bytes": dict(weights_by_type(self.graph)),
            "parameters": self.parameters,
            "macs": self.macs,
            "moved_bytes": self.moved_bytes,
            "peak_activation_bytes": self.peak_bytes,
            "unknown_operators": sum(not cost.is_known for cost in self.costs),
            "kinds": [
                {
                    "kind": kind.name,
                    "operators": kind.operators,
                    "macs": kind.macs,
                    "weight_bytes": kind.parameters_bytes,
                    "moved_bytes": kind.moved_bytes,
                    "unknown": kind.unknown,
                }
                for kind in self.kinds
            ],
            "not_taken": [
                {"by": one.engine, "operators": dict(one.operators), "reason": one.reason, "leaves": one.leaves or None}
                for one in self.not_taken
            ],
            "operators": [_operator(self.graph, cost) for cost in self.costs],
            "notes": list(self.notes),
        }


def inspect(
    model: Path | str | nn.Module,
    sample: Any = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    signature: str = "",
) -> Inspection:
    """Count what a model computes and moves in one inference, without running it.

    Args:
        model: a ``.onnx`` or ``.tflite`` file, or a torch module.
        sample: what the module is fed: a tensor, a sequence of arguments, or a mapping by name. Not for files.
        shapes: sizes of inputs that a file leaves open, by name.
        signature: which of a TFLite file's signatures; the first by default.

    Raises:
        FileError: the file is missing, damaged, or of a kind that is not read.
        InputError: a size is open and nothing says it; the module does not run on ``sample``.
        MissingDependency: the package that knows the format is not installed.
    """
    if not isinstance(model, Path | str):
        from fleetfront.graphs.readers.torch import read_module

        graph = read_module(model, sample)
        return Inspection(None, "", 0, graph, _module_precision(graph), notes=tuple(_notes(graph)))
    path = Path(model)
    graph = read_graph(path, shapes, signature)
    declared = file_inputs(path) or () if not signature else ()
    signatures = file_signatures(path)
    notes = list(_notes(graph))
    sizes = {name: tuple(int(size) for size in graph.tensors[name].shape) for name in graph.inputs}
    if all(port.name in sizes for port in declared):
        notes += batch_notes(declared, sizes, {name: tuple(shape) for name, shape in (shapes or {}).items()})
    if signatures and not signature:
        told = f"{signatures[0]!r} is told here" if signatures[0] else "the part that is run without one is told here"
        notes.append(f"The file has {len(signatures)} signatures: {', '.join(map(repr, signatures))}; {told}.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    return Inspection(path, sha256, size, graph, file_precision(path), declared, signatures, tuple(notes))


def _module_precision(graph: Graph) -> str:
    words = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8"}
    most = next((dtype for dtype in weights_by_type(graph) if dtype in words), "float32")
    return words[most]


def _notes(graph: Graph) -> Iterable[str]:
    opaque = [operator for operator in graph.operators if operator.family == "opaque"]
    kinds = list(dict.fromkeys(operator.attributes["kind"] for operator in opaque))
    control = [kind for kind in kinds if kind in CONTROL]
    if control:
        yield (
            f"{_listed(control)}: which branch is taken, or how often, is not known before it runs, so nothing inside "
            "is counted."
        )
    others = [kind for kind in kinds if kind not in CONTROL]
    if others:
        yield f"Known by name alone: {_listed(others)}. Their multiply-accumulates are not counted."
    names = {operator.outputs[0] for operator in opaque}
    unsized = [
        operator
        for operator in graph.operators
        if operator.outputs[0] not in names
        and any(isinstance(size, str) for name in operator.outputs for size in graph.tensors[name].shape)
    ]
    double = sum(graph.tensors[operator.outputs[0]].dtype == "float64" for operator in graph.operators)
    if double:
        yield f"{double} operators give float64, whatever the weights are: devices run them on other, slower code."
    if unsized:
        yield f"The sizes of {len(unsized)} operators depend on the numbers that are fed; they are not counted."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _not_taken(one: Inspection) -> Iterable[NotTaken]:
    if one.path is None:
        return
    file_format = one.path.suffix.lower().removeprefix(".")
    for engine in (engine for facts in all_facts().values() for engine in facts.engines):
        if engine.file_format != file_format:
            continue
        if engine.wants_fixed_shapes and one.open_inputs:
            ports = ", ".join(map(str, one.open_inputs))
            yield NotTaken(engine.title, {}, f"it wants fixed sizes, and {ports} has open ones", engine.leaves)
        found = {kind.name: kind.operators for kind in one.kinds if not engine.is_taken(kind.name)}
        if found:
            yield NotTaken(engine.title, found, "not on its makers' list", engine.leaves)


def _port(graph: Graph, name: str) -> dict[str, Any]:
    tensor = graph.tensors[name]
    return {"name": name, "shape": list(tensor.shape), "dtype": tensor.dtype}


def _operator(graph: Graph, cost: OperatorCost) -> dict[str, Any]:
    operator = cost.operator
    return {
        "name": operator.origin.name if operator.origin else operator.outputs[0],
        "kind": operator.origin.kind if operator.origin else operator.family,
        "family": operator.family,
        "is_known": cost.is_known,
        "macs": cost.macs if cost.is_known else None,
        "read_bytes": cost.read_bytes,
        "written_bytes": cost.written_bytes,
        "weight_bytes": cost.weight_bytes,
        "outputs": [list(graph.tensors[name].shape) for name in operator.outputs],
    }

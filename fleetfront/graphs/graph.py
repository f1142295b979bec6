"""Graph: the one description of a network from which every file and module is made, and the builder that makes it.

Nothing here computes; ``runtimes`` runs a graph in torch and ``deploy`` writes it to files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, unknown
from fleetfront.graphs.operators import FAMILIES, Shape

Array = NDArray[Any]

_FORMAT = "fleetfront.graph/1"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value that flows: name, shape (symbols allowed), numpy dtype name, layout (``NCHW`` for images, else empty)."""

    name: str
    shape: Shape
    dtype: str = "float32"
    layout: str = ""


@dataclass(frozen=True, slots=True)
class Operator:
    """One computation. ``inputs`` name tensors or weights, in the order that the family documents."""

    family: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graph:
    """Operators in the order of execution, the tensors between them, and weights by name.

    Attributes:
        inputs: names of the tensors that the caller feeds.
        outputs: names of the tensors that the caller gets.
        tensors: every input and every operator's output, by name.
        weights: arrays by name; conv2d weights are (out, in / groups, height, width), linear weights (out, in).
        labels: free strings that writers store in the file's metadata.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Array]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """SHA-256 over structure and weights; equal graphs are equal files."""
        digest = hashlib.sha256(json.dumps(self._structure(), sort_keys=True).encode())
        for name in sorted(self.weights):
            array = np.ascontiguousarray(self.weights[name])
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _structure(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "operators": [[o.family, list(o.inputs), o.output, dict(o.attributes)] for o in self.operators],
            "tensors": [[t.name, list(t.shape), t.dtype, t.layout] for t in self.tensors.values()],
            "labels": dict(self.labels),
        }

    def to_bytes(self) -> bytes:
        """Serial form: a numpy archive of the weights with the structure as JSON in it. No pickle."""
        structure = np.frombuffer(json.dumps(self._structure()).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"w:{name}": array for name, array in self.weights.items()}
        np.savez(buffer, structure=structure, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """Read ``to_bytes`` back. Raises InputError if ``data`` is anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                structure = json.loads(archive["structure"].tobytes())
                weights = {name[2:]: archive[name] for name in archive.files if name.startswith("w:")}
            if structure["format"] != _FORMAT:
                raise InputError(
                    f"Graph format {structure['format']!r} is not {_FORMAT}.", "Write the file again with this version."
                )
            tensors = [Tensor(n, tuple(s), d, layout) for n, s, d, layout in structure["tensors"]]
            return cls(
                structure["name"],
                tuple(structure["inputs"]),
                tuple(structure["outputs"]),
                tuple(Operator(f, tuple(i), o, _tupled(a)) for f, i, o, a in structure["operators"]),
                MappingProxyType({t.name: t for t in tensors}),
                MappingProxyType(weights),
                MappingProxyType(structure["labels"]),
            )
        except (ValueError, KeyError, OSError, EOFError, TypeError, AttributeError, BadZipFile) as error:
            raise InputError(f"This is not a serialised graph ({error}).", "Write it with Graph.to_bytes.") from error


def _tupled(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in attributes.items()}


class GraphBuilder:
    """Adds operators one by one; every method returns the name of the tensor that it made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._inputs: list[str] = []
        self._operators: list[Operator] = []
        self._tensors: dict[str, Tensor] = {}
        self._weights: dict[str, Array] = {}

    def shape(self, name: str) -> Shape:
        """Shape of a tensor or weight made so far."""
        if name in self._tensors:
            return self._tensors[name].shape
        return tuple(self._weights[name].shape)

    def input(self, name: str, shape: Sequence[int | str], dtype: str = "float32") -> str:
        """Declare what the caller feeds; four dimensions are read as an NCHW image."""
        layout = "NCHW" if len(shape) == 4 else ""
        self._tensors[self._fresh(name)] = Tensor(name, tuple(shape), dtype, layout)
        self._inputs.append(name)
        return name

    def weight(self, name: str, array: Array) -> str:
        """Register an array under ``name``."""
        self._weights[self._fresh(name)] = np.asarray(array)
        return name

    def add(self, family: str, inputs: Iterable[str], name: str = "", **attributes: Any) -> str:
        """Append an operator of ``family``; its output is called ``name`` or, by default, numbered after the family."""
        if family not in FAMILIES:
            raise unknown("operator family", family, FAMILIES)
        operands = tuple(inputs)
        for operand in operands:
            if operand not in self._tensors and operand not in self._weights:
                raise InputError(
                    f"Operator {family} reads {operand!r}, which nothing makes.", "Add its producer first."
                )
        shape = FAMILIES[family]([self.shape(operand) for operand in operands], attributes)
        output = self._fresh(name or f"{family}_{len(self._operators)}")
        layout = "NCHW" if len(shape) == 4 else ""
        dtype = str(attributes["dtype"]) if family == "cast" else self._dtype(operands[0])
        self._tensors[output] = Tensor(output, shape, dtype, layout)
        self._operators.append(Operator(family, operands, output, attributes))
        return output

    def conv2d(
        self,
        data: str,
        weight: str,
        bias: str | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        name: str = "",
    ) -> str:
        """Square-strided convolution with the same padding on all sides."""
        operands = (data, weight) if bias is None else (data, weight, bias)
        return self.add(
            "conv2d", operands, name, stride=(stride, stride), padding=(padding,) * 4, dilation=(1, 1), groups=groups
        )

    def build(self, outputs: Iterable[str], labels: Mapping[str, str] | None = None) -> Graph:
        """The finished graph."""
        names = tuple(outputs)
        for name in names:
            if name not in self._tensors or name in self._inputs or names.count(name) > 1:
                raise InputError(
                    f"Output {name!r} of graph {self.name!r} is no operator's output, or is named twice.",
                    "Name each output once, and only what an operator made.",
                )
        return Graph(
            self.name,
            tuple(self._inputs),
            names,
            tuple(self._operators),
            MappingProxyType(dict(self._tensors)),
            MappingProxyType(dict(self._weights)),
            MappingProxyType(dict(labels or {})),
        )

    def _dtype(self, name: str) -> str:
        return self._tensors[name].dtype if name in self._tensors else self._weights[name].dtype.name

    def _fresh(self, name: str) -> str:
        if name in self._tensors or name in self._weights:
            raise InputError(
                f"The name {name!r} is used twice in graph {self.name!r}.", "Give each tensor its own name."
            )
        return name

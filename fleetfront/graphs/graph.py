"""Graph describes a network, from which every file and module is made. GraphBuilder makes one, ``rewrite`` changes it.

Nothing here computes: ``torch_module`` runs a graph, ``deploy`` writes it to files. What each family of operators is,
is in ``operators``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.operators.base import Shape, Value
from fleetfront.graphs.operators.catalogue import family_of

Array = NDArray[Any]

_FORMAT = "fleetfront.graph/1"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value that flows: name, shape (symbols allowed), numpy dtype name, layout.

    The layout is declared where the tensor is made, never concluded from its rank: ``NCHW`` for images, ``NHWC`` for
    images that come channels last, empty for everything else.
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    layout: str = ""


class Origin(NamedTuple):
    """An operator in the file or module that it was read from: its kind there, e.g. ``Conv``, and its name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Operator:
    """One computation. ``inputs`` name tensors or weights, in the order that the family documents.

    ``origin`` is None for operators that were written here.
    """

    family: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    @property
    def output(self) -> str:
        """The only output. Raises ValueError if there are several."""
        (name,) = self.outputs
        return name


@dataclass(frozen=True, slots=True)
class Graph:
    """Operators in the order of execution, the tensors between them, and weights by name.

    Attributes:
        inputs: names of the tensors that the caller feeds.
        outputs: names of the tensors that the caller gets.
        tensors: every input and every operator's output, by name.
        weights: arrays by name; conv2d weights are (out, in / groups, height, width), linear weights (out, in).
        labels: free strings that writers store in the file's metadata.
        has_placeholders: whether weights stand for their shapes alone, as readers and outlines leave them: nothing can
            be computed or written of such a graph.
        exports: format -> what gives the bytes of such a file, where the framework that the graph was read from writes
            its files. A graph that is rewritten has none.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Array]
    labels: Mapping[str, str] = field(default_factory=dict)
    has_placeholders: bool = False
    exports: Mapping[str, Callable[[], bytes]] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process gets all but ``exports``, whose modules stay here."""
        mappings = (dict(self.tensors), dict(self.weights), dict(self.labels))
        return Graph, (self.name, self.inputs, self.outputs, self.operators, *mappings, self.has_placeholders)

    def value(self, name: str) -> Value:
        """Shape, type and layout of a tensor or weight."""
        return _value(name, self.tensors, self.weights)

    def rewrite(
        self,
        operator: Callable[[Rewriter, Operator], object] | None = None,
        *,
        inputs: Callable[[Rewriter, Tensor], str] | None = None,
        weights: Callable[[str, Array], Array] | None = None,
        outputs: Callable[[Rewriter, str], str] | None = None,
    ) -> Graph:
        """Another graph, made by walking through this one; shapes, types and layouts are worked out again.

        Weights that no operator reads any more are left out.

        Args:
            operator: adds what comes in an operator's place, in order of execution; ``Rewriter.keep`` by default.
            inputs: declares an input and names the tensor that its readers read.
            weights: what a weight becomes, by its name and array; asked once for each that is read.
            outputs: names the tensor that the caller gets for an output of this graph.

        Raises:
            InputError: the operators no longer fit together.
        """
        writer = Rewriter(self, weights)
        for name in self.inputs:
            tensor = self.tensors[name]
            declare = inputs or Rewriter.redeclare
            writer.stand_in(name, declare(writer, tensor))
        for one in self.operators:
            (operator or Rewriter.keep)(writer, one)
        return writer.build([(outputs or Rewriter.now)(writer, name) for name in self.outputs], self.labels)

    def check_weights(self) -> None:
        """Raises InputError if weights are placeholders: a file of them would run and compute nonsense."""
        if self.has_placeholders:
            raise InputError(
                f"Of {self.name}'s weights only the shapes were read, so no file can be written of it.",
                "Hand out the file that it was read from, or export the module with torch.onnx.",
            )

    def exported(self, kind: str) -> bytes | None:
        """The file of that format by the framework that the graph was read from; None where writers here write it.

        Raises InputError where that framework writes other formats alone.
        """
        if not self.exports:
            return None
        if kind not in self.exports:
            raise InputError(
                f"{self.name} is written by its own framework, as {', '.join(self.exports)} and not as {kind}.",
                "Choose a runtime that runs such files, e.g. --runtime onnxruntime.",
            )
        return self.exports[kind]()

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
            # One output is spelled as a string, as it was when there could only be one.
            "operators": [
                [o.family, list(o.inputs), o.output if len(o.outputs) == 1 else list(o.outputs), dict(o.attributes)]
                + ([list(o.origin)] if o.origin else [])
                for o in self.operators
            ],
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
                tuple(
                    Operator(f, tuple(i), (o,) if isinstance(o, str) else tuple(o), _tupled(a), *map(_origin, origin))
                    for f, i, o, a, *origin in structure["operators"]
                ),
                MappingProxyType({t.name: t for t in tensors}),
                MappingProxyType(weights),
                MappingProxyType(structure["labels"]),
            )
        except (ValueError, KeyError, OSError, EOFError, TypeError, AttributeError, BadZipFile) as error:
            raise InputError(f"This is not a serialised graph ({error}).", "Write it with Graph.to_bytes.") from error


def _tupled(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in attributes.items()}


def _origin(words: Sequence[str]) -> Origin:
    kind, name = words
    return Origin(str(kind), str(name))


class GraphBuilder:
    """Adds operators one by one; every method returns the name of the tensor that it made."""

    def __init__(self, name: str, *, has_placeholders: bool = False) -> None:
        self.name = name
        self._inputs: list[str] = []
        self._operators: list[Operator] = []
        self._tensors: dict[str, Tensor] = {}
        self._weights: dict[str, Array] = {}
        self._has_placeholders = has_placeholders

    def has(self, name: str) -> bool:
        """Tell whether a tensor or weight of that name was made."""
        return name in self._tensors or name in self._weights

    def shape(self, name: str) -> Shape:
        """Shape of a tensor or weight made so far."""
        return self.value(name).shape

    def value(self, name: str) -> Value:
        """Shape, type and layout of a tensor or weight made so far."""
        return _value(name, self._tensors, self._weights)

    def input(self, name: str, shape: Sequence[int | str], dtype: str = "float32", layout: str = "") -> str:
        """Declare what the caller feeds; ``layout`` is ``NCHW`` for an image."""
        if layout and len(shape) != len(layout):
            raise InputError(f"Input {name!r} of shape {tuple(shape)} is declared {layout}.", "Give four dimensions.")
        self._tensors[self._unused(name)] = Tensor(name, tuple(shape), dtype, layout)
        self._inputs.append(name)
        return name

    def weight(self, name: str, array: Array) -> str:
        """Register an array under ``name``."""
        self._weights[self._unused(name)] = np.asarray(array)
        return name

    def add(self, family: str, inputs: Iterable[str], name: str = "", **attributes: Any) -> str:
        """Append an operator of ``family``; its output is called ``name`` or, by default, numbered after the family."""
        (output,) = self.add_all(family, inputs, [name] if name else None, **attributes)
        return output

    def add_all(
        self,
        family: str,
        inputs: Iterable[str],
        names: Sequence[str] | None = None,
        origin: Origin | None = None,
        **attributes: Any,
    ) -> tuple[str, ...]:
        """Append an operator of any number of outputs.

        Raises InputError if its family is unknown, an operand is made by nothing, or the operands do not fit.
        """
        record, operands = family_of(family), tuple(inputs)
        results = record.results([self._operand(family, operand) for operand in operands], attributes)
        if names is None:
            base = f"{family}_{len(self._operators)}"
            names = [base] if len(results) == 1 else [f"{base}.{place}" for place in range(len(results))]
        for name, result in zip(names, results, strict=True):
            self._tensors[self._unused(name)] = Tensor(name, *result)
        self._operators.append(Operator(family, operands, tuple(names), attributes, origin))
        return tuple(names)

    def _operand(self, family: str, name: str) -> Value:
        if not self.has(name):
            raise InputError(f"Operator {family} reads {name!r}, which nothing makes.", "Add its producer first.")
        return self.value(name)

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
            self._has_placeholders,
        )

    def _unused(self, name: str) -> str:
        if self.has(name):
            raise InputError(
                f"The name {name!r} is used twice in graph {self.name!r}.", "Give each tensor its own name."
            )
        return name


class Rewriter(GraphBuilder):
    """Builds a graph from another one, whose tensors may go by other names here. ``Graph.rewrite`` makes one."""

    def __init__(self, graph: Graph, weights: Callable[[str, Array], Array] | None = None) -> None:
        super().__init__(graph.name, has_placeholders=graph.has_placeholders)
        self.graph = graph
        self._change = weights or (lambda _, array: array)
        self._now: dict[str, str] = {}

    def now(self, name: str) -> str:
        """The name here of a tensor or weight of the graph before."""
        return self._now.get(name, name)

    def stand_in(self, before: str, now: str) -> None:
        """Whoever read ``before`` reads ``now`` from here on."""
        self._now[before] = now

    def redeclare(self, tensor: Tensor, **changes: Any) -> str:
        """Declare an input like ``tensor`` but for ``changes``."""
        return self.input(
            **{"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype, "layout": tensor.layout} | changes
        )

    def keep(self, operator: Operator, names: Sequence[str] | None = None, **attributes: Any) -> None:
        """Append an operator of the graph before, its outputs called ``names``, with some attributes changed."""
        inputs = [self.now(name) for name in operator.inputs]
        changed = {**operator.attributes, **attributes}
        made = self.add_all(operator.family, inputs, names or operator.outputs, operator.origin, **changed)
        for before, name in zip(operator.outputs, made, strict=True):
            self.stand_in(before, name)

    def free(self, name: str) -> str:
        """``name``, or a name like it that neither graph uses."""
        while name in self.graph.tensors or name in self.graph.weights or self.has(name):
            name += "_"
        return name

    def _operand(self, family: str, name: str) -> Value:
        if name in self.graph.weights and name not in self._weights and name not in self._tensors:
            self.weight(name, self._change(name, self.graph.weights[name]))
        return super()._operand(family, name)


def _value(name: str, tensors: Mapping[str, Tensor], weights: Mapping[str, Array]) -> Value:
    if name in tensors:
        tensor = tensors[name]
        return Value(tensor.shape, tensor.dtype, tensor.layout)
    array = weights[name]
    return Value(array.shape, _dtype_name(array.dtype))


@lru_cache(maxsize=32)
def _dtype_name(dtype: np.dtype[Any]) -> str:
    # numpy spells the name anew each time it is asked.
    return dtype.name

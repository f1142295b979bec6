"""Read a TFLite file into a Graph through the schema's classes; weights are not looked at."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import FileError, InputError, missing, unknown
from fleetfront.graphs.graph import Array, Graph, Origin
from fleetfront.graphs.input_shapes import ANONYMOUS, Port, resolve_shapes
from fleetfront.graphs.operators.base import Value
from fleetfront.graphs.readers.node import Asked, Node, planned
from fleetfront.graphs.readers.outline import MOST_LOOKED_AT, Found, Outline, dtype_of, is_known
from fleetfront.graphs.readers.tflite_operators import PLAIN, RULES
from fleetfront.graphs.readers.tflite_shapes import fold

#: Kinds that hold or call other graphs.
CONTROL = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE"})
#: Activations that are bounds of what computes; any other is worked out of all its results.
_CUTS = frozenset({"relu", "relu6", "relu_n1_to_1"})
#: Kinds that give a constant back in another form.
_SPREAD = frozenset({"DEQUANTIZE", "DENSIFY", "CAST"})
#: Tables of a flatbuffer may overlap, so that a small file can pretend to hold very many.
_MOST_TABLES = 200_000
_MOST_DIMENSIONS = 8
_IDENTIFIER = slice(4, 8)
#: What the schema's classes raise of damaged bytes.
_DAMAGED = (struct.error, LookupError, ArithmeticError, ValueError, TypeError, AttributeError)
#: The schema's words for types that numpy has others for.
_TYPES = {"resource": "int64", "variant": "int64", "string": "object"}


def read_tflite(path: Path, shapes: Mapping[str, Sequence[int]], signature: str = "") -> Graph:
    """The graph of the file at ``path`` that a signature runs, the first without one; its inputs sized as
    ``resolve_shapes`` says.

    Raises:
        FileError: the file is damaged.
        InputError: a size of an input is open and nothing says it, or there is no such signature.
        MissingDependency: ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise missing("ai-edge-litert", "cpu", "Reading a TFLite file") from error
    data = path.read_bytes()
    if data[_IDENTIFIER] != b"TFL3":
        raise FileError(f"{path} is no TFLite file.", "Convert or download it again.")
    try:
        return _Reader(path, schema, schema.Model.GetRootAs(data, 0), signature).read(shapes)
    except InputError:
        raise
    except _DAMAGED as error:
        raise FileError(f"{path} is damaged ({error}).", "Convert or download it again.") from error


class _Reader:
    """Walks through the operators of one subgraph."""

    def __init__(self, path: Path, schema: Any, model: Any, signature: str) -> None:
        if not model.SubgraphsLength():
            raise FileError(f"{path} holds no network.", "Convert or download it again.")
        self._subgraph = _subgraph(model, signature) if signature else 0
        self._schema, self._model, self._graph = schema, model, model.Subgraphs(self._subgraph)
        self._is_resized = False
        tables = self._graph.TensorsLength() + self._graph.OperatorsLength() + model.OperatorCodesLength()
        if tables > _MOST_TABLES:
            raise FileError(f"{path} claims {tables:,} tensors and operators.", "Convert or download it again.")
        self._types = {
            number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)
        }
        self._kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
        self._options = {
            number: name for name, number in vars(schema.BuiltinOptions).items() if isinstance(number, int)
        }
        self._tensors = [self._tensor(index) for index in range(self._graph.TensorsLength())]
        self._names: dict[int, str] = {}
        self._constants: dict[str, Array] = {}
        self.outline = Outline(path.name)

    def read(self, shapes: Mapping[str, Sequence[int]]) -> Graph:
        ports = self.ports()
        sizes = resolve_shapes(ports, {name: tuple(shape) for name, shape in shapes.items()}, is_fed=False)
        for index, port in zip(self._indices(self._graph, "Inputs"), ports, strict=True):
            shape = sizes[port.name]
            self._is_resized |= shape != self._tensors[index].shape
            self._names[index] = self.outline.free(port.name)
            self.outline.input(self._names[index], shape, self._tensors[index].dtype)
        for index in range(self._graph.OperatorsLength()):
            self._add(self._graph.Operators(index), index)
        outputs = [self._names[index] for index in self._indices(self._graph, "Outputs") if index in self._names]
        return self.outline.finish(outputs, {})

    def ports(self) -> tuple[Port, ...]:
        """The inputs that the caller feeds, by the names of the signature."""
        names = {}
        for signature in (self._model.SignatureDefs(index) for index in range(self._model.SignatureDefsLength())):
            if signature.SubgraphIndex() == self._subgraph:
                fed = (signature.Inputs(index) for index in range(signature.InputsLength()))
                names = {one.TensorIndex(): _text(one.Name()) for one in fed}
        ports = []
        for index in self._indices(self._graph, "Inputs"):
            tensor, value = self._graph.Tensors(index), self._tensors[index]
            declared = tuple(tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength()))
            sizes = declared or value.shape
            shape = tuple(ANONYMOUS if isinstance(size, str) or size < 0 else size for size in sizes)
            name = names.get(index) or _text(tensor.Name())
            defaults = tuple(int(size) for size in value.shape) if ANONYMOUS in shape else ()
            ports.append(Port(name, shape, value.dtype, defaults))
        return tuple(ports)

    def _tensor(self, index: int) -> Value:
        tensor = self._graph.Tensors(index)
        shape = tuple(tensor.Shape(axis) for axis in range(min(tensor.ShapeLength(), _MOST_TABLES)))
        word = self._types.get(tensor.Type(), "float32")
        return Value(shape, _TYPES.get(word, word))

    def _indices(self, table: Any, name: str) -> Iterator[int]:
        count = getattr(table, f"{name}Length")()
        if count > _MOST_TABLES:
            raise ValueError(f"{count} {name.lower()}")
        return (int(getattr(table, name)(place)) for place in range(count))

    def _name(self, index: int) -> str:
        """The name of a tensor that is read; constants are declared when they are first asked for."""
        if index < 0:
            return ""
        if index not in self._names:
            said, value = _text(self._graph.Tensors(index).Name()) or f"tensor {index}", self._tensors[index]
            array = self._small(index)
            if array is not None:
                name = self.outline.constant(said, array)
                self._constants[name] = array
            else:
                name = self.outline.placeholder(said, [int(size) for size in value.shape], value.dtype)
            self._names[index] = name
        return self._names[index]

    def _small(self, index: int) -> Array | None:
        """The data of a constant, where it is small and in types that numpy has."""
        tensor, value = self._graph.Tensors(index), self._tensors[index]
        buffer = self._model.Buffers(tensor.Buffer())
        count = math.prod(int(size) for size in value.shape)
        if count > MOST_LOOKED_AT or buffer is None or value.dtype not in ("int32", "int64"):
            return None
        if count == 0:
            return np.zeros([int(size) for size in value.shape], value.dtype)
        data = buffer.DataAsNumpy()
        if isinstance(data, int):
            # Newer quantisers keep constants behind the flatbuffer.
            kept = slice(buffer.Offset(), buffer.Offset() + buffer.Size())
            data = np.frombuffer(self._model._tab.Bytes, np.uint8)[kept]
        if data.nbytes != count * dtype_of(value.dtype).itemsize:
            return None
        return np.asarray(data.view(value.dtype).reshape(value.shape))

    def _add(self, operator: Any, index: int) -> None:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        kind = self._kinds.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "UNKNOWN")
        if kind == "CUSTOM":
            kind = f"custom {_text(code.CustomCode())}"
        inputs = tuple(self._name(one) for one in self._indices(operator, "Inputs"))
        made = list(self._indices(operator, "Outputs"))
        if kind in _SPREAD and len(made) == 1 and inputs and self.outline.is_weight(inputs[0]):
            # The constant as it is stored: its readers spread it, or the runtime does so once.
            self._names[made[0]] = inputs[0]
            return
        if kind == "SHAPE" and is_known(self.outline.shape(inputs[0])):
            self._fold_shape(inputs[0], made[0])
            return
        outputs = tuple(Found(self._made(one), self._said(one)) for one in made)
        name = outputs[0].name if outputs else f"{kind} {index}"
        options = self._attributes(operator)
        attributes = Asked(options)
        node = Node(kind, name, inputs, outputs, attributes, self.outline, self._constants)
        origin = Origin(kind, name)
        constants = fold(node, [found.value.dtype for found in outputs if found.value])
        if constants is not None:
            for found, array in zip(outputs, constants, strict=True):
                self._constants[self.outline.constant(found.name, array)] = array
            return
        plan = planned(RULES.get(kind), node)
        if plan is None:
            self.outline.found("", [one for one in inputs if one], outputs, origin)
            return
        if plan.image:
            self.outline.declare_image(plan.inputs[0], plan.image)
        fused = options.get("FusedActivationFunction")
        also = {"activation": self._activation(fused)} if fused else {}
        beside = attributes.beside({name: value for name, value in options.items() if not value}, PLAIN)
        if also and also["activation"] not in _CUTS:
            beside = {"beside": " ".join((also["activation"], *beside.values()))}
        self.outline.found(plan.family, plan.inputs, outputs, origin, **plan.attributes, **also, **beside)

    def _fold_shape(self, data: str, index: int) -> None:
        """The sizes of a tensor are a constant once they are known."""
        array = np.array(self.outline.shape(data), dtype_of(self._tensors[index].dtype))
        self._names[index] = self.outline.constant(self._made(index), array)
        self._constants[self._names[index]] = array

    def _said(self, index: int) -> Value:
        """A computed tensor as the file says it: open sizes stay open, though a number stands there, and all are once
        an input has another size than the file's own.
        """
        tensor, value = self._graph.Tensors(index), self._tensors[index]
        if self._is_resized:
            return value._replace(shape=(ANONYMOUS,) * len(value.shape))
        declared = tuple(tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength()))
        return value._replace(shape=tuple(ANONYMOUS if size < 0 else size for size in declared) or value.shape)

    def _made(self, index: int) -> str:
        self._names[index] = self.outline.free(_text(self._graph.Tensors(index).Name()) or f"tensor {index}")
        return self._names[index]

    def _attributes(self, operator: Any) -> dict[str, Any]:
        """The numbers, and short lists of such, among an operator's options, by the schema's names."""
        name, table = self._options.get(operator.BuiltinOptionsType(), "NONE"), operator.BuiltinOptions()
        if name == "NONE" or table is None:
            return {}
        options = getattr(self._schema, name)()
        options.Init(table.Bytes, table.Pos)
        numbers, lists = _accessors(type(options))
        found: dict[str, Any] = {one: getattr(options, one)() for one in numbers}
        for one in lists:
            count = getattr(options, f"{one}Length")()
            if count <= _MOST_DIMENSIONS:
                found[one] = [getattr(options, one)(place) for place in range(count)]
        return found

    def _activation(self, number: int) -> str:
        names = vars(self._schema.ActivationFunctionType)
        return next((name.lower() for name, one in names.items() if one == number), "")


def _subgraph(model: Any, signature: str) -> int:
    """Which subgraph a signature runs. Raises InputError with the nearest for one that is not there."""
    found = (model.SignatureDefs(index) for index in range(model.SignatureDefsLength()))
    known = {_text(one.SignatureKey()): int(one.SubgraphIndex()) for one in found}
    if signature not in known:
        raise unknown("signature", signature, known)
    return known[signature]


def _accessors(options: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the accessors of a table of options that give one number, and of those that give a list's."""
    names = [name for name in vars(options) if name[0].isupper() and not name.startswith(("GetRootAs", "Init"))]
    vectors = {name.removesuffix("Length") for name in names if name.endswith("Length")}
    whole = ("Length", "AsNumpy", "IsNone", "BufferHasIdentifier")
    return tuple(name for name in names if name not in vectors and not name.endswith(whole)), tuple(vectors)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")

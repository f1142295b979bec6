"""Read from a model file its precision, inputs and batch; nothing is run, and no weights of ONNX files are read."""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fleetfront.errors import InputError
from fleetfront.files import check_regular
from fleetfront.graphs.input_shapes import ANONYMOUS, is_batch
from fleetfront.graphs.readers.onnx_skim import skim_onnx
from fleetfront.runtimes.base import Port
from fleetfront.targets import UNKNOWN_BATCH

#: Element types, as TensorFlow Lite's schema and ONNX name them -> precision. Others are not counted.
_TFLITE_TYPES = {
    "FLOAT32": ("fp32", 4),
    "FLOAT16": ("fp16", 2),
    "UINT8": ("int8", 1),
    "INT8": ("int8", 1),
    "INT4": ("w4", 1),
}
_ONNX_TYPES = {"FLOAT": "fp32", "FLOAT16": "fp16", "UINT8": "int8", "INT8": "int8", "UINT4": "w4", "INT4": "w4"}

#: Scales, zero points and biases have one dimension or none, and other types than the weights that they belong to.
_FEWEST_DIMENSIONS = 2
#: Tables of a flatbuffer may overlap, so that a small file can pretend to hold very many tensors.
_MOST_TENSORS = 200_000

_FLOATS = frozenset({"fp32", "fp16"})
#: Beginnings of ONNX operators with narrow activations, and the one with weights of few bits.
_NARROW_ACTIVATIONS = (
    "QuantizeLinear",
    "DynamicQuantize",
    "QLinear",
    "ConvInteger",
    "MatMulInteger",
    "QGemm",
    "QAttention",
)
_IN_BLOCKS, _FEW_BITS = "MatMulNBits", 4

#: Batch, channels and two sides; grey, colours, or colours with transparency.
_IMAGE_DIMENSIONS, _CHANNELS = 4, (1, 3, 4)
#: What models keep between words has four dimensions, too, and may have as few heads as images have colours.
_NO_IMAGE = re.compile(r"(?i)past|cache|key|value|state|mask|hidden")

_Told = TypeVar("_Told")


def file_precision(path: Path, word: str | None = None, *, computes_in_either: bool = False) -> str:
    """The precision to name a model file's measurements by.

    Args:
        path: the file. One that is missing, damaged or of an unknown kind tells nothing.
        word: what its user says; None takes what most of the weights have.
        computes_in_either: the runtime computes in the float type that it is asked for, whatever floats the file has.

    Returns:
        ``word`` if it is one of the file's or the file does not tell. Without one ``fp32`` then, and ``unknown`` where
        nothing here reads such files: ``.ort``, or the package is not installed.

    Raises:
        InputError: the file has no weights of the precision ``word``.
    """
    try:
        weights = _told(path, _WEIGHTS)
    except ImportError:
        return word or "unknown"
    if not weights or word == "unknown":
        return word or ("unknown" if path.suffix.lower() == ".ort" else "fp32")
    most = max(weights, key=lambda precision: weights[precision])
    held = set(weights)
    if held & {"w8", "w4"}:
        # What such files were called before they had words of their own.
        held.add("int8")
    if computes_in_either and held & _FLOATS:
        held |= _FLOATS
        most = "fp32" if most in _FLOATS else most
    if word is not None and word not in held:
        raise InputError(
            f"The weights of {path} are {' and '.join(sorted(weights))}, not {word}.",
            f"Leave --precision out, or use --precision {most}.",
        )
    return word or most


def file_batch(path: Path) -> int:
    """Images or sequences per inference as ``batch_of`` finds them, a batch that is left open taken as 1.

    ``UNKNOWN_BATCH`` where the file does not tell.
    """
    ports = file_inputs(path) or ()
    return batch_of(ports, [port.defaults or tuple(_known(port)) for port in ports])


def batch_of(ports: Sequence[Port], shapes: Sequence[Sequence[int]]) -> int:
    """How many images, sequences or rows inputs of these shapes hold; ``UNKNOWN_BATCH`` where nothing tells.

    What tells, first to last: a size that is named after the batch, inputs that are images, first sizes that the file
    leaves open without a name, and first sizes that are all 1. Others may count as well words, or layers of a cache.
    """
    told = list(zip(ports, shapes, strict=True))
    sizes = [(port, place, size, shape) for port, shape in told for place, size in enumerate(port.shape)]
    opened = [
        (size, shape[place])
        for port, place, size, shape in sizes
        if isinstance(size, str) and is_batch(size, place, len(shape))
    ]
    named = {fed for size, fed in opened if size.isidentifier()}
    images = {shape[0] for port, shape in told if _is_image(port, shape)}
    unnamed = {fed for size, fed in opened if size == ANONYMOUS}
    first = {shape[0] for shape in shapes if len(shape) > 1}
    found = named or images or unnamed or first & ({1} if len(first) == 1 else set())
    return found.pop() if len(found) == 1 else UNKNOWN_BATCH


def _is_image(port: Port, shape: Sequence[int]) -> bool:
    """Maps of features have four dimensions, too, but hardly ever so few channels."""
    is_shaped = len(shape) == _IMAGE_DIMENSIONS and (shape[1] in _CHANNELS or shape[3] in _CHANNELS)
    return is_shaped and not _NO_IMAGE.search(port.name)


def file_signatures(path: Path) -> tuple[str, ...]:
    """Names of the signatures of a ``.tflite`` file that has several, that of the subgraph which is run first.

    An empty name stands first if none is over that subgraph. Empty for other files, and where the file does not tell.
    """
    try:
        names = _told(path, _SIGNATURES) or []
    except ImportError:
        return ()
    first = next((name for name, subgraph in names if subgraph == 0), "")
    return (first, *(name for name, _ in names if name != first)) if len(names) > 1 else ()


def file_inputs(path: Path) -> tuple[Port, ...] | None:
    """The inputs that the file wants; None if it does not tell, or the package that reads it is not installed."""
    try:
        return _told(path, _INPUTS)
    except ImportError:
        return None


def _known(port: Port) -> Iterator[int]:
    return (size if isinstance(size, int) else 1 for size in port.shape)


def _told(path: Path, readers: Mapping[str, Callable[[Path], _Told]]) -> _Told | None:
    """Read the file by the reader of its format; None if there is no reader, or the file is damaged."""
    check_regular(path)
    read = readers.get(path.suffix.lower())
    try:
        return None if read is None else read(path)
    except (OSError, struct.error, LookupError, ArithmeticError, ValueError, TypeError, AttributeError):
        # Whoever opens the file says what is wrong with it; a schema's classes give None for a table that is absent.
        return None


def _tflite_weights(path: Path) -> Counter[str]:
    from ai_edge_litert import schema_py_generated as schema

    types = {getattr(schema.TensorType, name): told for name, told in _TFLITE_TYPES.items()}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    found: Counter[str] = Counter()
    narrow = frozenset(number for number, (precision, _) in types.items() if precision == "int8")
    for tensor in islice(_tflite_tensors(model), _MOST_TENSORS):
        precision, size = types.get(tensor.Type(), ("", 1))
        buffer = model.Buffers(tensor.Buffer()) if precision and tensor.ShapeLength() >= _FEWEST_DIMENSIONS else None
        if buffer is not None:
            found[precision] += buffer.DataLength() // size
    if found["w4"]:
        # These are the scales of its blocks.
        found.pop("fp16", None)
    return +found if _computes_narrow(model, narrow) else _alone(found)


def _alone(found: Counter[str]) -> Counter[str]:
    """The same of a file with activations in float: one weight of few bits names all narrow ones."""
    narrow = found.pop("int8", 0)
    found["w4" if found["w4"] else "w8"] += narrow
    return +found


def _computes_narrow(model: Any, types: frozenset[int]) -> bool:
    """Tell whether any operator of a ``.tflite`` file gives one of ``types``."""
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        for operator in islice((graph.Operators(index) for index in range(graph.OperatorsLength())), _MOST_TENSORS):
            given = (graph.Tensors(operator.Outputs(place)) for place in range(operator.OutputsLength()))
            if any(tensor.Type() in types for tensor in given):
                return True
    return False


def _tflite_tensors(model: Any) -> Iterator[Any]:
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        yield from (graph.Tensors(index) for index in range(graph.TensorsLength()))


def _tflite_inputs(path: Path) -> tuple[Port, ...]:
    from ai_edge_litert import schema_py_generated as schema

    words = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    names = {}
    for signature in (model.SignatureDefs(index) for index in range(model.SignatureDefsLength())):
        if signature.SubgraphIndex() == 0:
            fed = (signature.Inputs(index) for index in range(signature.InputsLength()))
            names = {one.TensorIndex(): one.Name() for one in fed}
    ports = []
    for index in (graph.Inputs(place) for place in range(graph.InputsLength())):
        tensor = graph.Tensors(index)
        defaults = tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
        declared = tuple(tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength())) or defaults
        shape = tuple(size if size >= 0 else ANONYMOUS for size in declared)
        name = (names.get(index) or tensor.Name() or b"").decode(errors="replace")
        ports.append(Port(name, shape, words.get(tensor.Type(), ""), defaults if ANONYMOUS in shape else ()))
    return tuple(ports)


def _tflite_signatures(path: Path) -> list[tuple[str, int]]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    found = (model.SignatureDefs(index) for index in range(model.SignatureDefsLength()))
    return [((one.SignatureKey() or b"").decode(errors="replace"), one.SubgraphIndex()) for one in found]


def onnx_graph(path: Path) -> Any:
    """The graph of an ONNX file. Raises ValueError if it is none, ImportError without the package."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_from_string(skim_onnx(path)).graph
    except DecodeError as error:
        raise ValueError("no ONNX file") from error


def _onnx_inputs(path: Path) -> tuple[Port, ...]:
    from onnx.helper import tensor_dtype_to_np_dtype

    graph = onnx_graph(path)
    weights = {tensor.name for tensor in graph.initializer}
    ports = []
    for port in graph.input:
        if port.name in weights:
            continue
        tensor = port.type.tensor_type
        shape: tuple[int | str, ...] = tuple(
            size.dim_value if size.HasField("dim_value") and size.dim_value >= 0 else size.dim_param or ANONYMOUS
            for size in tensor.shape.dim
        )
        if not tensor.HasField("shape"):
            # Not even how many sizes it has: as a scalar, which runtimes take it for, it would be timed at one number.
            shape = (ANONYMOUS,)
        ports.append(Port(port.name, shape, tensor_dtype_to_np_dtype(tensor.elem_type).name))
    return tuple(ports)


def _onnx_weights(path: Path) -> Counter[str]:
    import onnx

    graph = onnx_graph(path)
    types = {getattr(onnx.TensorProto, name): precision for name, precision in _ONNX_TYPES.items()}
    constants = (attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t"))
    found: Counter[str] = Counter()
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type in types and len(tensor.dims) >= _FEWEST_DIMENSIONS:
            found[types[tensor.data_type]] += math.prod(tensor.dims)
    # Float weights may be meant to be rounded when the file is loaded: both words are right.
    found["int8"] += sum(node.op_type == "QuantizeLinear" for node in graph.node)
    if any(node.op_type.startswith(_NARROW_ACTIVATIONS) for node in graph.node):
        return +found
    settings = (attribute for node in graph.node if node.op_type == _IN_BLOCKS for attribute in node.attribute)
    found["w4"] += sum(attribute.name == "bits" and attribute.i == _FEW_BITS for attribute in settings)
    return _alone(found)


_WEIGHTS: Mapping[str, Callable[[Path], Counter[str]]] = {".tflite": _tflite_weights, ".onnx": _onnx_weights}
_INPUTS: Mapping[str, Callable[[Path], tuple[Port, ...]]] = {".tflite": _tflite_inputs, ".onnx": _onnx_inputs}
_SIGNATURES: Mapping[str, Callable[[Path], list[tuple[str, int]]]] = {".tflite": _tflite_signatures}

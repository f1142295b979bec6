"""Read from a model file which number format its weights have; nothing is run, and no external data is loaded."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError

#: Element types, as TensorFlow Lite's schema and ONNX name them -> precision. Others are not counted.
_TFLITE_TYPES = {"FLOAT32": ("fp32", 4), "FLOAT16": ("fp16", 2), "UINT8": ("int8", 1), "INT8": ("int8", 1)}
_ONNX_TYPES = {"FLOAT": "fp32", "FLOAT16": "fp16", "UINT8": "int8", "INT8": "int8"}

#: Scales, zero points and biases have one dimension or none, and other types than the weights that they belong to.
_FEWEST_DIMENSIONS = 2
#: Tables of a flatbuffer may overlap, so that a small file can pretend to hold very many tensors.
_MOST_TENSORS = 200_000

_FLOATS = frozenset({"fp32", "fp16"})


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
        weights = _weights(path)
    except ImportError:
        return word or "unknown"
    if not weights or word == "unknown":
        return word or ("unknown" if path.suffix.lower() == ".ort" else "fp32")
    most = max(weights, key=lambda precision: weights[precision])
    held = set(weights)
    if computes_in_either and held & _FLOATS:
        held |= _FLOATS
        most = "fp32" if most in _FLOATS else most
    if word is not None and word not in held:
        raise InputError(
            f"The weights of {path} are {' and '.join(sorted(weights))}, not {word}.",
            f"Leave --precision out, or use --precision {most}.",
        )
    return word or most


def _weights(path: Path) -> Counter[str]:
    """Precision -> how many of the file's weights have it; empty if it does not tell."""
    readers: dict[str, Callable[[bytes], Counter[str]]] = {".tflite": _tflite_weights, ".onnx": _onnx_weights}
    count = readers.get(path.suffix.lower())
    try:
        return Counter() if count is None else count(path.read_bytes())
    except (OSError, struct.error, LookupError, ArithmeticError, ValueError, TypeError):
        # Whoever opens the file says what is wrong with it.
        return Counter()


def _tflite_weights(data: bytes) -> Counter[str]:
    from ai_edge_litert import schema_py_generated as schema

    types = {getattr(schema.TensorType, name): told for name, told in _TFLITE_TYPES.items()}
    model = schema.Model.GetRootAs(data, 0)
    found: Counter[str] = Counter()
    for tensor in islice(_tflite_tensors(model), _MOST_TENSORS):
        precision, size = types.get(tensor.Type(), ("", 1))
        buffer = model.Buffers(tensor.Buffer()) if precision and tensor.ShapeLength() >= _FEWEST_DIMENSIONS else None
        if buffer is not None:
            found[precision] += buffer.DataLength() // size
    return +found


def _tflite_tensors(model: Any) -> Iterator[Any]:
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        yield from (graph.Tensors(index) for index in range(graph.TensorsLength()))


def _onnx_weights(data: bytes) -> Counter[str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load_from_string(data).graph
    except DecodeError:
        return Counter()
    types = {getattr(onnx.TensorProto, name): precision for name, precision in _ONNX_TYPES.items()}
    constants = (attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t"))
    found: Counter[str] = Counter()
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type in types and len(tensor.dims) >= _FEWEST_DIMENSIONS:
            found[types[tensor.data_type]] += math.prod(tensor.dims)
    # Float weights may be meant to be rounded when the file is loaded: both words are right.
    found["int8"] += sum(node.op_type == "QuantizeLinear" for node in graph.node)
    return +found

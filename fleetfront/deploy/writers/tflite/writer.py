"""Writes a Graph as a TFLite file: which operators each family becomes, channels last. The flatbuffer itself is in
``tflite.flatbuffer``, layouts are in ``tflite.layout``, proving the result is in ``proof``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.deploy.writers.tflite.layout import (
    TO_NHWC,
    keeps_order,
    padding_scheme,
    permuted,
    stored,
    stored_axis,
    stored_permutation,
    window_shares,
)
from fleetfront.deploy.writers.tflite.tensors import TensorsOfFile
from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.prune import drop_unread

if TYPE_CHECKING:
    pass

#: Families whose TFLite operators take an activation in, and the activations that they take.
_FUSING = ("conv2d", "linear", "add", "multiply", "max_pool2d", "average_pool2d")
_FUSED = {"relu": "RELU", "relu6": "RELU6"}


def write_tflite(graph: Graph) -> bytes:
    """The bytes of a ``.tflite`` file: images NHWC, inputs and outputs named as in ``graph``, batch-norm folded,
    operators that reach no output left out.

    The signature is ``serving_default``. Symbolic dimensions are 1 until the caller resizes them. ``graph.labels`` and
    the oldest fitting runtime go into the metadata. Equal graphs give equal bytes.

    Raises:
        InputError: the graph holds something that TFLite cannot say.
        MissingDependency: ai-edge-litert is not installed.
    """
    from fleetfront.deploy.writers.tflite.flatbuffer import TfliteFile

    folded = fold_batch_norm(drop_unread(graph))
    file = TfliteFile(graph.name)
    writing = TensorsOfFile(folded, file)
    for operator, activation in _with_activations(folded):
        if operator.family not in _WRITE:
            raise InputError(
                f"Operator family {operator.family!r} has no TFLite form here.", "Teach deploy/tflite_writer.py it."
            )
        _WRITE[operator.family](writing, operator, activation)
    inputs = {name: writing.index(name) for name in graph.inputs}
    outputs = {name: writing.index(name) for name in graph.outputs}
    return file.finish(inputs, outputs, graph.labels)


def minimum_runtime(data: bytes) -> str:
    """The oldest TFLite runtime that has every operator of a file, e.g. ``tflite 2.9.0``, as its metadata says.

    Raises InputError if ``data`` is no TFLite file or does not say.
    """
    from fleetfront.deploy.writers.tflite.flatbuffer import MINIMUM_RUNTIME, metadata

    version = metadata(data).get(MINIMUM_RUNTIME, b"").rstrip(b"\0").decode()
    if not version:
        raise InputError("This TFLite file does not say which runtime it needs.", "Write it with write_tflite.")
    return f"tflite {version}"


def _with_activations(graph: Graph) -> list[tuple[Operator, str]]:
    """The operators with the activation that each takes in; activations taken in are left out."""
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    result: list[tuple[Operator, str]] = []
    place: dict[str, int] = {}
    for operator in graph.operators:
        source = place.get(operator.inputs[0])
        if operator.family in _FUSED and source is not None and readers[operator.inputs[0]] == 1:
            producer, activation = result[source]
            if producer.family in _FUSING and activation == "NONE":
                result[source] = (replace(producer, output=operator.output), _FUSED[operator.family])
                continue
        place[operator.output] = len(result)
        result.append((operator, "NONE"))
    return result


def _spatial(writing: TensorsOfFile, name: str) -> tuple[int, int]:
    _, _, height, width = writing.shape(name)
    return int(height), int(width)


def _conv2d(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    attributes, data = operator.attributes, operator.inputs[0]
    weight = writing.weight(operator, 1)
    dilation = tuple(attributes.get("dilation", (1, 1)))
    stride, groups = attributes["stride"], attributes["groups"]
    scheme = padding_scheme(_spatial(writing, data), weight.shape[2:], stride, dilation, attributes["padding"])
    source = writing.index(data) if scheme else writing.padded(operator)
    options: dict[str, Any] = {
        "padding": scheme or "VALID",
        "strideH": stride[0],
        "strideW": stride[1],
        "dilationHFactor": dilation[0],
        "dilationWFactor": dilation[1],
        "fusedActivationFunction": activation,
    }
    bias = writing.bias(operator, weight.shape[0])
    if groups > 1 and groups == writing.shape(data)[1]:
        kernel = writing.constant(operator.inputs[1], weight.transpose(1, 2, 3, 0))
        options["depthMultiplier"] = weight.shape[0] // groups
        kind, version = "DEPTHWISE_CONV_2D", 1 if dilation == (1, 1) else 2
    else:
        kernel = writing.constant(operator.inputs[1], weight.transpose(0, 2, 3, 1))
        kind, version = "CONV_2D", 1 if groups == 1 else 6
    place = writing.output(operator.output)
    writing.file.operator(kind, (source, kernel, bias), place, version=version, **options)


def _linear(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    data, weight = operator.inputs[:2]
    shape = writing.shape(operator.output)
    operands = (
        writing.plain(data, operator.output),
        writing.plain(weight, operator.output),
        writing.bias(operator, int(shape[-1])),
    )
    # A graph's linear keeps all dimensions but the last; TFLite's flattens them unless told otherwise.
    keeps = len(shape) != 2
    place = writing.between(operator.output, "nchw", shape) if len(shape) == 4 else writing.output(operator.output)
    writing.file.operator(
        "FULLY_CONNECTED",
        operands,
        place,
        version=5 if keeps else 1,
        keepNumDims=keeps,
        fusedActivationFunction=activation,
    )
    if len(shape) == 4:
        writing.store(place, operator.output)


def _binary(kind: str) -> _Write:
    def write(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
        operands = [writing.operand(name, operator) for name in operator.inputs]
        writing.file.operator(kind, operands, writing.output(operator.output), fusedActivationFunction=activation)

    return write


def _unary(kind: str) -> _Write:
    def write(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
        writing.file.operator(kind, (writing.index(operator.inputs[0]),), writing.output(operator.output))

    return write


def _hard_sigmoid(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    """relu6(x + 3) / 6: TFLite has no operator of its own, and its delegates know this form."""
    dtype = writing.dtype(operator.output)
    three, sixth = (writing.file.constant(str(value), np.array(value, dtype=dtype)) for value in (3, 1 / 6))
    shifted = writing.between(operator.output, "relu6", stored(writing.shape(operator.output)))
    data = writing.index(operator.inputs[0])
    writing.file.operator("ADD", (data, three), shifted, fusedActivationFunction="RELU6")
    writing.file.operator("MUL", (shifted, sixth), writing.output(operator.output), fusedActivationFunction="NONE")


def _pool_options(operator: Operator, scheme: str, activation: str) -> dict[str, Any]:
    (filter_height, filter_width), stride = operator.attributes["kernel"], operator.attributes["stride"]
    return {
        "padding": scheme,
        "strideH": stride[0],
        "strideW": stride[1],
        "filterHeight": filter_height,
        "filterWidth": filter_width,
        "fusedActivationFunction": activation,
    }


def _pool_scheme(writing: TensorsOfFile, operator: Operator) -> str:
    attributes = operator.attributes
    size = _spatial(writing, operator.inputs[0])
    return padding_scheme(size, attributes["kernel"], attributes["stride"], (1, 1), attributes["padding"])


def _max_pool2d(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    scheme = _pool_scheme(writing, operator)
    source = writing.index(operator.inputs[0]) if scheme else writing.padded(operator, float("-inf"))
    options = _pool_options(operator, scheme or "VALID", activation)
    writing.file.operator("MAX_POOL_2D", (source,), writing.output(operator.output), **options)


def _average_pool2d(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    """TFLite leaves SAME padding out of an average; any other padding is counted in and then taken out again."""
    scheme = _pool_scheme(writing, operator)
    if scheme:
        options = _pool_options(operator, scheme, activation)
        source = writing.index(operator.inputs[0])
        writing.file.operator("AVERAGE_POOL_2D", (source,), writing.output(operator.output), **options)
        return
    attributes, output = operator.attributes, operator.output
    counted = writing.between(output, "counted", stored(writing.shape(output)))
    options = _pool_options(operator, "VALID", "NONE")
    writing.file.operator("AVERAGE_POOL_2D", (writing.padded(operator),), counted, **options)
    size = _spatial(writing, operator.inputs[0])
    shares = window_shares(size, attributes["kernel"], attributes["stride"], attributes["padding"])
    shares_index = writing.file.constant(f"{output}/shares", shares.astype(writing.dtype(output)))
    place = writing.output(output)
    writing.file.operator("MUL", (counted, shares_index), place, fusedActivationFunction=activation)


def _global_average_pool(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    axes = writing.file.constant("axes", np.array((1, 2), dtype=np.int32))
    place = writing.output(operator.output)
    writing.file.operator("MEAN", (writing.index(operator.inputs[0]), axes), place, keepDims=True)


def _softmax(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    """TFLite's softmax runs over the last stored axis, so another one is moved there and back."""
    data, output = writing.index(operator.inputs[0]), operator.output
    shape = stored(writing.shape(output))
    axis, last = stored_axis(operator.attributes["axis"], len(shape)), len(shape) - 1
    if axis == last:
        writing.file.operator("SOFTMAX", (data,), writing.output(output), beta=1.0)
        return
    swap = list(range(len(shape)))
    swap[axis], swap[last] = last, axis
    swapped = permuted(shape, swap)
    moved = writing.transpose(data, shape, swap, writing.between(output, "swapped", swapped))
    made = writing.file.operator("SOFTMAX", (moved,), writing.between(output, "softmax", swapped), beta=1.0)
    writing.transpose(made, swapped, swap, writing.output(output))


def _concat(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    operands = [writing.index(name) for name in operator.inputs]
    axis = stored_axis(operator.attributes["axis"], len(writing.shape(operator.output)))
    place = writing.output(operator.output)
    writing.file.operator("CONCATENATION", operands, place, axis=axis, fusedActivationFunction="NONE")


def _reshape(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    """Elements keep the graph's order, so an image is turned to NCHW first unless its order is the same."""
    data, output = operator.inputs[0], operator.output
    before, after = writing.shape(data), writing.shape(output)
    if len(before) == 4 and not keeps_order(before, TO_NHWC):
        source = writing.plain(data, output)
    else:
        source = writing.index(data)
    if len(after) == 4 and not keeps_order(after, TO_NHWC):
        writing.store(writing.reshape(source, after, writing.between(output, "nchw", after)), output)
    else:
        writing.reshape(source, stored(after), writing.output(output))


def _transpose(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    data = operator.inputs[0]
    permutation = stored_permutation(operator.attributes["permutation"])
    writing.transpose(writing.index(data), stored(writing.shape(data)), permutation, writing.output(operator.output))


def _cast(writing: TensorsOfFile, operator: Operator, activation: str) -> None:
    data, output = operator.inputs[0], operator.output
    before, after = writing.dtype(data), writing.dtype(output)
    if data in writing.graph.weights and (before, after) == ("float16", "float32"):
        writing.halves[output] = data
        if output in writing.graph.outputs:
            raise InputError(f"Output {output!r} is a constant.", "Compute something from the inputs.")
        return
    source = writing.index(data)
    writing.file.operator("CAST", (source,), writing.output(output), inDataType=before, outDataType=after)


_Write = Callable[[TensorsOfFile, Operator, str], None]

#: Family -> what writes it, given the activation to take in.
_WRITE: Mapping[str, _Write] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "relu": _unary("RELU"),
    "relu6": _unary("RELU6"),
    "hard_swish": _unary("HARD_SWISH"),
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid": _unary("LOGISTIC"),
    "add": _binary("ADD"),
    "multiply": _binary("MUL"),
    "max_pool2d": _max_pool2d,
    "average_pool2d": _average_pool2d,
    "global_average_pool": _global_average_pool,
    "softmax": _softmax,
    "concat": _concat,
    "reshape": _reshape,
    "flatten": _reshape,
    "transpose": _transpose,
    "cast": _cast,
}

"""Write a Graph as a TFLite file, channels last: where each tensor lies in the file, and what is put between operators.

What a family becomes is in ``graphs.operators``, the flatbuffer in ``tflite.flatbuffer``; proving the result is in
``proof``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.deploy.writers.tflite.versions import oldest_runtime
from fleetfront.errors import InputError
from fleetfront.graphs.channels_last import TO_NCHW, TO_NHWC, aligned, keeps_order, permuted, stored
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph, Operator
from fleetfront.graphs.operators.base import IMAGE, Shape, Value
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.graphs.prune import drop_unread

if TYPE_CHECKING:
    from fleetfront.deploy.writers.tflite.flatbuffer import TfliteFile


def write_tflite(graph: Graph) -> bytes:
    """The bytes of a ``.tflite`` file: images NHWC, inputs and outputs named as in ``graph``, batch-norm folded,
    operators that reach no output left out.

    The signature is ``serving_default``. Symbolic dimensions are 1 until the caller resizes them. ``graph.labels`` and
    the oldest fitting runtime go into the metadata. Equal graphs give equal bytes.

    Raises:
        InputError: the graph holds something that TFLite cannot say, or placeholders for weights.
        MissingDependency: ai-edge-litert is not installed.
    """
    from fleetfront.deploy.writers.tflite.flatbuffer import TfliteFile

    if (exported := graph.exported("tflite")) is not None:
        return exported
    graph.check_weights()
    folded = fold_batch_norm(drop_unread(graph))
    file = TfliteFile(graph.name)
    tensors = _Tensors(folded, file)
    for operator, activation in _with_activations(folded):
        write = family_of(operator.family).tflite
        if write is None:
            raise InputError(f"Operator family {operator.family!r} has no TFLite form.", "Leave tflite out.")
        write(tensors, operator, activation)
    inputs, outputs = ({name: tensors.index(name) for name in names} for names in (graph.inputs, graph.outputs))
    return file.finish(inputs, outputs, graph.labels)


def minimum_runtime(data: bytes) -> str:
    """The oldest TFLite runtime that has every operator of a file, whoever wrote it, e.g. ``tflite 2.9.0``.

    Raises InputError if ``data`` is no TFLite file.
    """
    from fleetfront.deploy.writers.tflite.flatbuffer import custom_operators, operator_versions, unpack_model

    model = unpack_model(data)
    custom = custom_operators(model)
    beside = f" with the custom operator(s) {', '.join(custom)}" if custom else ""
    return f"tflite {oldest_runtime(operator_versions(model))}{beside}"


def _with_activations(graph: Graph) -> list[tuple[Operator, str]]:
    """The operators with the activation that each takes in; activations taken in are left out."""
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    result: list[tuple[Operator, str]] = []
    place: dict[str, int] = {}
    for operator in graph.operators:
        fused = family_of(operator.family).fused_as
        source = place.get(operator.inputs[0]) if fused else None
        if source is not None and readers[operator.inputs[0]] == 1:
            producer, activation = result[source]
            if family_of(producer.family).fuses and activation == "NONE":
                result[source] = (replace(producer, outputs=operator.outputs), fused)
                continue
        place.update(dict.fromkeys(operator.outputs, len(result)))
        result.append((operator, "NONE"))
    return result


class _Tensors:
    """Knows where each tensor of the graph is in the file, always in its stored layout: a TfliteEmitter."""

    def __init__(self, graph: Graph, file: TfliteFile) -> None:
        self._graph = graph
        self._file = file
        self._index: dict[str, int] = {}
        #: Tensor -> the float16 weight that it is cast from: written where it is read, in the layout asked for.
        self._halves: dict[str, str] = {}
        for name in graph.inputs:
            self.output(name)

    def value(self, name: str) -> Value:
        return self._graph.value(name)

    def array(self, name: str) -> Array | None:
        return self._graph.weights.get(self._halves.get(name, name))

    def index(self, name: str) -> int:
        """A computed tensor in its stored layout, a weight as the graph has it."""
        array = self.array(name)
        return self._index[name] if array is None else self._stored(name, array)

    def read(self, name: str, operator: Operator, layout: str) -> int:
        value, array = self.value(name), self.array(name)
        if array is not None:
            return self._stored(name, aligned(array) if layout == IMAGE else array)
        is_image, output = value.layout == IMAGE, operator.outputs[0]
        if is_image == (layout == IMAGE):
            return self._index[name]
        if is_image:
            place = self.between(output, f"{name}/nchw", value.shape)
            return self.transpose(self._index[name], stored(value.shape, IMAGE), TO_NCHW, place)
        wide = (1,) * (4 - len(value.shape)) + value.shape
        place = self.between(output, f"{name}/nhwc", permuted(wide, TO_NHWC))
        if keeps_order(wide, TO_NHWC):
            return self.reshape(self._index[name], permuted(wide, TO_NHWC), place)
        data = self._index[name]
        if wide != value.shape:
            data = self.reshape(data, wide, self.between(output, f"{name}/wide", wide))
        return self.transpose(data, wide, TO_NHWC, place)

    def output(self, name: str) -> int:
        value = self.value(name)
        self._index[name] = self._file.tensor(name, stored(value.shape, value.layout), value.dtype)
        return self._index[name]

    def between(self, output: str, step: str, shape: Shape) -> int:
        return self._file.tensor(f"{output}/{step}", shape, self.value(output).dtype)

    def constant(self, name: str, array: Array) -> int:
        return self._file.constant(name, array)

    def weight(self, operator: Operator, position: int) -> Array:
        name = operator.inputs[position]
        array = self.array(name)
        if array is None:
            raise InputError(
                f"{operator.family} {operator.output!r} computes its operand {name!r}; TFLite wants it constant.",
                "Make it a weight of the graph, or write ONNX.",
            )
        return array

    def store_weight(self, operator: Operator, position: int, array: Array) -> int:
        return self._stored(operator.inputs[position], array)

    def bias(self, operator: Operator, length: int) -> int:
        if len(operator.inputs) > 2:
            return self.read(operator.inputs[2], operator, "")
        return self.constant(f"{operator.output}/bias", np.zeros(length, dtype=self.value(operator.output).dtype))

    def keep_half(self, output: str, weight: str) -> None:
        if output in self._graph.outputs:
            raise InputError(f"Output {output!r} is a constant.", "Compute something from the inputs.")
        self._halves[output] = weight

    def _stored(self, name: str, array: Array) -> int:
        """``array``, which the weight or half ``name`` holds; a half is spelled out as its delegates know it."""
        if name not in self._halves:
            return self.constant(name, array)
        half = self.constant(self._halves[name], array)
        place = self._file.tensor(name, array.shape, self.value(name).dtype)
        return self.operator("DEQUANTIZE", (half,), (place,), table="DequantizeOptions", version=3)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        table: str = "",
        version: int = 1,
        **options: Any,
    ) -> int:
        return self._file.operator(kind, inputs, outputs, table=table, version=version, **options)

    def transpose(self, data: int, shape: Shape, permutation: Sequence[int], output: int) -> int:
        if keeps_order(shape, permutation):
            return self.reshape(data, permuted(shape, permutation), output)
        axes = self.constant("permutation", np.array(permutation, dtype=np.int32))
        version = 1 if len(shape) <= 4 else 4 if len(shape) == 5 else 6
        return self.operator("TRANSPOSE", (data, axes), (output,), table="TransposeOptions", version=version)

    def reshape(self, data: int, shape: Shape, output: int) -> int:
        if sum(isinstance(d, str) for d in shape) > 1:
            raise InputError(f"A reshape to {shape} has two unknown dimensions.", "Give all but one of them a number.")
        target = [-1 if isinstance(d, str) else int(d) for d in shape]
        constant = self.constant("shape", np.array(target, dtype=np.int32))
        return self.operator("RESHAPE", (data, constant), (output,), table="ReshapeOptions", newShape=target)

    def store(self, plain: int, output: str) -> None:
        self.transpose(plain, self.value(output).shape, TO_NHWC, self.output(output))

    def padded(self, operator: Operator, value: float | None = None, place: int | None = None) -> int:
        data = operator.inputs[0]
        before = self.value(data)
        batch, height, width, channels = stored(before.shape, IMAGE)
        top, left, bottom, right = operator.attributes["padding"]
        pads = self.constant("pads", np.array([(0, 0), (top, bottom), (left, right), (0, 0)], dtype=np.int32))
        shape = (batch, int(height) + top + bottom, int(width) + left + right, channels)
        place = self.between(operator.output, "padded", shape) if place is None else place
        source = self.read(data, operator, IMAGE)
        if value is None:
            return self.operator("PAD", (source, pads), (place,), table="PadOptions")
        filling = self.constant("filling", np.array([value], dtype=before.dtype))
        return self.operator("PADV2", (source, pads, filling), (place,), table="PadV2Options")

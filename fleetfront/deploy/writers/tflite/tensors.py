"""Where each tensor of a graph lies in a TFLite file that is being written: stored layouts, constants, what is put
between operators. Which operators a graph's families become is in ``tflite.writer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.deploy.writers.tflite.layout import TO_NCHW, TO_NHWC, aligned, keeps_order, permuted, stored
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph, Operator
from fleetfront.graphs.operators import Shape

if TYPE_CHECKING:
    from fleetfront.deploy.writers.tflite.flatbuffer import TfliteFile


class TensorsOfFile:
    """Knows where each tensor of the graph is in the file, always in its stored layout."""

    def __init__(self, graph: Graph, file: TfliteFile) -> None:
        self.graph = graph
        self.file = file
        self._index: dict[str, int] = {}
        #: Tensor -> the float16 weight that it is cast from: written where it is read, in the layout asked for.
        self.halves: dict[str, str] = {}
        for name in graph.inputs:
            self.output(name)

    def shape(self, name: str) -> Shape:
        """Shape in the graph, channels first."""
        if name in self.graph.tensors:
            return self.graph.tensors[name].shape
        return tuple(self.graph.weights[name].shape)

    def dtype(self, name: str) -> str:
        return self.graph.tensors[name].dtype if name in self.graph.tensors else self.graph.weights[name].dtype.name

    def index(self, name: str) -> int:
        """The tensor or weight ``name`` in its stored layout."""
        if name in self._index:
            return self._index[name]
        array = self.graph.weights[self.halves.get(name, name)]
        return self.constant(name, aligned(array, array.ndim))

    def constant(self, name: str, array: Array) -> int:
        """``array``, which the weight or half ``name`` holds; a half is spelled out as its delegates know it."""
        if name not in self.halves:
            return self.file.constant(name, array)
        stored_half = self.file.constant(self.halves[name], array)
        place = self.file.tensor(name, array.shape, self.dtype(name))
        return self.file.operator("DEQUANTIZE", (stored_half,), place, version=3)

    def output(self, name: str) -> int:
        """Make the tensor that an operator is about to fill."""
        self._index[name] = self.file.tensor(name, stored(self.shape(name)), self.dtype(name))
        return self._index[name]

    def between(self, output: str, step: str, shape: Shape) -> int:
        """A tensor on the way to ``output``, ``shape`` as stored."""
        return self.file.tensor(f"{output}/{step}", shape, self.dtype(output))

    def weight(self, operator: Operator, position: int) -> Array:
        """An operand that must be constant."""
        name = operator.inputs[position]
        name = self.halves.get(name, name)
        if name not in self.graph.weights:
            raise InputError(
                f"{operator.family} {operator.output!r} computes its operand {name!r}; TFLite wants it constant.",
                "Make it a weight of the graph, or write ONNX.",
            )
        return self.graph.weights[name]

    def bias(self, operator: Operator, length: int) -> int:
        """The bias, or zeros: older runtimes and delegates insist on one."""
        if len(operator.inputs) > 2:
            return self.index(operator.inputs[2])
        return self.file.constant(f"{operator.output}/bias", np.zeros(length, dtype=self.dtype(operator.output)))

    def transpose(self, data: int, shape: Shape, permutation: Sequence[int], output: int) -> int:
        """Fill ``output`` with ``data`` of (stored) ``shape``; a reshape where no element moves."""
        if keeps_order(shape, permutation):
            return self.reshape(data, permuted(shape, permutation), output)
        axes = self.file.constant("permutation", np.array(permutation, dtype=np.int32))
        version = 1 if len(shape) <= 4 else 4 if len(shape) == 5 else 6
        return self.file.operator("TRANSPOSE", (data, axes), output, version=version)

    def reshape(self, data: int, shape: Shape, output: int) -> int:
        if sum(isinstance(d, str) for d in shape) > 1:
            raise InputError(f"A reshape to {shape} has two unknown dimensions.", "Give all but one of them a number.")
        target = [-1 if isinstance(d, str) else int(d) for d in shape]
        constant = self.file.constant("shape", np.array(target, dtype=np.int32))
        return self.file.operator("RESHAPE", (data, constant), output, newShape=target)

    def plain(self, name: str, output: str) -> int:
        """The tensor ``name`` with its elements in the graph's own order."""
        shape, weight = self.shape(name), self.halves.get(name, name)
        if weight in self.graph.weights:
            return self.constant(name, self.graph.weights[weight])
        if len(shape) != 4:
            return self.index(name)
        return self.transpose(self.index(name), stored(shape), TO_NCHW, self.between(output, f"{name}/nchw", shape))

    def store(self, plain: int, output: str) -> None:
        """Fill ``output`` from a tensor of its shape in the graph's own order."""
        self.transpose(plain, self.shape(output), TO_NHWC, self.output(output))

    def operand(self, name: str, operator: Operator) -> int:
        """An operand of broadcasting, as it must be stored beside the operator's output."""
        shape, rank = self.shape(name), len(self.shape(operator.output))
        weight = self.halves.get(name, name)
        if weight in self.graph.weights:
            return self.constant(name, aligned(self.graph.weights[weight], rank))
        if rank == 4 and len(shape) < 4:
            wide = (1,) * (4 - len(shape)) + shape
            place = self.between(operator.output, f"{name}/nhwc", stored(wide))
            if keeps_order(wide, TO_NHWC):
                return self.reshape(self.index(name), stored(wide), place)
            widened = self.reshape(self.index(name), wide, self.between(operator.output, f"{name}/wide", wide))
            return self.transpose(widened, wide, TO_NHWC, place)
        return self.plain(name, operator.output) if rank > 4 else self.index(name)

    def padded(self, operator: Operator, value: float | None = None) -> int:
        """The operator's image with its padding written out: zeros, or ``value``."""
        data = operator.inputs[0]
        batch, height, width, channels = stored(self.shape(data))
        top, left, bottom, right = operator.attributes["padding"]
        pads = self.file.constant("pads", np.array([(0, 0), (top, bottom), (left, right), (0, 0)], dtype=np.int32))
        shape = (batch, int(height) + top + bottom, int(width) + left + right, channels)
        place = self.between(operator.output, "padded", shape)
        if value is None:
            return self.file.operator("PAD", (self.index(data), pads), place)
        filling = self.file.constant("filling", np.array([value], dtype=self.dtype(data)))
        return self.file.operator("PADV2", (self.index(data), pads, filling), place)

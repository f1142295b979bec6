"""Protocols through which operator families write themselves into files; the writers of ``deploy`` implement them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fleetfront.graphs.graph import Array, Operator
    from fleetfront.graphs.operators.base import Shape, Value


class Emitter(Protocol):
    """A file that is being written, with its graph."""

    def value(self, name: str) -> Value:
        """Shape, type and layout of a tensor or weight of the graph."""

    def array(self, name: str) -> Array | None:
        """The weight of that name, None if it is computed."""


class OnnxEmitter(Emitter, Protocol):
    """An ONNX file; operands and results are names."""

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Append a node, named after its first output."""

    def constant(self, name: str, array: Array) -> str:
        """Store an array under ``name``, or a free name like it, which is returned."""

    def free(self, name: str) -> str:
        """A name like ``name`` that the graph does not use."""

    def require(self, opset: int) -> None:
        """Write for a later operator set than usual, as something in the file is younger."""

    def element_type(self, dtype: str) -> int:
        """ONNX's number of a numpy dtype name."""


class TfliteEmitter(Emitter, Protocol):
    """A TFLite file; operands and results are indices of its tensors. Images are stored channels last."""

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
        """Append an operator with its ``table`` of options, enumerations by name. Gives its first output."""

    def read(self, name: str, operator: Operator, layout: str) -> int:
        """An operand of an operator in the order of ``layout``: images channels last, all else as the graph has it."""

    def output(self, name: str) -> int:
        """Make the tensor of the graph that an operator is about to fill."""

    def between(self, output: str, step: str, shape: Shape) -> int:
        """A tensor on the way to ``output``, of ``shape`` as stored."""

    def constant(self, name: str, array: Array) -> int:
        """A tensor with data as it is to be stored; equal arrays become one."""

    def weight(self, operator: Operator, position: int) -> Array:
        """An operand that must be constant. Raises InputError if it is computed."""

    def store_weight(self, operator: Operator, position: int, array: Array) -> int:
        """A tensor with ``array``, which is that operand rearranged."""

    def bias(self, operator: Operator, length: int) -> int:
        """Operand 2, or zeros: older runtimes and delegates insist on one."""

    def keep_half(self, output: str, weight: str) -> None:
        """``output`` is the float32 form of a float16 weight: it is spread where it is read."""

    def transpose(self, data: int, shape: Shape, permutation: Sequence[int], output: int) -> int:
        """Fill ``output`` with ``data`` of (stored) ``shape``; a reshape where no element moves."""

    def reshape(self, data: int, shape: Shape, output: int) -> int:
        """Fill ``output`` with ``data`` in another shape."""

    def store(self, plain: int, output: str) -> None:
        """Fill a tensor of the graph from one with its elements in the graph's own order."""

    def padded(self, operator: Operator, value: float | None = None, place: int | None = None) -> int:
        """The operator's image with its attribute ``padding`` written out, zeros or ``value``, at ``place`` or a tensor
        on the way."""

"""Write a Graph as an ONNX file, operator by operator. Proving that it computes the same belongs to ``proof``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError, missing
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph
from fleetfront.graphs.operators.base import Value
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.graphs.prune import drop_unread

if TYPE_CHECKING:
    import onnx

#: The operator set and file version: old enough for the runtimes of 2022, new enough for HardSwish (opset 14).
OPSET = 17
IR_VERSION = 8
#: Operator set -> the version of files that hold it. Nodes that are spelled otherwise since the first of them.
_IR_VERSIONS = {OPSET: IR_VERSION, 18: 8, 20: 9}
_SPELLED_ANEW = ("ReduceMean", "ReduceMax", "ReduceMin")


def write_onnx(graph: Graph, *, producer: str = "fleetfront") -> bytes:
    """The bytes of an ``.onnx`` file: images NCHW, inputs and outputs named as in ``graph``, batch-norm folded,
    operators that reach no output left out.

    Symbolic dimensions stay symbolic (``graphs.batch.with_batch`` makes the batch so). ``graph.labels`` become the
    file's metadata properties. Equal graphs give equal bytes.

    Raises:
        InputError: the graph holds something that ONNX cannot say, or placeholders for weights.
        MissingDependency: onnx is not installed.
    """
    try:
        from onnx import helper
    except ImportError as error:
        raise missing("onnx", "cpu", "Writing ONNX files") from error
    if (exported := graph.exported("onnx")) is not None:
        return exported
    graph.check_weights()
    file = _OnnxFile(fold_batch_norm(drop_unread(graph)))
    model = helper.make_model(
        file.graph_proto(),
        producer_name=producer,
        ir_version=_IR_VERSIONS[file.opset],
        opset_imports=[helper.make_opsetid("", file.opset)],
    )
    helper.set_model_props(model, dict(sorted(graph.labels.items())))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _OnnxFile:
    """The nodes and initialisers of one file while they are made: an OnnxEmitter."""

    def __init__(self, graph: Graph) -> None:
        self.opset = OPSET
        self._graph = graph
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, Array] = {}

    def graph_proto(self) -> onnx.GraphProto:
        from onnx import helper, numpy_helper

        graph = self._graph
        for operator in graph.operators:
            for name in operator.inputs:
                if name in graph.weights:
                    self._arrays.setdefault(name, graph.weights[name])
            write = family_of(operator.family).onnx
            if write is None:
                raise InputError(f"Operator family {operator.family!r} has no ONNX form.", "Leave onnx out.")
            write(self, operator)
        old = next((node.op_type for node in self._nodes if node.op_type in _SPELLED_ANEW), "")
        if old and self.opset > OPSET:
            raise InputError(
                f"The network needs operator set {self.opset}, for which {old} is not written.", "Leave onnx out."
            )
        read = {name for node in self._nodes for name in node.input}
        return helper.make_graph(
            self._nodes,
            graph.name,
            [self._port(name) for name in graph.inputs],
            [self._port(name) for name in graph.outputs],
            [
                numpy_helper.from_array(np.asarray(array, order="C"), name)
                for name, array in self._arrays.items()
                if name in read
            ],
        )

    def _port(self, name: str) -> onnx.ValueInfoProto:
        from onnx import helper

        tensor = self._graph.tensors[name]
        return helper.make_tensor_value_info(name, self.element_type(tensor.dtype), list(tensor.shape))

    def value(self, name: str) -> Value:
        return self._graph.value(name)

    def array(self, name: str) -> Array | None:
        return self._graph.weights.get(name)

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))

    def constant(self, name: str, array: Array) -> str:
        name = self.free(name)
        self._arrays[name] = np.ascontiguousarray(array)
        return name

    def free(self, name: str) -> str:
        while name in self._graph.tensors or name in self._graph.weights:
            name += "_"
        return name

    def require(self, opset: int) -> None:
        self.opset = max(self.opset, opset)

    def element_type(self, dtype: str) -> int:
        from onnx import helper

        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

"""Writes a Graph as an ONNX file, operator by operator. Proving that it computes the same belongs to ``proof``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError, missing
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph, Operator
from fleetfront.graphs.prune import drop_unread

if TYPE_CHECKING:
    import onnx

#: The operator set and file version: old enough for the runtimes of 2022, new enough for HardSwish (opset 14).
OPSET = 17
IR_VERSION = 8

#: The first ONNX Runtime that reads ``OPSET``, after its table of compatible versions.
MINIMUM_RUNTIME = "onnxruntime 1.12"


def write_onnx(graph: Graph, *, producer: str = "fleetfront") -> bytes:
    """The bytes of an ``.onnx`` file: images NCHW, inputs and outputs named as in ``graph``, batch-norm folded,
    operators that reach no output left out.

    Symbolic dimensions stay symbolic (``spaces.batch.with_batch`` makes the batch so). ``graph.labels`` become the
    file's metadata properties. Equal graphs give equal bytes.

    Raises:
        InputError: the graph holds something that ONNX cannot say.
        MissingDependency: onnx is not installed.
    """
    try:
        from onnx import helper
    except ImportError as error:
        raise missing("onnx", "cpu", "Writing ONNX files") from error
    writing = _Writing(fold_batch_norm(drop_unread(graph)))
    model = helper.make_model(
        writing.graph_proto(),
        producer_name=producer,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, dict(sorted(graph.labels.items())))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Writing:
    """The nodes and initialisers of one file while they are made."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, Array] = {}

    def graph_proto(self) -> onnx.GraphProto:
        from onnx import helper

        graph = self._graph
        for operator in graph.operators:
            for name in operator.inputs:
                if name in graph.weights:
                    self._arrays.setdefault(name, graph.weights[name])
            self._write(operator)
        read = {name for node in self._nodes for name in node.input}
        return helper.make_graph(
            self._nodes,
            graph.name,
            [self._port(name) for name in graph.inputs],
            [self._port(name) for name in graph.outputs],
            [_initialiser(name, array) for name, array in self._arrays.items() if name in read],
        )

    def _port(self, name: str) -> onnx.ValueInfoProto:
        from onnx import helper

        tensor = self._graph.tensors[name]
        return helper.make_tensor_value_info(name, _element_type(tensor.dtype), list(tensor.shape))

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, array: Array) -> str:
        name = self._free(name)
        self._arrays[name] = array
        return name

    def _free(self, name: str) -> str:
        while name in self._graph.tensors or name in self._graph.weights:
            name += "_"
        return name

    def _write(self, operator: Operator) -> None:
        inputs, output, attributes = list(operator.inputs), operator.output, operator.attributes
        if operator.family in _PLAIN:
            kind, translate = _PLAIN[operator.family]
            self._node(kind, inputs, output, **translate(attributes))
        elif operator.family == "conv2d":
            self._node("Conv", inputs, output, **self._conv_attributes(operator))
        elif operator.family == "linear":
            self._linear(inputs, output)
        elif operator.family == "relu6":
            dtype = self._graph.tensors[output].dtype
            bounds = [self._constant(name, np.array(value, dtype)) for name, value in (("zero", 0), ("six", 6))]
            self._node("Clip", [*inputs, *bounds], output)
        elif operator.family == "reshape":
            shape = np.array(self._target(operator), dtype=np.int64)
            self._node("Reshape", [inputs[0], self._constant(f"{output}.shape", shape)], output)
        else:
            raise InputError(
                f"Operator family {operator.family!r} has no ONNX form here.", "Teach deploy/onnx_writer.py the family."
            )

    def _conv_attributes(self, operator: Operator) -> dict[str, Any]:
        weight, attributes = operator.inputs[1], operator.attributes
        shape = (
            self._graph.weights[weight].shape if weight in self._graph.weights else self._graph.tensors[weight].shape
        )
        return {
            "kernel_shape": list(shape[2:]),
            "strides": list(attributes["stride"]),
            "pads": list(attributes["padding"]),
            "dilations": list(attributes.get("dilation", (1, 1))),
            "group": attributes["groups"],
        }

    def _linear(self, inputs: list[str], output: str) -> None:
        data, weight, *bias = inputs
        if len(self._graph.tensors[output].shape) == 2:
            self._node("Gemm", inputs, output, transB=1)
            return
        if weight in self._graph.weights:
            transposed = self._constant(f"{output}.weight", self._graph.weights[weight].T)
        else:
            transposed = self._node("Transpose", [weight], self._free(f"{output}.weight"), perm=[1, 0])
        product = self._free(f"{output}.product") if bias else output
        self._node("MatMul", [data, transposed], product)
        if bias:
            self._node("Add", [product, bias[0]], output)

    def _target(self, operator: Operator) -> list[int]:
        """The shape as ONNX wants it: 0 copies the input's dimension of the same place, one -1 takes what is left."""
        source = self._graph.tensors[operator.inputs[0]].shape
        target = tuple(operator.attributes["shape"])
        spelled = [
            int(d) if not isinstance(d, str) else 0 if place < len(source) and source[place] == d else -1
            for place, d in enumerate(target)
        ]
        if spelled.count(-1) > 1:
            raise InputError(
                f"Reshape {operator.output!r} from {source} to {target} has two unknown dimensions.",
                "Give all but one of them a number.",
            )
        return spelled


def _initialiser(name: str, array: Array) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def _element_type(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


Attributes = Mapping[str, Any]


def _nothing(_: Attributes) -> dict[str, Any]:
    return {}


def _pool(attributes: Attributes) -> dict[str, Any]:
    return {
        "kernel_shape": list(attributes["kernel"]),
        "strides": list(attributes["stride"]),
        "pads": list(attributes["padding"]),
    }


#: Families that are one node: family -> (operator type, attributes as ONNX names them).
_PLAIN: dict[str, tuple[str, Callable[[Attributes], dict[str, Any]]]] = {
    "relu": ("Relu", _nothing),
    "hard_swish": ("HardSwish", _nothing),
    "hard_sigmoid": ("HardSigmoid", lambda _: {"alpha": 1 / 6, "beta": 0.5}),
    "sigmoid": ("Sigmoid", _nothing),
    "add": ("Add", _nothing),
    "multiply": ("Mul", _nothing),
    "max_pool2d": ("MaxPool", _pool),
    "average_pool2d": ("AveragePool", lambda attributes: {**_pool(attributes), "count_include_pad": 0}),
    "global_average_pool": ("GlobalAveragePool", _nothing),
    "softmax": ("Softmax", lambda attributes: {"axis": attributes["axis"]}),
    "concat": ("Concat", lambda attributes: {"axis": attributes["axis"]}),
    "flatten": ("Flatten", lambda _: {"axis": 1}),
    "transpose": ("Transpose", lambda attributes: {"perm": list(attributes["permutation"])}),
    "cast": ("Cast", lambda attributes: {"to": _element_type(attributes["dtype"])}),
}

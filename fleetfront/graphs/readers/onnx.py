"""Read an ONNX file into a Graph: onnx checks it and infers shapes, weights are not looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import FileError, InputError, missing
from fleetfront.graphs.graph import Array, Graph, Origin
from fleetfront.graphs.input_shapes import ANONYMOUS, Port, resolve_shapes
from fleetfront.graphs.operators.base import Value
from fleetfront.graphs.readers.folding import fold
from fleetfront.graphs.readers.node import Asked, Node, planned
from fleetfront.graphs.readers.onnx_branches import inline_taken_branches
from fleetfront.graphs.readers.onnx_checks import (
    REASON_SHOWN,
    check_functions,
    check_location,
    check_misfits,
    check_model,
)
from fleetfront.graphs.readers.onnx_operators import ALIASES, RULES
from fleetfront.graphs.readers.onnx_skim import skim_onnx
from fleetfront.graphs.readers.onnx_variants import PLAIN, usual_values
from fleetfront.graphs.readers.outline import MOST_LOOKED_AT, UNKNOWN, Found, Outline, is_known

if TYPE_CHECKING:
    import onnx

#: What onnx and protobuf raise of damaged bytes: also text that is none, and C++ errors.
_DAMAGED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, MemoryError)
_INITIALISERS_ALONE = 4
#: Rounds of inferring shapes and folding what becomes known by them.
_ROUNDS, _ROUNDS_ALONE = 4, 40
#: Elements of constants that runtimes compute beforehand: ONNX Runtime leaves a range of four billion to each run.
_MOST_KEPT = 1 << 27
#: Kinds that hold graphs of their own.
CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})
#: Kinds whose constant operands are no reason to compute them beforehand: they say how the weights are stored.
_KEPT = CONTROL | {"DequantizeLinear"}
#: Domains whose operators mean what their names say.
_DOMAINS = ("", "ai.onnx", "com.microsoft", "com.ms.internal.nhwc")


def read_onnx(path: Path, shapes: Mapping[str, Sequence[int]], signature: str = "") -> Graph:
    """The graph of the file at ``path``, its inputs sized as ``resolve_shapes`` says.

    Raises:
        FileError: the file is damaged, or not what onnx's checker accepts.
        InputError: a size of an input is open and nothing says it, or a signature is named: ONNX has none.
        MissingDependency: onnx is not installed.
    """
    if signature:
        raise InputError(f"ONNX files have no signatures, so {path} has no {signature!r}.", "Name none.")
    try:
        return _read(path, shapes)
    except InputError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:REASON_SHOWN]
        raise FileError(f"{path} is damaged ({reason}).", "Export or download it again.") from error


def _read(path: Path, shapes: Mapping[str, Sequence[int]]) -> Graph:
    model = load_skimmed(path)
    weights = _take_weights(model, path)
    ports = [_ranked(port, shapes) for port in input_ports(model, weights)]
    sizes = resolve_shapes(ports, {name: tuple(shape) for name, shape in shapes.items()}, is_fed=False)
    # Before version 4 initialisers had to be inputs, too, which runtimes never insisted on.
    model.ir_version = max(model.ir_version, _INITIALISERS_ALONE)
    said = _bind(model, sizes)
    check_functions(model, path)
    check_model(model, path)
    model, values, constants = _inferred(model, path, weights)
    reader = _Reader(path.name, model, values, constants, weights, said)
    for port in ports:
        reader.outline.input(port.name, sizes[port.name], port.dtype)
    graph = reader.read()
    check_misfits(graph, model, path)
    return graph


def input_ports(model: onnx.ModelProto, weights: Mapping[str, Value]) -> tuple[Port, ...]:
    """The inputs that the caller feeds: tensors alone, without initialisers that older files list among the inputs."""
    held = {tensor.name for tensor in model.graph.initializer} | weights.keys()
    ports = []
    for one in model.graph.input:
        if one.name not in held and one.type.HasField("tensor_type"):
            value = _value(one.type)
            ports.append(Port(one.name, value.shape, value.dtype))
    return tuple(ports)


def _ranked(port: Port, shapes: Mapping[str, Sequence[int]]) -> Port:
    """A port of which not even the number of sizes is known, with as many as are given for it."""
    given = shapes.get(port.name, shapes.get(""))
    if port.shape != UNKNOWN or given is None:
        return port
    return Port(port.name, (ANONYMOUS,) * len(given), port.dtype)


def load_skimmed(path: Path) -> onnx.ModelProto:
    """The file without the data of large constants.

    Raises:
        FileError: it is no ONNX file.
        MissingDependency: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise missing("onnx", "cpu", "Reading an ONNX file") from error
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(skim_onnx(path))
    except (DecodeError, ValueError) as error:
        raise FileError(f"{path} is no ONNX file, or only a part of one.", "Export or download it again.") from error
    if not model.graph.node and not model.graph.output:
        raise FileError(f"{path} holds no network.", "Export or download it again.")
    return model


def missing_weights(path: Path) -> list[str]:
    """Names of the files of weights that the file at ``path`` has beside it, and that are not there.

    Raises:
        FileError: it is no ONNX file, or weights lie outside its folder.
        MissingDependency: onnx is not installed.
    """
    from onnx import TensorProto

    outside = [one for one in load_skimmed(path).graph.initializer if one.data_location == TensorProto.EXTERNAL]
    places = dict.fromkeys(check_location(one, path) for one in outside)
    return [place.name for place in places if not place.is_file()]


def _take_weights(model: onnx.ModelProto, path: Path) -> dict[str, Value]:
    """Turn large constants of the main graph into inputs: their shapes are all that is needed of them."""
    from onnx import TensorProto, helper

    graph, taken = model.graph, {}
    kept = []
    for tensor in graph.initializer:
        is_outside = tensor.data_location == TensorProto.EXTERNAL
        if is_outside:
            check_location(tensor, path)
        if is_outside or math.prod(tensor.dims) > MOST_LOOKED_AT:
            taken[tensor.name] = (tuple(tensor.dims), tensor.data_type)
        else:
            kept.append(tensor)
    small = [tensor.SerializeToString() for tensor in kept] if taken else []
    if taken:
        del graph.initializer[:]
        for data in small:
            graph.initializer.add().ParseFromString(data)
    nodes = [node for node in graph.node if _large_constant(node) is not None]
    for node in nodes:
        tensor = _large_constant(node)
        taken[node.output[0]] = (tuple(tensor.dims), tensor.data_type)
        graph.node.remove(node)
    listed = {one.name for one in graph.input}
    for name, (dims, kind) in taken.items():
        if name not in listed:
            graph.input.append(helper.make_tensor_value_info(name, kind, dims))
    return {name: Value(dims, _dtype(kind)) for name, (dims, kind) in taken.items()}


def _large_constant(node: onnx.NodeProto) -> Any:
    if node.op_type != "Constant" or len(node.attribute) != 1 or not node.attribute[0].HasField("t"):
        return None
    tensor = node.attribute[0].t
    return tensor if math.prod(tensor.dims) > MOST_LOOKED_AT else None


def _bind(model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]]) -> dict[str, Value]:
    """Give the inputs their sizes, and take those of the outputs away, which may have been true of others.

    What was said of the outputs is returned, for those that nobody can work out.
    """
    said = {}
    for one in model.graph.output:
        if one.type.HasField("tensor_type"):
            said[one.name] = _value(one.type)
            one.type.tensor_type.ClearField("shape")
    for one in model.graph.input:
        if one.name in sizes:
            tensor = one.type.tensor_type
            del tensor.shape.dim[:]
            for size in sizes[one.name]:
                tensor.shape.dim.add().dim_value = size
    return said


def _inferred(
    model: onnx.ModelProto, path: Path, weights: dict[str, Value]
) -> tuple[onnx.ModelProto, dict[str, Value], dict[str, Array]]:
    """The model without local functions and choices that are made, what is known of its tensors, its small constants.

    Large constants of branches that are taken join ``weights``.
    """
    from onnx import inliner, numpy_helper, shape_inference

    if model.functions:
        model = inliner.inline_local_functions(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    values: dict[str, Value] = {}
    # onnx would write out every number of a Range; without its help more rounds are needed.
    counts = any(node.op_type == "Range" for node in _all_nodes(model.graph))
    for _ in range(_ROUNDS_ALONE if counts else _ROUNDS):
        try:
            inferred = shape_inference.infer_shapes(model, data_prop=not counts)
        except shape_inference.InferenceError as error:
            reason = " ".join(str(error).split())[:REASON_SHOWN]
            raise FileError(f"The shapes in {path} contradict one another: {reason}", "Export it again.") from error
        values = {
            one.name: _value(one.type)
            for one in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
            if one.type.HasField("tensor_type")
        }
        is_told_more = _fold_nodes(model, values, constants)
        came = inline_taken_branches(model, constants)
        if came is not None:
            weights |= {name: Value(dims, _dtype(kind)) for name, (dims, kind) in came.items()}
        if not is_told_more and came is None:
            break
    return model, values, constants


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph and of the graphs that they hold."""
    pending = [graph]
    while pending:
        for node in pending.pop().node:
            yield node
            pending += [one.g for one in node.attribute if one.HasField("g")]


def _fold_nodes(model: onnx.ModelProto, values: Mapping[str, Value], constants: dict[str, Array]) -> bool:
    """Turn nodes whose results are known into initialisers; whether shapes may be known by them that were not."""
    from onnx import numpy_helper

    kept, is_unknown, folded = [], False, []
    for node in model.graph.node:
        results = _folded(node, values, constants)
        if results is None:
            kept.append(node)
            is_unknown |= any(not is_known(values[name].shape) for name in node.output if name in values)
            is_unknown |= any(name and name not in values for name in node.output)
            continue
        named = [(name, result) for name, result in zip(node.output, results, strict=False) if name]
        constants.update(named)
        folded += named
    if not folded:
        return False
    nodes = [node.SerializeToString() for node in kept]
    del model.graph.node[:]
    for data in nodes:
        model.graph.node.add().ParseFromString(data)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in folded)
    return is_unknown


def _folded(
    node: onnx.NodeProto, values: Mapping[str, Value], constants: Mapping[str, Array]
) -> Sequence[Array] | None:
    attributes = attributes_of(node)
    if node.op_type == "Constant":
        value = next(iter(attributes.values()), None)
        return None if value is None or isinstance(value, str) else [np.asarray(value)]
    if node.op_type in ("Shape", "Size"):
        value = values.get(node.input[0])
        if value is None or not is_known(value.shape):
            return None
        sizes = np.array(value.shape, np.int64)
        cut = slice(attributes.get("start", 0), attributes.get("end"))
        return [sizes[cut] if node.op_type == "Shape" else np.array(math.prod(value.shape), np.int64)]
    if not node.input or any(name and name not in constants for name in node.input):
        return None
    return fold(node.op_type, [constants[name] if name else None for name in node.input], attributes)


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values: text, numbers, lists, arrays; graphs are left out."""
    from onnx import AttributeProto, helper, numpy_helper

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            found[attribute.name] = numpy_helper.to_array(attribute.t)
        elif attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.SPARSE_TENSOR):
            value = helper.get_attribute_value(attribute)
            found[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return found


class _Reader:
    """Walks through the nodes of one model."""

    def __init__(
        self,
        name: str,
        model: onnx.ModelProto,
        values: Mapping[str, Value],
        constants: Mapping[str, Array],
        weights: Mapping[str, Value],
        said: Mapping[str, Value],
    ) -> None:
        self.outline = Outline(name)
        self._model, self._values, self._constants, self._weights = model, values, constants, weights
        self._aliases: dict[str, str] = {}
        self._said = said
        self._versions = {one.domain.replace("ai.onnx", ""): one.version for one in model.opset_import}
        self._read = {name for node in model.graph.node for name in node.input}
        self._read.update(one.name for one in model.graph.output)

    def read(self) -> Graph:
        for node in self._model.graph.node:
            self._add(node)
        outputs = [self._now(one.name) for one in self._model.graph.output]
        return self.outline.finish(outputs, {})

    def _now(self, name: str) -> str:
        name = self._aliases.get(name, name)
        if name and not self.outline.has(name):
            if name in self._constants:
                self.outline.constant(name, self._constants[name])
            elif name in self._weights:
                self.outline.like(name, self._weights[name])
        return name

    def _add(self, proto: onnx.NodeProto) -> None:
        inputs = tuple(self._now(name) for name in proto.input)
        if proto.op_type in ALIASES and inputs and not self._read.intersection(proto.output[1:]):
            self._aliases[proto.output[0]] = inputs[0]
            return
        outputs = tuple(Found(name, self._values.get(name)) for name in proto.output)
        if self._is_constant(proto, inputs, outputs):
            return
        name = proto.name or next((found.name for found in outputs if found.name), proto.op_type)
        said, version = Asked(attributes_of(proto)), self._versions.get(proto.domain, 0)
        node = Node(proto.op_type, name, inputs, outputs, said, self.outline, self._constants, version)
        rule = RULES.get(proto.op_type) if proto.domain in _DOMAINS else None
        plan = planned(rule, node)
        if plan is None and any(found.name in self._said for found in outputs):
            outputs = tuple(Found(found.name, self._said.get(found.name, found.value)) for found in outputs)
            plan = planned(rule, replace(node, outputs=outputs))
        domain = f"{proto.domain}." if proto.domain not in ("", "ai.onnx") else ""
        origin = Origin(domain + proto.op_type, name)
        if plan is None:
            self.outline.found("", self._tensors(inputs), outputs, origin)
            return
        if plan.image:
            self.outline.declare_image(plan.inputs[0], plan.image)
        beside = said.beside(usual_values(proto, version), PLAIN)
        self.outline.found(plan.family, plan.inputs, outputs, origin, **plan.attributes, **beside)

    def _is_constant(self, proto: onnx.NodeProto, inputs: tuple[str, ...], outputs: tuple[Found, ...]) -> bool:
        """Tell whether a node computes constants from constants, which runtimes do once unless they are huge; they
        are declared then.
        """
        if not inputs or proto.op_type in _KEPT or not all(self.outline.is_weight(one) for one in inputs if one):
            return False
        named = [found for found in outputs if found.name]
        values = [(found.name, found.value) for found in named if found.value is not None]
        if len(values) < len(named) or not all(is_known(value.shape) for _, value in values):
            return False
        if sum(math.prod(map(int, value.shape)) for _, value in values) > _MOST_KEPT:
            return False
        for name, value in values:
            self.outline.like(name, value)
        return True

    def _tensors(self, inputs: Sequence[str]) -> Iterator[str]:
        return (name for name in inputs if name and self.outline.has(name))


def _value(kind: onnx.TypeProto) -> Value:
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return Value(UNKNOWN, _dtype(tensor.elem_type))
    shape = tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value >= 0 else size.dim_param or ANONYMOUS
        for size in tensor.shape.dim
    )
    return Value(shape, _dtype(tensor.elem_type))


def _dtype(element_type: int) -> str:
    from onnx.helper import tensor_dtype_to_np_dtype

    try:
        return str(tensor_dtype_to_np_dtype(element_type).name)
    except KeyError:
        return "float32"

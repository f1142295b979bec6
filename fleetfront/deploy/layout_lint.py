"""Count what a file holds beside the network's own arithmetic: transposes, casts, and operators that delegates leave to
the slow path. Counted from the file's bytes, whoever wrote it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetfront.deploy.contract import PREFIX, InputContract
from fleetfront.deploy.quantise.precisions import WEIGHT_BITS
from fleetfront.deploy.quantise.weights_alone import SCALE
from fleetfront.runtimes.operator_lists import MOBILE_PROVIDERS, XNNPACK, XNNPACK_FLOAT_ONLY, XNNPACK_NOT_HYBRID


@dataclass(frozen=True, slots=True)
class LayoutReport:
    """Operators of a file.

    Attributes:
        operators: kind -> how many.
        transposes, casts: how many move or convert whole tensors; conversions of weights are not counted.
        needed_transposes, needed_casts: of those, what the file's own contract and precision ask for.
        undelegated: kinds that a delegate leaves to the runtime's slow path, each once, sorted.
        float_weights: of a file whose weights alone are narrow, kinds that have some in float all the same, sorted.
    """

    operators: Mapping[str, int]
    transposes: int
    casts: int
    needed_transposes: int
    needed_casts: int
    undelegated: tuple[str, ...]
    float_weights: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """True if nothing is there that the file does not need."""
        return self.transposes <= self.needed_transposes and self.casts <= self.needed_casts

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {
            "operators": dict(sorted(self.operators.items())),
            "transposes": self.transposes,
            "casts": self.casts,
            "needless": max(self.transposes - self.needed_transposes, 0) + max(self.casts - self.needed_casts, 0),
            "undelegated": list(self.undelegated),
            "float_weights": list(self.float_weights),
        }


def lint_layout(data: bytes, format_name: str, precision: str, contract: InputContract) -> LayoutReport:
    """Count what a ``.onnx`` or ``.tflite`` file holds; plans are closed and count as empty.

    Raises InputError if it is no such file.
    """
    if format_name == "trt":
        return LayoutReport({}, 0, 0, 0, 0, ())
    counts, casts, slow, in_float = _count_tflite(data) if format_name == "tflite" else _count_onnx(data)
    known = XNNPACK if format_name == "tflite" else MOBILE_PROVIDERS
    if format_name == "tflite" and precision == "int8":
        known -= XNNPACK_FLOAT_ONLY
    transposes = counts["TRANSPOSE"] + counts["Transpose"]
    turned = format_name != "tflite" and contract.onnx_layout == "NHWC"
    # An fp16 ONNX file converts its input and its output; bytes become floats once.
    needed_casts = (2 if format_name != "tflite" and precision == "fp16" else 0) + (contract.input == "uint8")
    # A constant is a weight by another name.
    undelegated = tuple(sorted(counts.keys() - known - {"Constant"} | slow))
    left = tuple(sorted(in_float)) if precision in WEIGHT_BITS else ()
    return LayoutReport(dict(counts), transposes, casts, int(turned), needed_casts, undelegated, left)


def _count_tflite(data: bytes) -> tuple[Counter[str], int, set[str], set[str]]:
    from fleetfront.deploy.writers.tflite.flatbuffer import as_text, is_float, is_int8, kind_name, unpack_model

    model = unpack_model(data)
    names = [kind_name(code) for code in model.operatorCodes]
    graph = model.subgraphs[0]
    counts: Counter[str] = Counter()
    slow, in_float = set(), set()
    for operator in graph.operators:
        name = names[operator.opcodeIndex]
        counts[name] += 1
        fed = [graph.tensors[index] for index in operator.inputs if index >= 0]
        given = [as_text(graph.tensors[index].name) for index in operator.outputs]
        weights = [tensor for tensor in fed if model.buffers[tensor.buffer].content]
        if name in XNNPACK_NOT_HYBRID and is_float(fed[0]) and any(map(is_int8, weights)):
            slow.add(name)
        if not given[0].startswith(PREFIX) and any(
            is_float(weight) and _is_large(tuple(weight.shape)) for weight in weights
        ):
            in_float.add(name)
    return counts, counts["CAST"], slow, in_float


def _count_onnx(data: bytes) -> tuple[Counter[str], int, set[str], set[str]]:
    import onnx

    graph = onnx.load_from_string(data).graph
    constants = {initialiser.name for initialiser in graph.initializer}
    large = {
        one.name
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and _is_large(tuple(one.dims)) and not one.name.endswith(SCALE)
    }
    counts = Counter(node.op_type for node in graph.node)
    casts = sum(node.op_type == "Cast" and node.input[0] not in constants for node in graph.node)
    in_float = {
        node.op_type for node in graph.node if not node.name.startswith(PREFIX) and large.intersection(node.input)
    }
    return counts, casts, set(), in_float


def _is_large(shape: tuple[int, ...]) -> bool:
    """Tell whether an array is one of weights rather than of biases, shifts or scales."""
    return sum(size > 1 for size in shape) > 1

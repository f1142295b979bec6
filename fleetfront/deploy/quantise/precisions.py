"""Number formats of files: graphs in half precision, and how far each precision may be from torch. Static int8 is made
of finished files, in ``quantise.onnx`` and ``quantise.tflite``.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np

from fleetfront.errors import InputError, unknown
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, GraphBuilder, Operator, Tensor

#: What files can be written in.
FILE_PRECISIONS = ("fp32", "fp16", "int8")

#: Shares of the logits' range that rounding may cost. fp32 files measure around 1e-7 to 1e-6, fp16 around 1e-4 to 1e-3.
RANGE_LIMITS = {"fp32": 1e-4, "fp16": 2e-3}

#: int8 is judged by how often its class is torch's on real images: rounding to 256 steps moves logits visibly.
AGREEMENT_LIMIT = 0.9

#: The largest float16.
_LARGEST_HALF = float(np.finfo(np.float16).max)


def parse_precisions(text: str) -> tuple[str, ...]:
    """The precisions in ``fp32,int8``, each once, in their canonical order. Raises InputError for others or none."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    for name in sorted(names):
        if name not in FILE_PRECISIONS:
            raise unknown("precision", name, FILE_PRECISIONS)
    if not names:
        raise InputError("No precision is given.", f"Choose from {', '.join(FILE_PRECISIONS)}.")
    return tuple(name for name in FILE_PRECISIONS if name in names)


def half_compute(graph: Graph) -> Graph:
    """The network computing in float16 between float32 inputs and outputs: what ONNX calls an fp16 file.

    Raises:
        InputError: a weight does not fit float16.
    """
    folded = fold_batch_norm(graph)
    builder = GraphBuilder(folded.name)
    renamed: dict[str, str] = {}
    for name in folded.inputs:
        tensor = folded.tensors[name]
        builder.input(name, tensor.shape, tensor.dtype)
        if tensor.dtype == "float32":
            renamed[name] = builder.add("cast", [name], f"{name}/half", dtype="float16")
    for name, array in folded.weights.items():
        builder.weight(name, _as_half(name, array) if array.dtype == np.float32 else array)
    for operator in folded.operators:
        output = f"{operator.output}/half" if operator.output in folded.outputs else operator.output
        renamed[operator.output] = output
        operands = [renamed.get(operand, operand) for operand in operator.inputs]
        builder.add(operator.family, operands, output, **operator.attributes)
    for name in folded.outputs:
        builder.add("cast", [renamed[name]], name, dtype="float32")
    return builder.build(folded.outputs, folded.labels)


def half_weights(graph: Graph) -> Graph:
    """The network with the weights of convolutions and linears kept in float16 and spread to float32 when a runtime
    opens the file: what TFLite calls an fp16 file, which GPU delegates then compute in float16.

    Raises:
        InputError: a weight does not fit float16.
    """
    folded = fold_batch_norm(graph)
    weights, tensors = dict(folded.weights), dict(folded.tensors)
    casts: list[Operator] = []
    operators: list[Operator] = []
    spread: dict[str, str] = {}
    for operator in folded.operators:
        if operator.family in ("conv2d", "linear") and operator.inputs[1] in folded.weights:
            name = operator.inputs[1]
            if name not in spread and weights[name].dtype == np.float32:
                spread[name] = f"{name}/float"
                weights[name] = _as_half(name, weights[name])
                tensors[spread[name]] = Tensor(spread[name], tuple(weights[name].shape))
                casts.append(Operator("cast", (name,), spread[name], {"dtype": "float32"}))
        operators.append(replace(operator, inputs=tuple(spread.get(operand, operand) for operand in operator.inputs)))
    return replace(
        folded,
        operators=(*casts, *operators),
        weights=MappingProxyType(weights),
        tensors=MappingProxyType(tensors),
    )


def without_hard_swish(graph: Graph) -> Graph:
    """The network with every hard-swish as a product with a hard-sigmoid.

    XNNPACK takes no hard-swish in int8, and each one left to the interpreter cuts the delegated part in two.
    """
    builder = GraphBuilder(graph.name)
    for name in graph.inputs:
        builder.input(name, graph.tensors[name].shape, graph.tensors[name].dtype)
    for name, array in graph.weights.items():
        builder.weight(name, array)
    for operator in graph.operators:
        if operator.family != "hard_swish":
            builder.add(operator.family, operator.inputs, operator.output, **operator.attributes)
            continue
        gate = builder.add("hard_sigmoid", operator.inputs, f"{operator.output}/gate")
        builder.add("multiply", [operator.inputs[0], gate], operator.output)
    return builder.build(graph.outputs, graph.labels)


def _as_half(
    name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    largest = float(np.abs(array).max(initial=0.0))
    if not largest <= _LARGEST_HALF:
        raise InputError(
            f"Weight {name!r} reaches {largest:.3g}, float16 ends at {_LARGEST_HALF:g}.", "Leave fp16 out for this one."
        )
    return array.astype(np.float16)

"""Families that rearrange elements, and softmax, which works along an axis; operators that nobody here knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.graphs.channels_last import TO_NCHW, TO_NHWC, keeps_order, permuted, stored, stored_axis
from fleetfront.graphs.operators.base import (
    CHANNELS_LAST,
    IMAGE,
    Attributes,
    OperatorFamily,
    Running,
    Shape,
    Value,
    Work,
    as_first,
    declared,
    number,
    one_node,
    plain_work,
    refuse,
)

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.graph import Graph, Operator
    from fleetfront.graphs.operators.emitters import OnnxEmitter, TfliteEmitter


def _tflite_softmax(file: TfliteEmitter, operator: Operator, _: str) -> None:
    """TFLite's softmax runs over the last stored axis, so another one is moved there and back."""
    output = operator.output
    value = file.value(output)
    data = file.read(operator.inputs[0], operator, value.layout)
    shape = stored(value.shape, value.layout)
    axis, last = stored_axis(operator.attributes["axis"], len(shape), value.layout), len(shape) - 1

    def softmax(source: int, place: int) -> int:
        return file.operator("SOFTMAX", (source,), (place,), table="SoftmaxOptions", beta=1.0)

    if axis == last:
        softmax(data, file.output(output))
        return
    swap = list(range(len(shape)))
    swap[axis], swap[last] = last, axis
    swapped = permuted(shape, swap)
    moved = file.transpose(data, shape, swap, file.between(output, "swapped", swapped))
    made = softmax(moved, file.between(output, "softmax", swapped))
    file.transpose(made, swapped, swap, file.output(output))


def _concatenated(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    shapes = [value.shape for value in values]
    first = shapes[0]
    axis = attributes["axis"] % len(first)
    if any(s[:axis] != first[:axis] or s[axis + 1 :] != first[axis + 1 :] for s in shapes):
        refuse(f"Shapes {shapes} differ outside axis {axis}.", "Concatenate tensors equal elsewhere.")
    shape: Shape = (*first[:axis], sum(number(s[axis]) for s in shapes), *first[axis + 1 :])
    layout = next((value.layout for value in values if value.layout), "")
    return [values[0]._replace(shape=shape, layout=layout)]


def _torch_concat(operands: Sequence[Tensor], operator: Operator, _: Running) -> Tensor:
    import torch

    return torch.cat(list(operands), dim=operator.attributes["axis"])


def _tflite_concat(file: TfliteEmitter, operator: Operator, _: str) -> None:
    value = file.value(operator.output)
    operands = [file.read(name, operator, value.layout) for name in operator.inputs]
    axis = stored_axis(operator.attributes["axis"], len(value.shape), value.layout)
    place = file.output(operator.output)
    table = "ConcatenationOptions"
    file.operator("CONCATENATION", operands, (place,), table=table, axis=axis, fusedActivationFunction="NONE")


def _parts(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    (value,), sizes = values, attributes["sizes"]
    axis = attributes["axis"] % len(value.shape)
    if sum(sizes) != value.shape[axis] or min(sizes, default=0) < 1:
        refuse(f"Sizes {tuple(sizes)} do not divide axis {axis} of {value.shape}.", "Give sizes that add up to it.")
    return [value._replace(shape=(*value.shape[:axis], size, *value.shape[axis + 1 :])) for size in sizes]


def _torch_split(operands: Sequence[Tensor], operator: Operator, _: Running) -> Sequence[Tensor]:
    import torch

    return torch.split(operands[0], list(operator.attributes["sizes"]), dim=operator.attributes["axis"])


def _onnx_split(file: OnnxEmitter, operator: Operator) -> None:
    sizes = file.constant(f"{operator.outputs[0]}.sizes", np.array(operator.attributes["sizes"], dtype=np.int64))
    file.node("Split", [operator.inputs[0], sizes], operator.outputs, axis=operator.attributes["axis"])


def _tflite_split(file: TfliteEmitter, operator: Operator, _: str) -> None:
    value = file.value(operator.inputs[0])
    sizes = file.constant(f"{operator.outputs[0]}/sizes", np.array(operator.attributes["sizes"], dtype=np.int32))
    axis = stored_axis(operator.attributes["axis"], len(value.shape), value.layout)
    place = file.constant(f"{operator.outputs[0]}/axis", np.array(axis, dtype=np.int32))
    operands = (file.read(operator.inputs[0], operator, value.layout), sizes, place)
    outputs = [file.output(name) for name in operator.outputs]
    file.operator("SPLIT_V", operands, outputs, table="SplitVOptions", numSplits=len(outputs))


def _reshaped(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    before, target = values[0].shape, tuple(attributes["shape"])
    known = [d for d in before if isinstance(d, int)]
    if len(known) == len(before) and math.prod(known) != math.prod(target):
        refuse(f"{before} cannot be reshaped to {target}.", "The number of elements must stay.")
    return [Value(target, values[0].dtype, attributes.get("layout", ""))]


def _torch_reshape(operands: Sequence[Tensor], operator: Operator, running: Running) -> Tensor:
    wanted = operator.attributes["shape"]
    target = [running.symbols[d] if isinstance(d, str) else int(d) for d in wanted]
    if running.graph.tensors[operator.inputs[0]].shape[:1] == tuple(wanted[:1]):
        target[0] = operands[0].shape[0]
    return operands[0].reshape(target)


def _onnx_reshape(file: OnnxEmitter, operator: Operator) -> None:
    """0 copies the input's dimension of the same place, one -1 takes what is left."""
    source, target = file.value(operator.inputs[0]).shape, tuple(operator.attributes["shape"])
    spelled = [
        int(d) if not isinstance(d, str) else 0 if place < len(source) and source[place] == d else -1
        for place, d in enumerate(target)
    ]
    if spelled.count(-1) > 1:
        refuse(
            f"Reshape {operator.output!r} from {source} to {target} has two unknown dimensions.",
            "Give all but one of them a number.",
        )
    shape = file.constant(f"{operator.output}.shape", np.array(spelled, dtype=np.int64))
    file.node("Reshape", [operator.inputs[0], shape], operator.outputs)


def _tflite_reshape(file: TfliteEmitter, operator: Operator, _: str) -> None:
    """Elements keep the graph's order, so an image is turned to NCHW first unless its order is the same."""
    output = operator.output
    after = file.value(output)
    before = file.value(operator.inputs[0])
    is_in_order = before.layout == IMAGE and keeps_order(before.shape, TO_NHWC)
    source = file.read(operator.inputs[0], operator, IMAGE if is_in_order else "")
    if after.layout == IMAGE and not keeps_order(after.shape, TO_NHWC):
        file.store(file.reshape(source, after.shape, file.between(output, "nchw", after.shape)), output)
    else:
        file.reshape(source, stored(after.shape, after.layout), file.output(output))


def _flattened(values: Sequence[Value], _: Attributes) -> Sequence[Value]:
    shape = values[0].shape
    return [Value((shape[0], math.prod(number(d) for d in shape[1:])), values[0].dtype)]


def _transposed(values: Sequence[Value], attributes: Attributes) -> Sequence[Value]:
    value, permutation = values[0], tuple(attributes["permutation"])
    turns = {(IMAGE, TO_NHWC): CHANNELS_LAST, (CHANNELS_LAST, TO_NCHW): IMAGE}
    layout = turns.get((value.layout, permutation), "")
    if permutation == tuple(range(len(permutation))):
        layout = value.layout
    return [Value(permuted(value.shape, permutation), value.dtype, attributes.get("layout", layout))]


def _tflite_transpose(file: TfliteEmitter, operator: Operator, _: str) -> None:
    """The permutation between the two tensors as they are stored."""
    before, after = file.value(operator.inputs[0]), file.value(operator.output)
    rank = len(before.shape)
    plain = tuple(range(rank))
    permutation = operator.attributes["permutation"]
    # Axis a of the stored output is axis out[a] of the graph's, which is axis permutation[out[a]] of the graph's input.
    out = TO_NHWC if after.layout == IMAGE else plain
    into = TO_NHWC if before.layout == IMAGE else plain
    moves = [into.index(permutation[axis]) for axis in out]
    data = file.read(operator.inputs[0], operator, before.layout)
    file.transpose(data, stored(before.shape, before.layout), moves, file.output(operator.output))


def _no_torch(_: Sequence[Tensor], operator: Operator, __: Running) -> Tensor:
    refuse(f"{_says(operator)} cannot be computed here.", "Run the file that it came from in its own runtime.")


def _no_work(_: Graph, operator: Operator) -> Work:
    refuse(f"What {_says(operator)} costs is not known: it would count as nothing.", "Measure the network as a whole.")


def _no_file(_: OnnxEmitter | TfliteEmitter, operator: Operator, __: str = "") -> None:
    refuse(f"{_says(operator)} cannot be written into another file.", "Use the file that it came from.")


def _says(operator: Operator) -> str:
    return f"Operator {operator.attributes['kind']} ({operator.outputs[0]!r}), which is known by its name alone,"


_MOVEMENT, _FREE = plain_work("movement"), plain_work(None)

FAMILIES = (
    OperatorFamily(
        "softmax",
        "(data): axis; negative axes count from the end, here and below",
        as_first,
        lambda operands, operator, _: operands[0].softmax(dim=operator.attributes["axis"]),
        one_node("Softmax", lambda attributes: {"axis": attributes["axis"]}),
        _tflite_softmax,
        plain_work("elementwise"),
    ),
    OperatorFamily(
        "concat",
        "(data, ...): axis",
        _concatenated,
        _torch_concat,
        one_node("Concat", lambda attributes: {"axis": attributes["axis"]}),
        _tflite_concat,
        _MOVEMENT,
    ),
    OperatorFamily(
        "split",
        "(data): axis, sizes; as many outputs as sizes",
        _parts,
        _torch_split,
        _onnx_split,
        _tflite_split,
        _MOVEMENT,
    ),
    OperatorFamily(
        "reshape",
        f"(data): shape, and layout={IMAGE!r} if an image comes of it",
        _reshaped,
        _torch_reshape,
        _onnx_reshape,
        _tflite_reshape,
        _FREE,
    ),
    OperatorFamily(
        "flatten",
        "(data): all dimensions but the first become one",
        _flattened,
        lambda operands, _, __: operands[0].flatten(1),
        one_node("Flatten", lambda _: {"axis": 1}),
        _tflite_reshape,
        _FREE,
    ),
    OperatorFamily(
        "transpose",
        f"(data): permutation, and layout={IMAGE!r} if an image comes of it that was none",
        _transposed,
        lambda operands, operator, _: operands[0].permute(tuple(operator.attributes["permutation"])),
        one_node("Transpose", lambda attributes: {"perm": list(attributes["permutation"])}),
        _tflite_transpose,
        _MOVEMENT,
    ),
    OperatorFamily(
        "opaque",
        "(any): kind, its name where it came from; shapes, dtypes and layouts, one an output. It says what a network "
        "holds and is refused by everything that would have to know what it does",
        declared,
        _no_torch,
        _no_file,
        _no_file,
        _no_work,
    ),
)

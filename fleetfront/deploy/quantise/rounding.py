"""Hold the weights of a narrow file against those of the float file that it was made of: rounding moves none by more
than half a step. A filter that is wrong changes few classes, so agreement on images does not show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.quantise.weights_alone import BLOCK, COLUMNS, ROWS, SCALE, ZERO

#: Half a step, and what float32 itself rounds off.
_STEPS, _OF_FLOAT = 0.51, 1e-5
#: Arrays of fewer dimensions are biases, scales and shifts, which quantisers fold into each other: they are looked at
#: in files of floats alone.
_FEWEST_DIMENSIONS = 2
#: The sign bits of a byte's two values: turned, values from -8 to 7 are from 0 to 15.
_SIGNS = 0x88


@dataclass(frozen=True, slots=True)
class Weight:
    """An array of weights as the file means it; ``step`` is that between two values it could have, 0 for floats."""

    values: NDArray[np.float32]
    step: NDArray[np.float32] | float = 0.0


def misrounded(before: Mapping[str, Weight], after: Mapping[str, Weight]) -> list[str]:
    """Names of the weights of a narrow file that are further from the float file's than rounding can take them."""
    return [name for name, weight in after.items() if name in before and _is_off(before[name], weight)]


def _is_off(before: Weight, after: Weight) -> bool:
    if before.values.shape != after.values.shape:
        return True
    allowed = _STEPS * after.step + _OF_FLOAT * float(np.abs(before.values).max(initial=0.0))
    return bool((np.abs(before.values - after.values) > allowed).any())


def onnx_weights(data: bytes) -> dict[str, Weight]:
    """Weights by the names that they have in the float file."""
    import onnx

    graph = onnx.load_from_string(data).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {name: Weight(array) for name, array in arrays.items() if array.dtype == np.float32}
    found |= {name: _of_half(array) for name, array in arrays.items() if array.dtype == np.float16}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            stored, scale, *zero = (arrays[name] for name in node.input)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            name = node.input[0].removesuffix("_quantized")
            found[name] = _unrounded(stored, scale, zero[0] if zero else np.zeros(1, np.int8), axis)
        elif node.op_type == "Cast" and {node.input[0], f"{node.input[0]}{SCALE}"} <= arrays.keys():
            name = node.input[0]
            step = arrays[f"{name}{SCALE}"]
            found[name] = Weight(arrays[name].astype(np.float32) * step, step)
        elif node.op_type == "MatMulNBits":
            width = next(attribute.i for attribute in node.attribute if attribute.name == "K")
            name = node.input[1]
            weight = _unpacked(arrays[name], arrays[node.input[2]], width)
            turned = Weight(weight.values.T, np.transpose(weight.step))
            found[name.removesuffix(ROWS).removesuffix(COLUMNS)] = turned if name.endswith(COLUMNS) else weight
    is_narrow = any(array.dtype in (np.int8, np.uint8) for array in arrays.values())
    fewest = _FEWEST_DIMENSIONS if is_narrow else 0
    return {name: weight for name, weight in found.items() if weight.values.ndim >= fewest}


def onnx_with_weights(data: bytes, weights: Mapping[str, Weight]) -> bytes:
    """A float file with other values of its weights: what a narrow file of them computes if nothing else is rounded."""
    import onnx

    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            values = weights[tensor.name].values.astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def tflite_with_weights(data: bytes, weights: Mapping[str, Weight]) -> bytes:
    """The same of TFLite."""
    from fleetfront.deploy.writers.tflite.flatbuffer import AlignedBuffer, as_text, is_float, pack_model, unpack_model

    model = unpack_model(data)
    for tensor in model.subgraphs[0].tensors:
        name = as_text(tensor.name)
        if name in weights and is_float(tensor) and model.buffers[tensor.buffer].content:
            model.buffers[tensor.buffer] = AlignedBuffer(weights[name].values.astype("<f4").tobytes())
    result: bytes = pack_model(model)
    return result


def _unpacked(packed: NDArray[Any], scale: NDArray[Any], width: int) -> Weight:
    """The weights [n, width] of uint8 [n, blocks, bytes], two values a byte, with a scale a block."""
    count, blocks, _ = packed.shape
    stored = np.stack([packed & 15, packed >> 4], axis=-1).reshape(count, blocks, -1).astype(np.float32) - ZERO
    step = np.broadcast_to(scale.reshape(count, blocks, 1).astype(np.float32), stored.shape)
    values, steps = ((stored * step).reshape(count, -1), step.reshape(count, -1))
    return Weight(values[:, :width], steps[:, :width])


def tflite_weights(data: bytes) -> dict[str, Weight]:
    """Weights by the names that they have in the float file."""
    from fleetfront.deploy.writers.tflite.flatbuffer import unpack_model

    return dict(_tflite_weights(unpack_model(data)))


def _tflite_weights(model: Any) -> Iterator[tuple[str, Weight]]:
    from fleetfront.deploy.writers.tflite.flatbuffer import as_text, block_scales, is_float, is_half, is_int8

    filled = [tensor for tensor in model.subgraphs[0].tensors if model.buffers[tensor.buffer].content]
    is_narrow = any(is_int8(tensor) or block_scales(model, tensor) is not None for tensor in filled)
    for tensor in filled:
        content, shape = model.buffers[tensor.buffer].content, tuple(tensor.shape)
        if is_narrow and len(shape) < _FEWEST_DIMENSIONS:
            continue
        name = as_text(tensor.name)
        if is_float(tensor):
            yield name, Weight(np.frombuffer(content, "<f4").reshape(shape))
        elif is_half(tensor):
            yield name, _of_half(np.frombuffer(content, "<f2").reshape(shape))
        elif is_int8(tensor) and (told := tensor.quantization) is not None and told.scale is not None:
            stored = np.frombuffer(content, np.int8).reshape(shape)
            yield name, _unrounded(stored, np.asarray(told.scale), np.asarray(told.zeroPoint), told.quantizedDimension)
        elif (scale := block_scales(model, tensor)) is not None:
            packed = np.frombuffer(content, np.uint8).reshape(shape[0], -1, BLOCK // 2)
            yield name, _unpacked(packed ^ _SIGNS, scale, shape[-1])


def _of_half(array: NDArray[np.float16]) -> Weight:
    return Weight(array.astype(np.float32), np.spacing(np.abs(array)).astype(np.float32))


def _unrounded(stored: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int) -> Weight:
    """int8 ``stored`` as floats; ``scale`` and ``zero`` are of the whole array, or one a slice along ``axis``."""
    along = [1] * stored.ndim
    if scale.size > 1:
        along[axis] = scale.size
    step, middle = (values.astype(np.float32).reshape(along) for values in (scale, np.broadcast_to(zero, scale.shape)))
    return Weight((stored.astype(np.float32) - middle) * step, step)

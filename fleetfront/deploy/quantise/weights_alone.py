"""Narrow the weights of float files and leave activations in float: in 8 bits, or matrix products in 4 and convolutions
in 8. No images are needed: each weight is rounded by itself.

ONNX Runtime folds ``Cast`` and ``Mul`` to floats when it opens a file, which saves bytes alone; behind a
``DequantizeLinear`` it would widen the weights at every run, in three times a float file's time. Its ``MatMulNBits``
multiplies by int4 weights as they are. LiteRT computes large products in int8 (hybrid): it rounds what goes in as it
comes. Where that is slower than float, weights stand behind a ``DEQUANTIZE``, which is computed when a file is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.contract import PREFIX, PROBABILITIES
from fleetfront.errors import InputError, missing
from fleetfront.runtimes.base import native_words

#: Operators -> which of their operands are weights, and the axes of these by which there is a scale each: channels,
#: rows of a recurrent layer's directions, entries of a table.
_RECURRENT = ((1, (0, 1)), (2, (0, 1)))
_WEIGHTS: Mapping[str, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "Conv": ((1, (0,)),),
    "ConvTranspose": ((1, (1,)),),
    "Gather": ((0, (0,)),),
    "Gemm": ((1, (0,)),),
    "GRU": _RECURRENT,
    "LSTM": _RECURRENT,
    "MatMul": ((1, (-1,)),),
    "RNN": _RECURRENT,
}
#: Operators that hand weights on as they are, to a product or to another of these: exporters sort gates so.
_HAND_ON = frozenset({"Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
#: The largest value of an int8 and an int4, as both signs have it.
_LARGEST = {8: 127, 4: 7}
#: Products in ``.tflite`` files.
_FULLY_CONNECTED, _DEPTHWISE, _CONVOLUTION = "FULLY_CONNECTED", "DEPTHWISE_CONV_2D", "CONV_2D"
#: Weights of int4 that have one scale together; both runtimes have kernels for that many. int4 is stored above 0.
BLOCK, ZERO = 32, 8
#: The domain of operators that ONNX Runtime has beside the standard; its kernel may round what goes in to int8.
_MICROSOFT, _IN_INT8 = "com.microsoft", 4
#: What narrow weights are called: beside a scale a channel, and in blocks, where rows or columns of the float file's
#: are multiplied with.
SCALE, ROWS, COLUMNS = "/scale", "/rows", "/columns"
_SMALLEST = 1e-12

#: Where LiteRT's hybrid kernels are slower than its float ones, by benchmarks/weight_only.py. XNNPACK has no hybrid
#: depthwise convolution; LiteRT's own is slower but for kernels of more taps than XNNPACK's float ones are made for.
_FLOAT_TAPS = 25
#: Rounding what goes in, and scaling what comes out, costs as much as this many products of each value; fewer channels
#: are filled up with zeros.
_FEWEST_PRODUCTS, _FEWEST_CHANNELS = 32, 8


def narrow_onnx_weights(data: bytes, bits: int) -> bytes:
    """A float ``.onnx`` file with narrow weights. Equal files give equal bytes.

    Args:
        data: the file.
        bits: 8, or 4 for matrix products alone.

    Raises MissingDependency if onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing("onnx", "cpu", "Quantising ONNX files") from error
    model = onnx.load_from_string(data)
    graph = model.graph
    floats = {
        one.name: onnx.numpy_helper.to_array(one)
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) > 1
    }
    made: list[Any] = []
    wide: dict[str, str] = {}
    left: list[Any] = []
    for node in graph.node:
        if bits == 4 and (weights := _as_rows(node, floats)) is not None:
            left += _in_blocks(graph, node, *weights)
            continue
        for name, axes in () if node.name.startswith(PREFIX) else _operands(node, floats):
            if name not in wide:
                wide[name] = _behind_cast(graph, name, floats[name], axes, made)
        left.append(node)
    for node in left:
        node.input[:] = [wide.get(name, name) for name in node.input]
    used = {name for node in (*made, *left) for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    nodes = [*made, *left]
    # Exporters list weights with their types, too, and these have another now.
    said = [one for one in graph.value_info if one.name not in floats]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    graph.value_info.extend(said)
    if any(node.domain == _MICROSOFT for node in nodes):
        model.opset_import.append(onnx.helper.make_opsetid(_MICROSOFT, 1))
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _operands(node: Any, floats: Mapping[str, NDArray[np.float32]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names of the float weights that a node reads, each with the axes that have a scale for every entry."""
    for place, axes in _WEIGHTS.get(node.op_type, ()):
        if place < len(node.input) and node.input[place] in floats:
            is_turned = node.op_type == "Gemm" and not _attribute(node, "transB", 0)
            yield node.input[place], (1,) if is_turned else axes
    if node.op_type in _HAND_ON and node.input[0] in floats:
        yield node.input[0], (0,) if floats[node.input[0]].shape[0] > 1 else (0, 1)


def _attribute(node: Any, name: str, default: float) -> float:
    found = next((one for one in node.attribute if one.name == name), None)
    return default if found is None else float(found.f if found.type == found.FLOAT else found.i)


def _behind_cast(graph: Any, name: str, array: NDArray[np.float32], axes: tuple[int, ...], made: list[Any]) -> str:
    """Turn a weight narrow in place; what widens it again joins ``made``. Gives the name of the wide one."""
    from onnx import TensorProto, helper, numpy_helper

    scaled = {axis % array.ndim for axis in axes}
    others = tuple(place for place in range(array.ndim) if place not in scaled)
    scale = np.maximum(np.abs(array).max(axis=others, keepdims=True), _SMALLEST) / _LARGEST[8]
    narrow = np.clip(np.round(array / scale), -_LARGEST[8], _LARGEST[8]).astype(np.int8)
    (weight,) = (one for one in graph.initializer if one.name == name)
    weight.CopyFrom(numpy_helper.from_array(narrow, name))
    graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}{SCALE}"))
    made.append(helper.make_node("Cast", [name], [f"{name}/cast"], f"{name}/cast", to=TensorProto.FLOAT))
    made.append(helper.make_node("Mul", [f"{name}/cast", f"{name}{SCALE}"], [f"{name}/wide"], f"{name}/wide"))
    return f"{name}/wide"


def _as_rows(node: Any, floats: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], str] | None:
    """The weights float32[n, k] of a plain matrix product of n results, and how the file has them; None of another."""
    if node.op_type not in ("Gemm", "MatMul") or node.input[1] not in floats or node.name.startswith(PREFIX):
        return None
    array = floats[node.input[1]]
    is_plain = not _attribute(node, "transA", 0) and _attribute(node, "alpha", 1) == _attribute(node, "beta", 1) == 1
    if array.ndim != 2 or not is_plain:
        return None
    return (array, ROWS) if _attribute(node, "transB", 0) else (np.ascontiguousarray(array.T), COLUMNS)


def _in_blocks(graph: Any, node: Any, rows: NDArray[np.float32], how: str) -> list[Any]:
    """The operators that multiply by ``rows`` float32[n, k] in int4, in the place of ``node``."""
    from onnx import helper, numpy_helper

    count, width = rows.shape
    blocks = -(-width // BLOCK)
    filled = np.zeros((count, blocks * BLOCK), np.float32)
    filled[:, :width] = rows
    values = filled.reshape(count, blocks, BLOCK)
    scale = np.maximum(np.abs(values).max(axis=2, keepdims=True), _SMALLEST) / _LARGEST[4]
    stored = (np.clip(np.round(values / scale), -_LARGEST[4], _LARGEST[4]) + ZERO).astype(np.uint8)
    packed = stored[..., 0::2] | (stored[..., 1::2] << 4)
    name, given = f"{node.input[1]}{how}", node.output[0]
    if all(one.name != name for one in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(packed, name))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32).ravel(), f"{name}{SCALE}"))
    has_bias = len(node.input) > 2 and node.input[2]
    product = f"{given}/product" if has_bias else given
    settings = {"K": width, "N": count, "bits": 4, "block_size": BLOCK, "accuracy_level": _IN_INT8}
    fed = [node.input[0], name, f"{name}{SCALE}"]
    made = [helper.make_node("MatMulNBits", fed, [product], node.name, domain=_MICROSOFT, **settings)]
    if has_bias:
        made.append(helper.make_node("Add", [product, node.input[2]], [given], f"{node.name}/bias"))
    return made


def narrow_tflite_weights(data: bytes, bits: int) -> bytes:
    """A float ``.tflite`` file with narrow weights. Equal files give equal bytes.

    Args:
        data: the file.
        bits: 8, or 4 for fully connected layers whose rows are whole blocks.

    Raises:
        InputError: the quantiser gives up.
        MissingDependency: ai-edge-quantizer is not installed.
    """
    from fleetfront.deploy.quantise.tflite import silent

    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe
    except ImportError as error:
        raise missing("ai-edge-quantizer", "quantise", "Quantising TFLite files") from error
    operation, skip = qtyping.TFLOperationName, recipe.AlgorithmName.NO_QUANTIZE
    with silent():
        try:
            made = quantizer.Quantizer(data, recipe.dynamic_wi8_afp32())
            channels = qtyping.TensorQuantizationConfig(8, granularity=qtyping.QuantGranularity.CHANNELWISE)
            blocks = qtyping.TensorQuantizationConfig(4, granularity=qtyping.QuantGranularity.BLOCKWISE_32)
            widened = qtyping.OpQuantizationConfig(
                weight_tensor_config=channels,
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            )
            in_blocks = qtyping.OpQuantizationConfig(
                weight_tensor_config=blocks, compute_precision=qtyping.ComputePrecision.INTEGER
            )
            for name, kind, shape in _products(data):
                if bits == 4 and kind == _FULLY_CONNECTED and shape[-1] % BLOCK == 0:
                    made.update_quantization_recipe(name, operation(kind), in_blocks)
                elif not _is_faster_in_int8(kind, shape):
                    made.update_quantization_recipe(name, operation(kind), widened)
            for scope in (re.escape(PREFIX), re.escape(PROBABILITIES)):
                made.update_quantization_recipe(scope, operation.ALL_SUPPORTED, algorithm_key=skip)
            result = made.quantize(enable_progress_bar=False, enable_progress_report=False)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"ai-edge-quantizer gave up ({native_words(error)}).", f"Leave w{bits} out of --precisions."
            ) from error
    return bytes(result.quantized_model)


def _is_faster_in_int8(kind: str, shape: tuple[int, ...]) -> bool:
    """Tell whether LiteRT multiplies by weights of ``shape`` (out, ..., in) faster if it rounds what goes in."""
    taps = math.prod(shape[1:-1])
    if kind == _DEPTHWISE:
        return taps > _FLOAT_TAPS
    return min(shape[0], shape[-1]) * taps >= _FEWEST_PRODUCTS and shape[-1] >= _FEWEST_CHANNELS


def _products(data: bytes) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Of every product by weights: the pattern of its scope in the quantiser, its kind, the shape of its weights."""
    from fleetfront.deploy.writers.tflite.flatbuffer import as_text, kind_name, unpack_model

    model = unpack_model(data)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        kind = kind_name(model.operatorCodes[operator.opcodeIndex])
        if kind in (_FULLY_CONNECTED, _DEPTHWISE, _CONVOLUTION):
            weights, given = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]]
            name = as_text(given.name)
            yield f"^{re.escape(name)};?$", kind, tuple(map(int, weights.shape))

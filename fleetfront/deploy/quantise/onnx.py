"""Static int8 for ONNX files through ONNX Runtime's own quantiser: QDQ, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.contract import PREFIX, PROBABILITIES
from fleetfront.errors import InputError, missing
from fleetfront.runtimes.base import native_words

#: The step of made-up ranges; what a tensor is called in float again; arrays of fewer elements are settings.
_STEP, _WIDE, _FEWEST = 0.02, "/wide", 2
#: Where zero lies in uint8.
_MIDDLE = 128


def quantise_onnx(data: bytes, name: str, images: Sequence[NDArray[Any]]) -> bytes:
    """The int8 form of a float file. Equal files and images give equal bytes.

    Inputs and outputs stay as they are; operators of the input contract stay in float. Activations are calibrated by
    their smallest and largest values and are uint8: of signed ones ONNX Runtime on x86 leaves some operators in float,
    such as the convolutions of squeeze-and-excite, which took a network of once-for-all twice its time.

    Args:
        data: a float32 ``.onnx`` file.
        name: of its input.
        images: what to calibrate on, each as the file wants it.

    Raises:
        InputError: there are no images, or the quantiser gives up.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    if not images:
        raise InputError("int8 is calibrated on images, and there are none.", "Give --images.")
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise missing("onnxruntime", "cpu", "Quantising ONNX files") from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            image = next(self._left, None)
            return None if image is None else {name: image}

    model = onnx.load_from_string(data)
    kept = [node.name for node in model.graph.node if node.name.startswith(PREFIX) or node.name == PROBABILITIES]
    root = logging.getLogger()
    level = root.level
    # The quantiser advises on the root logger to preprocess the file, which is folded and has its shapes already.
    root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="fleetfront-") as folder:
            path = Path(folder) / "int8.onnx"
            quantize_static(
                model,
                path,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
            quantised = onnx.load(path)
    except (RuntimeError, ValueError, OSError, KeyError, AssertionError) as error:
        raise InputError(
            f"ONNX Runtime's quantiser gave up ({native_words(error)}).", "Leave int8 out of --precisions for this one."
        ) from error
    finally:
        root.setLevel(level)
    result: bytes = quantised.SerializeToString(deterministic=True)
    return result


def narrow_onnx(data: bytes) -> bytes:
    """A float file in int8 from its inputs to its outputs, as QDQ, for timing alone: its ranges are made up.

    Every operator stands between dequantised operands and a quantised result; vectors, which are biases, are int32, and
    weights of convolutions have a scale for each channel. Activations are uint8: on x86 ONNX Runtime changes those of
    whole networks to that, but not a file's ends, beside which it would then leave operators in float.

    Raises MissingDependency if onnx is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, numpy_helper
    except ImportError as error:
        raise missing("onnx", "cpu", "Quantising ONNX files") from error
    model = onnx.load_from_string(data)
    graph, nodes = model.graph, list(model.graph.node)
    made, wide, scales = [], set(), dict[str, NDArray[Any]]()
    for port in graph.input:
        made += _changes(port.name, "", scales, _STEP, np.uint8)[1:]
        wide.add(port.name)
    for weight in list(graph.initializer):
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < _FEWEST:
            continue
        dtype, step = (np.int32, _STEP * _STEP) if array.ndim == 1 else (np.int8, _STEP)
        limit = np.iinfo(dtype).max
        narrow = np.clip(np.round(array / step), -limit, limit).astype(dtype)
        weight.CopyFrom(numpy_helper.from_array(narrow, weight.name))
        channels = len(array) if array.ndim > 2 or (array.ndim == 1 and nodes[0].op_type == "Conv") else 0
        made += _changes(weight.name, "", scales, step, dtype, channels)[1:]
        wide.add(weight.name)
    ends = {port.name for port in graph.output}
    for node in nodes:
        node.input[:] = [f"{name}{_WIDE}" if name in wide else name for name in node.input]
        made.append(node)
        for place, name in enumerate(node.output):
            node.output[place] = f"{name}/float"
            made += _changes(name, f"{name}/float", scales, _STEP, np.uint8)[: 1 if name in ends else 2]
            wide.add(name)
    for port in (*graph.input, *graph.output):
        port.type.tensor_type.elem_type = TensorProto.UINT8
    del graph.node[:], graph.value_info[:]
    graph.node.extend(made)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in scales.items())
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _changes(
    name: str, source: str, scales: dict[str, NDArray[Any]], step: float, dtype: type, channels: int = 0
) -> list[Any]:
    """The operators that narrow ``source`` to ``name``, and that widen ``name`` again; their scales join ``scales``."""
    from onnx import helper

    count = (channels,) if channels else ()
    said = (f"{PREFIX}{name}.scale", f"{PREFIX}{name}.zero")
    scales |= {
        said[0]: np.full(count, step, np.float32),
        said[1]: np.full(count, _MIDDLE if dtype is np.uint8 else 0, dtype),
    }
    axis: dict[str, Any] = {"axis": 0} if channels else {}
    return [
        helper.make_node("QuantizeLinear", [source, *said], [name], f"{name}/narrow"),
        helper.make_node("DequantizeLinear", [name, *said], [f"{name}{_WIDE}"], f"{name}{_WIDE}", **axis),
    ]

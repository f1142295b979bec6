"""Static int8 for ONNX files through ONNX Runtime's own quantiser: QDQ, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.contract import PREFIX, PROBABILITIES
from fleetfront.deploy.quantise.precisions import Piece, nothing_to_calibrate_on
from fleetfront.errors import InputError, missing
from fleetfront.runtimes.base import native_words

#: The step of made-up ranges; what a tensor is called in float again; arrays of fewer elements are settings.
_STEP, _WIDE, _FEWEST = 0.02, "/wide", 2
#: Operators whose second operand are int8 weights, and whose third is an int32 bias, where they are constants.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: What a tensor between float ends is called in int8; operators that ONNX Runtime's quantiser calls removable.
_NARROW, _LEFT_TO_RANGES = "/narrow", frozenset({"Relu", "Clip"})
#: Where zero lies in uint8.
_MIDDLE = 128


def quantise_onnx(data: bytes, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> bytes:
    """The int8 form of a float file. Equal files and inputs give equal bytes.

    Inputs and outputs stay as they are; operators of the input contract stay in float. Activations are calibrated by
    their smallest and largest values and are uint8: of signed ones ONNX Runtime on x86 leaves some operators in float,
    such as the convolutions of squeeze-and-excite, which took a network of once-for-all twice its time.

    Args:
        data: a float32 ``.onnx`` file.
        feeds: what to calibrate on, the file's inputs by name.

    Raises:
        InputError: there are no inputs, or the quantiser gives up.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    if not feeds:
        raise nothing_to_calibrate_on()
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise missing("onnxruntime", "cpu", "Quantising ONNX files") from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            fed = next(self._left, None)
            return None if fed is None else dict(fed)

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


def narrow_onnx(data: bytes, piece: Piece = Piece.OPERATOR) -> bytes:
    """A float file in int8 as QDQ, for timing alone: its ranges are made up.

    Every operator stands between dequantised operands and a quantised result. As in ``quantise_onnx``, activations and
    constants beside them are uint8, weights int8, those of convolutions with a scale for each channel, biases int32.
    Networks keep float inputs and outputs. Networks and blocks lose what ``quantise_onnx`` leaves to ranges: ReLU and
    clips behind another operator.

    Raises MissingDependency if onnx is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, numpy_helper
    except ImportError as error:
        raise missing("onnx", "cpu", "Quantising ONNX files") from error
    model = onnx.load_from_string(data)
    graph = model.graph
    positive = set() if piece.is_operator else _leave_to_ranges(graph)
    nodes = list(graph.node)
    made, scales = [], dict[str, NDArray[Any]]()
    is_float_ended = piece is Piece.NETWORK
    fed, given = ({port.name: port.name for port in ports} for ports in (graph.input, graph.output))
    for port in graph.input:
        fed[port.name] = f"{port.name}{_NARROW}" if is_float_ended else port.name
        made += _changes(fed[port.name], port.name, scales, _STEP, np.uint8)[0 if is_float_ended else 1 :]
    wide = _narrow_weights(graph, scales, made, is_unsigned=piece is Piece.UNSIGNED_OPERATOR)
    for node in nodes:
        node.input[:] = [
            f"{fed[name]}{_WIDE}" if name in fed else f"{name}{_WIDE}" if name in wide else name for name in node.input
        ]
        made.append(node)
        for place, name in enumerate(node.output):
            node.output[place] = f"{name}/float"
            changed = f"{name}{_NARROW}" if is_float_ended and name in given else name
            both = _changes(changed, f"{name}/float", scales, _STEP, np.uint8, zero=0 if name in positive else _MIDDLE)
            if changed != name:
                both[1].output[0] = name
            made += both[:1] if name in given and not is_float_ended else both
            wide.add(name)
    if not is_float_ended:
        for port in (*graph.input, *graph.output):
            port.type.tensor_type.elem_type = TensorProto.UINT8
    del graph.node[:], graph.value_info[:]
    graph.node.extend(made)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in scales.items())
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _narrow_weights(graph: Any, scales: dict[str, NDArray[Any]], made: list[Any], *, is_unsigned: bool) -> set[str]:
    """Turn float constants narrow in place; what widens them again joins ``made``. Gives their names."""
    from onnx import numpy_helper

    wide = set()
    weights = {node.input[1] for node in graph.node if node.op_type in _WEIGHTED}
    biases = {node.input[2] for node in graph.node if node.op_type in _WEIGHTED and len(node.input) > 2}
    by_channel = {name for node in graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for weight in list(graph.initializer):
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < _FEWEST:
            continue
        dtype: type[np.integer[Any]] = np.uint8
        step, zero = _STEP, _MIDDLE
        if weight.name in biases:
            dtype, step, zero = np.int32, _STEP * _STEP, 0
        elif weight.name in weights and not is_unsigned:
            dtype, zero = np.int8, 0
        limit = np.iinfo(dtype).max
        narrow = np.clip(np.round(array / step) + zero, 0 if zero else -limit, limit).astype(dtype)
        weight.CopyFrom(numpy_helper.from_array(narrow, weight.name))
        channels = len(array) if weight.name in by_channel else 0
        made += _changes(weight.name, "", scales, step, dtype, channels)[1:]
        wide.add(weight.name)
    return wide


def _leave_to_ranges(graph: Any) -> set[str]:
    """Take ReLU and clips away whose input only they read: a range that ends where they cut does their work.

    Gives the names of what comes out of all ReLU and clips, whose ranges begin at zero.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    made_by = {name: node for node in graph.node for name in node.output}
    ends = {port.name for port in graph.output}
    removable = [node for node in graph.node if node.op_type in _LEFT_TO_RANGES]
    positive = {node.output[0] for node in removable}
    for node in removable:
        source = node.input[0]
        if source in made_by and readers[source] == 1 and source not in ends:
            before = made_by[source]
            before.output[list(before.output).index(source)] = node.output[0]
            made_by[node.output[0]] = before
            graph.node.remove(node)
    return positive


def _changes(
    name: str,
    source: str,
    scales: dict[str, NDArray[Any]],
    step: float,
    dtype: type,
    channels: int = 0,
    zero: int = _MIDDLE,
) -> list[Any]:
    """The operators that narrow ``source`` to ``name``, and that widen ``name`` again; their scales join ``scales``."""
    from onnx import helper

    count = (channels,) if channels else ()
    said = (f"{PREFIX}{name}.scale", f"{PREFIX}{name}.zero")
    scales |= {
        said[0]: np.full(count, step, np.float32),
        said[1]: np.full(count, zero if dtype is np.uint8 else 0, dtype),
    }
    axis: dict[str, Any] = {"axis": 0} if channels else {}
    return [
        helper.make_node("QuantizeLinear", [source, *said], [name], f"{name}/narrow"),
        helper.make_node("DequantizeLinear", [name, *said], [f"{name}{_WIDE}"], f"{name}{_WIDE}", **axis),
    ]

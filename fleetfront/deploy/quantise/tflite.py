"""Static int8 for TFLite files through ai-edge-quantizer: activations per tensor, weights per channel. The ranges of
activations are measured here.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.contract import PREFIX, PROBABILITIES
from fleetfront.deploy.quantise.precisions import Piece, nothing_to_calibrate_on
from fleetfront.errors import InputError, missing
from fleetfront.runtimes.base import native_words

#: Made-up ranges reach from minus to plus this; the schema's number of int8.
_SPAN, _INT8 = 3.0, 9


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the quantiser's progress bars and the interpreter's advice on debugging from the terminal, which is not a
    library's."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def quantise_tflite(data: bytes, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> bytes:
    """The int8 form of a float file. Equal files and inputs give equal bytes.

    Inputs and outputs stay as they are; operators of the input contract stay in float.

    Args:
        data: a float32 ``.tflite`` file with the signature ``serving_default``.
        feeds: what to calibrate on, the file's inputs by name.

    Raises:
        InputError: there are no inputs, or the quantiser gives up.
        MissingDependency: ai-edge-quantizer is not installed.
    """
    if not feeds:
        raise nothing_to_calibrate_on()
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe
    except ImportError as error:
        raise missing("ai-edge-quantizer", "quantise", "Quantising TFLite files") from error
    operation, skip = qtyping.TFLOperationName, recipe.AlgorithmName.NO_QUANTIZE
    with silent():
        try:
            made = quantizer.Quantizer(data, recipe.static_wi8_ai8())
            _keep_ends(made)
            for scope in (re.escape(PREFIX), re.escape(PROBABILITIES)):
                made.update_quantization_recipe(regex=scope, operation_name=operation.ALL_SUPPORTED, algorithm_key=skip)
            result = made.quantize(
                activation_ranges(data, feeds), enable_progress_bar=False, enable_progress_report=False
            )
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"ai-edge-quantizer gave up ({native_words(error)}).", "Leave int8 out of --precisions for this one."
            ) from error
    return bytes(result.quantized_model)


def _keep_ends(made: Any) -> None:
    """Leave the inputs and outputs of what a quantiser makes in float."""
    from ai_edge_quantizer import qtyping, recipe

    for kind in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(regex=".*", operation_name=kind, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)


def activation_ranges(
    data: bytes, feeds: Sequence[Mapping[str, NDArray[Any]]]
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Tensor -> smallest and largest value over all feeds, of every float tensor that is computed.

    The quantiser's own calibration averages the extremes of single images, which cuts off the upper ends: on a trained
    network with hard-swish the error of its int8 logits is six times that of plain extremes.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from fleetfront.deploy.writers.tflite.flatbuffer import unpack_model

    interpreter = Interpreter(
        model_content=data,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        # A delegate would keep its tensors to itself.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    subgraph = unpack_model(data).subgraphs[0]
    computed = {int(index) for operator in subgraph.operators for index in operator.outputs} | set(subgraph.inputs)
    watched = [
        detail
        for detail in interpreter.get_tensor_details()
        if detail["index"] in computed and detail["dtype"] is np.float32
    ]
    low = {detail["name"]: np.inf for detail in watched}
    high = {detail["name"]: -np.inf for detail in watched}
    (signature,) = interpreter.get_signature_list() or (None,)
    places = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    if signature is not None:
        details = interpreter.get_signature_runner(signature).get_input_details()
        places = {name: detail["index"] for name, detail in details.items()}
    for fed in feeds:
        for name, array in fed.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
        for detail in watched:
            values, name = interpreter.get_tensor(detail["index"]), detail["name"]
            low[name], high[name] = min(low[name], float(values.min())), max(high[name], float(values.max()))
    ones = {detail["name"]: (1,) * len(detail["shape"]) for detail in watched}
    return {
        name: {"min": np.full(ones[name], low[name], np.float32), "max": np.full(ones[name], high[name], np.float32)}
        for name in ones
    }


def narrow_tflite(data: bytes, piece: Piece = Piece.OPERATOR) -> bytes:
    """A float file in int8, for timing alone: its ranges are made up. Whole networks keep float inputs and outputs.

    Raises:
        InputError: the quantiser gives up, or leaves floats; weights from 0 to 255 are wanted.
        MissingDependency: ai-edge-quantizer is not installed.
    """
    if piece is Piece.UNSIGNED_OPERATOR:
        raise InputError("TFLite files hold no weights from 0 to 255 any more.", "Quantise to int8.")
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise missing("ai-edge-quantizer", "quantise", "Quantising TFLite files") from error
    from fleetfront.deploy.writers.tflite.flatbuffer import as_text, unpack_model

    graph = unpack_model(data).subgraphs[0]
    ranges = {
        as_text(tensor.name): {
            "min": np.full((1,) * len(tensor.shape), -_SPAN, np.float32),
            "max": np.full((1,) * len(tensor.shape), _SPAN, np.float32),
        }
        for tensor in graph.tensors
    }
    with silent():
        try:
            made = quantizer.Quantizer(data, recipe.static_wi8_ai8())
            if piece is Piece.NETWORK:
                _keep_ends(made)
            result = bytes(
                made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model
            )
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"ai-edge-quantizer gave up ({native_words(error)}).", "Time a finished int8 file instead."
            ) from error
    quantised = unpack_model(result).subgraphs[0]
    if piece is not Piece.NETWORK and any(
        quantised.tensors[int(index)].type != _INT8 for index in (*quantised.inputs, *quantised.outputs)
    ):
        raise InputError("ai-edge-quantizer left an operator in float.", "Time a finished int8 file instead.")
    return result

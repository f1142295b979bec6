"""Static int8 for TFLite files through ai-edge-quantizer: activations per tensor, weights per channel."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from fleetfront.deploy.input_contract import PREFIX, PROBABILITIES
from fleetfront.errors import InputError, missing

SIGNATURE = "serving_default"


def quantise_tflite(data: bytes, name: str, images: Sequence[NDArray[Any]]) -> bytes:
    """The int8 form of a float file. Equal files and images give equal bytes.

    Inputs and outputs stay as they are; operators of the input contract stay in float. Activations are calibrated by
    moving averages of their smallest and largest values, which is the quantiser's own rule.

    Args:
        data: a float32 ``.tflite`` file with the signature ``serving_default``.
        name: of its input in the signature.
        images: what to calibrate on, each as the file wants it.

    Raises:
        InputError: there are no images, or the quantiser gives up.
        MissingDependency: ai-edge-quantizer is not installed.
    """
    if not images:
        raise InputError("int8 is calibrated on images, and there are none.", "Give --images.")
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe
    except ImportError as error:
        raise missing("ai-edge-quantizer", "quantise", "Quantising TFLite files") from error
    operation, skip = qtyping.TFLOperationName, recipe.AlgorithmName.NO_QUANTIZE
    # Both its progress bars and the interpreter's advice on debugging go to the terminal, which is not a library's.
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            made = quantizer.Quantizer(data, recipe.static_wi8_ai8())
            for kind in (operation.INPUT, operation.OUTPUT):
                made.update_quantization_recipe(regex=".*", operation_name=kind, algorithm_key=skip)
            for scope in (re.escape(PREFIX), re.escape(PROBABILITIES)):
                made.update_quantization_recipe(regex=scope, operation_name=operation.ALL_SUPPORTED, algorithm_key=skip)
            ranges = made.calibrate({SIGNATURE: [{name: image} for image in images]}, num_threads=1)
            result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"ai-edge-quantizer gave up ({str(error)[:200]}).", "Leave int8 out of --precisions for this one."
            ) from error
    return bytes(result.quantized_model)

"""Static int8 for ONNX files through ONNX Runtime's own quantiser: QDQ, weights per channel."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fleetfront.deploy.contract import PREFIX, PROBABILITIES
from fleetfront.errors import InputError, missing
from fleetfront.runtimes.base import native_words


def quantise_onnx(data: bytes, name: str, images: Sequence[NDArray[Any]]) -> bytes:
    """The int8 form of a float file. Equal files and images give equal bytes.

    Inputs and outputs stay as they are; operators of the input contract stay in float. Activations are calibrated by
    their smallest and largest values.

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
                activation_type=QuantType.QInt8,
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

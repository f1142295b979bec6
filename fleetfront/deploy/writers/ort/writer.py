"""Turn ONNX files into ONNX Runtime's own format, for apps that build it with nothing but the operators they need."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from fleetfront.errors import InputError, missing

#: The first ONNX Runtime that reads version 6 of the format, which its writers have written since.
MINIMUM_RUNTIME = "onnxruntime 1.16"

_ERRORS_ONLY = 3


def write_ort(onnx_file: bytes) -> bytes:
    """The ``.ort`` form of an ``.onnx`` file, optimised for any machine of this kind (no blocked layouts).

    ONNX Runtime writes it and lists a lookup table in no fixed order, so equal files have equal content but not always
    equal bytes.

    Raises:
        InputError: ``onnx_file`` is none.
        MissingDependency: onnxruntime is not installed.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise missing("onnxruntime", "cpu", "Writing ORT files") from error
    from fleetfront.runtimes.base import native_words
    from fleetfront.runtimes.onnxruntime.runtime import ort_errors

    failures: tuple[type[Exception], ...] = (*ort_errors(), OSError)
    with tempfile.TemporaryDirectory(prefix="fleetfront-") as folder:
        path = Path(folder) / "network.ort"
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            # The NCHWc layout is as wide as this machine's vector registers, so files with it run nowhere else.
            ort.InferenceSession(
                onnx_file, options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
            )
            return path.read_bytes()
        except failures as error:
            raise InputError(
                f"ONNX Runtime could not turn the file into .ort ({native_words(error)}).",
                "Leave ort out of --formats.",
            ) from error


def finish_ort(onnx_file: bytes, _: object) -> bytes:
    """The same; what the file is cannot be written into it."""
    return write_ort(onnx_file)


def minimum_runtime(_: bytes) -> str:
    """The oldest runtime that reads such files."""
    return MINIMUM_RUNTIME


def required_operators(ort_file: bytes) -> bytes:
    """The configuration that a reduced build of ONNX Runtime is made with: the operators of one ``.ort`` file.

    It is what ``build.py --include_ops_by_config`` reads.
    """
    try:
        from onnxruntime.tools.ort_format_model import create_config_from_models
    except ImportError as error:
        raise missing("onnxruntime", "cpu", "Listing the operators of ORT files") from error
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="fleetfront-") as folder:
        model, config = Path(folder) / "network.ort", Path(folder) / "required_operators.config"
        model.write_bytes(ort_file)
        create_config_from_models([model], config, False)
        lines = config.read_text().splitlines()
    # Its first lines name the temporary file and the time.
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#")).encode()

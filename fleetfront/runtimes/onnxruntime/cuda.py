"""Options of ONNX Runtime's CUDA and TensorRT providers, and the check that all of a file runs there.

Written against https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html. The CUDA provider has run on an H200, TensorRT's on no GPU yet.
"""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceError, InputError, MissingDependency, missing

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

#: Without it, what a provider does not take runs on the CPU in silence, and looks like a slow GPU.
NO_FALLBACK = ("session.disable_cpu_ep_fallback", "1")

_ERRORS_ONLY = 3
_NOTHING = 4

#: y = Relu(x) on one float, as an ONNX file of IR 8 and opset 17: runs wherever a provider runs at all.
_SMALLEST = (
    b'\x08\x08:K\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x1b\n\x01x\x12\x16\n\x14\x08\x01\x12\x10'
    b"\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10"
    b"\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01B\x04\n\x00\x10\x11"
)


def cuda_options(device: int, precision: str) -> dict[str, str]:
    """Options of the CUDA provider: the device, and whether float32 may be computed in TensorFloat-32.

    Kernels of convolutions are those of cuDNN's heuristics, for the same reason as in torch; memory is taken as asked.
    """
    return {
        "device_id": str(device),
        "use_tf32": "1" if precision == "tf32" else "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def tensorrt_options(device: int, precision: str, cache: Path) -> dict[str, str]:
    """Options of the TensorRT provider, with engine and timing caches in ``cache``.

    Half precision is a matter of the file (strong typing), not of an option that lets TensorRT choose. The provider has
    no switch for TensorFloat-32: whoever asks for fp32 sets ``NVIDIA_TF32_OVERRIDE=0``, which NVIDIA's libraries obey.
    """
    folder = str(cache)
    return {
        "device_id": str(device),
        "trt_fp16_enable": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def require_provider(ort: Any, provider: str) -> None:
    """Raise MissingDependency if the installed ONNX Runtime was built without ``provider``."""
    available = ort.get_available_providers()
    if provider not in available:
        raise MissingDependency(
            f"The installed ONNX Runtime {ort.__version__} has no {provider} (it has {', '.join(available)}).",
            "Run: pip uninstall onnxruntime && pip install onnxruntime-gpu",
        )


def require_start(ort: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
    """Raise MissingDependency if the first of ``providers`` cannot be started here, though it was built in.

    Its libraries may be absent or of another version. Asked once, before any file is opened: each would only be said to
    have nodes that run on the CPU.
    """
    from fleetfront.runtimes.onnxruntime.runtime import ort_errors

    wanted = providers[0][0]
    options = ort.SessionOptions()
    options.log_severity_level = _NOTHING
    reason = "a library of it cannot be loaded, or is of another version"
    try:
        with redirect_stdout(sys.stderr):
            started = ort.InferenceSession(_SMALLEST, options, providers=providers, enable_fallback=0).get_providers()
    except ort_errors() as error:
        started, reason = [], _first_line(error)
    if wanted not in started:
        cuda = getattr(ort, "cuda_version", "") or "the version in its documentation"
        also = f" TensorRT 10 for {TENSORRT}: pip install 'tensorrt<11'." if wanted == TENSORRT else ""
        raise MissingDependency(
            f"ONNX Runtime {ort.__version__} has {wanted}, but it does not start ({reason}).",
            f"It wants CUDA {cuda} and cuDNN 9: pip install 'onnxruntime-gpu[cuda,cudnn]'.{also}",
        )


def import_onnxruntime() -> Any:
    """The module, with the libraries of CUDA and cuDNN loaded from pip packages, if any. Raises MissingDependency.

    Older ones without ``preload_dlls`` find the libraries that torch has loaded, if those are of the same version.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime-gpu", "gpu", "Profiling ONNX files on a GPU") from error
    # Each session would warn that its provider is not one of those that are registered as plug-ins.
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    if hasattr(onnxruntime, "preload_dlls"):
        # It prints what it cannot find; standard output belongs to our results.
        with redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
    return onnxruntime


def open_session(ort: Any, path: Path, providers: list[tuple[str, dict[str, str]]]) -> Any:
    """An ``InferenceSession`` of which every node runs on one of ``providers``.

    Raises:
        InputError: the file is none, or a node would run on the CPU.
        DeviceError: the provider could not be started, and ONNX Runtime went on without it.
    """
    from fleetfront.runtimes.onnxruntime.runtime import ort_errors

    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(*NO_FALLBACK)
    wanted = [name for name, _ in providers]
    try:
        # Falling back to another provider would be refused below; standard output belongs to our results.
        with redirect_stdout(sys.stderr):
            session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except ort_errors() as error:
        raise InputError(
            f"{path.name} does not run on {' and '.join(wanted)} alone ({_first_line(error)}).",
            "Time it with --runtime torch or tensorrt, or leave it out: parts of it would run on the CPU.",
        ) from error
    started = session.get_providers()
    if wanted[0] not in started:
        raise DeviceError(
            f"ONNX Runtime could not start {wanted[0]} and took {', '.join(started)} instead.",
            "Check that CUDA and cuDNN are of the versions that onnxruntime-gpu wants: fleetfront doctor",
        )
    return session


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # Where in ONNX Runtime's source it was said helps nobody here.
    return re.sub(r"^/\S+:\d+ .*?\) ", "", lines[0])[:200] if lines else type(error).__name__

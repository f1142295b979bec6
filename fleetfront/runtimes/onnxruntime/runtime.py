"""ONNX Runtime on this machine's CPU, as an app on a CPU uses it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fleetfront.errors import InputError, missing
from fleetfront.graphs.input_shapes import ANONYMOUS
from fleetfront.runtimes.base import Port, Session, native_words
from fleetfront.runtimes.feeds import check_feeds
from fleetfront.runtimes.onnxruntime.operator_times import profile_session
from fleetfront.runtimes.operator_times import OperatorTimes

#: ONNX Runtime's words for element types where they differ from numpy's.
_DTYPES = {"float": "float32", "double": "float64"}
_ERRORS_ONLY = 3


class OnnxRuntime:
    """Opens ``.onnx`` and ``.ort`` files."""

    name = "onnxruntime"

    def version(self) -> str:
        return str(_module().__version__)

    def open(self, path: Path | bytes, *, threads: int = 1) -> Session:
        return OnnxRuntimeSession(_opened(path, threads))

    def operator_times(
        self, path: Path, feeds: Mapping[str, NDArray[Any]], *, threads: int = 1, runs: int = 30
    ) -> OperatorTimes:
        """See ``runtimes.operator_times``."""
        return profile_session(lambda prefix: _opened(path, threads, prefix), path, feeds, runs)


def _opened(path: Path | bytes, threads: int, profile_prefix: str = "") -> Any:
    """A session, which writes a profile to a file of that prefix if there is one. Raises as ``Runtime.open`` does."""
    ort = _module()
    options = ort.SessionOptions()
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    if threads == 1:
        # With one thread the caller does all the work and no pool is there to spin; say so, lest a build start one
        # that burns the core it shares. With more, spinning stays on: apps get that default and its speed.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = path if isinstance(path, bytes) else str(path)
    _check_is_there(path)
    if _is_ort_format(path):
        # The runtime goes by the name, and files that are timed are not called by the one they came with.
        options.add_session_config_entry("session.load_model_format", "ORT")
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except ort_errors() as error:
        what = "These bytes are" if isinstance(path, bytes) else f"{path} is"
        raise InputError(
            f"{what} not a model that ONNX Runtime {ort.__version__} opens ({native_words(error)}).",
            _remedy(str(error)),
        ) from error


def _remedy(reason: str) -> str:
    """The remedy for a file that does not open, by the runtime's words."""
    words = reason.casefold()
    if "external data" in words:
        return "Put the file of weights that it names beside it, or save the model as one file."
    if "ir version" in words or "opset" in words:
        return "Update onnxruntime, or export the model for the version that it names."
    if "is not a registered function" in words or "no opset import" in words or "custom" in words:
        return "It needs operators of another package: time it where they are, or export it without them."
    return "Check that it is a whole .onnx file."


class OnnxRuntimeSession:
    """An opened ``.onnx`` file."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = tuple(_port(value) for value in session.get_inputs())
        self._outputs = tuple(_port(value) for value in session.get_outputs())

    @property
    def inputs(self) -> Sequence[Port]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [port.name for port in self._outputs]
        values = self._session.run(names, check_feeds(self._inputs, feeds))
        return dict(zip(names, values, strict=True))

    def bind(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        ort = _module()
        binding = self._session.io_binding()
        for name, feed in check_feeds(self._inputs, feeds).items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(feed.copy()))
        for port in self._outputs:
            # Bound to a device rather than a buffer, an output may have a symbolic shape; the arena makes it cheap.
            binding.bind_output(port.name, "cpu")
        # The binding keeps the values alive, the call keeps the binding.
        return partial(self._session.run_with_iobinding, binding)

    def close(self) -> None:
        self._session = None


def _module() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", "cpu", "Opening ONNX files") from error
    return onnxruntime


def ort_errors() -> tuple[type[Exception], ...]:
    """The runtime's own exceptions share no base class of theirs."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "NotImplemented")
    own = [getattr(state, name) for name in (*names, "RuntimeException", "EPFail") if hasattr(state, name)]
    return (*own, RuntimeError, ValueError)


def _check_is_there(path: Path | bytes) -> None:
    if not isinstance(path, bytes) and not Path(path).is_file():
        raise InputError(f"There is no file {path}.", "Give the path of a model file.")


def _is_ort_format(path: Path | bytes) -> bool:
    """By the flatbuffer's identifier."""
    if isinstance(path, bytes):
        return path[4:8] == b"ORTM"
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"ORTM"


def _port(value: Any) -> Port:
    match = re.fullmatch(r"tensor\((\w+)\)", value.type)
    dtype = _DTYPES.get(match.group(1), match.group(1)) if match else value.type
    shape = tuple(d if isinstance(d, int | str) else ANONYMOUS for d in value.shape or ())
    return Port(value.name, shape, dtype)

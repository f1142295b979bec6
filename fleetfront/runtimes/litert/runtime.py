"""LiteRT (TensorFlow Lite) on this machine's CPU, as an app uses it.

The ``Interpreter`` with its default XNNPACK delegate is used rather than the newer ``CompiledModel``: it is what apps,
``benchmark_model`` and the C API run; both run the same kernels (latencies within 2 % of each other), but it opens a
file in 1.4 ms instead of 18 ms, and without looking for accelerators that a CPU latency must not use.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, missing
from fleetfront.graphs.input_shapes import ANONYMOUS
from fleetfront.runtimes.base import Port, Session, native_words
from fleetfront.runtimes.facts import RuntimeFacts
from fleetfront.runtimes.feeds import check_feeds
from fleetfront.runtimes.litert.facts import FACTS, TENSORFLOW_LITE, TFLITE_RUNTIME
from fleetfront.runtimes.operator_times import OperatorTimes

_is_announced = False


class LiteRt:
    """Opens ``.tflite`` files. Its predecessors have the same interpreter in another ``module``."""

    name = "litert"
    module: ClassVar[str] = "ai_edge_litert.interpreter"

    @property
    def facts(self) -> RuntimeFacts:
        """The record of the package whose interpreter this is."""
        return FACTS

    def version(self) -> str:
        self._interpreter_class()
        return self.facts.packages[0].installed() or "unknown"

    def _interpreter_class(self) -> Any:
        package = self.facts.packages[0]
        try:
            return import_module(self.module).Interpreter
        except ImportError as error:
            raise missing(package.name, package.extra, "Opening TFLite files") from error

    def open(self, path: Path | bytes, *, threads: int = 1) -> Session:
        interpreter_class = self._interpreter_class()
        if not isinstance(path, bytes) and not Path(path).is_file():
            raise InputError(f"There is no file {path}.", "Give the path of a model file.")
        source: dict[str, Any] = {"model_content": path} if isinstance(path, bytes) else {"model_path": str(path)}
        try:
            with _first_announcement_hidden():
                interpreter = interpreter_class(num_threads=threads, **source)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            what = "These bytes are" if isinstance(path, bytes) else f"{path} is"
            raise InputError(
                f"{what} not a model that {self.facts.title} {self.version()} opens ({native_words(error)}).",
                "Check that it is a whole .tflite file with built-in operators only.",
            ) from error
        return LiteRtSession(interpreter)

    def operator_times(
        self, path: Path, feeds: Mapping[str, NDArray[Any]], *, threads: int = 1, runs: int = 30
    ) -> OperatorTimes:
        """See ``runtimes.operator_times``. Operators are cut out of the file: what ``feeds`` hold is not read."""
        from fleetfront.runtimes.litert.operator_times import time_operators

        return time_operators(path.read_bytes(), lambda data: self.open(data, threads=threads), runs)


class TfliteRuntime(LiteRt):
    """The small package that boards had before LiteRT. Its numbers are never LiteRT's."""

    name = "tflite-runtime"
    module = "tflite_runtime.interpreter"

    @property
    def facts(self) -> RuntimeFacts:
        return TFLITE_RUNTIME


class TensorFlowLite(LiteRt):
    """The interpreter inside TensorFlow."""

    name = "tensorflow-lite"
    module = "tensorflow.lite.python.interpreter"

    @property
    def facts(self) -> RuntimeFacts:
        return TENSORFLOW_LITE

    def _interpreter_class(self) -> Any:
        # It tells of its optimisations and of its successor wherever it is imported and opened.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.filterwarnings("ignore", message="(?s).*tf.lite.Interpreter is deprecated", category=UserWarning)
        return super()._interpreter_class()


class LiteRtSession:
    """An opened ``.tflite`` file. Names are those of its signature, of the tensors where it has none."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        names = _signature_names(interpreter, inputs, outputs)
        self._inputs = tuple(_port(detail, names) for detail in inputs)
        self._outputs = tuple(_port(detail, names) for detail in outputs)
        self._index = {names[d["index"]]: d["index"] for d in (*inputs, *outputs)}
        self._allocated = {names[d["index"]]: tuple(int(size) for size in d["shape"]) for d in inputs}

    @property
    def inputs(self) -> Sequence[Port]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self._feed(feeds)
        self._interpreter.invoke()
        return {port.name: self._interpreter.get_tensor(self._index[port.name]) for port in self._outputs}

    def bind(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        self._feed(feeds)
        # The interpreter never plans other tensors over its inputs, so they stay for any number of calls.
        call: Callable[[], object] = self._interpreter.invoke
        return call

    def close(self) -> None:
        self._interpreter = None

    def _feed(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        checked = check_feeds(self._inputs, feeds)
        resized = {name: feed.shape for name, feed in checked.items() if feed.shape != self._allocated[name]}
        for name, shape in resized.items():
            self._interpreter.resize_tensor_input(self._index[name], shape)
        if resized:
            self._interpreter.allocate_tensors()
            self._allocated.update(resized)
        for name, feed in checked.items():
            self._interpreter.set_tensor(self._index[name], feed)


def _signature_names(
    interpreter: Any, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> dict[int, str]:
    """Tensor index -> name. A signature counts if it is over the main subgraph, which is what ``invoke`` runs."""
    wanted = {detail["index"] for detail in (*inputs, *outputs)}
    signatures = interpreter.get_signature_list()
    for key in sorted(signatures, key=lambda key: key != "serving_default"):
        runner = interpreter.get_signature_runner(key)
        fed, given = runner.get_input_details(), runner.get_output_details()
        names = {detail["index"]: name for name, detail in (*fed.items(), *given.items())}
        if set(names) == wanted and len(set(names.values())) == len(names):
            return names
    return {detail["index"]: detail["name"] for detail in (*inputs, *outputs)}


def _port(detail: Mapping[str, Any], names: Mapping[int, str]) -> Port:
    shape = tuple(int(size) if size >= 0 else ANONYMOUS for size in detail["shape_signature"])
    defaults = tuple(int(size) for size in detail["shape"]) if ANONYMOUS in shape else ()
    return Port(names[detail["index"]], shape, np.dtype(detail["dtype"]).name, defaults)


@contextmanager
def _first_announcement_hidden() -> Iterator[None]:
    """The first file that a process opens makes LiteRT announce its delegate straight to standard error.

    Later opens leave standard error alone, since another thread may be drawing progress on it.
    """
    global _is_announced
    if _is_announced:
        yield
        return
    _is_announced = True
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed: nothing to hide
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)

"""Run ONNX files in onnx's own reference evaluator: plain numpy, operator by operator, as a runtime of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError, missing
from fleetfront.graphs.input_shapes import ANONYMOUS
from fleetfront.runtimes.base import Port, Session
from fleetfront.runtimes.facts import OnDevice, Package, RuntimeFacts
from fleetfront.runtimes.feeds import check_feeds


class OnnxReference:
    """A ``Runtime``: opens ``.onnx`` files that are whole and need no operators of other packages."""

    name = "onnx-reference"

    def version(self) -> str:
        """The installed onnx's."""
        return str(_onnx().__version__)

    def open(self, path: Path | bytes, *, threads: int = 1) -> Session:
        """See ``Runtime``. ``threads`` is what the process gives numpy's BLAS, before numpy is loaded."""
        onnx = _onnx()
        from onnx.reference import ReferenceEvaluator

        try:
            model = onnx.load_model_from_string(path if isinstance(path, bytes) else path.read_bytes())
            onnx.checker.check_model(model)
            return OnnxReferenceSession(model.graph, ReferenceEvaluator(model))
        # protobuf, checker and evaluator share no base class for what they refuse.
        except Exception as error:
            what = "These bytes are" if isinstance(path, bytes) else f"{path} is"
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(
                f"{what} no model that onnx {onnx.__version__} runs ({why}).", "Check that it is a whole .onnx file."
            ) from error


class OnnxReferenceSession:
    """A ``Session`` of an evaluator."""

    def __init__(self, graph: Any, evaluator: Any) -> None:
        """Read the ports; inputs that the file holds as weights are none. Raises InputError without any output."""
        self._evaluator = evaluator
        weights = {tensor.name for tensor in graph.initializer}
        self._inputs = tuple(_port(value) for value in graph.input if value.name not in weights)
        self._outputs = tuple(_port(value) for value in graph.output)
        if not self._outputs:
            raise InputError("It gives nothing.", "Export it with an output.")

    @property
    def inputs(self) -> Sequence[Port]:
        """See ``Session``, here and below."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        results = self._evaluator.run(None, check_feeds(self._inputs, feeds))
        return {port.name: np.asarray(value) for port, value in zip(self._outputs, results, strict=True)}

    def bind(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        checked = check_feeds(self._inputs, feeds)
        return partial(self._evaluator.run, None, {name: feed.copy() for name, feed in checked.items()})

    def close(self) -> None:
        self._evaluator = None


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise missing("onnx", "cpu", "The reference evaluator") from error
    return onnx


def _port(value: Any) -> Port:
    from onnx.helper import tensor_dtype_to_np_dtype

    tensor = value.type.tensor_type
    shape = (
        size.dim_param or (size.dim_value if size.HasField("dim_value") else ANONYMOUS) for size in tensor.shape.dim
    )
    return Port(value.name, tuple(shape), np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)).name)


FACTS = RuntimeFacts(
    name=OnnxReference.name,
    title="ONNX's reference",
    code="fleetfront_example.runtime:OnnxReference",
    formats=("onnx",),
    layout="NCHW",
    packages=(Package("onnx", "cpu", "running .onnx files in numpy"),),
    on={"cpu": (OnDevice(OnnxReference.name, "onnx"),)},
)

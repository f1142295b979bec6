"""TensorRT plans as a runtime of this machine, to prove them against torch; torch holds the memory on the device.

Has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.runtimes.base import Port, Session
from fleetfront.runtimes.cuda_device import open_cuda_device
from fleetfront.runtimes.feeds import check_feeds
from fleetfront.runtimes.tensorrt.engine import Engine, import_tensorrt


class TensorRt:
    """Opens ``.trt`` plans on ``cuda:0``."""

    name = "tensorrt"

    def version(self) -> str:
        return str(import_tensorrt().__version__)

    def open(self, path: Path | bytes, *, threads: int = 1) -> Session:
        trt = import_tensorrt()
        device = open_cuda_device("cuda:0")
        try:
            data = path if isinstance(path, bytes) else Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"The plan cannot be read ({error}).", "Give the path of a plan.") from error
        return TensorRtSession(Engine(trt, data), f"cuda:{device.index}")


class TensorRtSession:
    """An opened plan and a stream of its own."""

    def __init__(self, engine: Engine, device: str) -> None:
        import torch

        self._torch: Any = torch
        self._engine = engine
        self._device = device
        self._stream: Any = self._torch.cuda.Stream(device)

    @property
    def inputs(self) -> Sequence[Port]:
        return self._engine.inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._engine.outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        call, results = self._bound(feeds)
        call()
        return {name: tensor.cpu().numpy() for name, tensor in results.items()}

    def bind(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        return self._bound(feeds)[0]

    def close(self) -> None:
        self._engine.close()

    def _bound(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[Callable[[], object], dict[str, Any]]:
        torch = self._torch
        fed = {
            name: torch.from_numpy(array).to(self._device) for name, array in check_feeds(self.inputs, feeds).items()
        }
        results = {port.name: output_tensor(torch, port, self._device) for port in self.outputs}
        # What was copied in on torch's stream must be there before TensorRT's stream reads it.
        torch.cuda.synchronize(self._device)
        addresses = {name: tensor.data_ptr() for name, tensor in {**fed, **results}.items()}

        def call() -> object:
            self._engine.enqueue(addresses, self._stream.cuda_stream)
            self._stream.synchronize()
            # Referring to the tensors here keeps their memory for as long as the call.
            return fed, results

        return call, results


def output_tensor(torch: Any, port: Port, device: Any) -> Any:
    """Memory for an output. Raises InputError where its shape is not fixed."""
    if any(isinstance(side, str) for side in port.shape):
        raise InputError(f"Output {port.name!r} of the plan has no fixed shape.", "Build plans for one batch each.")
    return torch.empty(tuple(port.shape), dtype=getattr(torch, port.dtype), device=device)

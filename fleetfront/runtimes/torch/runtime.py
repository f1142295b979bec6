"""torch on this machine's CPU, running the serial form of a Graph eagerly: the reference, and a target of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fleetfront.errors import InputError, missing
from fleetfront.graphs.graph import Graph
from fleetfront.runtimes.base import Port, Session
from fleetfront.runtimes.feeds import check_feeds


class TorchRuntime:
    """Opens ``.graph`` files: what ``Graph.to_bytes`` gives."""

    name = "torch"

    def version(self) -> str:
        return str(_module().__version__)

    def open(self, path: Path | bytes, *, threads: int = 1) -> Session:
        _module()
        if isinstance(path, bytes):
            data = path
        else:
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                raise InputError(f"{path} cannot be read ({error}).", "Give the path of a model file.") from error
        return TorchSession(Graph.from_bytes(data), threads)


class TorchSession:
    """A graph as a torch module in eager mode.

    torch has one number of threads a process, so ``bind`` sets it until ``close`` sets it back.
    """

    def __init__(self, graph: Graph, threads: int) -> None:
        from fleetfront.graphs.torch_module import TorchModule

        self._module: Any = TorchModule(graph).eval()
        self._threads = threads
        self._threads_before: int | None = None
        self._inputs = tuple(_port(graph, name) for name in graph.inputs)
        self._outputs = tuple(_port(graph, name) for name in graph.outputs)

    @property
    def inputs(self) -> Sequence[Port]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tensors = self._tensors(feeds)
        with _threads(self._threads):
            results = _inference(self._module, tensors)
        values = results if isinstance(results, tuple) else (results,)
        return {port.name: value.numpy() for port, value in zip(self._outputs, values, strict=True)}

    def bind(self, feeds: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
        tensors = self._tensors(feeds)
        torch = _module()
        if self._threads_before is None:
            self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        module, inference_mode = self._module, torch.inference_mode

        def call() -> object:
            with inference_mode():
                return module(*tensors)

        return call

    def close(self) -> None:
        if self._threads_before is not None:
            _module().set_num_threads(self._threads_before)
            self._threads_before = None
        self._module = None

    def _tensors(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        torch = _module()
        return [torch.from_numpy(feed.copy()) for feed in check_feeds(self._inputs, feeds).values()]


def _module() -> Any:
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "torch", "Running a network in torch") from error
    return torch


def _inference(module: Any, tensors: Sequence[Any]) -> Any:
    with _module().inference_mode():
        return module(*tensors)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    torch = _module()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _port(graph: Graph, name: str) -> Port:
    tensor = graph.tensors[name]
    return Port(name, tensor.shape, tensor.dtype)

"""Write parts and networks of a family as ONNX files, through torch's own exporter.

The exporter of TorchScript is used: that of ``torch.export`` takes seconds a file, and a profile writes hundreds.
Importing this module imports torch.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.readers.torch import read_module
from fleetfront.user_code import reason_of

_OPSET = 17


def exported_graph(name: str, module: nn.Module, sample: Sequence[Tensor]) -> Graph:
    """The graph of a module whose files torch writes, when they are asked for."""
    from dataclasses import replace

    graph = read_module(module, tuple(sample))
    return replace(graph, name=name, exports={"onnx": partial(export_onnx, module, tuple(sample))})


def export_onnx(module: nn.Module, sample: Sequence[Tensor]) -> bytes:
    """The ``.onnx`` file of a module for inputs like ``sample``, batch 1. Raises InputError if torch gives up."""
    names = input_names(module, len(sample))
    with quiet_torch(), plain_paths(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if len(inspect.signature(module.forward).parameters) > len(sample):
                # The exporter makes tensors of the other parameters' defaults, which attention takes no booleans from.
                with contextlib.suppress(TypeError):
                    return _exported(module, sample, names)
                return _exported(_Given(module), sample, names)
            return _exported(module, sample, names)
        except Exception as error:
            raise InputError(
                f"torch.onnx gave up on {type(module).__name__} ({reason_of(error)}).",
                "Rewrite what it cannot trace: branches and shapes that depend on the input's values.",
            ) from error


class _Given(nn.Module):
    """A module that is called with what is given, and takes nothing else."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.eval()

    def forward(self, *tensors: Tensor) -> Any:
        return self.module(*tensors)


def _exported(module: nn.Module, sample: Sequence[Tensor], names: list[str]) -> bytes:
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        tuple(sample),
        buffer,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=_OPSET,
        input_names=names,
        output_names=_output_names(module(*sample)),
    )
    return buffer.getvalue()


def input_names(module: nn.Module, count: int) -> list[str]:
    """Names of a module's first inputs: those of ``forward``'s parameters, where it names them one by one."""
    parameters = inspect.signature(module.forward).parameters.values()
    named = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    return [named[place] if place < len(named) else f"input_{place}" for place in range(count)]


def _output_names(results: object) -> list[str]:
    """``output``, with the place of each tensor among several behind it."""
    leaves, _ = pytree.tree_flatten_with_path(results)
    places = [re.sub(r"\W+", "_", pytree.keystr(path)).strip("_") for path, leaf in leaves if isinstance(leaf, Tensor)]
    return [f"output_{place}" if place else "output" for place in places]


@contextlib.contextmanager
def plain_paths() -> Iterator[None]:
    """Transformers without their fused path, which would hide their operators."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Without the exporter's warnings, and on one thread: a busy machine makes small networks wait for the others."""
    before, threads = logging.root.manager.disable, torch.get_num_threads()
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        torch.set_num_threads(threads)
        logging.disable(before)

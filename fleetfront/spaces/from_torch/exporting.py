"""Write parts and networks of a family as ONNX files through torch's own exporter, and as TFLite through litert-torch.

ONNX is of the exporter of TorchScript: that of ``torch.export`` takes seconds a file, and a profile writes hundreds.
Importing this module imports torch.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fleetfront.errors import InputError, MissingDependency
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.readers.torch import read_module
from fleetfront.spaces.from_torch.converted import convert_once
from fleetfront.user_code import reason_of

_OPSET = 17
#: Layers along sequences whose channels stand before their places.
_ALONG = (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d)


def exported_graph(name: str, module: nn.Module, sample: Sequence[Tensor], *, is_inside: bool = False) -> Graph:
    """The graph of a module whose files torch or litert-torch writes, when they are asked for.

    ``is_inside`` says that it is a piece of a network: where TFLite keeps images channels last, it is fed so.
    """
    from dataclasses import replace

    fed = tuple(sample)
    exports = {
        "onnx": partial(export_onnx, module, fed, is_inside),
        "tflite": partial(export_tflite, module, fed, is_inside),
    }
    return replace(read_module(module, fed), name=name, exports=exports)


def check_numbers(module: nn.Module, results: object, said: str = "") -> None:
    """Raise InputError if an output of a network, ``said``, holds NaN or nothing finite: no file could be proven.

    Infinity beside numbers is fine, as where scores are masked.
    """
    for one in pytree.tree_leaves(results):
        if not isinstance(one, Tensor) or not one.is_floating_point() or not one.numel():
            continue
        if bool(one.isnan().any()) or not bool(one.isfinite().any()):
            raise InputError(
                f"{said or type(module).__name__} gives {'NaN' if bool(one.isnan().any()) else 'infinity alone'} for "
                "its inputs.",
                "Check its weights, and the numbers that it is fed.",
            )


def export_onnx(module: nn.Module, sample: Sequence[Tensor], is_inside: bool = False) -> bytes:
    """The ``.onnx`` file of a module for inputs like ``sample``, batch 1; ``is_inside`` says that it is a piece of a
    network, whose numbers are not looked at: its ``sample`` is made up.

    Raises InputError if torch gives up, or an output is no number.
    """
    names = input_names(module, len(sample))
    if not is_inside:
        with torch.no_grad(), plain_paths():
            check_numbers(module, _ran(module, sample))
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


def _ran(module: nn.Module, sample: Sequence[Tensor]) -> Any:
    """Run a module on a copy of its inputs: it may change in place what it is fed. Raises InputError if it fails."""
    try:
        return module(*[one.clone() for one in sample])
    except Exception as error:
        raise InputError(
            f"{type(module).__name__} does not run on its inputs: {reason_of(error)}", "Give what its forward takes."
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


def load_litert_torch() -> Any:
    """The package litert-torch. Raises MissingDependency if it is not installed."""
    try:
        with quiet_torch():
            import litert_torch
    except ImportError as error:
        raise MissingDependency(
            "Writing a torch network as TFLite needs the package litert-torch, which is not installed.",
            "It wants older versions of some packages, so in an environment of its own run: "
            "pip install 'fleetfront[cpu,torch,export-tflite]'",
        ) from error
    return litert_torch


def export_tflite(module: nn.Module, sample: Sequence[Tensor], is_inside: bool = False) -> bytes:
    """The ``.tflite`` file of a module for inputs like ``sample``, through litert-torch: inputs and outputs have the
    names, types and axes of the ONNX file, but for images of a piece ``is_inside`` a network, whose channels are last.

    Raises:
        InputError: the converter gives up.
        MissingDependency: litert-torch is not installed.
    """
    load_litert_torch()
    computed: bytes | None = None
    with contextlib.suppress(InputError):
        computed = export_onnx(module, sample, is_inside=True)
    if not is_inside:
        with torch.no_grad(), plain_paths():
            check_numbers(module, _ran(module, sample))
    axes = _axes_of_maps(module, sample) if is_inside else ()
    convert = partial(_converted, module, sample, axes)
    if computed is None:
        return convert()
    # Beside its weights and operators, where a map has its channels decides what is written.
    how = ("whole", "inside", "inside, along sequences")[len(axes)]
    return convert_once(computed, f"litert-torch, {how}", convert)


def _axes_of_maps(module: nn.Module, sample: Sequence[Tensor]) -> tuple[int, ...]:
    """How many axes tensors with channels before places have, which LiteRT keeps channels last inside a network: images
    four, and sequences three where a layer goes along one that the module is fed.
    """
    copies = [one.clone() for one in sample]
    fed, found = {id(one) for one in copies if one.dim() == 3}, set[int]()

    def look(_: nn.Module, given: tuple[Any, ...]) -> None:
        found.update({id(one) for one in given} & fed)

    handles = [one.register_forward_pre_hook(look) for one in module.modules() if isinstance(one, _ALONG)]
    # A module that does not run is told of by the converter.
    with contextlib.suppress(Exception), torch.no_grad(), plain_paths():
        module(*copies)
    for handle in handles:
        handle.remove()
    return (3, 4) if found else (4,)


def _converted(module: nn.Module, sample: Sequence[Tensor], axes: Sequence[int]) -> bytes:
    converter, names = load_litert_torch(), input_names(module, len(sample))
    with quiet_torch(), _quiet_native(), plain_paths(), tempfile.TemporaryDirectory() as folder:
        try:
            with torch.no_grad():
                results = module(*sample)
            if axes:
                inside = _ChannelsLast(module, axes, sample)
                module, sample = inside, [inside.given(one).contiguous() for one in sample]
            called = _Named(module, names, _output_names(results))
            path = Path(folder) / "module.tflite"
            fed = dict(zip(names, sample, strict=True))
            converter.convert(called, sample_kwargs=fed, enable_x64=True).export(str(path))
            return path.read_bytes()
        except Exception as error:
            raise InputError(
                f"litert-torch gave up on {type(module).__name__} ({reason_of(error)}).",
                "Use a runtime of .onnx files: --runtime onnxruntime.",
            ) from error


class _ChannelsLast(nn.Module):
    """A module between tensors with their channels last, as they lie inside a network's file: those with so many
    ``axes`` that torch has first. Sequences are images one place high, for LiteRT convolves nothing else.
    """

    def __init__(self, module: nn.Module, axes: Sequence[int], sample: Sequence[Tensor]) -> None:
        super().__init__()
        self.module, self.axes = module, tuple(axes)
        self.ranks = [one.dim() for one in sample]
        self.eval()

    def given(self, one: Tensor) -> Tensor:
        """A tensor that torch is fed, or gives, as the file has it."""
        if one.dim() not in self.axes:
            return one
        return (one if one.dim() == 4 else one.unsqueeze(2)).permute(0, 2, 3, 1)

    def _taken(self, one: Tensor, rank: int) -> Tensor:
        if rank not in self.axes:
            return one
        first = one.permute(0, 3, 1, 2)
        return first if rank == 4 else first.squeeze(2)

    def forward(self, *tensors: Tensor) -> Any:
        fed = [self._taken(one, rank) for one, rank in zip(tensors, self.ranks, strict=True)]
        return pytree.tree_map_only(Tensor, self.given, self.module(*fed))


class _Named(nn.Module):
    """A module that takes its inputs, and gives its outputs, by name."""

    def __init__(self, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.module, self.inputs, self.outputs = module, tuple(inputs), tuple(outputs)
        self.eval()

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        results = self.module(*[tensors[name] for name in self.inputs])
        given = [one for one in pytree.tree_leaves(results) if isinstance(one, Tensor)]
        return dict(zip(self.outputs, given, strict=True))


@contextlib.contextmanager
def _quiet_native() -> Iterator[None]:
    """Without what native code of a converter writes past Python to the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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

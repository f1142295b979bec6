"""Export a torch network of any inputs and outputs by an example of its inputs, proven output by output."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.deploy.bundle.manifest import check_replaceable, safe_name
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.deploy.proof import LEAST_SPREAD, spread_of_range
from fleetfront.deploy.writers.tflite.metadata import FileDescription
from fleetfront.errors import BarMissed, FleetfrontError, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.bundling import staging_folder
from fleetfront.pipelines.deploy.called import bundle_called, prove_called
from fleetfront.pipelines.deploy.records import Deployed, Measuring, Pick, WrittenFile
from fleetfront.pipelines.deploy.timing import measure_written
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.base import Session
from fleetfront.runtimes.feeds import load_arrays

if TYPE_CHECKING:
    from torch import nn

Arrays = dict[str, NDArray[Any]]

#: Formats that such networks are written in.
FORMATS = ("onnx", "ort")
#: The same of a user's family, whose TFLite files litert-torch writes.
OWN_FORMATS = (*FORMATS, "tflite")
#: Inferences that are compared: the example, and others like it.
SAMPLES = 4


@dataclass(frozen=True, slots=True)
class ExampleNetwork:
    """The things to export.

    Attributes:
        spec: ``module.py:factory``.
        example: ``inputs.py``, ``inputs.py:NAME`` or ``x.npz``: one tensor, a tuple in the order of ``forward``, or a
            dict by the names of its parameters; tuples and dicts may be nested.
        name: of the bundle.
        licence: of the weights.
    """

    spec: str
    example: str
    name: str
    licence: str = "unknown"


def export_example(
    wanted: ExampleNetwork,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    measuring: Measuring | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Deployed:
    """Write one bundle, fp32, for inputs of the example's shapes. What fails in making it is in the result.

    Raises:
        InputError: the factory or the example is not usable, the network fails on it, or a format is not written.
        MissingDependency: an exporter is not installed.
    """
    from fleetfront.deploy.writers.torch_export import load_factory, spec_neighbours, weights_of

    pick = Pick(safe_name(wanted.name), wanted.spec)
    strange = [kind.name for kind in formats if kind.name not in FORMATS]
    if strange:
        raise InputError(
            f"Networks of an --example are not written as {strange[0]}.", f"Choose from --formats {','.join(FORMATS)}."
        )
    check_replaceable(out / pick.name, force=force)
    module = load_factory(wanted.spec)
    progress.start("Exporting and proving", len(formats))
    try:
        with spec_neighbours(wanted.spec), contextlib.ExitStack() as until:
            network = TorchCall(wanted.spec, module, read_example(wanted.example))
            staging = until.enter_context(staging_folder(out))
            try:
                files = []
                for kind in formats:
                    files.append(write_proven(network, kind, staging, _exported(network)))
                    progress.advance(detail=files[-1].name)
                timed = {} if measuring is None else measure_written({pick.arch: files}, measuring, progress)
                done = Deployed(pick, proofs={f.key: f.proof for f in files}, measured=timed.get(pick.arch, ()))
                weights = weights_of(wanted.spec, module, wanted.licence)
                return bundle_called(replace(done, files=tuple(files)), network, weights, out, force=force)
            except FleetfrontError as error:
                return Deployed(pick, error=type(error)(f"{pick.name}: {error.message}", error.remedy))
    finally:
        progress.finish()


def read_example(text: str) -> Any:
    """An example of a network's inputs as the user wrote it: arrays, tensors, tuples and dicts of them.

    Raises InputError if there is none.
    """
    from fleetfront.deploy.writers.torch_export import load_from_file

    if text.endswith(".npz"):
        return dict(load_arrays(Path(text)))
    path, _, name = text.rpartition(":") if not text.endswith(".py") else (text, "", "example")
    if not path.endswith(".py"):
        raise InputError(f"{text!r} names no example.", "Give inputs.py, inputs.py:NAME or x.npz.")
    return load_from_file(Path(path), name, "Define `example`: a tensor, a tuple or a dict of them, or a function.")


class TorchCall:
    """A torch network with the call that its example makes: flat tensors in, flat tensors out, each with a name."""

    origin = "torch"

    def __init__(self, spec: str, module: nn.Module, example: Any) -> None:
        import torch
        from torch.utils import _pytree as pytree

        self.spec, self.module = spec, module
        args, kwargs = _call(module, example)
        leaves, self._spec = pytree.tree_flatten((args, kwargs))
        self.inputs = _distinct([*_names(args, _parameters(module)), *_names(kwargs)])
        try:
            tensors = [leaf if isinstance(leaf, torch.Tensor) else torch.tensor(np.asarray(leaf)) for leaf in leaves]
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"The example holds what is no tensor ({error}).", "Give arrays of numbers.") from error
        self._samples: list[Arrays] | None = None
        self.example = [tensor.detach().cpu() for tensor in tensors]
        results = self._results(self.example)
        named = _names((results,), ("output",))
        self.outputs = [f"{name}_" if name in self.inputs else name for name in _distinct(named)]
        kept = [isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(results)]
        self.outputs = [name for name, is_tensor in zip(self.outputs, kept, strict=True) if is_tensor]
        tensors = [leaf for leaf in pytree.tree_leaves(results) if isinstance(leaf, torch.Tensor)]
        strange = [str(leaf.dtype) for leaf in tensors if leaf.is_complex() or leaf.dtype == torch.bfloat16]
        if strange or not tensors:
            said = f"{strange[0]}, which is not compared here" if strange else "no tensor"
            raise InputError(f"{spec} gives {said}.", "Return tensors of float32, integers or booleans.")

    def _results(self, tensors: Sequence[Any]) -> Any:
        import torch
        from torch.utils import _pytree as pytree

        args, kwargs = pytree.tree_unflatten(list(tensors), self._spec)
        try:
            with torch.no_grad():
                return self.module(*args, **kwargs)
        except Exception as error:
            raise InputError(
                f"{self.spec} fails on the example ({type(error).__name__}: {str(error)[:600]}).",
                f"The example was passed as {', '.join(map(self._said, range(len(self.inputs))))}.",
            ) from error

    def _said(self, place: int) -> str:
        tensor = self.example[place]
        return f"{self.inputs[place]} {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"

    def run(self, feeds: Arrays) -> Arrays:
        """Run torch on inputs by name."""
        import torch
        from torch.utils import _pytree as pytree

        # A copy: a network that changes its input in place must not change what files are compared on.
        results = self._results([torch.tensor(feeds[name]) for name in self.inputs])
        leaves = [leaf for leaf in pytree.tree_leaves(results) if isinstance(leaf, torch.Tensor)]
        return {name: leaf.detach().cpu().numpy() for name, leaf in zip(self.outputs, leaves, strict=True)}

    def called_in(self, session: Session) -> Callable[..., Any]:
        """A function that is called as the network is, and gives what it gives, computed by an open file of it."""
        import torch
        from torch.utils import _pytree as pytree

        ports = {port.name for port in session.inputs}
        leaves, spec = pytree.tree_flatten(self._results(self.example))

        def run(*args: Any, **kwargs: Any) -> Any:
            tensors = pytree.tree_leaves((args, kwargs))
            feeds = {
                name: torch.as_tensor(one).detach().cpu().numpy()
                for name, one in zip(self.inputs, tensors, strict=True)
            }
            given = session.run({name: one for name, one in feeds.items() if name in ports})
            found = iter([torch.from_numpy(np.array(given[name])) for name in self.outputs])
            return pytree.tree_unflatten(
                [next(found) if isinstance(one, torch.Tensor) else one for one in leaves], spec
            )

        return run

    def flat(self) -> nn.Module:
        """The network as a module of flat tensors, as exporters want it."""
        import torch
        from torch import nn
        from torch.utils import _pytree as pytree

        called, spec = self.module, self._spec

        class Flat(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = called

            def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
                args, kwargs = pytree.tree_unflatten(list(tensors), spec)
                leaves = pytree.tree_leaves(self.network(*args, **kwargs))
                return tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))

        return Flat().eval()

    def samples(self) -> list[Arrays]:
        """The example and inputs like it: floats of its mean and spread, integers between its least and largest (from 0
        or to 1, if all are equal), all else its own values in another order.

        A network that averages over many places hardly reacts to such floats. For it, and no other, levels differ too:
        those of the whole input, and of each index of the second dimension.
        """
        if self._samples is None:
            first = {name: tensor.numpy() for name, tensor in zip(self.inputs, self.example, strict=True)}
            self._samples = _alike(first, _like)
            if not self._reacts():
                self._samples = _alike(first, _levelled)
        return self._samples

    def _reacts(self) -> bool:
        given = [self.run(sample) for sample in self._samples or ()]
        return any(spread_of_range(np.stack([one[name] for one in given])) >= LEAST_SPREAD for name in self.outputs)


def _alike(first: Arrays, draw: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]) -> list[Arrays]:
    rng = np.random.default_rng(0)
    return [first, *({name: draw(array, rng) for name, array in first.items()} for _ in range(SAMPLES - 1))]


def _levelled(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Draw floats like those of ``array`` whose means differ by about twice its spread; anything else as ``_like``."""
    drawn = _like(array, rng)
    if array.dtype.kind != "f" or array.ndim < 2 or not array.size:
        return drawn
    levels = rng.standard_normal((1, array.shape[1], *(1,) * (array.ndim - 2))) + rng.standard_normal()
    moved: NDArray[Any] = (drawn + 1.5 * (float(array.std()) or 1.0) * levels).astype(array.dtype)
    return moved


def _like(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind == "f" and array.size:
        spread = float(array.std()) or 1.0
        drawn: NDArray[Any] = (array.mean() + spread * rng.standard_normal(array.shape)).astype(array.dtype)
        return drawn
    if array.dtype.kind in "iu" and array.size:
        # The same numbers in another order change nothing in a network that averages over them.
        least, most = int(array.min()), int(array.max())
        if least == most:
            least, most = min(least, 0), max(most, 1)
        between: NDArray[Any] = rng.integers(least, most, array.shape, array.dtype, endpoint=True)
        return between
    shuffled: NDArray[Any] = rng.permutation(array.reshape(-1)).reshape(array.shape)
    return shuffled


def _parameters(module: nn.Module) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, one in inspect.signature(module.forward).parameters.items() if one.kind in kinds)


def _call(module: nn.Module, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments. A dict goes by keyword if ``forward`` has those parameters, else as it is."""
    if isinstance(example, Mapping):
        accepted = inspect.signature(module.forward).parameters
        takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in accepted.values())
        if takes_any or all(name in accepted for name in example):
            return (), dict(example)
        if len(example) == 1:
            return (next(iter(example.values())),), {}
        return (dict(example),), {}
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


def _names(tree: Any, roots: Sequence[str] = ()) -> list[str]:
    """A name for each leaf of nested tuples, lists and dicts: its path; a place at first has the name in ``roots``."""
    from torch.utils import _pytree as pytree

    paths, _ = pytree.tree_flatten_with_path(tree)
    names = []
    for path, _ in paths:
        steps = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path]
        if steps and steps[0].isdigit():
            place = int(steps[0])
            steps[0] = roots[place] if place < len(roots) else f"input_{place}"
        names.append("_".join(steps) or "input")
    return names


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)]


def _exported(network: TorchCall) -> bytes:
    from fleetfront.deploy.writers.torch_export import export_onnx

    return export_onnx(network.flat(), network.example, network.inputs, network.outputs)


def exported_files(graph: Graph, formats: Sequence[FileFormat]) -> dict[str, bytes]:
    """Format -> the file that the framework of a graph writes; twins share one, which is written once."""
    made = {name: graph.exported(name) or b"" for name in dict.fromkeys(kind.twin or kind.name for kind in formats)}
    return {kind.name: made[kind.twin or kind.name] for kind in formats}


def finish_exported(exported: bytes, kind: FileFormat, spec: str) -> bytes:
    """The file that is handed out. TFLite's metadata is of images, and nobody knows what inputs mean here."""
    return kind.finish(exported, FileDescription("network", spec)) if kind.twin else exported


def write_proven(
    network: TorchCall, kind: FileFormat, folder: Path, exported: bytes, stem: str = "network"
) -> WrittenFile:
    """The file ``exported`` as one of ``kind`` in ``folder``, named ``stem``, proven against the network.

    Raises BarMissed if it computes something else, or if nobody could tell.
    """
    data = finish_exported(exported, kind, network.spec)
    name = f"{stem}.{kind.name}"
    path = folder / name
    path.write_bytes(data)
    proof, ports = prove_called(network, path, kind)
    if proof.is_empty:
        raise BarMissed(
            f"Inputs like the example change the outputs by only {proof.spread_of_range:.1g} of their range, so that a "
            f"wrong file could pass for {name}.",
            "Give an example with values that differ more, or the trained weights.",
        )
    if not proof.passed:
        raise BarMissed(
            f"{name} differs from torch by {proof.relative_to_spread:.2g} of what inputs change in an output (limit "
            f"{proof.limit:g}), so it is not handed out.",
            "Its outputs must depend on its inputs alone (no dropout, no random numbers, no changes in place).",
        )
    report = lint_layout(exported, kind.twin or kind.name, "fp32", InputContract())
    return WrittenFile(kind.name, kind, "fp32", path, name, ports, proof, report, kind.minimum_runtime(data))

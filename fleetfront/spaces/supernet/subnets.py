"""Supernet: weights of a whole once-for-all space, and cutting one network out of them. ``checkpoints`` reads files.

Cutting rules are those of the once-for-all project (https://github.com/mit-han-lab/once-for-all): a narrower block
takes the first channels of each layer, a smaller kernel is the centre of the larger one times a learnt matrix.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.ofa_mbv3.layout import BlockShape, block_shape
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.torch_module import TorchModule

    Tensors = Mapping[str, Tensor]

_SLOT = "slot"
_DEPTHWISE = "depthwise.conv.weight"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What must travel with weights.

    Attributes:
        source: where they come from: a project's address, or how they were trained.
        licence: of the weights; empty if unknown.
        class_names: one a logit; empty if unknown.
        preprocessing: how an image becomes an input, as ``datasets.Preprocessing.to_dict``; empty if unknown.
        training: settings and results of the training run, if fleetfront trained them.
    """

    source: str = ""
    licence: str = ""
    class_names: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


class Supernet:
    """Weights from which every network of a space is cut.

    Attributes:
        space: the space, with as many classes as the weights have logits.
        tensors: full-size weights by the names of ``space.live_graph``, and ``slotN.depthwise.conv.7to5`` (25, 25) and
            ``.5to3`` (9, 9) for every slot. They are not changed once the supernet is made.
        provenance: where the weights come from.
    """

    def __init__(self, space: OfaMbv3Space, tensors: Tensors, provenance: Provenance | None = None) -> None:
        """Check ``tensors`` against the space.

        Raises:
            InputError: a tensor is missing, superfluous, not finite or of another shape; the message says which
                width of the family the weights seem to have.
        """
        self.space = with_classes(space, tensors)
        _check(self.space, tensors)
        self.tensors = dict(tensors)
        self.provenance = provenance or Provenance()

    @property
    def source(self) -> str:
        """Where the weights come from."""
        return self.provenance.source

    @property
    def licence(self) -> str:
        """Licence of the weights; empty if unknown."""
        return self.provenance.licence

    @cached_property
    def weights_id(self) -> str:
        """SHA-256 over names, shapes and values: equal weights have equal ids, whatever file they came from."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            array = self.tensors[name].detach().cpu().contiguous().numpy()
            digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            digest.update(array.data)
        return digest.hexdigest()

    def cut(self, genotype: Genotypes) -> dict[str, Tensor]:
        """The weights of one network int8[v] by the names of its live graph.

        Differentiable in ``tensors``; views of them except where a kernel shrinks.
        """
        return cut_tensors(self.space, self.tensors, genotype)

    def live_graph(self, genotype: Genotypes) -> Graph:
        """The network int8[v] with its batch_norm operators and the running statistics of the supernet."""
        return self.space.live_graph(genotype, arrays(self.cut(genotype)))

    def graph(self, genotype: Genotypes) -> Graph:
        """The network int8[v] with batch-norm folded: what is written to files.

        The supernet's own statistics fit no network cut from it well: recalibrate first to get its accuracy.
        """
        return self.space.subnet_graphs(genotype, arrays(self.cut(genotype)))["network"][0]

    def recalibrated(self, genotype: Genotypes, images: NDArray[np.float32]) -> Graph:
        """``graph`` with batch-norm statistics of ``images`` float32[n, 3, r, r], preprocessed, r the network's own."""
        from fleetfront.spaces.supernet.recalibration import recalibrate

        return recalibrate(self.live_graph(genotype), images)

    def module(self, genotype: Genotypes) -> TorchModule:
        """The network int8[v] as a torch module with live batch-norm and its own copy of the weights, in eval mode.

        Raises MissingDependency if torch is not installed.
        """
        from fleetfront.graphs.torch_module import TorchModule

        module = TorchModule(self.live_graph(genotype))
        module.eval()
        return module


def largest(space: OfaMbv3Space) -> Genotypes:
    """int8[v]: the largest network of a space."""
    return np.asarray([len(values) - 1 for values in space.choices], dtype=np.int8)


def smallest(space: OfaMbv3Space) -> Genotypes:
    """int8[v]: the smallest network of a space."""
    return np.zeros(len(space.choices), dtype=np.int8)


def with_classes(space: OfaMbv3Space, tensors: Tensors) -> OfaMbv3Space:
    """The space with as many classes as the classifier in ``tensors`` has outputs; architectures stay the same."""
    bias = tensors.get("head.classifier.bias")
    if bias is None or bias.ndim != 1 or len(bias) == space.layout.classes:
        return space
    return replace(space, layout=replace(space.layout, classes=len(bias)))


def full_shapes(space: OfaMbv3Space) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a supernet of ``space``."""
    weights = space.live_graph(largest(space)).weights
    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    for name in [name for name in shapes if name.startswith(_SLOT) and name.endswith(_DEPTHWISE)]:
        for larger, smaller in _shrinks(space):
            shapes[_matrix(name, larger, smaller)] = (smaller**2, smaller**2)
    return shapes


def untrained(space: OfaMbv3Space, seed: int) -> Supernet:
    """A supernet as training begins with it: He-normal kernels, neutral batch-norm, identity kernel matrices."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in full_shapes(space).items():
        if len(shape) == 4 or name == "head.classifier.weight":
            fan_in = int(np.prod(shape[1:]))
            gain = 2.0 if len(shape) == 4 else 1.0
            tensors[name] = torch.randn(shape, generator=generator) * (gain / fan_in) ** 0.5
        elif len(shape) == 2:
            tensors[name] = torch.eye(shape[0])
        else:
            tensors[name] = torch.full(shape, 1.0 if name.endswith((".scale", ".variance")) else 0.0)
    return Supernet(space, tensors, Provenance(source=f"untrained, seed {seed}"))


def placeholder_graph(space: OfaMbv3Space, genotype: Genotypes, weights: Tensors) -> Graph:
    """The live graph of one network whose weights have the shapes of ``weights`` but no memory: for ``run_graph``."""
    nothing = np.float32(0)
    shapes = {name: np.broadcast_to(nothing, tuple(tensor.shape)) for name, tensor in weights.items()}
    return space.live_graph(genotype, shapes)


def arrays(weights: Tensors) -> dict[str, Array]:
    """Weights as numpy arrays, without copying those that lie in main memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}


def cut_tensors(space: OfaMbv3Space, tensors: Tensors, genotype: Genotypes) -> dict[str, Tensor]:
    """``Supernet.cut`` for tensors that are still being trained."""
    by_part: dict[str, list[str]] = {}
    for name in tensors:
        by_part.setdefault(name.split(".", 1)[0], []).append(name)
    weights = {}
    for prefix, block in space.parts(genotype):
        shape = block_shape(block)
        for name in by_part[prefix]:
            layer = name.removeprefix(prefix + ".")
            if not prefix.startswith(_SLOT):
                weights[name] = tensors[name]
            elif layer == _DEPTHWISE:
                weights[name] = _shrunk(space, tensors, name, shape)
            elif not layer.startswith("depthwise.conv."):
                weights[name] = _narrowed(tensors[name], layer, shape)
    return weights


def _narrowed(tensor: Tensor, layer: str, shape: BlockShape) -> Tensor:
    """The first channels of one layer; what goes in and out of the block has the same width in all networks."""
    mid, reduced = shape.width_mid, shape.reduced
    if layer == "project.conv.weight":
        return _first(tensor, len(tensor), mid)
    if layer.startswith("project."):
        return tensor
    if layer == "se.reduce.weight":
        return _first(tensor, reduced, mid)
    if layer == "se.reduce.bias":
        return _first(tensor, reduced)
    if layer == "se.expand.weight":
        return _first(tensor, mid, reduced)
    return _first(tensor, mid)


def _first(tensor: Tensor, rows: int, columns: int | None = None) -> Tensor:
    # A slice of everything would cost as much in the backward pass as one that leaves something out.
    if columns is not None and columns < tensor.shape[1]:
        return tensor[:rows, :columns]
    return tensor if rows == len(tensor) else tensor[:rows]


def _shrinks(space: OfaMbv3Space) -> list[tuple[int, int]]:
    """(larger, next smaller) kernel, from the largest: [(7, 5), (5, 3)]."""
    descending = space.layout.kernels[::-1]
    return list(itertools.pairwise(descending))


def _matrix(depthwise: str, larger: int, smaller: int) -> str:
    return f"{depthwise.removesuffix('weight')}{larger}to{smaller}"


def _shrunk(space: OfaMbv3Space, tensors: Tensors, name: str, shape: BlockShape) -> Tensor:
    from torch.nn.functional import linear

    kernel = _first(tensors[name], shape.width_mid)
    for larger, smaller in _shrinks(space):
        if larger <= shape.kernel:
            break
        edge = (larger - smaller) // 2
        centre = kernel[:, :, edge : edge + smaller, edge : edge + smaller].reshape(-1, smaller**2)
        kernel = linear(centre, tensors[_matrix(name, larger, smaller)]).view(-1, 1, smaller, smaller)
    return kernel


def _check(space: OfaMbv3Space, tensors: Tensors) -> None:
    import torch

    expected = full_shapes(space)
    absent, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if absent or extra:
        parts = [
            f"{len(names)} {word} ({names[0]}, ...)"
            for names, word in ((absent, "missing"), (extra, "unknown"))
            if names
        ]
        raise InputError(
            f"The weights do not fit {space.name}: of {len(expected)} tensors {' and '.join(parts)}.{_seems(tensors)}",
            "Use the supernet checkpoint of this very space.",
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise InputError(
                f"The weights do not fit {space.name}: {name} is {tuple(tensors[name].shape)}, needed is {shape}."
                f"{_seems(tensors)}",
                "Choose the space that the weights were trained for, or the weights of this space.",
            )
        is_sound = torch.isfinite(tensors[name]).all() and not (
            name.endswith(".variance") and (tensors[name] < 0).any()
        )
        if not bool(is_sound):
            raise InputError(
                f"Weight {name} holds numbers that are not finite, or variances below 0.",
                "The file is damaged: get it again, or train again.",
            )


def _seems(tensors: Tensors) -> str:
    """Which member of the family the weights belong to, judged by the two widths that no width multiplier shares."""
    from fleetfront.spaces.ofa_mbv3.layout import MINI_LAYOUT, full_layout

    expand, mix = tensors.get("head.expand.conv.weight"), tensors.get("head.mix.conv.weight")
    if expand is None or mix is None:
        return ""
    widths = (len(expand), len(mix))
    if widths == (MINI_LAYOUT.expand_width, MINI_LAYOUT.mix_width):
        return " They seem to be of the mini space, ofa-mbv3-mini."
    for tenths in range(2, 31):
        layout = full_layout(tenths / 10, ())
        if widths == (layout.expand_width, layout.mix_width):
            return f" They seem to be of width {tenths / 10}."
    return f" Their last layers are {widths[0]} and {widths[1]} channels wide, which no known width has."

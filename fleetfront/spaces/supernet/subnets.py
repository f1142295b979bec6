"""Supernet holds the weights of a whole space and cuts networks out of them, by the rules that the space offers.

``checkpoints`` reads its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.spaces.base import Genotypes, SearchSpace, SupernetSpace, only_graph

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.torch_module import TorchModule

    Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Facts that must travel with weights.

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
        tensors: weights by the names of ``space.supernet_shapes``. They are not changed once the supernet is made.
        provenance: where the weights come from.
    """

    def __init__(self, space: SupernetSpace, tensors: Tensors, provenance: Provenance | None = None) -> None:
        """Check ``tensors`` against the space.

        Raises:
            InputError: a tensor is missing, superfluous, not finite or of another shape; the message says what the
                weights seem to be of.
        """
        classes = space.classes_in(tensors)
        self.space = space if classes in (None, space.classes) else space.with_classes(classes)
        _check(self.space, tensors)
        self.tensors = dict(tensors)
        self.provenance = provenance or Provenance()

    def __reduce__(self) -> tuple[object, ...]:
        """Another process gets the weights as arrays: torch would lend them its own memory, a file a tensor."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in self.tensors.items()}
        return _from_arrays, (self.space, arrays, self.provenance)

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
        return self.space.cut(self.tensors, genotype)

    def live_graph(self, genotype: Genotypes) -> Graph:
        """The network int8[v] with its batch_norm operators and the running statistics of the supernet."""
        return self.space.live_graph(genotype, arrays(self.cut(genotype)))

    def graph(self, genotype: Genotypes) -> Graph:
        """The network int8[v] with batch-norm folded: what is written to files.

        The supernet's own statistics fit no network cut from it well: recalibrate first to get its accuracy.
        """
        return only_graph(self.space, self.space.subnet_graphs(genotype, arrays(self.cut(genotype))))

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


def _from_arrays(space: SupernetSpace, arrays: Mapping[str, NDArray[Any]], provenance: Provenance) -> Supernet:
    import torch

    return Supernet(space, {name: torch.from_numpy(array) for name, array in arrays.items()}, provenance)


def largest(space: SearchSpace) -> Genotypes:
    """int8[v]: the largest network of a space."""
    return np.asarray([len(values) - 1 for values in space.choices], dtype=np.int8)


def smallest(space: SearchSpace) -> Genotypes:
    """int8[v]: the smallest network of a space."""
    return np.zeros(len(space.choices), dtype=np.int8)


def untrained(space: SupernetSpace, seed: int) -> Supernet:
    """A supernet as training begins with it: He-normal kernels, neutral batch-norm, and identities as matrices that
    turn one network's weights into another's.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    multiplied = products(space)
    for name, shape in space.supernet_shapes().items():
        if name in multiplied:
            fan_in = int(np.prod(shape[1:]))
            gain = 2.0 if len(shape) == 4 else 1.0
            tensors[name] = torch.randn(shape, generator=generator) * (gain / fan_in) ** 0.5
        elif len(shape) == 2:
            tensors[name] = torch.eye(shape[0])
        else:
            tensors[name] = torch.full(shape, 1.0 if name.endswith((".scale", ".variance")) else 0.0)
    return Supernet(space, tensors, Provenance(source=f"untrained, seed {seed}"))


def products(space: SupernetSpace) -> frozenset[str]:
    """Names of the tensors that multiply activations: kernels, and weights of linear layers."""
    weights = space.live_graph(largest(space)).weights
    return frozenset(name for name, array in weights.items() if array.ndim > 1)


def placeholder_graph(space: SupernetSpace, genotype: Genotypes, weights: Tensors) -> Graph:
    """The live graph of one network whose weights have the shapes of ``weights`` but no memory: for ``run_graph``."""
    nothing = np.float32(0)
    shapes = {name: np.broadcast_to(nothing, tuple(tensor.shape)) for name, tensor in weights.items()}
    return space.live_graph(genotype, shapes)


def arrays(weights: Tensors) -> dict[str, Array]:
    """Weights as numpy arrays, without copying those that lie in main memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}


def _check(space: SupernetSpace, tensors: Tensors) -> None:
    import torch

    expected = space.supernet_shapes()
    absent, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if absent or extra:
        parts = [
            f"{len(names)} {word} ({names[0]}, ...)"
            for names, word in ((absent, "missing"), (extra, "unknown"))
            if names
        ]
        raise InputError(
            f"The weights do not fit {space.name}: of {len(expected)} tensors {' and '.join(parts)}."
            f"{space.describe_misfit(tensors)}",
            "Use the supernet checkpoint of this very space.",
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise InputError(
                f"The weights do not fit {space.name}: {name} is {tuple(tensors[name].shape)}, needed is {shape}."
                f"{space.describe_misfit(tensors)}",
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

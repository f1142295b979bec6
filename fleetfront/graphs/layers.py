"""Write layers into graphs, with weights that are drawn or given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, GraphBuilder

#: Of batch-norm; the default of torch, which NAS-Bench-201 and most of once-for-all keep.
EPSILON = 1e-5

#: (name, shape, mean, standard deviation) -> array. Mean and deviation say how a random array is drawn.
Source = Callable[[str, tuple[int, ...], float, float], Array]


def no_weights(name: str, shape: tuple[int, ...], mean: float, deviation: float) -> Array:
    """A placeholder, which takes neither time nor memory: of a graph that is an outline, nothing can be computed."""
    return np.broadcast_to(np.float32(0), shape)


def random_weights(seed_name: str) -> Source:
    """Normal float32 arrays in the order asked for; the same ``seed_name`` gives the same arrays."""
    seed = int.from_bytes(hashlib.sha256(seed_name.encode()).digest()[:8], "little")
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...], mean: float, deviation: float) -> Array:
        array = rng.standard_normal(shape, dtype=np.float32)
        array *= np.float32(deviation)
        array += np.float32(mean)
        return array

    return draw


def given_weights(weights: Mapping[str, Array]) -> Source:
    """Arrays of a caller, as they are (not copied; zero-stride placeholders stay so). Superfluous ones are ignored."""

    def take(name: str, shape: tuple[int, ...], mean: float, deviation: float) -> Array:
        if name not in weights:
            raise InputError(f"The weights lack {name!r}.", "Give every array of that very subnet.")
        array = weights[name]
        if tuple(array.shape) != shape:
            raise InputError(
                f"Weight {name!r} has shape {tuple(array.shape)}, the subnet needs {shape}.",
                "Cut the weights for this very architecture, from a supernet of this very space.",
            )
        return array

    return take


class LayerWriter:
    """Adds layers to a builder, their weights from a source. Every method returns the name of its output.

    ``epsilon`` is every batch-norm's.

    ``gain`` is the variance that He initialisation multiplies 1 / fan-in with: 2 beside a rectifier, 1 elsewhere.
    """

    def __init__(self, name: str, source: Source, epsilon: float = EPSILON) -> None:
        self.builder = GraphBuilder(name, has_placeholders=source is no_weights)
        self.source = source
        self.epsilon = epsilon

    def weight(self, name: str, shape: tuple[int, ...], mean: float, deviation: float) -> str:
        """Register an array of the source."""
        return self.builder.weight(name, self.source(name, shape, mean, deviation))

    def channels(self, data: str) -> int:
        """Dimension 1 of a tensor."""
        return int(self.builder.shape(data)[1])

    def conv(
        self, data: str, name: str, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, gain: float = 2.0
    ) -> str:
        """Convolution without bias, its weight called ``name``, padded by half its odd kernel."""
        shape = (out, self.channels(data) // groups, kernel, kernel)
        deviation = float(np.sqrt(gain / (shape[1] * kernel**2)))
        weight = self.weight(name, shape, 0.0, deviation)
        return self.builder.conv2d(data, weight, stride=stride, padding=kernel // 2, groups=groups)

    def batch_norm(self, data: str, prefix: str, variance: float = 1.0) -> str:
        """Batch-norm with weights ``prefix.{scale,shift,mean,variance}``; random statistics expect ``variance``."""
        size = (self.channels(data),)
        drawn = (
            ("scale", 1.0, 0.1),
            ("shift", 0.0, 0.1),
            ("mean", 0.0, 0.1 * float(np.sqrt(variance))),
            ("variance", variance, 0.1 * variance),
        )
        names = [self.weight(f"{prefix}.{name}", size, mean, deviation) for name, mean, deviation in drawn]
        return self.builder.add("batch_norm", (data, *names), epsilon=self.epsilon)

    def linear(self, data: str, prefix: str, out: int, name: str) -> str:
        """Linear layer with weights ``prefix.{weight,bias}``; ``name`` is its output's."""
        width = self.channels(data)
        weight = self.weight(f"{prefix}.weight", (out, width), 0.0, float(np.sqrt(1 / width)))
        bias = self.weight(f"{prefix}.bias", (out,), 0.0, 0.1)
        return self.builder.add("linear", (data, weight, bias), name)

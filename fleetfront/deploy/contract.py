"""Say what an app feeds a file and reads from it: bytes or floats, order of channels, layout, batch, softmax. Written
into the graph, so that every writer and torch agree on it. How precise the file computes is decided in ``precisions``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import Preprocessing
from fleetfront.errors import InputError, unknown
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Array, Graph, Rewriter, Tensor
from fleetfront.graphs.operators.base import CHANNELS_LAST, IMAGE

INPUTS = ("float", "unit", "uint8")
CHANNELS = ("rgb", "bgr")
LAYOUTS = ("NCHW", "NHWC")

#: Name of a symbolic batch.
DYNAMIC = "batch"

#: Operators of the contract have names that begin or end so; quantisers leave them in float.
PREFIX = "input/"
PROBABILITIES = "probabilities"

Shape = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class InputContract:
    """The terms on which an app talks to a file.

    Attributes:
        input: ``float`` takes what ``Preprocessing.inputs`` gives; ``unit`` takes the cropped image's values divided by
            255, ``uint8`` its bytes, and the file scales either by channel.
        channels: the order in which the app feeds colours; networks are trained on RGB.
        softmax: whether the output is probabilities rather than logits.
        onnx_layout: of the image in ONNX files; TFLite is always NHWC.
        batch: images an inference, or ``batch`` for any number.
    """

    input: str = "float"
    channels: str = "rgb"
    softmax: bool = False
    onnx_layout: str = "NCHW"
    batch: int | str = 1

    def __post_init__(self) -> None:
        for kind, known in (("input", INPUTS), ("channels", CHANNELS), ("onnx_layout", LAYOUTS)):
            if getattr(self, kind) not in known:
                raise unknown(kind.replace("_", " "), getattr(self, kind), known)
        if self.batch != DYNAMIC and (not isinstance(self.batch, int) or self.batch < 1):
            raise InputError(f"{self.batch!r} is not a batch.", f"Use a number from 1, or {DYNAMIC!r} for any.")

    @property
    def dtype(self) -> str:
        """Type of the input."""
        return "uint8" if self.input == "uint8" else "float32"

    @property
    def scales_inside(self) -> bool:
        """True if mean and standard deviation are in the file."""
        return self.input != "float"

    def feed(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[Any]:
        """Turn cropped images into what files are fed, uint8[n, 3, h, w], before ``as_fed``."""
        if self.input == "uint8":
            return pixels
        return pixels.astype(np.float32) / 255 if self.input == "unit" else preprocessing.inputs(pixels)

    def layout(self, native: str) -> str:
        """Of the image in a file of a format whose own layout is ``native``."""
        return self.onnx_layout if native == "NCHW" else native

    def as_fed(self, images: NDArray[Any], layout: str) -> NDArray[Any]:
        """RGB images [n, 3, h, w] in the order of channels and the ``layout`` that a file wants, contiguous."""
        ordered = images[:, ::-1] if self.channels == "bgr" else images
        return np.ascontiguousarray(ordered.transpose(0, 2, 3, 1) if layout == "NHWC" else ordered)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {"input": self.input, "channels": self.channels, "softmax": self.softmax, "batch": self.batch}


def with_channels(graph: Graph, channels: str) -> Graph:
    """The network for an image whose channels come in the order ``channels``: the first weights change places.

    Raises:
        InputError: something else than convolutions with constant weights reads the image.
    """
    if channels == "rgb":
        return graph
    name = graph.inputs[0]
    readers = [operator for operator in graph.operators if name in operator.inputs]
    uses = Counter(weight for operator in graph.operators for weight in operator.inputs)
    turned = set()
    for operator in readers:
        weight = operator.inputs[1] if len(operator.inputs) > 1 else ""
        is_plain = operator.family == "conv2d" and operator.attributes["groups"] == 1 and weight in graph.weights
        if not is_plain or uses[weight] > 1:
            raise InputError(
                f"The image of {graph.name!r} is read by {operator.family}, which has no weights to reorder.",
                "Feed the channels as RGB.",
            )
        turned.add(weight)

    def reorder(weight: str, array: Array) -> Array:
        return np.ascontiguousarray(array[:, ::-1]) if weight in turned else array

    return graph.rewrite(weights=reorder)


def contracted(graph: Graph, contract: InputContract, native_layout: str, preprocessing: Preprocessing | None) -> Graph:
    """The network with its contract written around it; channels must be in order already (``with_channels``).

    Args:
        graph: images NCHW, float32 in and out, batch 1.
        contract: what to write around it.
        native_layout: of the format, ``NCHW`` or ``NHWC``; graphs for NHWC formats stay NCHW, as their writer turns
            them around at no cost.
        preprocessing: what ``unit`` and ``uint8`` bake in.

    Raises:
        InputError: scaling is to be baked in and nobody knows how, or the graph is no image classifier.
    """
    if contract.scales_inside and preprocessing is None:
        raise InputError(
            "Nobody said how bytes become the network's input.", "Give --images, or weights that say how they were fed."
        )
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.tensors[graph.inputs[0]].layout != IMAGE:
        raise InputError(
            f"Graph {graph.name!r} is no image classifier.", "Deploy a network of one image and one output."
        )
    needs_turning = native_layout == "NCHW" and contract.onnx_layout == "NHWC"
    wrapped = graph
    if contract.scales_inside or contract.softmax or needs_turning:
        wrapped = _wrapped(graph, contract, needs_turning, preprocessing)
    return wrapped if contract.batch == 1 else with_batch(wrapped, contract.batch)


def _wrapped(graph: Graph, contract: InputContract, turns: bool, preprocessing: Preprocessing | None) -> Graph:
    def declare(writer: Rewriter, tensor: Tensor) -> str:
        shape, layout = tensor.shape, tensor.layout
        if turns:
            shape, layout = (shape[0], *shape[2:], shape[1]), CHANNELS_LAST
        data = writer.input(tensor.name, shape, contract.dtype, layout)
        if turns:
            data = writer.add("transpose", [data], f"{PREFIX}channels_first", permutation=(0, 3, 1, 2))
        if contract.scales_inside and preprocessing is not None:
            data = _scaled(writer, data, preprocessing, contract)
        return data

    def give(writer: Rewriter, name: str) -> str:
        name = writer.now(name)
        return writer.add("softmax", [name], PROBABILITIES, axis=-1) if contract.softmax else name

    return graph.rewrite(inputs=declare, outputs=give)


def _scaled(builder: Rewriter, data: str, preprocessing: Preprocessing, contract: InputContract) -> str:
    """(value / 255 - mean) / std as one multiplication and one addition, in the order of ``Preprocessing.inputs``.

    In front of the first convolution rather than in its weights: what that pads with is zero behind the scaling.
    """
    scale, shift = scale_and_shift(preprocessing.mean, preprocessing.std, contract)
    if contract.input == "uint8":
        data = builder.add("cast", [data], f"{PREFIX}float", dtype="float32")
    data = builder.add("multiply", [data, builder.weight(f"{PREFIX}scale", scale)], f"{PREFIX}scaled")
    return builder.add("add", [data, builder.weight(f"{PREFIX}shift", shift)], f"{PREFIX}normalised")


def scale_and_shift(
    mean: Sequence[float], std: Sequence[float], contract: InputContract
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """float32[3, 1, 1] each: ``fed * scale + shift`` is the network's input, in the order of the fed channels."""
    step, white = -1 if contract.channels == "bgr" else 1, 255 if contract.input == "uint8" else 1
    scale = np.array([1 / (white * s) for s in std], dtype=np.float32)[::step, None, None]
    shift = np.array([-m / s for m, s in zip(mean, std, strict=True)], dtype=np.float32)[::step, None, None]
    return np.ascontiguousarray(scale), np.ascontiguousarray(shift)

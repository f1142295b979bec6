"""Run a network in torch on made-up, real and held-out images: what its files are proven and judged against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import Dataset, Preprocessing, Split, cut_image
from fleetfront.deploy.bundle.picture import draw_patches, draw_picture
from fleetfront.errors import InputError, MissingDependency
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.weights import Weights, first_images

#: float32[n, 3, h, w] -> float32[n, classes].
RunTorch = Callable[[NDArray[np.float32]], NDArray[np.float32]]

#: Squares along a side of the made-up images: noise in every pixel (0), one colour, and patches. White noise alone
#: changes little in a network that averages over the image; together they change logits by a third of their range.
_PATCHES = (0, 1, 4, 16)
#: So many of the inferences that are compared, the first, are of made-up images, and the last of those test vectors.
PROBES = len(_PATCHES) + 2
VECTORS = slice(len(_PATCHES), PROBES)

#: Bytes of a made-up image's 0, and of its 1.
_MIDDLE, _STEP = 128, 64

#: Images in one forward pass of torch.
TORCH_BATCH = 50


@dataclass(frozen=True, slots=True)
class ImageVectors:
    """The makings of an image classifier's test vectors: a picture as an app would cut it, then patches.

    Attributes:
        pixels: uint8[v, 3, h, w], RGB.
        floats: float32[v, 3, h, w], what the network is fed for them.
        logits: float32[v, classes], torch's.
        picture: uint8[h', w', 3], what ``pixels[0]`` was cut from; None if nothing cuts here.
    """

    pixels: NDArray[np.uint8]
    floats: NDArray[np.float32]
    logits: NDArray[np.float32]
    picture: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class Reference:
    """The outputs of a network in torch.

    Attributes:
        pixels: uint8[s, 3, h, w], the bytes that ``floats`` were made of; None where files take floats.
        floats: float32[s, 3, h, w].
        outputs: float32[s, classes], the logits.
        test: uint8[m, 3, h, w], held-out images; empty if there are none.
        test_outputs: float32[m, classes], the logits of these.
        targets: int64[m], the labels; None if unknown.
        preprocessing: turns ``test`` into floats.
    """

    pixels: NDArray[np.uint8] | None
    floats: NDArray[np.float32]
    outputs: NDArray[np.float32]
    test: NDArray[np.uint8]
    test_outputs: NDArray[np.float32]
    targets: NDArray[np.int64] | None
    preprocessing: Preprocessing

    @property
    def classes(self) -> NDArray[np.int64]:
        """int64[m], torch's, of the held-out images."""
        result: NDArray[np.int64] = self.test_outputs.argmax(axis=1)
        return result

    @property
    def accuracy(self) -> float | None:
        """Of torch in fp32, percent."""
        if self.targets is None or not len(self.targets):
            return None
        return 100 * float(np.mean(self.classes == self.targets))


def reference_of(
    graph: Graph, weights: Weights, preprocessing: Preprocessing, run: RunTorch, *, of_bytes: bool, test_images: int
) -> Reference:
    """Run torch on made-up and real images, and on those that accuracy is judged on.

    Args:
        graph: whose input decides the images' size, and whose output the classes.
        weights: whose images are used, if there are any.
        preprocessing: how bytes become inputs.
        run: the network in torch, float32[n, 3, h, w] -> float32[n, classes].
        of_bytes: whether files will be fed bytes.
        test_images: held-out images, at most.
    """
    name = graph.inputs[0]
    shape = tuple(int(d) for d in graph.tensors[name].shape[1:])
    images = weights.images_at(shape[-1])
    probes, (drawn, _) = _probes(shape), _drawn(preprocessing)
    pixels: NDArray[np.uint8] | None = None
    if of_bytes:
        pixels = np.concatenate([np.clip(np.round(_MIDDLE + _STEP * probes), 0, 255).astype(np.uint8), drawn])
        if images is not None:
            pixels = np.concatenate([pixels, first_images(images, Split.CALIBRATION, 2)])
        floats = preprocessing.inputs(pixels)
    else:
        floats = np.concatenate([probes, preprocessing.inputs(drawn)])
        if images is not None:
            real = preprocessing.inputs(first_images(images, Split.CALIBRATION, 2))
            floats = np.concatenate([floats, real])
    test = np.empty((0, *shape), np.uint8)
    if images is not None:
        test = first_images(images, Split.TEST, test_images)
    labelled = weights.labelled_images(graph)
    targets = None if labelled is None else _labels(labelled, len(test))
    outputs = run(floats)
    if not np.isfinite(outputs).all():
        raise InputError(
            "In torch the network gives numbers that are not finite.",
            "Its weights are damaged: get them again, or train again.",
        )
    batches = [test[start : start + TORCH_BATCH] for start in range(0, len(test), TORCH_BATCH)]
    tested = [run(preprocessing.inputs(batch)) for batch in batches]
    test_outputs = np.concatenate([np.empty((0, *outputs.shape[1:]), np.float32), *tested])
    return Reference(pixels, floats, outputs, test, test_outputs, targets, preprocessing)


def _drawn(preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Pixels uint8[2, 3, size, size] of a picture and of patches, and the whole picture if Pillow can cut it."""
    side = preprocessing.size
    patches = draw_patches(side).transpose(2, 0, 1)
    try:
        picture = draw_picture(side)
        return np.stack([cut_image(picture, preprocessing), patches]), picture
    except MissingDependency:
        return np.stack([picture[:side, :side].transpose(2, 0, 1), patches]), None


def vectors_of(reference: Reference) -> ImageVectors:
    """The makings of test vectors out of a reference of ``reference_of``."""
    pixels, picture = _drawn(reference.preprocessing)
    return ImageVectors(pixels, reference.floats[VECTORS], reference.outputs[VECTORS], picture)


def _probes(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Made-up images float32[4, channels, h, w], of standard deviation 1 (noise) and 2."""
    rng = np.random.default_rng(0)
    channels, height, width = shape
    images = [rng.standard_normal(shape)]
    for patches in _PATCHES[1:]:
        colours = 2 * rng.standard_normal((channels, patches, patches))
        images.append(colours[:, np.arange(height) * patches // height][:, :, np.arange(width) * patches // width])
    return np.stack(images).astype(np.float32)


def _labels(images: Dataset, count: int) -> NDArray[np.int64]:
    """Labels of the images that ``first_images`` takes of the test split."""
    rows = images.split[Split.TEST]
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
    labels: NDArray[np.int64] = images.labels[rows]
    return labels


def torch_network(graph: Graph) -> RunTorch:
    """A graph of one input and output as a function of arrays."""
    from fleetfront.graphs.torch_module import TorchModule

    return run_module(TorchModule(graph).eval())


def run_module(module: Any) -> RunTorch:
    """A torch module of one input and output as a function of arrays."""
    import torch

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # A copy: a network that changes its input in place must not change what files are compared on.
            result: NDArray[np.float32] = module(torch.tensor(images)).numpy()
        return result

    return run

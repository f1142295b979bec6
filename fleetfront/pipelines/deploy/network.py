"""One network becomes files: written in every format and precision, proven from disk against torch, judged on images.

What is done with the files - bundles, measuring - is in ``deploy``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import Dataset, Preprocessing, Split
from fleetfront.deploy.contract import DYNAMIC, InputContract, contracted, with_channels
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.layout_lint import LayoutReport, lint_layout
from fleetfront.deploy.proof import Proof, judge
from fleetfront.deploy.quantise.precisions import AGREEMENT_LIMIT, SPREAD_LIMITS
from fleetfront.deploy.writers.tflite.metadata import FileDescription
from fleetfront.errors import BarMissed, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.reference import PROBES, TORCH_BATCH, Reference, reference_of, torch_network
from fleetfront.pipelines.deploy.weights import Weights, first_images
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.base import Session
from fleetfront.runtimes.catalogue import load_runtime

#: Images that a dynamic batch is proven with at once.
_DYNAMIC_BATCH = 3

#: Probabilities are compared down to here; float32 ends at about 1e-38.
_SMALLEST = 1e-30

#: What a manifest calls the space of users' own networks, which are of none.
NO_SPACE = "torch"

#: Images that int8 is calibrated on, at least and at most.
LEAST_CALIBRATION, MOST_CALIBRATION = 8, 128


@dataclass(frozen=True, slots=True)
class Recipe:
    """What every network's files are like.

    Attributes:
        precisions: of ``precisions.FILE_PRECISIONS``.
        contract: how an app talks to them.
        max_drop: percent points of top-1 accuracy that a precision may lose against fp32; None for any.
        test_images: held-out images that accuracy and agreement are judged on, at most.
        spread_limits: precision -> share of the logits' spread over inputs that may be lost.
        agreement_limit: share of held-out images on which int8 must name torch's class.
    """

    precisions: tuple[str, ...] = ("fp32",)
    contract: InputContract = field(default_factory=InputContract)
    max_drop: float | None = None
    test_images: int = 500
    spread_limits: Mapping[str, float] = field(default_factory=lambda: dict(SPREAD_LIMITS))
    agreement_limit: float = AGREEMENT_LIMIT


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One proven file.

    Attributes:
        key: format and precision, e.g. ``onnx`` (fp32) or ``tflite-int8``.
        path: where it lies until it is bundled.
        name: what it is called in a bundle.
        graph: of its ports; weights left out.
        accuracy: top-1 on held-out images in percent; None if there are no labels.
        drop: percent points below fp32 in torch.
    """

    key: str
    kind: FileFormat
    precision: str
    path: Path
    name: str
    graph: Graph
    proof: Proof
    layout: LayoutReport
    minimum_runtime: str
    accuracy: float | None = None
    drop: float | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A network on its way into files; ``missed`` says which files are not among them, and why."""

    graph: Graph
    weights: Weights
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    files: tuple[WrittenFile, ...] = ()
    torch_accuracy: float | None = None
    test_images: int = 0
    missed: tuple[BarMissed, ...] = ()


def write_network(
    graph: Graph,
    weights: Weights,
    formats: Sequence[FileFormat],
    recipe: Recipe,
    folder: Path,
    *,
    progress: Progress = SILENT,
) -> Network:
    """Write, prove and judge all files of one network in ``folder``, which exists.

    Args:
        graph: folded, fp32, with the labels that go into the files.
        weights: whose images and classes belong to it.
        formats: which files.
        recipe: in which precisions, for which contract, to which limits.
        folder: where the files are put under their final names.
        progress: advances once a file.

    Raises:
        BarMissed: every file misses its proof, or loses more accuracy than the recipe allows.
        InputError: images, labels or weights do not fit.
    """
    side = int(graph.tensors[graph.inputs[0]].shape[-1])
    network = Network(graph, weights, weights.preprocessing(side), weights.class_names(graph))
    _check_images(network, recipe)
    of_bytes = recipe.contract.input == "uint8"
    reference = reference_of(
        graph, weights, network.preprocessing, torch_network(graph), of_bytes=of_bytes, test_images=recipe.test_images
    )
    wanted = [(kind, precision) for precision in recipe.precisions for kind in formats]
    makers = [partial(_written, network, reference, kind, precision, recipe, folder) for kind, precision in wanted]
    return with_files(network, reference, makers, progress)


def with_files(
    network: Network, reference: Reference, makers: Sequence[Callable[[], WrittenFile]], progress: Progress
) -> Network:
    """The network with every file that passes; those that miss a bar cost no other. Raises BarMissed if none passes."""
    files: list[WrittenFile] = []
    missed: list[BarMissed] = []
    for make in makers:
        try:
            files.append(make())
        except BarMissed as error:
            missed.append(error)
        progress.advance(detail=files[-1].name if files else "")
    if not files:
        raise missed[0]
    return replace(
        network,
        files=tuple(files),
        torch_accuracy=reference.accuracy,
        test_images=len(reference.test),
        missed=tuple(missed),
    )


def _check_images(network: Network, recipe: Recipe) -> None:
    """Raise InputError if there are not the images that the recipe needs, before any file is written."""
    if "int8" in recipe.precisions:
        _check_calibration(network)
    if recipe.max_drop is not None and network.weights.labelled_images(network.graph) is None:
        raise _nobody_knows_the_drop()


def _nobody_knows_the_drop() -> InputError:
    return InputError(
        "A largest drop of accuracy is asked for, but no labelled images say what accuracy is.",
        "Give --images FOLDER with one subfolder a class of the network, or leave out --max-drop.",
    )


def _logits_of(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits behind probabilities, up to a constant: limits are shares of the logits' range in all files."""
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, np.float32(_SMALLEST)))
    return result


def _without_constant(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities of logits, no smaller than ``_logits_of`` gives them."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    floored: NDArray[np.float32] = np.maximum(result, np.log(np.float32(_SMALLEST)))
    return floored


def _written(
    network: Network, reference: Reference, kind: FileFormat, precision: str, recipe: Recipe, folder: Path
) -> WrittenFile:
    contract = recipe.contract
    graph = with_channels(network.graph, contract.channels)
    if precision == "fp16":
        graph = kind.half(graph)
    if precision == "int8":
        graph = kind.int8(graph)
    graph = contracted(graph, contract, kind.layout, network.preprocessing)
    data = kind.write(graph)
    if precision == "int8":
        data = kind.quantise(data, graph.inputs[0], calibration_images(network, kind, contract))
    return finish_file(network, reference, kind, precision, recipe, folder, graph, data)


def finish_file(
    network: Network,
    reference: Reference,
    kind: FileFormat,
    precision: str,
    recipe: Recipe,
    folder: Path,
    graph: Graph,
    data: bytes,
) -> WrittenFile:
    """Describe, put on disk, prove and judge one file.

    Args:
        network: what the file is of.
        reference: what torch makes of it.
        kind: of the file.
        precision: of the file.
        recipe: contract and bars.
        folder: where the file goes.
        graph: with the file's input and output; its operators are not looked at.
        data: the file before it is described.

    Raises:
        BarMissed: it misses its proof or loses too much accuracy.
    """
    contract = recipe.contract
    report = lint_layout(data, kind.name, precision, contract)
    data = kind.finish(data, _description(network, contract))
    name = f"{network.graph.name}{'' if precision == 'fp32' else f'-{precision}'}.{kind.name}"
    path = folder / name
    path.write_bytes(data)
    proof, accuracy = _proven(reference, graph, path, kind, precision, recipe)
    drop = None if accuracy is None or reference.accuracy is None else reference.accuracy - accuracy
    key = kind.name if precision == "fp32" else f"{kind.name}-{precision}"
    ports = replace(graph, operators=(), weights={})
    minimum = kind.minimum_runtime(data)
    file = WrittenFile(key, kind, precision, path, name, ports, proof, report, minimum, accuracy, drop)
    _check_bars(file, recipe)
    return file


def calibration_images(network: Network, kind: FileFormat, contract: InputContract) -> list[NDArray[Any]]:
    """What int8 is calibrated on, as a file wants it; the last batch is filled up with its last image.

    Raises InputError if there are too few images.
    """
    images = first_images(_check_calibration(network), Split.CALIBRATION, MOST_CALIBRATION)
    batch = 1 if contract.batch == DYNAMIC else int(contract.batch)
    # Ranges are the smallest and largest values, which no image changes by coming again.
    filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch, axis=0)])
    fed = _fed(filled, network.preprocessing, kind, contract)
    return [fed[start : start + batch] for start in range(0, len(fed), batch)]


def _check_calibration(network: Network) -> Dataset:
    images = network.weights.images_at(network.preprocessing.size)
    count = 0 if images is None else len(images.split[Split.CALIBRATION])
    if images is None or count < LEAST_CALIBRATION:
        raise InputError(
            f"int8 is calibrated on at least {LEAST_CALIBRATION} images, and there are {count}.",
            "Give --images FOLDER with more of your images, or leave int8 out of --precisions.",
        )
    return images


def _fed(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, kind: FileFormat, contract: InputContract
) -> NDArray[Any]:
    images: NDArray[Any] = pixels if contract.input == "uint8" else preprocessing.inputs(pixels)
    return contract.as_fed(images, contract.layout(kind.layout))


def _description(network: Network, contract: InputContract) -> FileDescription:
    labels, described = network.graph.labels, network.weights.describe()
    bytes_go_in = contract.input == "uint8"
    mean, std = network.preprocessing.mean, network.preprocessing.std
    if len(set(mean)) > 1 or len(set(std)) > 1:
        # MediaPipe refuses values that differ by channel. The manifest and the snippets have those.
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return FileDescription(
        name=network.graph.name,
        description=f"{labels.get('space', '')} {labels.get('arch', '')}".strip(),
        licence=str(described.get("licence", "")),
        labels=network.class_names,
        mean=() if bytes_go_in else tuple(255 * value for value in mean),
        std=() if bytes_go_in else tuple(255 * value for value in std),
        is_rgb=contract.channels == "rgb",
    )


def _proven(
    reference: Reference, graph: Graph, path: Path, kind: FileFormat, precision: str, recipe: Recipe
) -> tuple[Proof, float | None]:
    """The proof of the file on disk, and its accuracy in percent."""
    contract, runtime = recipe.contract, load_runtime(kind.runtime)
    layout = contract.layout(kind.layout)
    session = runtime.open(path)
    try:
        images: NDArray[Any] = reference.floats if reference.pixels is None else reference.pixels
        got = run_images(session, contract.as_fed(images, layout), contract.batch)
        classes = np.concatenate([np.empty(0, np.int64), *_classes(session, reference, contract, layout)])
    finally:
        session.close()
    want = reference.outputs
    by_agreement = precision == "int8"
    if contract.softmax:
        # 256 steps round small probabilities to 0, which has no logarithm.
        want = _without_constant(want)
        want, got = (np.exp(want), got) if by_agreement else (want, _logits_of(got))
    if by_agreement and len(want) > PROBES:
        # int8 holds the values of images like those that it was calibrated on, and cuts off those of others.
        want, got = want[PROBES:], got[PROBES:]
    limit = recipe.agreement_limit if by_agreement else recipe.spread_limits[precision]
    proof = judge(want, got, path, runtime, limit=limit, by_agreement=by_agreement)
    if not len(reference.test):
        return proof, None
    agreement = float(np.mean(classes == reference.classes))
    commonest = float(np.unique(reference.classes, return_counts=True)[1].max() / len(classes))
    proof = replace(proof, agreement=agreement, agreement_images=len(classes), commonest_class=commonest)
    if reference.targets is None:
        return proof, None
    return proof, 100 * float(np.mean(classes == reference.targets))


def _classes(
    session: Session, reference: Reference, contract: InputContract, layout: str
) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(reference.test), TORCH_BATCH):
        pixels = reference.test[start : start + TORCH_BATCH]
        images: NDArray[Any] = pixels if contract.input == "uint8" else reference.preprocessing.inputs(pixels)
        yield run_images(session, contract.as_fed(images, layout), contract.batch).argmax(axis=1)


def run_images(session: Session, images: NDArray[Any], batch: int | str) -> NDArray[np.float32]:
    """Outputs float32[n, classes] of n images as a file of one input and one output wants them, ``batch`` at a time.

    A dynamic batch is run with one image first and several after that.
    """
    name, output = session.inputs[0].name, session.outputs[0].name
    rows = []
    start = 0
    while start < len(images):
        size = int(batch) if batch != DYNAMIC else (1 if start == 0 else _DYNAMIC_BATCH)
        part = images[start : start + size]
        missing = 0 if batch == DYNAMIC else size - len(part)
        if missing:
            part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
        rows.append(session.run({name: part})[output][: len(part) - missing])
        start += size
    return np.concatenate(rows)


def _check_bars(file: WrittenFile, recipe: Recipe) -> None:
    proof = file.proof
    runtime = f"{proof.runtime} {proof.runtime_version}"
    if proof.is_empty:
        raise BarMissed(
            f"Inputs change the logits by only {proof.spread_of_range:.1g} of their range, so that a wrong file could "
            f"pass for {file.name}.",
            "Check the weights, or give real inputs with --images FOLDER.",
        )
    if not proof.passed and proof.by_agreement:
        share = "no real image was run" if proof.agreement is None else f"{100 * proof.agreement:.1f} % of images"
        raise BarMissed(
            f"{file.name} names torch's class on {share} (limit {100 * proof.limit:g} %), so it is not handed out.",
            "Calibrate on more typical images (--images), or leave int8 out of --precisions.",
        )
    if not proof.passed:
        report = f"Report the architecture {file.graph.labels.get('arch', '')} and {runtime}."
        if file.graph.labels.get("space") == NO_SPACE:
            report = (
                f"Its output must depend on its input alone (no dropout, no changes in place), in torch and {runtime}."
            )
        raise BarMissed(
            f"{file.name} differs from torch by {proof.relative_to_spread:.2g} of what inputs change in the logits "
            f"(limit {proof.limit:g}), so it is not handed out.",
            report if file.precision == "fp32" else "Rounding adds up in this network: leave this precision out.",
        )
    if recipe.max_drop is None:
        return
    if file.drop is None or math.isnan(file.drop):
        raise _nobody_knows_the_drop()
    if file.drop > recipe.max_drop:
        raise BarMissed(
            f"{file.name} loses {file.drop:.2f} points of accuracy against fp32 (limit {recipe.max_drop:g}), so it is "
            "not handed out.",
            "Raise --max-drop, calibrate on more images, or leave this precision out.",
        )

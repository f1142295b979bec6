"""One network becomes files: written in every format and precision, proven from disk against torch, judged on images.

What is done with the files - bundles, measuring - is in ``deploy``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import Dataset, Preprocessing, Split
from fleetfront.deploy.contract import DYNAMIC, InputContract, contracted, with_channels
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.deploy.quantise.precisions import BY_AGREEMENT, WEIGHT_BITS
from fleetfront.deploy.quantise.rounding import misrounded
from fleetfront.deploy.writers.tflite.metadata import FileDescription
from fleetfront.errors import BarMissed, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.judging import (
    check_bars,
    nobody_knows_the_drop,
    prove_file,
    prove_float_form,
    prove_narrow_weights,
)
from fleetfront.pipelines.deploy.limits import float_limit, within_half
from fleetfront.pipelines.deploy.records import Network, Recipe, WrittenFile
from fleetfront.pipelines.deploy.reference import Reference, reference_of, torch_network, vectors_of
from fleetfront.pipelines.deploy.weights import Weights, first_images
from fleetfront.progress import SILENT, Progress

#: Images that int8 is calibrated on, at least and at most.
LEAST_CALIBRATION, MOST_CALIBRATION = 8, 128


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
    check_images(network, recipe)
    of_bytes = recipe.contract.scales_inside
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
        vectors=vectors_of(reference),
        missed=tuple(missed),
    )


def check_images(network: Network, recipe: Recipe) -> None:
    """Raise InputError if there are not the images that the recipe needs, before any file is written."""
    narrow = [name for name in recipe.precisions if name in BY_AGREEMENT]
    if narrow:
        _check_calibration(network, narrow[0])
    if recipe.max_drop is not None and network.weights.labelled_images(network.graph) is None:
        raise nobody_knows_the_drop()


def _written(
    network: Network, reference: Reference, kind: FileFormat, precision: str, recipe: Recipe, folder: Path
) -> WrittenFile:
    try:
        return _within(network, reference, kind, precision, recipe, folder)
    except BarMissed:
        # Few networks need it, and torch is run again for it.
        limit = float_limit(network, reference)
        if limit <= recipe.spread_limits["fp32"]:
            raise
        own = replace(recipe, spread_limits={**recipe.spread_limits, "fp32": limit})
        return _within(network, reference, kind, precision, own, folder)


def _within(
    network: Network, reference: Reference, kind: FileFormat, precision: str, recipe: Recipe, folder: Path
) -> WrittenFile:
    graph = form_of(network, kind, precision, recipe.contract)
    data, rounding = kind.write(graph), None
    if precision in BY_AGREEMENT:
        data, rounding = quantised(network, reference, kind, precision, recipe, folder, data, graph.inputs[0])
    elif precision == "fp16":
        floats = kind.write(form_of(network, kind, "fp32", recipe.contract))
        recipe = within_half(network, reference, kind, recipe, folder, (floats, data))
    return finish_file(network, reference, kind, precision, recipe, folder, graph, data, rounding)


def form_of(network: Network, kind: FileFormat, precision: str, contract: InputContract) -> Graph:
    """The graph of a network's file in one precision; of a narrow one that of the float file which it is made of."""
    graph = with_channels(network.graph, contract.channels)
    if precision == "fp16":
        graph = kind.half(graph)
    if precision == "int8":
        graph = kind.int8(graph)
    return contracted(graph, contract, kind.layout, network.preprocessing)


def quantised(
    network: Network,
    reference: Reference,
    kind: FileFormat,
    precision: str,
    recipe: Recipe,
    folder: Path,
    data: bytes,
    name: str,
) -> tuple[bytes, float | None]:
    """The form of a float file ``data`` with the input ``name`` in int8, or with weights alone narrow.

    With the latter the most that rounding what goes into products changes an output.

    Images do not show a fault in a single weight of such a file. So the float file that it is made of is proven first,
    as if it were handed out, and no weight may be further from it than by rounding. Where weights alone are narrow, the
    file must compute what the float one does with its values.

    Raises:
        BarMissed: the float file computes something else than torch, or the quantiser changed a weight.
        InputError: there are too few images, the format has no such files, or the quantiser gives up.
    """
    made = narrowed(network, kind, precision, recipe.contract, data, name)
    prove_float_form(reference, data, kind, recipe, folder)
    weights = kind.weights(made)
    wrong = misrounded(kind.weights(data), weights)
    if wrong:
        raise BarMissed(
            f"In the {precision} form of {network.graph.name}.{kind.name} the weight {wrong[0]!r} is further from the "
            "float file's than rounding can take it, so it is not handed out.",
            f"Leave {precision} out of --precisions, and report the version of the quantiser.",
        )
    if precision not in WEIGHT_BITS:
        return made, None
    pair = (kind.with_weights(data, weights), made)
    return made, prove_narrow_weights(reference, pair, kind, precision, recipe)


def narrowed(
    network: Network, kind: FileFormat, precision: str, contract: InputContract, data: bytes, name: str
) -> bytes:
    """The same, unproven; weights alone are rounded without any image."""
    if precision in WEIGHT_BITS:
        return kind.weights_alone(data, WEIGHT_BITS[precision])
    return kind.quantise(data, [{name: image} for image in calibration_images(network, kind, contract)])


def finish_file(
    network: Network,
    reference: Reference,
    kind: FileFormat,
    precision: str,
    recipe: Recipe,
    folder: Path,
    graph: Graph,
    data: bytes,
    rounding: float | None = None,
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
        rounding: what ``quantised`` gave with it.

    Raises:
        BarMissed: it misses its proof or loses too much accuracy.
    """
    contract = recipe.contract
    report = lint_layout(data, kind.name, precision, contract)
    data = kind.finish(data, _description(network, contract))
    name = f"{network.graph.name}{'' if precision == 'fp32' else f'-{precision}'}.{kind.name}"
    path = folder / name
    path.write_bytes(data)
    judged = prove_file(reference, path, kind, precision, recipe, rounding)
    drop = None if judged.accuracy is None or reference.accuracy is None else reference.accuracy - judged.accuracy
    key = kind.name if precision == "fp32" else f"{kind.name}-{precision}"
    ports = replace(graph, operators=(), weights={})
    minimum = kind.minimum_runtime(data)
    file = WrittenFile(
        key,
        kind,
        precision,
        path,
        name,
        ports,
        judged.proof,
        report,
        minimum,
        judged.accuracy,
        drop,
        judged.answers,
        judged.tolerance,
    )
    check_bars(file, recipe)
    return file


def calibration_images(network: Network, kind: FileFormat, contract: InputContract) -> list[NDArray[Any]]:
    """The images that int8 is calibrated on, as a file wants them; the last batch is filled up with its last image.

    Raises InputError if there are too few images.
    """
    images = first_images(_check_calibration(network, "int8"), Split.CALIBRATION, MOST_CALIBRATION)
    batch = 1 if contract.batch == DYNAMIC else int(contract.batch)
    # Ranges are the smallest and largest values, which no image changes by coming again.
    filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch, axis=0)])
    fed = _fed(filled, network.preprocessing, kind, contract)
    return [fed[start : start + batch] for start in range(0, len(fed), batch)]


def _check_calibration(network: Network, precision: str) -> Dataset:
    images = network.weights.images_at(network.preprocessing.size)
    count = 0 if images is None else len(images.split[Split.CALIBRATION])
    if images is None or count < LEAST_CALIBRATION:
        used = "calibrated on" if precision == "int8" else "judged by its classes, which takes"
        raise InputError(
            f"{precision} is {used} at least {LEAST_CALIBRATION} images, and there are {count}.",
            f"Give --images FOLDER with more of your images, or leave {precision} out of --precisions.",
        )
    return images


def _fed(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, kind: FileFormat, contract: InputContract
) -> NDArray[Any]:
    return contract.as_fed(contract.feed(pixels, preprocessing), contract.layout(kind.layout))


def _description(network: Network, contract: InputContract) -> FileDescription:
    labels, described = network.graph.labels, network.weights.describe()
    bytes_go_in = contract.input == "uint8"
    mean, std = network.preprocessing.mean, network.preprocessing.std
    if contract.input == "unit":
        mean, std = (0.0,), (1.0,)
    elif len(set(mean)) > 1 or len(set(std)) > 1:
        # MediaPipe scales all channels alike; told nothing, it refuses the file. The manifest has the values.
        mean, std = (), ()
    return FileDescription(
        name=network.graph.name,
        description=f"{labels.get('space', '')} {labels.get('arch', '')}".strip(),
        licence=str(described.get("licence", "")),
        labels=network.class_names,
        mean=() if bytes_go_in else tuple(255 * value for value in mean),
        std=() if bytes_go_in else tuple(255 * value for value in std),
        is_rgb=contract.channels == "rgb",
    )

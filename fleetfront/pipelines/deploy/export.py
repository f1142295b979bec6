"""Export a user's own image classifier of torch as a bundle: proven, judged, measured like the networks of a space."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.bundle.manifest import check_replaceable, safe_name
from fleetfront.deploy.contract import PROBABILITIES
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.quantise.precisions import BY_AGREEMENT
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.graphs.graph import Graph, Tensor
from fleetfront.pipelines.deploy.bundling import bundle_network, staging_folder
from fleetfront.pipelines.deploy.network import check_images, finish_file, quantised, with_files
from fleetfront.pipelines.deploy.records import NO_SPACE, Deployed, Measuring, Network, Pick, Recipe, WrittenFile
from fleetfront.pipelines.deploy.reference import Reference, RunTorch, reference_of, run_module
from fleetfront.pipelines.deploy.timing import check_targets, measure_networks
from fleetfront.pipelines.deploy.weights import UserImages, Weights
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.user_code import reason_of

if TYPE_CHECKING:
    from torch import nn


_NO_CLASSIFIER = "If it is no image classifier, give an example of its inputs: --example inputs.py"


@dataclass(frozen=True, slots=True)
class TorchNetwork:
    """The things to export.

    Attributes:
        spec: ``module.py:factory``.
        size: side of its square images in pixels.
        name: of the bundle.
        images: judge accuracy and calibrate int8.
        labels: of the classes.
        licence: of the weights.
        labelled: whether the folders of ``images`` are the network's classes.
        preprocessing: how images become inputs; by default as the images are loaded.
    """

    spec: str
    size: int
    name: str
    images: UserImages | None = None
    labels: tuple[str, ...] = field(default_factory=tuple)
    licence: str = "unknown"
    labelled: bool = True
    preprocessing: Preprocessing | None = None


def export_torch(
    wanted: TorchNetwork,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    recipe: Recipe | None = None,
    measuring: Measuring | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Deployed:
    """Write one bundle of a user's network. What fails in making it is in the result; wrong usage is raised.

    Raises:
        InputError: the factory gives no network for images of that size, or the recipe asks for what only networks of
            a space have (fp16, other batches).
        MissingDependency: an exporter is not installed.
    """
    from fleetfront.deploy.writers.torch_export import load_factory, spec_neighbours

    recipe = recipe or Recipe()
    pick = Pick(safe_name(wanted.name), wanted.spec)
    _check(recipe, formats)
    check_targets(measuring, formats, recipe.precisions)
    check_replaceable(out / pick.name, force=force)
    module = load_factory(wanted.spec)
    with spec_neighbours(wanted.spec), contextlib.ExitStack() as until:
        network = _network(wanted, module)
        staging = until.enter_context(staging_folder(out))
        made = _written(network, module, formats, recipe, staging, progress)
        measured = {} if measuring is None else measure_networks({pick.arch: made}, measuring, progress)
        return bundle_network(pick, made, measured.get(pick.arch, ()), NO_SPACE, recipe, out, force=force)


def _check(recipe: Recipe, formats: Sequence[FileFormat]) -> None:
    if any(kind.name == "trt" for kind in formats):
        raise InputError(
            "A torch network is not exported as a TensorRT plan.", "Export onnx, then: trtexec --onnx=network.onnx"
        )
    if "fp16" in recipe.precisions:
        raise InputError("A torch network is exported in fp32, int8, w8 or w4.", "Leave fp16 out of --precisions.")
    if recipe.contract.batch != 1:
        raise InputError("A torch network is exported for one image an inference.", "Leave --batch at 1.")


def _network(wanted: TorchNetwork, module: nn.Module) -> Network:
    """The network with a graph that has ports and nothing else. Raises InputError if torch cannot run it."""
    import torch

    from fleetfront.deploy.writers.torch_export import INPUT, LOGITS, weights_of

    shape = (1, 3, wanted.size, wanted.size)
    try:
        with torch.inference_mode():
            scores = module(torch.zeros(shape))
    except Exception as error:
        raise InputError(
            f"{wanted.spec} cannot be run on an image of {wanted.size} px ({reason_of(error)}).",
            "Give the size of its images (--size PIXELS), or, if it takes anything else than one RGB image, an example "
            "of its inputs (--example inputs.py).",
        ) from error
    if not isinstance(scores, torch.Tensor) or scores.shape[:-1] != (1,) or scores.dtype != torch.float32:
        raise InputError(f"{wanted.spec} does not give float32 scores [1, classes].", _NO_CLASSIFIER)
    own = weights_of(wanted.spec, module, wanted.licence)
    weights = Weights(None, wanted.images, wanted.labels, wanted.labelled, own=own, fed_as=wanted.preprocessing)
    tensors = {
        INPUT: Tensor(INPUT, shape, "float32", "NCHW"),
        LOGITS: Tensor(LOGITS, tuple(scores.shape), "float32"),
    }
    labels = {"arch": wanted.spec, "space": NO_SPACE}
    graph = Graph("network", (INPUT,), (LOGITS,), (), tensors, {}, labels)
    return Network(graph, weights, weights.preprocessing(wanted.size), weights.class_names(graph))


def _written(
    network: Network,
    module: nn.Module,
    formats: Sequence[FileFormat],
    recipe: Recipe,
    folder: Path,
    progress: Progress,
) -> Network | FleetfrontError:
    progress.start("Exporting and proving", len(formats) * len(recipe.precisions))
    try:
        check_images(network, recipe)
        reference = reference_of(
            network.graph,
            network.weights,
            network.preprocessing,
            _one_by_one(network, module),
            of_bytes=recipe.contract.scales_inside,
            test_images=recipe.test_images,
        )
        makers = []
        for kind in formats:
            exported = _exported(network, module, kind, recipe)
            makers += [
                partial(_file, network, reference, kind, precision, recipe, folder, exported)
                for precision in recipe.precisions
            ]
        return with_files(network, reference, makers, progress)
    except FleetfrontError as error:
        return error
    finally:
        progress.finish()


def _one_by_one(network: Network, module: nn.Module) -> RunTorch:
    """The module, run on one image at a time as its files are: some networks take no more."""
    run = run_module(module)

    def each(images: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return np.concatenate([run(images[row : row + 1]) for row in range(len(images))])
        except Exception as error:
            raise InputError(
                f"{network.graph.labels['arch']} fails on an image ({type(error).__name__}: {error}).",
                "It must take any image of its size.",
            ) from error

    return each


def _exported(network: Network, module: nn.Module, kind: FileFormat, recipe: Recipe) -> bytes:
    import torch

    from fleetfront.deploy.writers.torch_export import INPUT, LOGITS, export_onnx, export_tflite, under_contract

    contract = recipe.contract
    wrapped = under_contract(module, contract, kind.layout, network.preprocessing)
    side = network.preprocessing.size
    turned = kind.layout == "NCHW" and contract.onnx_layout == "NHWC"
    shape = (1, side, side, 3) if turned else (1, 3, side, side)
    example = torch.zeros(shape, dtype=torch.uint8 if contract.input == "uint8" else torch.float32)
    if kind.name == "tflite":
        return export_tflite(wrapped, example)
    output = PROBABILITIES if contract.softmax else LOGITS
    return _with_labels(export_onnx(wrapped, [example], [INPUT], [output]), network)


def _with_labels(data: bytes, network: Network) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    properties = {
        **network.graph.labels,
        "labels": json.dumps(list(network.class_names)),
        "preprocessing": json.dumps(network.preprocessing.to_dict()),
    }
    onnx.helper.set_model_props(model, dict(sorted(properties.items())))
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _file(
    network: Network,
    reference: Reference,
    kind: FileFormat,
    precision: str,
    recipe: Recipe,
    folder: Path,
    exported: bytes,
) -> WrittenFile:
    session = load_runtime(kind.runtime).open(exported)
    image, scores = session.inputs[0], session.outputs[0]
    session.close()
    data, rounding = exported, None
    if precision in BY_AGREEMENT:
        data, rounding = quantised(network, reference, kind, precision, recipe, folder, exported, image.name)
    # Graphs of channels-last formats are described channels first.
    shape = tuple(image.shape[axis] for axis in (0, 3, 1, 2)) if kind.layout == "NHWC" else image.shape
    tensors = {
        image.name: Tensor(image.name, shape, image.dtype, "NCHW"),
        scores.name: Tensor(scores.name, scores.shape, scores.dtype),
    }
    ports = Graph("network", (image.name,), (scores.name,), (), tensors, {}, network.graph.labels)
    return finish_file(network, reference, kind, precision, recipe, folder, ports, data, rounding)

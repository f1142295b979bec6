"""A written network becomes a bundle: its manifest, its texts, its folder, and whether it kept its limit."""

from __future__ import annotations

import contextlib
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront import __version__
from fleetfront.deploy.bundle.bundle_texts import TextFacts, make_bundle_texts
from fleetfront.deploy.bundle.manifest import (
    BundleFile,
    Manifest,
    PortDescription,
    read_manifest,
    safe_name,
    write_bundle,
)
from fleetfront.deploy.bundle.picture import png_of
from fleetfront.deploy.bundle.vectors import CASES, PICTURE, PIXELS, Vectors, VectorWriter
from fleetfront.deploy.proof import log_probabilities
from fleetfront.errors import BarMissed, FleetfrontError, InputError
from fleetfront.pipelines.deploy.records import Deployed, Network, Pick, Recipe, WrittenFile, formats_timed_on
from fleetfront.pipelines.deploy.weights import Weights
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.quantities import Tier
from fleetfront.targets import narrow_precision, precision_in, split_spelled

#: Equal bytes are promised for equal versions of these.
_WRITERS = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "numpy", "onnx", "onnxruntime", "torch")


@contextlib.contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A hidden folder under ``out``, which is made, on the same disk as the bundles; it goes when they are written.

    Raises InputError if ``out`` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".deploying-", dir=out))
    except OSError as error:
        raise InputError(f"The folder {out} cannot be made or written ({error}).", "Choose another --out.") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


#: The end of a bundle's name whose networks know nothing.
RANDOM_WEIGHTS = "-random-weights"


def folder_name(pick: Pick, weights: Weights) -> str:
    """The name of a pick's bundle. Raises InputError for a name that points elsewhere."""
    return safe_name(pick.name) + (RANDOM_WEIGHTS if weights.describe()["random"] else "")


def bundle_network(
    pick: Pick,
    network: Network | FleetfrontError,
    measured: tuple[FileLatency, ...],
    space: str,
    recipe: Recipe,
    out: Path,
    *,
    force: bool,
) -> Deployed:
    """One bundle of a written network under ``out``, with its texts; or the error that the network met."""
    if isinstance(network, FleetfrontError):
        return Deployed(pick, error=type(network)(f"{pick.name}: {network.message}", network.remedy))
    pick, without_files = with_times_of(pick, network.files)
    deployed = Deployed(
        pick,
        without_files=without_files,
        proofs={file.key: file.proof for file in network.files},
        measured=measured,
        files=network.files,
        torch_accuracy=network.torch_accuracy,
        test_images=network.test_images,
    )
    vectors = _vectors(network, recipe)
    manifest = replace(_manifest(deployed, network, space, recipe), test_vectors=vectors.rows)
    contents: dict[str, bytes | Path] = {file.name: file.path for file in network.files}
    contents |= make_bundle_texts(replace(_text_facts(manifest, pick, network, recipe), vectors=vectors))
    try:
        folder = write_bundle(out / folder_name(pick, network.weights), manifest, contents, force=force)
        read_manifest(folder)
    except FleetfrontError as error:
        return replace(deployed, error=error)
    moved = tuple(replace(file, path=folder / file.name) for file in network.files)
    return replace(deployed, folder=folder, files=moved, error=missed_limit(deployed) or _left_out(pick, network))


def with_times_of(pick: Pick, files: Sequence[WrittenFile]) -> tuple[Pick, tuple[str, ...]]:
    """The pick without times of files that are none of these, and their targets; times in a runtime that nobody here
    knows, which are published ones, stay and say so.
    """
    kept: list[Mapping[str, Any]] = []
    strange: list[str] = []
    for row in pick.latency:
        target = str(row["target"])
        formats = formats_timed_on(target) if target else ()
        precision = narrow_precision(precision_in(target))
        is_of = (narrow_precision(file.precision) == precision for file in files if file.kind.name in formats)
        if not target or any(is_of):
            kept.append(row)
        elif formats:
            strange.append(target)
        else:
            kept.append({**row, "is_of_files": False})
    return replace(pick, latency=tuple(kept)), tuple(strange)


def _manifest(deployed: Deployed, network: Network, space: str, recipe: Recipe) -> Manifest:
    pick = deployed.pick
    size = network.preprocessing.size
    return Manifest(
        arch=pick.arch,
        space=space,
        weights=network.weights.describe(size),
        files=tuple(_described(file, network, recipe) for file in network.files),
        accuracy=(*pick.accuracy, *_accuracy_rows(network)),
        latency=(*pick.latency, *(measured_row(latency) for latency in deployed.measured)),
        labels=network.class_names,
        made_with={"fleetfront": __version__, "python": platform.python_version(), **versions()},
        size=pick.size,
    )


def versions() -> dict[str, str]:
    """Of the packages that decide what is in files, as far as they are installed."""
    found = {}
    for name in _WRITERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _described(file: WrittenFile, network: Network, recipe: Recipe) -> BundleFile:
    contract = recipe.contract
    image, scores = file.graph.tensors[file.graph.inputs[0]], file.graph.tensors[file.graph.outputs[0]]
    layout = contract.layout(file.kind.layout)
    # Graphs for channels-last formats stay channels first; ONNX graphs have the file's own layout.
    axes = (0, 2, 3, 1) if file.kind.layout == "NHWC" else (0, 1, 2, 3)
    preprocessing = {**network.preprocessing.to_dict(), "baked_in": contract.scales_inside}
    accuracy: dict[str, Any] = {}
    if file.accuracy is not None:
        accuracy = {"top1": file.accuracy, "drop": file.drop, "images": network.test_images, "split": "test"}
    return BundleFile(
        path=file.name,
        format=file.kind.name,
        precision=file.precision,
        input=PortDescription(
            image.name, tuple(image.shape[axis] for axis in axes), image.dtype, layout, preprocessing
        ),
        output=PortDescription(scores.name, scores.shape, scores.dtype),
        checks=file.proof.as_checks(),
        minimum_runtime=file.minimum_runtime,
        accuracy=accuracy,
        layout=file.layout.to_dict(),
        contract=contract.to_dict(),
        bound_to=dict(file.kind.bound_to()),
    )


def _vectors(network: Network, recipe: Recipe) -> Vectors:
    """A picture and patches as each file is fed them, one at a time, and what torch and the file make of them."""
    given, contract, writer = network.vectors, recipe.contract, VectorWriter()
    if given is None:
        return Vectors()
    scores = np.exp(log_probabilities(given.logits)) if contract.softmax else given.logits
    for file in network.files:
        is_int8 = file.proof.by_agreement
        layout, (port,), (output,) = contract.layout(file.kind.layout), file.graph.inputs, file.graph.outputs
        fed = contract.as_fed(contract.feed(given.pixels, network.preprocessing), layout)
        for row, case in enumerate(CASES):
            key, one = (file.name, case), slice(row, row + 1)
            writer.add(key, "input", port, fed[one], f"input.{layout.lower()}.{contract.dtype}")
            writer.add(key, "torch", output, scores[one], "torch", None if is_int8 else file.tolerance)
            if is_int8 and file.answers is not None:
                writer.add(key, "file", output, file.answers[one], file.name, file.tolerance)
    writer.keep(PIXELS, given.pixels[0].transpose(1, 2, 0).tobytes())
    png = None if given.picture is None else png_of(given.picture)
    if png is not None:
        writer.keep(PICTURE, png)
    return writer.vectors()


def accuracy_rows(source: str, in_torch: float | None, files: Sequence[WrittenFile]) -> list[dict[str, Any]]:
    """Rows of a manifest: the percent that ``source`` measured of a network in torch, and of each of its files."""
    rows = [("fp32", "torch", in_torch), *((file.precision, file.kind.name, file.accuracy) for file in files)]
    return [
        {"value": value, "std": 0.0, "tier": Tier.MEASURED.value, "source": source, "precision": precision, "in": where}
        for precision, where, value in rows
        if value is not None
    ]


def _accuracy_rows(network: Network) -> list[dict[str, Any]]:
    images = network.weights.images_at(network.preprocessing.size)
    source = "" if images is None else f"{images.source}, {network.test_images} held-out images"
    return accuracy_rows(source, network.torch_accuracy, network.files)


def _text_facts(manifest: Manifest, pick: Pick, network: Network, recipe: Recipe) -> TextFacts:
    return TextFacts(
        manifest=manifest,
        name=pick.name,
        preprocessing=network.preprocessing,
        contract=recipe.contract,
        classes=int(network.graph.tensors[network.graph.outputs[0]].shape[-1]),
        front=None if pick.front is None else (pick.front.device, pick.front.latency_ms, pick.front.accuracy),
        ort_files={file.name: file.path for file in network.files if file.kind.name == "ort"},
    )


def sitting_facts(latency: FileLatency) -> dict[str, Any]:
    """Tell manifests and ``--json`` of the sitting in which a file was timed; empty if nothing is known of it."""
    facts: dict[str, Any] = {}
    if latency.sitting is not None:
        facts = {"sitting": latency.sitting, "ms_as_of_profile": latency.profile_ms, "is_busy": latency.is_busy}
    if latency.others is not None:
        facts |= {"is_busy": latency.is_busy, "other_programs": latency.others.to_json()}
    if latency.promises is not None:
        facts["promises"] = latency.promises.to_json()
    return facts


def app_facts(latency: FileLatency) -> dict[str, Any]:
    """Tell them what an app feels: ``cold_start_ms`` and, under ``wall``, median, p90, mean and fastest run."""
    return {} if latency.app is None else latency.app.to_json()


def measured_row(latency: FileLatency) -> dict[str, Any]:
    """The row of a manifest that tells how long a file took."""
    row: dict[str, Any] = {
        "target": str(latency.target),
        "ms": latency.ms,
        "std_ms": latency.std_ms,
        "tier": Tier.MEASURED.value,
        "clock": latency.clock.value,
        "statistic": latency.statistic,
        "visits": latency.visits,
        "machine": latency.machine,
        **sitting_facts(latency),
        **app_facts(latency),
    }
    return row if latency.error is None else {**row, "error": latency.error}


def _left_out(pick: Pick, network: Network) -> BarMissed | None:
    """The error of a bundle without some of the files that were asked for."""
    if not network.missed:
        return None
    return BarMissed(f"{pick.name}: {' '.join(error.message for error in network.missed)}", network.missed[0].remedy)


def missed_limit(deployed: Deployed) -> BarMissed | None:
    """A limit on one device says nothing of a file that was timed on another."""
    pick = deployed.pick
    if pick.max_latency_ms is None:
        return None
    promised = {
        split_spelled(target)[0] for target in (*(str(row["target"]) for row in pick.latency), *deployed.without_files)
    }
    for latency in deployed.measured:
        is_meant = not promised or latency.target.device in promised
        if is_meant and latency.ms is None:
            return BarMissed(
                f"{pick.name}: could not be measured on {latency.target} ({latency.error}), so nobody knows whether it "
                f"keeps its limit of {pick.max_latency_ms:g} ms.",
                "Measure again, or leave --measure out to go by the prediction.",
            )
        if is_meant and latency.ms is not None and latency.ms > pick.max_latency_ms:
            return BarMissed(
                f"{pick.name}: measured {latency.ms:.3g} ms on {latency.target}, over its limit of "
                f"{pick.max_latency_ms:g} ms.",
                "Pick a faster network, or search again with --verify.",
            )
    return None

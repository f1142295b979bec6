"""Picks become bundles: each distinct network is made once, measured if asked, and put with its papers into a folder a
pick. Making one network's files is in ``deploy_network``; choosing picks belongs to ``search``.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetfront import __version__
from fleetfront.deploy.bundle import (
    BundleFile,
    Manifest,
    PortDescription,
    check_replaceable,
    read_manifest,
    safe_name,
    write_bundle,
)
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.papers import Papers, papers
from fleetfront.deploy.precisions import RANGE_LIMITS
from fleetfront.deploy.proof import Proof
from fleetfront.errors import BarMissed, FleetfrontError, InputError
from fleetfront.pipelines.deploy_network import Network, Recipe, WrittenFile, write_network
from fleetfront.pipelines.deploy_weights import UserImages, Weights
from fleetfront.pipelines.measure_files import FileLatency, measure_files
from fleetfront.profilers.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.graph import Graph
from fleetfront.targets import Target

__all__ = [
    "Deployed",
    "FrontPoints",
    "Measuring",
    "Pick",
    "Recipe",
    "UserImages",
    "Weights",
    "deploy_picks",
]


@dataclass(frozen=True, slots=True)
class FrontPoints:
    """The front that a pick stands on, for its picture: ascending in latency, one entry a network."""

    device: str
    latency_ms: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """One network to be deployed, with what is promised of it.

    Attributes:
        name: what its folder is called.
        arch: arch id.
        latency: rows of a manifest: ``target``, ``ms``, ``std_ms``, ``tier``, ``clock``.
        accuracy: rows of a manifest: ``value``, ``std``, ``tier``, ``source``.
        max_latency_ms: the limit that the pick was chosen under, if any.
        front: where it was picked from, if anywhere.
    """

    name: str
    arch: str
    latency: tuple[Mapping[str, Any], ...] = ()
    accuracy: tuple[Mapping[str, Any], ...] = ()
    max_latency_ms: float | None = None
    front: FrontPoints | None = None


@dataclass(frozen=True, slots=True)
class Measuring:
    """How files are timed: under the clock and by the statistic of a fit, so that like is compared with like."""

    store: Store
    targets: tuple[Target, ...]
    clock: Clock
    statistics: Mapping[Target, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of one pick: its folder, or the error that it met; both if it was written but missed a bar.

    Attributes:
        proofs: by file, e.g. ``onnx`` (fp32) or ``tflite-int8``.
        files: what was written, where it lies now.
        torch_accuracy: of the network in torch on ``test_images`` held-out images, percent; None without labels.
    """

    pick: Pick
    folder: Path | None = None
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    measured: tuple[FileLatency, ...] = ()
    error: FleetfrontError | None = None
    files: tuple[WrittenFile, ...] = ()
    torch_accuracy: float | None = None
    test_images: int = 0


def deploy_picks(
    picks: Sequence[Pick],
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    recipe: Recipe | None = None,
    measuring: Measuring | None = None,
    limit: float = RANGE_LIMITS["fp32"],
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Deployed]:
    """Write one bundle a pick. A pick that fails carries its error and costs no other pick.

    Picks of one architecture share its files: they are made, proven, measured and stored once.

    Args:
        picks: what to deploy; names must differ.
        space: of which the picks are.
        weights: what the networks know.
        formats: which files each bundle gets.
        out: the folder of the bundles.
        recipe: precisions, input contract, bars; fp32 without any by default.
        measuring: time the very files that the bundles get.
        limit: of the proof of fp32 against torch, share of the logits' range.
        force: replace bundles that exist.
        progress: counts files.

    Raises:
        InputError: no picks, two of one name, or a bundle that exists.
        DeviceError: the device that measures is gone.
    """
    recipe = recipe or Recipe()
    recipe = replace(recipe, range_limits={**recipe.range_limits, "fp32": limit})
    _check_names(picks)
    for kind in formats:
        kind.check()
    for pick in picks:
        check_replaceable(out / _folder_name(pick, weights), force=force)
    _make_folder(out)
    staging = Path(tempfile.mkdtemp(prefix=".deploying-", dir=out))
    try:
        made = _made(picks, space, weights, formats, recipe, staging, progress)
        measured = {} if measuring is None else measure_networks(made, measuring, progress)
        return [
            bundle_network(pick, made[pick.arch], measured.get(pick.arch, ()), space.name, recipe, out, force=force)
            for pick in picks
        ]
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_names(picks: Sequence[Pick]) -> None:
    if not picks:
        raise InputError("There is nothing to deploy.", "Choose with --knee, --max-latency MS or --arch ARCH.")
    names = [safe_name(pick.name) for pick in picks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two picks are called {twice[0]!r}.", "Give each its own name.")


def _folder_name(pick: Pick, weights: Weights) -> str:
    return safe_name(pick.name) + ("-random-weights" if weights.describe()["random"] else "")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {out} cannot be made ({error}).", "Choose another --out.") from error


def _made(
    picks: Sequence[Pick],
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    recipe: Recipe,
    staging: Path,
    progress: Progress,
) -> dict[str, Network | FleetfrontError]:
    """Every distinct architecture's network, or why there is none."""
    archs = list(dict.fromkeys(pick.arch for pick in picks))
    made: dict[str, Network | FleetfrontError] = {}
    progress.start("Writing and proving", len(archs) * len(formats) * len(recipe.precisions))
    for number, arch in enumerate(archs):
        folder = staging / str(number)
        folder.mkdir()
        try:
            graph = _labelled(weights.graph(space, space.parse([arch])[0]), arch, space, weights, recipe)
            made[arch] = write_network(graph, weights, formats, recipe, folder, progress=progress)
        except FleetfrontError as error:
            made[arch] = error
        except OSError as error:
            remedy = "Free space or choose another --out."
            made[arch] = InputError(f"The files of {arch} could not be written ({error}).", remedy)
    progress.finish()
    return made


def _labelled(graph: Graph, arch: str, space: SearchSpace, weights: Weights, recipe: Recipe) -> Graph:
    """The graph with everything that a file must say of itself."""
    described = weights.describe()
    contract, size = recipe.contract, int(graph.tensors[graph.inputs[0]].shape[-1])
    labels = {
        **graph.labels,
        "arch": arch,
        "space": space.name,
        "weights": "random" if described["random"] else described["id"],
        "licence": str(described.get("licence", "none: random numbers")),
        "labels": json.dumps(list(weights.class_names(graph))),
        "preprocessing": json.dumps(weights.preprocessing(size).to_dict()),
        "contract": json.dumps(contract.to_dict()),
    }
    return replace(graph, name="network-random-weights" if described["random"] else "network", labels=labels)


class _FilesOfTarget(Mapping[str, bytes]):
    """Architecture -> the bytes of its file for one target, read when asked for: all of them might not fit memory."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, arch: str) -> bytes:
        return self._paths[arch].read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def measure_networks(
    made: Mapping[str, Network | FleetfrontError], measuring: Measuring, progress: Progress
) -> dict[str, tuple[FileLatency, ...]]:
    """Architecture -> what was measured of its files, one entry a target. Raises InputError if a target has no file."""
    networks = {arch: network for arch, network in made.items() if isinstance(network, Network)}
    results: dict[str, list[FileLatency]] = {arch: [] for arch in networks}
    for target in measuring.targets if networks else ():
        paths: dict[str, Path] = {}
        for arch, network in networks.items():
            for file in network.files:
                # An .ort file computes what its .onnx twin does; agents know files by one ending a runtime.
                is_meant = file.kind.runtime == target.runtime and file.precision == target.precision
                if is_meant and file.kind.name != "ort":
                    paths[arch] = file.path
        if not paths:
            raise InputError(
                f"No file is written that {target} runs.", "Add its format or precision, e.g. --formats onnx,tflite."
            )
        statistic = measuring.statistics.get(target, "p25")
        latencies = measure_files(
            _FilesOfTarget(paths),
            target,
            measuring.store,
            clock=measuring.clock,
            statistic=statistic,
            progress=progress,
        )
        for arch, latency in latencies.items():
            results[arch].append(latency)
    return {arch: tuple(latencies) for arch, latencies in results.items()}


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
    """One bundle of a written network under ``out``, with its papers; or the error that the network met."""
    if isinstance(network, FleetfrontError):
        return Deployed(pick, error=type(network)(f"{pick.name}: {network.message}", network.remedy))
    deployed = Deployed(
        pick,
        proofs={file.key: file.proof for file in network.files},
        measured=measured,
        files=network.files,
        torch_accuracy=network.torch_accuracy,
        test_images=network.test_images,
    )
    manifest = _manifest(deployed, network, space, recipe)
    contents: dict[str, bytes | Path] = {file.name: file.path for file in network.files}
    contents |= papers(_papers(manifest, pick, network, recipe))
    try:
        folder = write_bundle(out / _folder_name(pick, network.weights), manifest, contents, force=force)
        read_manifest(folder)
    except FleetfrontError as error:
        return replace(deployed, error=error)
    moved = tuple(replace(file, path=folder / file.name) for file in network.files)
    return replace(deployed, folder=folder, files=moved, error=_missed_limit(deployed))


def _manifest(deployed: Deployed, network: Network, space: str, recipe: Recipe) -> Manifest:
    pick = deployed.pick
    size = network.preprocessing.size
    return Manifest(
        arch=pick.arch,
        space=space,
        weights=network.weights.describe(size),
        files=tuple(_described(file, network, recipe) for file in network.files),
        accuracy=(*pick.accuracy, *_accuracy_rows(network)),
        latency=(*pick.latency, *(_measured_row(latency) for latency in deployed.measured)),
        labels=network.class_names,
        made_with={"fleetfront": __version__, "python": platform.python_version()},
    )


def _described(file: WrittenFile, network: Network, recipe: Recipe) -> BundleFile:
    contract = recipe.contract
    image, scores = file.graph.tensors[file.graph.inputs[0]], file.graph.tensors[file.graph.outputs[0]]
    layout = contract.layout(file.kind.layout)
    # Graphs for channels-last formats stay channels first; ONNX graphs have the file's own layout.
    axes = (0, 2, 3, 1) if file.kind.layout == "NHWC" else (0, 1, 2, 3)
    preprocessing = {**network.preprocessing.to_dict(), "baked_in": contract.input == "uint8"}
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


def _accuracy_rows(network: Network) -> list[dict[str, Any]]:
    images = network.weights.images_at(network.preprocessing.size)
    source = "" if images is None else f"{images.source}, {network.test_images} held-out images"
    rows = [("fp32", "torch", network.torch_accuracy)]
    rows += [(file.precision, file.kind.name, file.accuracy) for file in network.files]
    return [
        {"value": value, "std": 0.0, "tier": Tier.MEASURED.value, "source": source, "precision": precision, "in": where}
        for precision, where, value in rows
        if value is not None
    ]


def _papers(manifest: Manifest, pick: Pick, network: Network, recipe: Recipe) -> Papers:
    return Papers(
        manifest=manifest,
        name=pick.name,
        preprocessing=network.preprocessing,
        contract=recipe.contract,
        classes=int(network.graph.tensors[network.graph.outputs[0]].shape[-1]),
        front=None if pick.front is None else (pick.front.device, pick.front.latency_ms, pick.front.accuracy),
        ort_files={file.name: file.path for file in network.files if file.kind.name == "ort"},
    )


def _measured_row(latency: FileLatency) -> dict[str, Any]:
    row: dict[str, Any] = {
        "target": str(latency.target),
        "ms": latency.ms,
        "std_ms": latency.std_ms,
        "tier": Tier.MEASURED.value,
        "clock": latency.clock.value,
        "statistic": latency.statistic,
        "visits": latency.visits,
    }
    return row if latency.error is None else {**row, "error": latency.error}


def _missed_limit(deployed: Deployed) -> BarMissed | None:
    """A limit on one device says nothing of a file that was timed on another."""
    pick = deployed.pick
    if pick.max_latency_ms is None:
        return None
    promised = {str(row["target"]).split("/", 1)[0] for row in pick.latency}
    for latency in deployed.measured:
        is_meant = not promised or latency.target.device in promised
        if is_meant and latency.ms is not None and latency.ms > pick.max_latency_ms:
            return BarMissed(
                f"{pick.name}: measured {latency.ms:.3g} ms on {latency.target}, over its limit of "
                f"{pick.max_latency_ms:g} ms.",
                "Pick a faster network, or search again with --verify.",
            )
    return None

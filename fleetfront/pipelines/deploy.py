"""A pick becomes a bundle: cut, recalibrate, write, prove, measure, describe. Choosing picks belongs to ``search``."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront import __version__
from fleetfront.deploy.bundle import BundleFile, Manifest, PortDescription, safe_name, write_bundle
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.proof import FP32_LIMIT, Proof, prove
from fleetfront.errors import BarMissed, FleetfrontError, InputError
from fleetfront.pipelines.measure_files import FileLatency, measure_files
from fleetfront.profilers.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.graph import Graph
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.datasets import Dataset
    from fleetfront.spaces.supernet import Supernet


@dataclass(frozen=True, slots=True)
class Pick:
    """One network to be deployed, with what is promised of it.

    Attributes:
        name: what its folder is called.
        arch: arch id.
        latency: rows of a manifest: ``target``, ``ms``, ``std_ms``, ``tier``, ``clock``.
        accuracy: rows of a manifest: ``value``, ``std``, ``tier``, ``source``.
        max_latency_ms: the limit that the pick was chosen under, if any.
    """

    name: str
    arch: str
    latency: tuple[Mapping[str, Any], ...] = ()
    accuracy: tuple[Mapping[str, Any], ...] = ()
    max_latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Measuring:
    """How files are timed: under the clock and by the statistic of a fit, so that like is compared with like."""

    store: Store
    targets: tuple[Target, ...]
    clock: Clock
    statistics: Mapping[Target, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of one pick: its folder, or the error that it met; both if it was written but missed a bar."""

    pick: Pick
    folder: Path | None = None
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    measured: tuple[FileLatency, ...] = ()
    error: FleetfrontError | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """What the networks know: a supernet's weights, recalibrated on images or not, or random numbers."""

    supernet: Supernet | None = None
    images: Dataset | None = None

    def graph(self, space: SearchSpace, genotype: Genotypes) -> Graph:
        """The network int8[v] with batch-norm folded, recalibrated if there are images."""
        if self.supernet is None:
            parts = space.subnet_graphs(genotype)
            if len(parts) != 1:
                raise InputError(f"Networks of {space.name} have {len(parts)} parts.", "Deploy a space of one part.")
            return next(iter(parts.values()))[0]
        if self.images is None:
            return self.supernet.graph(genotype)
        return self.supernet.recalibrated(genotype, self.images.inputs("calibration"))

    def describe(self) -> dict[str, Any]:
        """What a manifest says of them."""
        if self.supernet is None:
            return {"random": True, "source": "random numbers of a fixed seed; the network knows nothing"}
        used = self.images and {"source": self.images.source, "sha256": self.images.content_hash}
        return {
            "random": False,
            "id": self.supernet.weights_id,
            "source": self.supernet.source,
            "licence": self.supernet.licence or "unknown",
            "recalibrated_on": used,
        }


@dataclass(frozen=True, slots=True)
class _Made:
    """A pick on its way: what is known of it, its graph, and the files written so far."""

    deployed: Deployed
    graph: Graph | None = None
    files: Mapping[FileFormat, bytes] = field(default_factory=dict)


def deploy_picks(
    picks: Sequence[Pick],
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    measuring: Measuring | None = None,
    limit: float = FP32_LIMIT,
    force: bool = False,
    progress: Progress = SILENT,
) -> list[Deployed]:
    """Write one bundle a pick. A pick that fails carries its error and costs no other pick.

    Args:
        picks: what to deploy; names must differ.
        space: of which the picks are.
        weights: what the networks know.
        formats: which files each bundle gets.
        out: the folder of the bundles.
        measuring: time the very bytes that the bundles get.
        limit: of the proof against torch, share of the logits' range.
        force: replace bundles that exist.
        progress: counts files.

    Raises:
        InputError: no picks, or two of one name.
        DeviceError: the device that measures is gone.
    """
    _check_names(picks)
    progress.start("Writing and proving", len(picks) * len(formats))
    made = [_write(pick, space, weights, formats, limit, progress) for pick in picks]
    progress.finish()
    if measuring is not None:
        made = _measured(made, measuring, progress)
    return [_bundled(one, space, weights, out, force) for one in made]


def _check_names(picks: Sequence[Pick]) -> None:
    if not picks:
        raise InputError("There is nothing to deploy.", "Choose with --knee, --max-latency MS or --arch ARCH.")
    names = [safe_name(pick.name) for pick in picks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Two picks are called {twice[0]!r}.", "Give each its own name.")


def _write(
    pick: Pick,
    space: SearchSpace,
    weights: Weights,
    formats: Sequence[FileFormat],
    limit: float,
    progress: Progress,
) -> _Made:
    proofs: dict[str, Proof] = {}
    files: dict[FileFormat, bytes] = {}
    try:
        graph = _labelled(weights.graph(space, space.parse([pick.arch])[0]), pick, space, weights)
        for kind in formats:
            files[kind] = kind.write(graph)
            proofs[kind.name] = _proven(pick, graph, files[kind], kind, weights, limit)
            progress.advance(detail=pick.name)
    except FleetfrontError as error:
        return _Made(Deployed(pick, proofs=proofs, error=error))
    return _Made(Deployed(pick, proofs=proofs), graph, files)


def _labelled(graph: Graph, pick: Pick, space: SearchSpace, weights: Weights) -> Graph:
    described = weights.describe()
    label = "random" if described["random"] else described["id"]
    name = "network-random-weights" if described["random"] else "network"
    return replace(graph, name=name, labels={**graph.labels, "arch": pick.arch, "space": space.name, "weights": label})


def _proven(pick: Pick, graph: Graph, data: bytes, kind: FileFormat, weights: Weights, limit: float) -> Proof:
    proof = prove(graph, data, kind.runtime, _proof_feeds(graph, weights), limit=limit)
    if not proof.passed:
        raise BarMissed(
            f"{pick.name}: {kind.name} differs from torch by {proof.relative_to_range:.2g} of the logits' range "
            f"(limit {limit:g}), so it is not handed out.",
            f"Report the architecture {pick.arch} and {proof.runtime} {proof.runtime_version}.",
        )
    return proof


def _proof_feeds(graph: Graph, weights: Weights) -> list[dict[str, NDArray[np.float32]]]:
    """Two random images and, where there are real ones, two of them."""
    name = graph.inputs[0]
    shape = tuple(int(d) for d in graph.tensors[name].shape)
    rng = np.random.default_rng(0)
    images = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    if weights.images is not None:
        images += [image.reshape(shape) for image in weights.images.inputs("calibration")[:2]]
    return [{name: image} for image in images]


def _measured(made: Sequence[_Made], measuring: Measuring, progress: Progress) -> list[_Made]:
    results: dict[str, list[FileLatency]] = {one.deployed.pick.name: [] for one in made}
    for target in measuring.targets:
        files = {
            one.deployed.pick.name: data
            for one in made
            for kind, data in one.files.items()
            if kind.runtime == target.runtime
        }
        if not files:
            raise InputError(f"No file is written that {target} runs.", "Add its format, e.g. --formats onnx,tflite.")
        statistic = measuring.statistics.get(target, "p25")
        latencies = measure_files(
            files, target, measuring.store, clock=measuring.clock, statistic=statistic, progress=progress
        )
        for name, latency in latencies.items():
            results[name].append(latency)
    return [replace(m, deployed=replace(m.deployed, measured=tuple(results[m.deployed.pick.name]))) for m in made]


def _bundled(one: _Made, space: SearchSpace, weights: Weights, out: Path, force: bool) -> Deployed:
    deployed, graph = one.deployed, one.graph
    if graph is None:
        return deployed
    pick = deployed.pick
    contents = {_path(graph, kind): data for kind, data in one.files.items()}
    if weights.images is not None:
        contents["labels.txt"] = "".join(f"{name}\n" for name in weights.images.class_names).encode()
    manifest = Manifest(
        arch=pick.arch,
        space=space.name,
        weights=weights.describe(),
        files=tuple(_described(graph, kind, data, weights, deployed) for kind, data in one.files.items()),
        accuracy=pick.accuracy,
        latency=(*pick.latency, *(_measured_row(latency) for latency in deployed.measured)),
        made_with={"fleetfront": __version__, "python": platform.python_version()},
    )
    suffix = "-random-weights" if weights.supernet is None else ""
    try:
        folder = write_bundle(out / f"{safe_name(pick.name)}{suffix}", manifest, contents, force=force)
    except FleetfrontError as error:
        return replace(deployed, error=error)
    return replace(deployed, folder=folder, error=_missed_limit(deployed))


def _path(graph: Graph, kind: FileFormat) -> str:
    return f"{graph.name}.{kind.name}"


def _described(graph: Graph, kind: FileFormat, data: bytes, weights: Weights, deployed: Deployed) -> BundleFile:
    image, logits = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    axes = (0, 1, 2, 3) if kind.layout == "NCHW" else (0, 2, 3, 1)
    preprocessing = weights.images.preprocessing.to_dict() if weights.images is not None else {}
    return BundleFile(
        path=_path(graph, kind),
        format=kind.name,
        precision="fp32",
        input=PortDescription(
            image.name, tuple(image.shape[axis] for axis in axes), image.dtype, kind.layout, preprocessing
        ),
        output=PortDescription(logits.name, logits.shape, logits.dtype),
        checks=deployed.proofs[kind.name].as_checks(),
        minimum_runtime=kind.minimum_runtime(data),
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
    pick = deployed.pick
    for latency in deployed.measured:
        if pick.max_latency_ms is not None and latency.ms is not None and latency.ms > pick.max_latency_ms:
            return BarMissed(
                f"{pick.name}: measured {latency.ms:.3g} ms on {latency.target}, over its limit of "
                f"{pick.max_latency_ms:g} ms.",
                "Pick a faster network, or search again with --verify.",
            )
    return None

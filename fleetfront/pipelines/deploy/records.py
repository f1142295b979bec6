"""Record what is deployed and what became of it: picks, recipes, written files, how files are timed, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import ALL_FORMATS, FileFormat
from fleetfront.deploy.layout_lint import LayoutReport
from fleetfront.deploy.proof import Proof
from fleetfront.deploy.quantise.precisions import AGREEMENT_LIMIT, SPREAD_LIMITS
from fleetfront.errors import BarMissed, FleetfrontError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.reference import ImageVectors
from fleetfront.pipelines.deploy.weights import Weights
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.profilers.kinds.catalogue import OpenAgent
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import facts_of, find_facts
from fleetfront.targets import Target, split_spelled
from fleetfront.workspace import Workspace

#: What a manifest calls the space of users' own networks, which are of none.
NO_SPACE = "torch"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The form of every network's files.

    Attributes:
        precisions: of ``precisions.FILE_PRECISIONS``.
        contract: how an app talks to them.
        max_drop: percent points of top-1 accuracy that a precision may lose against fp32; None for any.
        test_images: held-out images that accuracy and agreement are judged on, at most.
        spread_limits: precision -> share of the logits' spread over inputs that may be lost.
        agreement_limit: share of held-out images on which files in other precisions must name torch's class.
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
        answers: float32[v, classes], what it gave for the test vectors; None where those are made elsewhere.
        tolerance: how far such outputs may be off on another machine.
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
    answers: NDArray[Any] | None = None
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A network on its way into files; ``missed`` says which files are not among them, and why; ``vectors`` are what
    its bundle's test vectors are made of.
    """

    graph: Graph
    weights: Weights
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    files: tuple[WrittenFile, ...] = ()
    torch_accuracy: float | None = None
    test_images: int = 0
    missed: tuple[BarMissed, ...] = ()
    vectors: ImageVectors | None = None


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
        latency: rows of a manifest: ``target``, ``ms``, ``std_ms`` (None with ``not_promised``, the reason, where
            nothing is promised for when it is run), ``tier``, ``clock``.
        accuracy: rows of a manifest: ``value``, ``std``, ``tier``, ``source``.
        max_latency_ms: the limit that the pick was chosen under, if any.
        front: where it was picked from, if anywhere.
        precision: what its files are written in, whatever is asked for otherwise; empty where nobody chose one for it.
        size: rows of a manifest: ``target``, ``bytes``, ``std_bytes``, ``tier``, of the file that runs there.
    """

    name: str
    arch: str
    latency: tuple[Mapping[str, Any], ...] = ()
    accuracy: tuple[Mapping[str, Any], ...] = ()
    max_latency_ms: float | None = None
    front: FrontPoints | None = None
    precision: str = ""
    size: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Architecture and precision: picks that have both in common share their files."""
        return self.arch, self.precision

    def recipe(self, recipe: Recipe) -> Recipe:
        """How its files are written."""
        return replace(recipe, precisions=(self.precision,)) if self.precision else recipe


def is_timed_on(target: Target, kind: FileFormat, precision: str, beside: Iterable[FileFormat] = ()) -> bool:
    """Tell whether a target runs this file, under any name of its runtime; of twins among ``beside``, one is run."""
    is_same = target.runtime in facts_of(kind.runtime).names
    return is_same and precision == target.precision and kind.twin not in {other.name for other in beside}


def formats_timed_on(target: str) -> tuple[str, ...]:
    """The formats whose files times on a target are of: those that its runtime opens, or is timed with; none where
    nobody here knows the runtime. ``target`` is spelled.
    """
    runtime = split_spelled(target)[1]
    facts = find_facts(runtime)
    if facts is None:
        # Published times say ``tflite`` alone.
        return (runtime,) if runtime in ALL_FORMATS else ()
    timed = (place.file_format for places in facts.on.values() for place in places if place.name == runtime)
    return (*facts.formats, *timed)


@dataclass(frozen=True, slots=True)
class Measuring:
    """The terms of timing files: under the clock and by the statistic of a fit, so that like is compared with like.

    ``space`` names the one whose profile keeps the files company, in ``workspace``; ``models`` are the fits whose
    promises are judged; ``open_agent`` reaches the targets' device.
    """

    store: Store
    targets: tuple[Target, ...]
    clock: Clock
    statistics: Mapping[Target, str] = field(default_factory=dict)
    open_agent: OpenAgent | None = None
    space: str = ""
    workspace: Workspace | None = None
    models: Mapping[Target, CalibratedTable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartTimes:
    """Times of one call of a part that has a file of its own: ``predicted_ms`` by target, as the model divides what it
    promises of the network, and ``measured``. ``calls`` are those of an inference.
    """

    calls: int
    predicted_ms: Mapping[str, float] = field(default_factory=dict)
    measured: tuple[FileLatency, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployed:
    """The outcome of one pick: its folder, or the error that it met; both if it was written but missed a bar.

    Attributes:
        proofs: by file, e.g. ``onnx`` (fp32) or ``tflite-int8``.
        files: what was written, where it lies now.
        torch_accuracy: of the network in torch on ``test_images`` held-out images, percent; None without labels.
        without_files: targets whose times are known, but of files that are not among its own: of another runtime, or of
            another precision.
        parts: by name, of a network whose parts have files of their own; ``measured`` is of all calls then.
    """

    pick: Pick
    folder: Path | None = None
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    measured: tuple[FileLatency, ...] = ()
    error: FleetfrontError | None = None
    files: tuple[WrittenFile, ...] = ()
    torch_accuracy: float | None = None
    test_images: int = 0
    without_files: tuple[str, ...] = ()
    parts: Mapping[str, PartTimes] = field(default_factory=dict)

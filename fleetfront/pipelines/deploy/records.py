"""Record what is deployed and what became of it: picks, how files are timed, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.proof import Proof
from fleetfront.errors import FleetfrontError
from fleetfront.pipelines.deploy.network import WrittenFile
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.profilers.kinds.catalogue import OpenAgent
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import facts_of
from fleetfront.targets import Target
from fleetfront.workspace import Workspace


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


def is_timed_on(target: Target, kind: FileFormat, precision: str, beside: Iterable[FileFormat] = ()) -> bool:
    """Whether a file is the one that a target runs, under any name of its runtime; of twins among ``beside``, one."""
    is_same = target.runtime in facts_of(kind.runtime).names
    return is_same and precision == target.precision and kind.twin not in {other.name for other in beside}


@dataclass(frozen=True, slots=True)
class Measuring:
    """How files are timed: under the clock and by the statistic of a fit, so that like is compared with like.

    ``space`` names the one whose profile keeps the files company, in ``workspace``; ``open_agent`` reaches the targets'
    device.
    """

    store: Store
    targets: tuple[Target, ...]
    clock: Clock
    statistics: Mapping[Target, str] = field(default_factory=dict)
    open_agent: OpenAgent | None = None
    space: str = ""
    workspace: Workspace | None = None


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

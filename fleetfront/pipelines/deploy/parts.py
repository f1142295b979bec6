"""Deploy networks of several parts: one proven file a part, and ``parts.json``, which says how often each is called.

Such a folder is no bundle: what reads bundles takes each of their files for the whole network. ``verify`` reads both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len

from fleetfront.deploy.bundle.manifest import MANIFEST as BUNDLE
from fleetfront.deploy.bundle.manifest import safe_name
from fleetfront.deploy.bundle.received import HashedFile, LatencyRow, ModelFile, ReceivedBundle, check_received
from fleetfront.deploy.bundle.vectors import VectorRow, Vectors
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.layout_lint import lint_layout
from fleetfront.deploy.proof import prove
from fleetfront.deploy.quantise.precisions import SPREAD_LIMITS
from fleetfront.deploy.writers.tflite.metadata import FileDescription
from fleetfront.errors import BarMissed, InputError
from fleetfront.files import write_whole
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.bundling import measured_row, staging_folder, versions
from fleetfront.pipelines.deploy.limits import half_limit_of_part
from fleetfront.pipelines.deploy.records import Measuring, WrittenFile
from fleetfront.pipelines.deploy.timing import check_targets, measure_written
from fleetfront.pipelines.measure.files import FileLatency
from fleetfront.plain import read_record, to_plain
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import SearchSpace

SCHEMA = "fleetfront.parts/1"
MANIFEST = "parts.json"
#: Precisions that need no image to be written and proven.
PRECISIONS = ("fp32", "fp16")
#: Random inputs of each proof.
_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a network: how often an inference calls it, its files, and what was measured of them by target."""

    calls: int
    files: tuple[WrittenFile, ...]
    measured: tuple[FileLatency, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployedParts:
    """A network as its parts, by name, in ``folder``.

    Attributes:
        weights: as a manifest tells of them.
        accuracy: rows as in a manifest.
        promised: rows of latencies as in a manifest, each with ``parts``: name -> its share in ms of all its calls.
        vectors: to prove the files again; none where the parts have random weights of a space.
    """

    folder: Path
    arch: str
    space: str
    parts: Mapping[str, Part]
    weights: Mapping[str, Any] = field(default_factory=lambda: {"random": True})
    accuracy: Sequence[Mapping[str, Any]] = ()
    promised: Sequence[Mapping[str, Any]] = ()
    vectors: Vectors = field(default_factory=Vectors)

    def latency_ms(self) -> dict[str, float | None]:
        """Target -> ms of one inference, the sum of all calls; None where a part could not be measured."""
        return {str(one.target): one.ms for one in self.whole()}

    def whole(self) -> tuple[FileLatency, ...]:
        """The latency measured of all calls together, one entry a target."""
        columns = zip(*(part.measured for part in self.parts.values()), strict=True)
        calls = [part.calls for part in self.parts.values()]
        return tuple(sum_of_calls(list(zip(calls, column, strict=True))) for column in columns)

    def to_json(self) -> dict[str, Any]:
        """The content of ``parts.json``."""
        return {
            "schema": SCHEMA,
            "arch": self.arch,
            "space": self.space,
            "weights": dict(self.weights),
            "accuracy": list(self.accuracy),
            "promised": list(self.promised),
            "parts": {name: _part_json(part) for name, part in self.parts.items()},
            "latency_ms": self.latency_ms(),
            "made_with": versions(),
            "beside": [{"path": path, **_hashed(data)} for path, data in self.vectors.contents.items()],
            "test_vectors": [to_plain(row) for row in self.vectors.rows],
        }


def deploy_parts(
    space: SearchSpace,
    arch: str,
    formats: Sequence[FileFormat],
    out: Path,
    *,
    precisions: Sequence[str] = ("fp32",),
    measuring: Measuring | None = None,
    progress: Progress = SILENT,
) -> DeployedParts:
    """Write every part of a network, with random weights, into the folder ``out``, which must not exist.

    Each file is proven against torch on random inputs and, with ``measuring``, timed; the sum over calls is of the
    whole network.

    Raises:
        InputError: ``out`` exists, the network is none of the space, or a precision needs images.
        BarMissed: a file misses its proof; then nothing is written.
        DeviceError: the device that measures is gone.
    """
    if out.exists():
        raise InputError(f"{out} exists.", "Give another folder.")
    strange = [name for name in precisions if name not in PRECISIONS]
    if strange:
        raise InputError(f"Parts are not written in {strange[0]}.", f"Choose from {', '.join(PRECISIONS)}.")
    check_targets(measuring, formats, precisions)
    (genotype,) = space.parse([arch])
    graphs = space.subnet_graphs(genotype)
    progress.start("Writing and proving", len(graphs) * len(formats) * len(precisions))
    with staging_folder(out.parent) as staging:
        parts = {}
        for name, (graph, calls) in graphs.items():
            files = []
            for precision in precisions:
                for kind in formats:
                    files.append(_written(name, graph, kind, precision, staging))
                    progress.advance(detail=files[-1].name)
            parts[name] = Part(calls, tuple(files))
        progress.finish()
        if measuring is not None:
            timed = measure_written({name: part.files for name, part in parts.items()}, measuring, progress)
            parts = {name: replace(part, measured=timed[name]) for name, part in parts.items()}
        deployed = DeployedParts(out, arch, space.name, parts)
        write_manifest(deployed, staging)
        staging.rename(out)
    moved = {
        name: replace(part, files=tuple(replace(file, path=out / file.name) for file in part.files))
        for name, part in parts.items()
    }
    return replace(deployed, parts=moved)


def write_manifest(deployed: DeployedParts, folder: Path) -> None:
    """Write ``parts.json`` and test vectors into ``folder``, where the files lie before they are moved."""
    for path, data in deployed.vectors.contents.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    write_whole(folder / MANIFEST, json.dumps(deployed.to_json(), indent=2).encode() + b"\n")


def is_in_parts(folder: Path) -> bool:
    """Tell whether a folder holds a network in parts, and no bundle."""
    return (folder / MANIFEST).is_file() and not (folder / BUNDLE).exists()


def sum_of_calls(parts: Sequence[tuple[int, FileLatency]]) -> FileLatency:
    """The latency of all calls together, of how often each part is called and one call of it; an error of one is that
    of all.
    """
    latencies = [one for _, one in parts]
    failed = next((one.error or "it was not measured" for one in latencies if one.ms is None), None)
    return replace(
        latencies[0],
        ms=None if failed else sum(calls * (one.ms or 0.0) for calls, one in parts),
        std_ms=None if failed else sum(calls * (one.std_ms or 0.0) for calls, one in parts),
        visits=min(one.visits for one in latencies),
        error=failed,
        app=None,
    )


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A part that ``parts.json`` names; ``latency`` is that of one call."""

    calls: Annotated[int, Ge(1)]
    files: tuple[ModelFile, ...]
    latency: tuple[LatencyRow, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptParts:
    """The network of a folder of parts; ``promised`` is of all calls."""

    schema: Literal["fleetfront.parts/1"]
    arch: str
    space: str
    weights: Mapping[str, Any]
    parts: Annotated[Mapping[str, KeptPart], Len(1)]
    promised: tuple[LatencyRow, ...] = ()
    beside: tuple[HashedFile, ...] = ()
    test_vectors: tuple[VectorRow, ...] = ()
    accuracy: tuple[Mapping[str, Any], ...] = ()

    def as_received(self) -> ReceivedBundle:
        """The same as a bundle whose files are called so many times each; its latencies are of all calls."""
        first = next(iter(self.parts.values()))
        rows = [
            replace(
                row,
                ms=sum(part.calls * (one.ms or 0.0) for part, one in shares),
                std_ms=None,
                is_busy=any(one.is_busy for _, one in shares),
            )
            for row in first.latency
            if len(shares := self._of_call(row)) == len(self.parts)
        ]
        files = tuple(file for part in self.parts.values() for file in part.files)
        calls = {file.path: part.calls for part in self.parts.values() for file in part.files}
        promised = tuple(replace(row, is_prediction=True) for row in self.promised)
        return ReceivedBundle(
            "fleetfront.bundle/1",
            self.arch,
            self.space,
            files,
            (*promised, *rows),
            self.beside,
            self.test_vectors,
            calls,
        )

    def _of_call(self, like: LatencyRow) -> list[tuple[KeptPart, LatencyRow]]:
        """Each part with what one call of it took on the target and clock of ``like``."""
        return [
            (part, row)
            for part in self.parts.values()
            for row in part.latency
            if (row.target, row.clock) == (like.target, like.clock) and row.ms is not None
        ]


def read_parts(folder: Path) -> KeptParts:
    """Read ``parts.json`` of a folder, every file of it being there and unchanged. Raises FileError otherwise."""
    kept = read_record(folder / MANIFEST, KeptParts, "list of parts", "Deploy again.")
    check_received(folder, kept.as_received(), MANIFEST)
    return kept


def _written(part: str, graph: Graph, kind: FileFormat, precision: str, folder: Path) -> WrittenFile:
    kind.check()
    data = kind.write(kind.half(graph) if precision == "fp16" else graph)
    report = lint_layout(data, kind.name, precision, InputContract())
    data = kind.finish(data, FileDescription(part, f"part {part}, random weights"))
    name = f"{safe_name(part)}-random-weights{'' if precision == 'fp32' else f'-{precision}'}.{kind.name}"
    path = folder / name
    path.write_bytes(data)
    limit = half_limit_of_part(graph, _SAMPLES) if precision == "fp16" else SPREAD_LIMITS[precision]
    proof = prove(graph, path, kind.runtime, _SAMPLES, limit=limit)
    if not proof.passed:
        raise BarMissed(
            f"{name} differs from torch by {proof.relative_to_spread:.2g} of what inputs change in its outputs (limit "
            f"{proof.limit:g}), so no part is handed out.",
            f"Leave {precision} out of the precisions." if precision != "fp32" else f"Report the part {part}.",
        )
    ports = replace(graph, operators=(), weights={})
    return WrittenFile(name, kind, precision, path, name, ports, proof, report, kind.minimum_runtime(data))


def _part_json(part: Part) -> dict[str, Any]:
    files = [
        {
            "path": file.name,
            "format": file.kind.name,
            "precision": file.precision,
            **_hashed(file.path.read_bytes()),
            "checks": file.proof.as_checks(),
            "minimum_runtime": file.minimum_runtime,
        }
        for file in part.files
    ]
    measured = [{"error": None, **measured_row(one)} for one in part.measured]
    return {"calls": part.calls, "files": files, "latency": measured}


def _hashed(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

"""Importing what trtexec measured: the times of one network or block on one device, with its layers beside them."""

from __future__ import annotations

import hashlib
import statistics
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.importers import IMPORTED, ImportReport
from fleetfront.pipelines.importing.table_file import MOST_MS
from fleetfront.pipelines.measure.file_operators import FileOperators, scale_times
from fleetfront.profilers.gpu.trtexec import TrtTimes, read_layers, read_profile, read_times
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import NS_PER_MS, Clock
from fleetfront.runtimes.operator_times import OperatorTime, OperatorTimes
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target

#: The kind of a layer, and what names of those hold that do the work of several.
_LAYER, _JOINED, _FOREIGN = "layer", " + ", "{ForeignNode["

#: Two numbers of one inference, each rounded, may cross by so much.
_ROUNDED = 0.99

SOURCE = Source("trtexec", "your own measurement")


@dataclass(frozen=True, slots=True)
class Measured:
    """The thing measured: a network by its arch id, a block by its key, or a file of one's own (both empty)."""

    arch: str = ""
    block: str = ""


def import_trtexec(
    times: Path,
    device: str,
    store: Store,
    *,
    space: SearchSpace | None = None,
    measured: Measured | None = None,
    precision: str = "fp32",
    batch: int = 1,
    profile: Path | None = None,
    layers: Path | None = None,
) -> ImportReport:
    """Keep every inference of ``times`` (``--exportTimes``): GPU compute time under the clock ``device``, and with
    copies from and to the host under ``wall``. Importing the same file again changes nothing.

    Args:
        times: what ``--exportTimes`` wrote.
        device: name of the GPU.
        store: takes the rows.
        space: of the network or block.
        measured: which of them; by default the rows belong to the file, under its SHA-256.
        precision: that the engine was built for.
        batch: images per inference.
        profile: what ``--exportProfile`` wrote; its layers are kept with the rows.
        layers: what ``--exportLayerInfo`` wrote, likewise.

    Raises:
        InputError: a file is none of trtexec's, or the network or block is not of the space.
    """
    what = measured or Measured()
    found = read_times(times)
    if max(*found.compute_ns, *found.latency_ns, 0) > MOST_MS * NS_PER_MS:
        raise InputError(f"{times} holds an inference of more than {MOST_MS:g} ms.", "Run trtexec again.")
    sha256 = hashlib.sha256(times.read_bytes()).hexdigest()
    role, key, name = _identity(what, space, sha256)
    target = Target(device, "tensorrt", precision, 1, batch)
    after = _layers(profile, layers)
    rows = [
        Measurement(
            target=target,
            space=name,
            role=role,
            key=key,
            clock=clock,
            samples=samples,
            campaign="",
            round=0,
            started_ns=0,
            after=after,
            flags=(IMPORTED,),
            uuid=uuid.uuid5(uuid.NAMESPACE_URL, f"fleetfront:trtexec:{sha256}:{target}:{key}:{clock}").hex,
        )
        for clock, samples in _samples(found)
    ]
    source = Source(SOURCE.name, SOURCE.licence, SOURCE.url, sha256)
    new = store.append(rows, source)
    return ImportReport(source, name, (target,), 1, new, len(rows) - new, _warnings(found), ())


def trtexec_operators(times: Path, profile: Path, target: Target) -> FileOperators:
    """An engine's layers beside both totals: the median inference of ``times``, and the sum of ``profile``.

    Layers that do the work of several are marked fused: TensorRT joins their names with a plus, or calls them foreign.

    Raises InputError if a file is none of trtexec's, or no layer took any time.
    """
    layers = read_profile(profile).layers
    operators = tuple(
        OperatorTime(
            layer.name,
            _LAYER,
            layer.average_ms if layer.median_ms is None else layer.median_ms,
            _JOINED in layer.name or layer.name.startswith(_FOREIGN),
        )
        for layer in layers
    )
    whole = statistics.median(read_times(times).compute_ns) / NS_PER_MS
    found = OperatorTimes(operators, 0.0, "trtexec --exportProfile")
    return scale_times(times, hashlib.sha256(times.read_bytes()).hexdigest(), target, whole, found)


def _identity(what: Measured, space: SearchSpace | None, sha256: str) -> tuple[Role, str, str]:
    if what.arch and what.block:
        raise InputError("Both an architecture and a block are named.", "Name the one that was measured.")
    if not what.arch and not what.block:
        return Role.FILE, sha256, ""
    if space is None:
        raise InputError("The space of the network or block is not named.", "Give --space NAME.")
    if what.arch:
        return Role.NETWORK, space.arch_ids(space.parse([what.arch]))[0], space.name
    if what.block not in {block.key for block in space.vocabulary}:
        raise InputError(f"{what.block!r} is not a block of {space.name}.", "Name one as `fleetfront profile` keys it.")
    return Role.BLOCK, what.block, space.name


def _samples(times: TrtTimes) -> list[tuple[Clock, tuple[int, ...]]]:
    rows = [(Clock.DEVICE, times.compute_ns)]
    return [*rows, (Clock.WALL, times.latency_ns)] if times.latency_ns else rows


def _layers(profile: Path | None, layers: Path | None) -> dict[str, Any]:
    after: dict[str, Any] = {}
    if profile is not None:
        read = read_profile(profile)
        after["profiled_runs"] = read.runs
        after["layer_ms"] = [[layer.name, layer.average_ms, layer.median_ms] for layer in read.layers]
    if layers is not None:
        after["layers"] = list(read_layers(layers))
    return after


def _warnings(times: TrtTimes) -> tuple[str, ...]:
    first, rest = times.compute_ns[0], sorted(times.compute_ns[1:])
    found = []
    if rest and first > 2 * rest[len(rest) // 2]:
        found.append(
            "The first inference took over twice the median: old versions of trtexec export their warm-up, too."
        )
    # Copies and queueing only add to what the GPU computes; printed milliseconds are rounded.
    shorter = sum(whole < _ROUNDED * gpu for gpu, whole in zip(times.compute_ns, times.latency_ns, strict=False))
    if shorter:
        found.append(
            f"{shorter} of {len(times.latency_ns)} inferences have a latency below their time on the GPU: that is not "
            "what trtexec measures. Was the file edited?"
        )
    return tuple(found)

"""Read a bundle that somebody else hands over: its manifest through the typed door, its files only if they are inside,
regular, and the very bytes that the manifest names.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from fleetfront.deploy.bundle.manifest import MANIFEST, inside
from fleetfront.deploy.bundle.vectors import MOST_BYTES, VectorRow
from fleetfront.errors import FileError
from fleetfront.plain import read_record
from fleetfront.quantities import Clock, Tier

_REMEDY = "Get the bundle again from where it was deployed."
#: Ours have some ten thousand bytes.
_MOST_MANIFEST_BYTES = 16 << 20
#: A folder that lists more files than this is not walked to its end.
_MOST_FILES = 10_000

Count = Annotated[int, Ge(0)]
Ms = Annotated[float, Ge(0)]


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file of the bundle and the bytes that it must have."""

    path: str
    sha256: str
    bytes: Count


@dataclass(frozen=True, slots=True)
class Checks:
    """Findings of the proof of a file; see ``proof.Proof``."""

    runtime: str
    judged_by: str
    limit: float
    passed: bool
    relative_to_spread: float


@dataclass(frozen=True, slots=True)
class Contract:
    """The part of ``contract.InputContract`` that decides how outputs are compared; not of networks of any inputs."""

    softmax: bool = False


@dataclass(frozen=True, slots=True)
class ModelFile(HashedFile):
    """A model file of the bundle."""

    format: str
    precision: str
    checks: Checks
    minimum_runtime: str
    contract: Contract = field(default_factory=Contract)
    bound_to: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """A latency promised or measured of a file on one target."""

    target: str
    tier: Tier
    clock: Clock
    ms: Ms | None = None
    std_ms: Ms | None = None
    statistic: str = ""
    is_prediction: bool = False
    #: Of what was measured: the hardware, in its own words.
    machine: str = ""
    #: What was measured among a profile's networks tells how that sitting ran.
    sitting: float | None = None
    #: Why a prediction has no ``std_ms``: nothing is promised for when the file is run.
    not_promised: str = ""
    #: Of what was measured: other programs ran meanwhile.
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedBundle:
    """A manifest, whose files have been looked at.

    Attributes:
        calls: of a network in parts, how often an inference calls each model file; empty where a file is the network.
    """

    schema: Literal["fleetfront.bundle/1"]
    arch: str
    space: str
    files: tuple[ModelFile, ...]
    latency: tuple[LatencyRow, ...]
    beside: tuple[HashedFile, ...] = ()
    test_vectors: tuple[VectorRow, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)


def read_received(folder: Path) -> ReceivedBundle:
    """The manifest of the bundle in ``folder``, every file that it names being inside, regular and unchanged.

    Raises:
        FileError: there is no such bundle, the manifest is damaged, or a file is missing, changed, no regular file,
            named twice, or outside the folder; or there are more test vectors than any bundle has.
    """
    bundle = read_record(folder / MANIFEST, ReceivedBundle, "manifest of a bundle", _REMEDY, _MOST_MANIFEST_BYTES)
    check_received(folder, bundle)
    return bundle


def check_received(folder: Path, bundle: ReceivedBundle, manifest: str = MANIFEST) -> None:
    """Raise FileError, as ``read_received`` does, unless every file that ``manifest`` names is whole."""
    named: tuple[HashedFile, ...] = (*bundle.files, *bundle.beside)
    paths = [file.path for file in named]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice or not bundle.files:
        said = f"names {twice[0]!r} twice" if twice else "names no model file"
        raise FileError(f"{folder / manifest} {said}.", _REMEDY)
    known, models = set(paths), {file.path for file in bundle.files}
    for row in bundle.test_vectors:
        if row.path not in known or row.file not in models:
            raise FileError(f"A test vector of {row.file!r} lies in {row.path!r}, which has no hash.", _REMEDY)
    fed = {row.path for row in bundle.test_vectors}
    held = sum(file.bytes for file in named if file.path in fed)
    if held > MOST_BYTES:
        raise FileError(f"The test vectors of {folder} have {held:,} bytes, more than any bundle's.", _REMEDY)
    for file in named:
        _check(folder, file)


def read_inside(folder: Path, path: str) -> bytes:
    """The bytes of a file that ``read_received`` has checked."""
    return (folder / inside(path)).read_bytes()


def strangers(folder: Path, bundle: ReceivedBundle, manifest: str = MANIFEST) -> list[str]:
    """Files in the folder that the manifest does not name, so that nobody vouches for them."""
    known = {manifest, *(file.path for file in (*bundle.files, *bundle.beside))}
    return sorted(path for path in _walk(folder) if path not in known)


def _walk(folder: Path) -> Iterable[str]:
    seen = 0
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()
            seen += 1
            if seen >= _MOST_FILES:
                return


def _check(folder: Path, file: HashedFile) -> None:
    place = folder / inside(file.path)
    # Unlike Path.resolve, this ends on links that go round in circles.
    if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder)):
        raise FileError(f"{place} is a link out of its bundle.", _REMEDY)
    try:
        facts = place.stat()
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(facts.st_mode):
            raise FileError(f"{place} is no regular file.", _REMEDY)
        is_same = facts.st_size == file.bytes and _sha256(place) == file.sha256
    except OSError as error:
        raise FileError(f"{place} is named in the manifest but missing ({error.strerror}).", _REMEDY) from error
    if not is_same:
        raise FileError(f"{place} has changed since it was proven.", _REMEDY)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

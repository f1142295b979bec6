"""Bundle: one folder a network, with its files, ``manifest.json`` and labels. Whole or not there at all.

What goes into a file is decided by the writers; whether it is right, by ``proof``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fleetfront.deploy.bundle.vectors import VectorRow
from fleetfront.errors import FileError, InputError
from fleetfront.plain import parse_finite_json, read_file

SCHEMA = "fleetfront.bundle/1"
MANIFEST = "manifest.json"

#: File systems end a name at 255 bytes; suffixes and the names of unfinished folders need some of them.
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class PortDescription:
    """An input or output of a file, as an app must feed or read it."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str = ""
    #: For inputs: how an image becomes the tensor. Empty if the caller decides.
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One model file with what was checked of it. ``path`` is relative to the bundle's folder.

    ``accuracy``: on held-out images, with the drop against fp32. ``layout``: operators counted. ``contract``: how an
    app talks to the file beyond its ports. ``bound_to``: the machine that alone runs it; empty if any does.
    """

    path: str
    format: str
    precision: str
    input: PortDescription
    output: PortDescription
    checks: Mapping[str, Any]
    minimum_runtime: str
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    layout: Mapping[str, Any] = field(default_factory=dict)
    contract: Mapping[str, Any] = field(default_factory=dict)
    bound_to: Mapping[str, Any] = field(default_factory=dict)
    #: All ports, of files that may have several; ``input`` and ``output`` are the first ones.
    inputs: tuple[PortDescription, ...] = ()
    outputs: tuple[PortDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a bundle says of itself. Numbers carry their tier; nothing here depends on the time of day."""

    arch: str
    space: str
    weights: Mapping[str, Any]
    files: tuple[BundleFile, ...]
    accuracy: tuple[Mapping[str, Any], ...] = ()
    latency: tuple[Mapping[str, Any], ...] = ()
    labels: tuple[str, ...] = ()
    made_with: Mapping[str, str] = field(default_factory=dict)
    test_vectors: tuple[VectorRow, ...] = ()
    #: What was predicted of the bytes of its files.
    size: tuple[Mapping[str, Any], ...] = ()


def safe_name(text: str) -> str:
    """One path component from outside text. Raises InputError if nothing usable is left, it points elsewhere, or it is
    longer than ``LONGEST_NAME``.
    """
    if len(text) > LONGEST_NAME:
        raise InputError(
            f"The name {text[:40]!r}... has {len(text)} characters.", f"Use at most {LONGEST_NAME} characters."
        )
    name = re.sub(r"[|~+:=,]+", "-", text).strip("-")
    if not re.fullmatch(r"[A-Za-z0-9|][A-Za-z0-9_.~|+:=,-]*", text) or ".." in text or name[:1] in ("", "."):
        raise InputError(
            f"{text!r} cannot be the name of a file or folder.", "Use letters, digits, '_', '.', '-' only."
        )
    return name


def write_bundle(
    folder: Path, manifest: Manifest, contents: Mapping[str, bytes | Path], *, force: bool = False
) -> Path:
    """Write a bundle so that it is never seen half done.

    Args:
        folder: where the bundle will be; its parent is made if missing.
        manifest: what to say; every one of its files must be in ``contents``.
        contents: relative path -> bytes, or a file on the same disk that becomes part of the bundle without being
            copied: the model files and whatever lies beside them.
        force: replace an existing bundle.

    Raises:
        InputError: the folder exists and ``force`` is not given, or it exists and is no bundle.
    """
    check_replaceable(folder, force=force)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        unfinished.chmod(0o755)
        for path, data in contents.items():
            target = unfinished / inside(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, Path):
                _link(data, target)
            else:
                target.write_bytes(data)
        (unfinished / MANIFEST).write_text(
            json.dumps(_as_json(manifest, unfinished, sorted(contents)), indent=2) + "\n"
        )
        _put(unfinished, folder)
    except OSError as error:
        raise InputError(
            f"The bundle {folder} could not be written ({error}).", "Free space or choose another --out."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _put(unfinished: Path, folder: Path) -> None:
    """Move a finished folder to its place. What was there goes aside first and is deleted last: a run that is killed
    between leaves the old bundle, none or the new one under that name, never a part of one.
    """
    if not folder.exists():
        os.replace(unfinished, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    try:
        os.replace(folder, aside / folder.name)
        try:
            os.replace(unfinished, folder)
        except BaseException:  # also Ctrl-C: what was there is deleted below
            os.replace(aside / folder.name, folder)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A bundle's manifest, after checking that every file it names is inside, there and unchanged.

    Raises:
        FileError: there is no manifest, or it is damaged or holds numbers that cannot be.
        InputError: it is of another kind, or a file is missing, changed or outside.
    """
    path = folder / MANIFEST
    manifest = read_file(path, parse_finite_json, "manifest", f"{folder} is not a bundle: give one that deploy wrote.")
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise InputError(f"{path} is not a {SCHEMA} manifest.", "Deploy again with this version of fleetfront.")
    from fleetfront.deploy.bundle.manifest_file import checked_manifest

    try:
        manifest = checked_manifest(manifest)
    except ValueError as error:
        raise FileError(f"{path} is damaged ({error}).", "Deploy again.") from error
    named = [(entry["path"], entry["sha256"]) for entry in manifest["files"]]
    if len({relative for relative, _ in named}) < len(named):
        raise InputError(f"{path} is damaged (it names a file twice).", "Deploy again.")
    for relative, digest in named:
        _check_file(folder, folder / inside(relative), digest)
    return manifest


def _check_file(folder: Path, file: Path, digest: str) -> None:
    # Unlike Path.resolve, this ends on links that go round in circles.
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{file} is a link out of its bundle.", "Deploy again.")
    try:
        is_same = hashlib.sha256(file.read_bytes()).hexdigest() == digest
    except OSError as error:
        raise InputError(f"{file} is named in the manifest but missing ({error.strerror}).", "Deploy again.") from error
    if not is_same:
        raise InputError(f"{file} has changed since it was proven.", "Deploy again, or restore the file.")


def inside(path: str) -> PurePosixPath:
    """``path`` as a relative path that cannot leave its folder. Raises InputError otherwise."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or not relative.parts or ".." in relative.parts or "\\" in path or "\0" in path:
        raise InputError(f"The path {path!r} leaves its folder.", "Use a relative path without '..'.")
    return relative


def _link(source: Path, target: Path) -> None:
    """Networks that several picks share lie on the disk once."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def check_replaceable(folder: Path, *, force: bool) -> None:
    """Raise InputError if ``folder`` is there and may not be replaced: without ``force``, or as it is no bundle."""
    if not folder.exists():
        return
    if not force:
        raise InputError(f"{folder} exists.", "Give --force to replace it, or another --out.")
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} exists and is not a bundle, so it is not replaced.", "Give another --out.")


def _as_json(manifest: Manifest, folder: Path, paths: Sequence[str]) -> dict[str, Any]:
    def hashed(path: str) -> dict[str, Any]:
        data = (folder / inside(path)).read_bytes()
        return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    def described(file: BundleFile) -> dict[str, Any]:
        plain = asdict(file)
        for key in ("bound_to", "inputs", "outputs"):
            if not plain[key]:
                del plain[key]
        return {**plain, **hashed(file.path)}

    models = {file.path for file in manifest.files}

    return {
        "schema": SCHEMA,
        "arch": manifest.arch,
        "space": manifest.space,
        "weights": dict(manifest.weights),
        "files": [described(file) for file in manifest.files],
        "accuracy": _plain(manifest.accuracy),
        "latency": _plain(manifest.latency),
        **({"size": _plain(manifest.size)} if manifest.size else {}),
        "labels": list(manifest.labels),
        "made_with": dict(manifest.made_with),
        "test_vectors": [asdict(row) for row in manifest.test_vectors],
        "beside": [{"path": path, **hashed(path)} for path in paths if path not in models],
    }


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]

"""Download Google's official build of ``benchmark_model``, when a user asks for it, and record what came."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
from dataclasses import dataclass
from pathlib import Path

from fleetfront.downloads import open_url
from fleetfront.errors import InputError, unknown
from fleetfront.files import one_at_a_time, whole_file
from fleetfront.plain import read_record
from fleetfront.profilers.adb.runners.base import elf_abi
from fleetfront.profilers.adb.runners.benchmark_model import OFFICIAL_BUILDS, cached_program
from fleetfront.progress import SILENT, Progress

#: https://ai.google.dev/edge/litert/models/measurement links these nightly builds.
BASE_URL = "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest"
#: LiteRT 2.x keeps a build of every release, which does not change: 2.1.5, ...
VERSIONED_URL = "https://storage.googleapis.com/litert/binaries"
#: ABI -> the folder of its builds there.
VERSIONED_BUILDS = {"arm64-v8a": "android_arm64"}
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:[.\-]?\w+)?")
_TIMEOUT_S = 60.0
#: The builds are about 10 MB.
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A program that was downloaded: where it is, where from, and its SHA-256."""

    path: Path
    url: str
    sha256: str
    #: The SHA-256 of the build that was there before, if it was another one.
    replaced: str | None = None


def fetch_benchmark_model(
    abi: str, cache: Path, *, version: str = "", base_url: str = "", progress: Progress = SILENT
) -> Fetched:
    """Download the build for ``abi`` into ``cache``; its SHA-256 is kept beside it. The address is told first.

    With a ``version`` of LiteRT 2.x its release build, whose SHA-256 is recorded at the first download and checked at
    every later one. Without, TensorFlow's nightly build, which changes, so that a fetch replaces an older one; which
    build measured what is in every measurement.

    Raises:
        InputError: no build for this ABI, no network, or what came is not a program for the ABI, or not the one that
            came as this version before.
    """
    url = _address(abi, version, base_url)
    progress.note(f"Downloading {url}")
    try:
        with open_url(url, timeout_s=_TIMEOUT_S) as answer:
            told = answer.headers.get("Content-Length")
            data: bytes = answer.read(_MOST_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise InputError(
            f"{url} cannot be downloaded ({reason}).",
            "Download it with a browser and give it with --benchmark-model PATH.",
        ) from error
    # ``read`` with a limit takes the end of a broken connection for the end of the file.
    if told is not None and len(data) != int(told):
        raise InputError(f"{url} ended after {len(data)} of {told} bytes.", "Run the same command again.")
    if told is None and len(data) == _MOST_BYTES:
        raise InputError(f"What {url} gave holds {len(data)} bytes or more.", "Check the address: builds have 10 MB.")
    if elf_abi(data) != abi:
        raise InputError(
            f"What {url} gave is not a program for {abi} ({len(data)} bytes, {elf_abi(data) or 'no ELF file'}).",
            "Try again later, or give another build with --benchmark-model PATH.",
        )
    if version:
        _check_recorded(data, cache / "benchmark_model" / "versions.json", url)
    return _keep(data, cached_program(cache, abi), url)


def _address(abi: str, version: str, base_url: str) -> str:
    builds = VERSIONED_BUILDS if version else OFFICIAL_BUILDS
    if abi not in builds:
        raise unknown("ABI with an official benchmark_model", abi, builds)
    if not version:
        return f"{base_url or BASE_URL}/{builds[abi]}"
    if not _VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a version of LiteRT.", "Write three numbers, e.g. arm64-v8a@2.1.5.")
    return f"{base_url or VERSIONED_URL}/{version}/{builds[abi]}/benchmark_model"


def _check_recorded(data: bytes, path: Path, url: str) -> None:
    """Record the hash of a release at its first download. Raises InputError if another came before from there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever wrote what another recorded meanwhile would forget that.
    with one_at_a_time(path.parent):
        known = read_record(path, dict[str, str], "file of hashes", "Delete it.") if path.exists() else {}
        sha256 = hashlib.sha256(data).hexdigest()
        if known.setdefault(url, sha256) != sha256:
            raise InputError(
                f"What {url} gave is another program ({sha256[:12]}) than at its first download ({known[url][:12]}).",
                f"A release does not change: find out why, or delete {path} to trust the new one.",
            )
        with whole_file(path) as unfinished:
            unfinished.write_text(json.dumps(known, indent=1), encoding="utf-8")


def _keep(data: bytes, path: Path, url: str) -> Fetched:
    sha256 = hashlib.sha256(data).hexdigest()
    before = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else sha256
    for target, content in (
        (path, data),
        (path.with_suffix(".json"), json.dumps({"url": url, "sha256": sha256}).encode()),
    ):
        with whole_file(target) as unfinished:
            unfinished.write_bytes(content)
            unfinished.chmod(0o755 if target == path else 0o644)
    return Fetched(path, url, sha256, before if before != sha256 else None)

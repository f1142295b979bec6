"""Fetch published supernet weights on request. ``checkpoints`` reads them."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from fleetfront.downloads import open_url
from fleetfront.errors import InputError, unknown
from fleetfront.files import write_whole
from fleetfront.progress import SILENT, Progress
from fleetfront.workspace import Workspace

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
#: The files have some 40 MB.
_MOST_BYTES = 1 << 28

#: A torch checkpoint is a zip archive or, before torch 1.6, a pickle of protocol 2 or later.
_MAGIC = (b"PK\x03\x04", b"\x80")


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A checkpoint that somebody else publishes.

    Attributes:
        url: the file itself.
        licence: under which the project that made it is published.
        source: the project.
        blob: its name in the project's git repository, SHA-1 over ``blob``, the size and the content; empty where the
            file is of no repository.
    """

    url: str
    licence: str
    source: str
    blob: str = ""


#: Names as in the project's own ``ofa/model_zoo.py``; the commit, and the blobs below, are of its repository of files.
_OFA_FILES = "https://raw.githubusercontent.com/han-cai/files/a7c9bcd525e17404968bc55aa43772bf7e51909e/ofa/ofa_nets/"
_OFA_PROJECT = "https://github.com/mit-han-lab/once-for-all"

#: Space -> its published supernet.
PUBLISHED: dict[str, PublishedWeights] = {
    "ofa-mbv3-w1.0": PublishedWeights(
        _OFA_FILES + "ofa_mbv3_d234_e346_k357_w1.0", "MIT", _OFA_PROJECT, "55d835981d8acd1053657a951b18887a724ddcbf"
    ),
    "ofa-mbv3-w1.2": PublishedWeights(
        _OFA_FILES + "ofa_mbv3_d234_e346_k357_w1.2", "MIT", _OFA_PROJECT, "d75a3613bae216091f61fc4b7df77d49cc82ed32"
    ),
    "ofa-proxyless": PublishedWeights(
        _OFA_FILES + "ofa_proxyless_d234_e346_k357_w1.3",
        "MIT",
        _OFA_PROJECT,
        "c97035a7a6fe611508f3bb35ffac0ef77262f5e0",
    ),
    # Published as a file alone: its hash is recorded on first use.
    "ofa-resnet50": PublishedWeights(
        "https://huggingface.co/han-cai/ofa/resolve/main/ofa_supernet_resnet50", "MIT", _OFA_PROJECT
    ),
}


def weights_path(space: str, workspace: Workspace) -> Path:
    """Where the fetched weights of ``space`` lie, whether or not they are there yet."""
    return workspace.weights / f"{space}.pth"


def fetch_weights(
    space: str, workspace: Workspace, progress: Progress = SILENT, *, published: PublishedWeights | None = None
) -> Path:
    """Download the published weights of ``space`` unless they are there, and return their path.

    What came must be the very file that is pinned here. Its SHA-256 is recorded beside it on first use and verified on
    every later call, also after a new download.
    A broken download continues where it stopped when called again; the file appears only when it is whole.

    Args:
        space: name of a search space.
        workspace: the weights go to its ``weights`` folder.
        progress: counts bytes.
        published: overrides the known address.

    Raises:
        InputError: nothing is published for the space; the download failed; or the file is not the recorded one.
    """
    if published is None:
        if space not in PUBLISHED:
            raise unknown("space with published weights", space, PUBLISHED)
        published = PUBLISHED[space]
    path = weights_path(space, workspace)
    record_path = path.with_name(path.name + ".json")
    recorded = _recorded(record_path)
    if path.exists():
        digest = _sha256(path)
        if recorded is not None and digest != recorded:
            raise InputError(
                f"{path} is not the file that was fetched: its SHA-256 is {digest}, recorded was {recorded}.",
                f"Delete it and fetch again: fleetfront doctor --fetch-weights {space}",
            )
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        _download(published.url, part, space, progress)
        digest = _sha256(part)
        _check_new(part, digest, recorded, record_path, published)
        os.replace(part, path)
        _etag_path(part).unlink(missing_ok=True)
    if recorded is None:
        _write_record(record_path, published, digest, path.stat().st_size)
    return path


def _etag_path(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _etag_path(part).unlink(missing_ok=True)


def _check_new(part: Path, digest: str, recorded: str | None, record_path: Path, published: PublishedWeights) -> None:
    url = published.url
    with part.open("rb") as file:
        start = file.read(4)
    if not start.startswith(_MAGIC):
        _forget(part)
        raise InputError(
            f"What {url} sent is not a checkpoint (it starts with {start!r}).",
            "Try again later, or download it in a browser and give its path as weights.",
        )
    if published.blob and (blob := _git_blob(part)) != published.blob:
        _forget(part)
        raise InputError(
            f"{url} sends another file than the one this version knows: its git blob is {blob}, not {published.blob}.",
            f"Get the file from {published.source} another way, and give its path as weights.",
        )
    if recorded is not None and digest != recorded:
        _forget(part)
        raise InputError(
            f"{url} now sends another file: its SHA-256 is {digest}, recorded on first use was {recorded}.",
            f"If you trust the new file, delete {record_path} and fetch again.",
        )


def _download(url: str, part: Path, space: str, progress: Progress) -> None:
    etag_path = _etag_path(part)
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fleetfront"}
    if have and etag_path.exists():
        # Without If-Range the rest of a file that changed meanwhile would be appended to the old beginning.
        headers |= {"Range": f"bytes={have}-", "If-Range": etag_path.read_text()}
    request = urllib.request.Request(url, headers=headers)
    is_started = False
    try:
        with open_url(request, timeout_s=_TIMEOUT_S) as response:
            continues = response.status == HTTPStatus.PARTIAL_CONTENT
            length = response.headers.get("Content-Length")
            left = int(length) if length else None
            done = have if continues else 0
            progress.start(f"Fetching weights of {space}", None if left is None else done + left)
            is_started = True
            progress.advance(done)
            etag = response.headers.get("ETag", "")
            etag_path.write_text(etag) if etag and not etag.startswith("W/") else etag_path.unlink(missing_ok=True)
            received = _append(response, part, continues, progress)
            if left is not None and received != left:
                raise HTTPException(f"{received} of {left} bytes arrived")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        if have and getattr(error, "code", None) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The part was whole, or is longer than the file: only a fresh start tells.
            _forget(part)
            return _download(url, part, space, progress)
        size = part.stat().st_size if part.exists() else 0
        raise InputError(
            f"Fetching {url} failed after {size:,} bytes ({error}).",
            "Check the network and run the same command again: it continues where it stopped.",
        ) from error
    except OSError as error:
        raise InputError(
            f"{part} cannot be written ({error}).", "Free disk space and run the command again."
        ) from error
    finally:
        if is_started:
            progress.finish()


def _append(response: HTTPResponse, part: Path, continues: bool, progress: Progress) -> int:
    received = 0
    with part.open("ab" if continues else "wb") as file:
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            received += len(chunk)
            if file.tell() > _MOST_BYTES:
                raise HTTPException(f"more than {_MOST_BYTES:,} bytes were sent")
            progress.advance(len(chunk))
    return received


def _git_blob(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        try:
            return str(json.loads(path.read_text())["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a record of fetched weights.", "Delete it and fetch again.") from error
    return None


def _write_record(path: Path, published: PublishedWeights, digest: str, size: int) -> None:
    record: dict[str, Any] = {
        "url": published.url,
        "sha256": digest,
        "bytes": size,
        "licence": published.licence,
        "source": published.source,
    }
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())

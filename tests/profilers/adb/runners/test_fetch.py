"""Downloading benchmark_model: only what is a program for the phone is kept, with its hash and address."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.adb.runners import fetch
from fleetfront.profilers.adb.runners.fetch import fetch_benchmark_model
from fleetfront.progress import Silent

ARM = b"\x7fELF\x02\x01" + bytes(12) + (183).to_bytes(2, "little") + bytes(100)


class Site(HTTPServer):
    answers: dict[str, bytes]
    #: Bytes that are promised and never come.
    lost = 0


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        body = self.server.answers.get(self.path.strip("/"))
        self.send_response(200 if body is not None else 404)
        if body is not None:
            self.send_header("Content-Length", str(len(body) + self.server.lost))
        self.end_headers()
        self.wfile.write(body or b"not found")

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site(("127.0.0.1", 0), Handler)
    server.answers = {"android_aarch64_benchmark_model": ARM}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_build_for_the_phone_is_kept_with_its_hash(site: Site, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{site.server_port}"
    notes = Notes()
    fetched = fetch_benchmark_model("arm64-v8a", tmp_path, base_url=address, progress=notes)
    assert notes.notes == [f"Downloading {address}/android_aarch64_benchmark_model"]
    assert fetched.path.read_bytes() == ARM
    assert fetched.path.stat().st_mode & 0o111
    assert fetched.sha256 == hashlib.sha256(ARM).hexdigest()
    kept = json.loads(fetched.path.with_suffix(".json").read_text())
    assert kept == {"url": fetched.url, "sha256": fetched.sha256}
    assert fetched.replaced is None
    site.answers["android_aarch64_benchmark_model"] = ARM + b"newer"
    again = fetch_benchmark_model("arm64-v8a", tmp_path, base_url=address)
    assert again.replaced == fetched.sha256


def test_a_release_is_recorded_once_and_checked_ever_after(site: Site, tmp_path: Path) -> None:
    address, place = f"http://127.0.0.1:{site.server_port}", "2.1.5/android_arm64/benchmark_model"
    site.answers[place] = ARM
    fetched = fetch_benchmark_model("arm64-v8a", tmp_path, version="2.1.5", base_url=address)
    assert fetched.url == f"{address}/{place}"
    assert fetch_benchmark_model("arm64-v8a", tmp_path, version="2.1.5", base_url=address).replaced is None
    site.answers[place] = ARM + b"other"
    with pytest.raises(InputError, match="another program"):
        fetch_benchmark_model("arm64-v8a", tmp_path, version="2.1.5", base_url=address)
    assert fetched.path.read_bytes() == ARM
    for version in ("latest", "../2.1.5", "2"):
        with pytest.raises(InputError, match="not a version"):
            fetch_benchmark_model("arm64-v8a", tmp_path, version=version, base_url=address)


@pytest.mark.parametrize(("abi", "reason"), [("armeabi-v7a", "cannot be downloaded"), ("mips", "Unknown ABI")])
def test_what_is_not_there(site: Site, tmp_path: Path, abi: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        fetch_benchmark_model(abi, tmp_path, base_url=f"http://127.0.0.1:{site.server_port}")
    assert caught.value.remedy


def test_a_download_that_breaks_off_is_never_taken_for_a_program(site: Site, tmp_path: Path) -> None:
    site.lost = 50
    with pytest.raises(InputError, match=f"ended after {len(ARM)} of {len(ARM) + 50} bytes") as caught:
        fetch_benchmark_model("arm64-v8a", tmp_path, base_url=f"http://127.0.0.1:{site.server_port}")
    assert "again" in caught.value.remedy
    assert list(tmp_path.rglob("benchmark_model/*")) == []


def test_an_error_page_is_never_taken_for_a_program(site: Site, tmp_path: Path) -> None:
    site.answers["android_arm_benchmark_model"] = b"<html>" + bytes(100)
    site.answers["android_aarch64_benchmark_model"] = ARM[:18] + (62).to_bytes(2, "little") + bytes(50)
    for abi in ("armeabi-v7a", "arm64-v8a"):
        with pytest.raises(InputError, match=f"not a program for {abi}"):
            fetch_benchmark_model(abi, tmp_path, base_url=f"http://127.0.0.1:{site.server_port}")
    assert list(tmp_path.rglob("benchmark_model/*")) == []


def test_no_more_than_a_program_can_be_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address that sends without end and without saying how much is refused at 256 MiB, not kept cut off."""

    class Endless:
        headers: ClassVar[dict[str, str]] = {}

        def __enter__(self) -> Endless:
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def read(self, most: int) -> bytes:
            asked.append(most)
            return ARM

    asked: list[int] = []
    monkeypatch.setattr(fetch, "open_url", lambda url, timeout_s: Endless())
    fetch.fetch_benchmark_model("arm64-v8a", tmp_path)
    assert asked == [256 * 1024 * 1024]
    monkeypatch.setattr(fetch, "_MOST_BYTES", len(ARM))
    with pytest.raises(InputError, match=f"holds {len(ARM)} bytes or more"):
        fetch.fetch_benchmark_model("arm64-v8a", tmp_path)

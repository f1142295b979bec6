import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.supernet.published import PUBLISHED, PublishedWeights, fetch_weights, weights_path
from fleetfront.workspace import Workspace

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 4000


@dataclass
class Site:
    """A loopback server whose behaviour a test changes between requests."""

    content: bytes = CONTENT
    etag: str = '"one"'
    break_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        start = 0
        if asked and handler.headers.get("If-Range") == self.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        body = self.content[start:]
        if start and not body:
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", self.etag)
        handler.end_headers()
        handler.wfile.write(body if self.break_after is None else body[: self.break_after])
        handler.close_connection = True


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/weights"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "home")


def _fetch(site: Site, workspace: Workspace):
    return fetch_weights("ofa-mbv3-w1.2", workspace, published=PublishedWeights(site.url, "MIT", "a project"))


def test_fetched_once_recorded_and_verified_afterwards(site, workspace):
    path = _fetch(site, workspace)
    assert path == weights_path("ofa-mbv3-w1.2", workspace)
    assert path.read_bytes() == CONTENT
    record = json.loads(path.with_name(path.name + ".json").read_text())
    assert record["licence"] == "MIT"
    assert record["bytes"] == len(CONTENT)
    assert _fetch(site, workspace) == path
    assert len(site.ranges) == 1, "a file that is there is not fetched again"
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(InputError, match="is not the file that was fetched"):
        _fetch(site, workspace)


def test_a_broken_download_leaves_no_file_and_continues(site, workspace):
    site.break_after = 500_000
    with pytest.raises(InputError, match=r"failed after 500,000 bytes.*continues where it stopped"):
        _fetch(site, workspace)
    assert not weights_path("ofa-mbv3-w1.2", workspace).exists()
    site.break_after = None
    assert _fetch(site, workspace).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=500000-"]
    assert sorted(p.name for p in workspace.weights.iterdir()) == ["ofa-mbv3-w1.2.pth", "ofa-mbv3-w1.2.pth.json"]


def test_a_download_killed_before_its_last_step_is_finished(site, workspace):
    path = _fetch(site, workspace)
    part = path.with_name(path.name + ".part")
    path.rename(part)
    part.with_name(part.name + ".etag").write_text(site.etag)
    assert _fetch(site, workspace).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_beginning(site, workspace):
    site.break_after = 500_000
    with pytest.raises(InputError):
        _fetch(site, workspace)
    site.break_after, site.etag, site.content = None, '"two"', b"PK\x03\x04new"
    assert _fetch(site, workspace).read_bytes() == b"PK\x03\x04new"


def test_another_file_than_on_first_use_is_refused(site, workspace):
    path = _fetch(site, workspace)
    path.unlink()
    site.content, site.etag = CONTENT + b"more", '"two"'
    with pytest.raises(InputError, match="now sends another file"):
        _fetch(site, workspace)
    assert not path.exists()


def test_a_web_page_is_not_weights(site, workspace):
    site.content = b"<html>moved</html>"
    with pytest.raises(InputError, match="is not a checkpoint"):
        _fetch(site, workspace)
    assert not any(workspace.weights.glob("*.pth*"))


def test_another_file_than_the_pinned_one_is_refused(site, workspace):
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    pinned = PublishedWeights(site.url, "MIT", "a project", blob)
    assert fetch_weights("ofa-mbv3-w1.2", workspace, published=pinned).read_bytes() == CONTENT
    weights_path("ofa-mbv3-w1.2", workspace).unlink()
    site.content = CONTENT + b"more"
    with pytest.raises(InputError, match="sends another file than the one this version knows"):
        fetch_weights("ofa-mbv3-w1.2", workspace, published=pinned)
    assert not any(workspace.weights.glob("*.pth"))
    loose = [space for space, known in PUBLISHED.items() if not re.fullmatch("[0-9a-f]{40}", known.blob)]
    assert loose == ["ofa-resnet50"]


def test_a_download_without_end_is_stopped(site, workspace, monkeypatch):
    monkeypatch.setattr("fleetfront.spaces.supernet.published._MOST_BYTES", 300_000)
    with pytest.raises(InputError, match="more than 300,000 bytes were sent"):
        _fetch(site, workspace)


def test_no_server_and_unpublished_spaces_say_what_to_do(workspace):
    with pytest.raises(InputError, match="Check the network"):
        _fetch(Site(url="http://127.0.0.1:9/weights"), workspace)
    with pytest.raises(InputError, match=r"Did you mean .*ofa-mbv3-w1\.2"):
        fetch_weights("ofa-mbv3-w1.3", workspace)


def test_addresses_are_those_of_the_once_for_all_project():
    for width in ("1.0", "1.2"):
        address = PUBLISHED[f"ofa-mbv3-w{width}"]
        assert address.url.startswith("https://")
        assert address.url.endswith(f"ofa_mbv3_d234_e346_k357_w{width}")

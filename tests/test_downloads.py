"""Redirects of downloads, as the opener decides on them: no loopback server has a certificate that is trusted."""

import urllib.error
import urllib.request

import pytest

from fleetfront.downloads import OnlyHttps


def test_no_redirect_leaves_https() -> None:
    asked = urllib.request.Request("https://example.org/weights")
    with pytest.raises(urllib.error.URLError, match="not https"):
        OnlyHttps().redirect_request(asked, None, 302, "Found", {}, "http://example.org/weights")
    followed = OnlyHttps().redirect_request(asked, None, 302, "Found", {}, "https://example.net/weights")
    assert followed.full_url == "https://example.net/weights"

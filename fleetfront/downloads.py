"""Open addresses for downloads that a user asked for."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPResponse
from typing import Any


class OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows no redirect from https to where anybody on the way can change what is sent."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        """The next request. Raises URLError instead of leaving https."""
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(request: urllib.request.Request | str, *, timeout_s: float) -> HTTPResponse:
    """Open an address, after redirects. Raises OSError (URLError) and HTTPException."""
    answer: HTTPResponse = urllib.request.build_opener(OnlyHttps).open(request, timeout=timeout_s)
    return answer

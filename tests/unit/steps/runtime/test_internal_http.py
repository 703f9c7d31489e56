"""Requests between vmferry's own steps."""

from __future__ import annotations

import http.server
import threading
import urllib.error
from typing import Any

import pytest

from steps.runtime import internal_http


def test_a_request_between_steps_follows_no_redirect() -> None:
    """`serve` reads a hostile disk; whoever took it over must not choose what the step `image` requests."""
    asked: list[str] = []

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(urllib.error.HTTPError) as caught:
            internal_http.request(f"http://127.0.0.1:{server.server_port}/disk", method="HEAD")
        caught.value.close()
        server.shutdown()
    assert caught.value.code == 302
    assert asked == ["/disk"]

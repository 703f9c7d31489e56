"""Requests between vmferry's own steps."""

from __future__ import annotations

import http.server
import ssl
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from steps.runtime import internal_http
from tests.serving import serving
from tests.tls import self_signed


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["http", "https"])
def test_a_request_between_steps_follows_no_redirect(tmp_path: Path, *, is_encrypted: bool) -> None:
    """`serve` reads a hostile disk; an attacker in it must not choose what `image` requests."""
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

    certificate = self_signed(tmp_path)
    trust = ssl.create_default_context(cafile=str(certificate.certificate)) if is_encrypted else None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    if is_encrypted:
        server.socket = certificate.server().wrap_socket(server.socket, server_side=True)
    with serving(server):
        url = f"{'https' if is_encrypted else 'http'}://localhost:{server.server_port}/disk"
        with pytest.raises(urllib.error.HTTPError) as caught:
            internal_http.request(url, method="HEAD", tls=trust)
        caught.value.close()
    assert caught.value.code == 302
    assert asked == ["/disk"]

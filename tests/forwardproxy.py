"""A real forward proxy for tests: plain requests and tunnels, with a list of the requests."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.serving import serving


@dataclass
class Forward:
    """A forward proxy (RFC 9110, 9.3.6; RFC 9112, 3.2.2); it answers with the status `refuses`, if set."""

    url: str = ""
    refuses: int = 0
    asked: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    forward: Forward

    def do_CONNECT(self) -> None:
        if self._note(f"CONNECT {self.path}"):
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))) as there:
            self.send_response(200)
            self.end_headers()
            _shovel(self.connection, there)
        self.close_connection = True

    def do_GET(self) -> None:
        if self._note(f"GET {self.path}"):
            return
        parts = urlsplit(self.path)
        there = http.client.HTTPConnection(parts.netloc, timeout=10)
        kept = {key: value for key, value in self.headers.items() if not key.lower().startswith("proxy-")}
        there.request("GET", parts.path, headers=kept)
        answer = there.getresponse()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(answer.read())
        there.close()

    def _note(self, what: str) -> bool:
        self.forward.asked.append(what)
        self.forward.logins.append(self.headers.get("Proxy-Authorization"))
        self.close_connection = True
        if self.forward.refuses:
            self.send_error(self.forward.refuses)
        return bool(self.forward.refuses)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _shovel(one: socket.socket, other: socket.socket) -> None:
    pairs = {one: other, other: one}
    with contextlib.suppress(OSError):
        while True:
            for ready in select.select(list(pairs), [], [], 10)[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                pairs[ready].sendall(data)


@pytest.fixture
def forward() -> Iterator[Forward]:
    made = Forward()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"forward": made}))
    server.daemon_threads = False
    with serving(server):
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield made

"""A web server of the tenant, as a source: the path says how it answers. It remembers every request."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.serving import serving
from tests.unit.steps.providers.ova.make import Wanted, descriptor

ENDLESS: Final = b" " * (1 << 16)


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    headers: Mapping[str, str]


@dataclass
class Web:
    """The running server."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    """To which URL a path redirects."""
    files: dict[str, bytes] = field(default_factory=dict)
    """What is at a path."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set at the end: silent answers end with the server."""
    now: int = 0
    """Requests that are answered now."""
    most: int = 0
    """The most requests that were answered at the same time."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def logins(self, start: str = "") -> list[str]:
        """The Authorization headers of requests whose path begins so."""
        return [
            one.headers["Authorization"]
            for one in list(self.asked)
            if one.path.startswith(start) and "Authorization" in one.headers
        ]

    def paths(self) -> list[str]:
        return [one.path for one in list(self.asked)]


@contextlib.contextmanager
def served(address: str) -> Iterator[Web]:
    """The server at an address, while the body runs.

    `/silent…` never answers, `/endless…` never ends, `….ovf` describes a VM with a disk, `/login…` refuses
    every login. `Web.files` and `Web.redirects` come first.
    """
    web = Web("")

    class Handler(_Handler):
        place = web

    server = _Server((address, 0), Handler)
    web.url = f"http://{address}:{server.server_port}"
    with serving(server):
        try:
            yield web
        finally:
            web.gone.set()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that went away is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    place: Web

    def do_GET(self) -> None:
        web = self.place
        web.asked.append(Asked(self.path, dict(self.headers.items())))
        with web.lock:
            web.now += 1
            web.most = max(web.most, web.now)
        try:
            self._answer(web)
        finally:
            with web.lock:
                web.now -= 1

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _answer(self, web: Web) -> None:
        if self.path in web.redirects:
            self._send(302, b"", Location=web.redirects[self.path])
        elif self.path in web.files:
            self._send(200, web.files[self.path])
        elif self.path.startswith("/silent"):
            web.gone.wait(600)
        elif self.path.startswith("/endless"):
            self._endless(web)
        elif self.path.startswith("/login"):
            self._send(401, b"", **{"WWW-Authenticate": 'Basic realm="x"'})
        elif self.path.endswith(".ovf"):
            self._send(200, descriptor(Wanted(), {"disk.vmdk": b"x"}, [1 << 20]))
        else:
            self._send(404, b"")

    def _endless(self, web: Web) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not web.gone.is_set():
                self.wfile.write(ENDLESS)

    def _send(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

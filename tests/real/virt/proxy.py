"""An HTTP proxy that changes a byte of whole files, as long as it is wanted: for CDI's `importProxy`."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, cast
from urllib.error import HTTPError

from tests.serving import serving

CHUNK: Final = 1 << 20
PASSED: Final = ("Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "ETag", "Last-Modified")
"""Headers of an answer that the client gets, too."""
SECONDS: Final = 60.0


class Proxy(ThreadingHTTPServer):
    """Forwards GET and HEAD; `spoiled` is set when a byte was changed.

    `wanted` decides it for each whole file, because CDI's first importer begins to read one for nothing.
    """

    daemon_threads = True

    def __init__(self, address: str, wanted: Callable[[], bool]) -> None:
        super().__init__((address, 0), Handler)
        self.spoiled = threading.Event()
        self.wanted = wanted


class Handler(BaseHTTPRequestHandler):
    """`path` is the whole URL, as clients ask a proxy."""

    server: Proxy

    def do_HEAD(self) -> None:
        self._forward()

    def do_GET(self) -> None:
        self._forward()

    def _forward(self) -> None:
        ranged = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        request = urllib.request.Request(self.path, headers=ranged, method=self.command)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                self._answer(cast("HTTPResponse", answer))
        except HTTPError as error:
            self.send_error(error.code)
        except OSError:
            self.send_error(502)

    def _answer(self, answer: HTTPResponse) -> None:
        self.send_response(answer.status)
        for name in PASSED:
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.end_headers()
        if self.command == "HEAD":
            return
        spoil = answer.status == 200 and self.server.wanted()
        with contextlib.suppress(ConnectionError):
            while chunk := answer.read(CHUNK):
                # the last byte of a file's first part: in the data of a disk, not in its header
                if spoil:
                    chunk = chunk[:-1] + bytes([chunk[-1] ^ 0xFF])
                    self.server.spoiled.set()
                    spoil = False
                self.wfile.write(chunk)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def spoiling(address: str, wanted: Callable[[], bool]) -> Iterator[Proxy]:
    """A running proxy; its port is `server_address[1]`."""
    with serving(Proxy(address, wanted)) as server:
        yield server

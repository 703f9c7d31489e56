"""A web server for one body that misbehaves as configured."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass
class Behaviour:
    """How to answer. `cuts`: after how many bytes of the body to hang up, one number per request; `hang_at`:
    after how many bytes to stop sending, in each; `content_range`: a false Content-Range.
    """

    body: bytes
    ranges: bool = True
    chunked: bool = False
    length: bool = True
    status: int = 0
    etag: str = '"1"'
    modified: str = ""
    cuts: list[int] = field(default_factory=list)
    hang_at: int | None = None
    content_range: str | None = None
    asked: list[str | None] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers
    server: Server

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        how = self.server.how
        how.asked.append(self.headers.get("Range"))
        how.headers.append(dict(self.headers))
        self.close_connection = True
        if how.status:
            self.send_response(how.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self._head(how)
        cut = how.cuts.pop(0) if how.cuts else None
        with contextlib.suppress(OSError):
            self._send(how, body[:cut], whole=cut is None)

    def _head(self, how: Behaviour) -> bytes:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        body, total = how.body, len(how.body)
        same = self.headers.get("If-Range") in (None, how.etag)
        if how.ranges and wanted and same:
            start, end = int(wanted[1]), int(wanted[2] or total - 1)
            body = body[start : end + 1]
            self.send_response(206 if body else 416)
            truth = f"bytes {start}-{start + len(body) - 1}/{total}"
            self.send_header("Content-Range", truth if how.content_range is None else how.content_range)
        else:
            self.send_response(200)
        if how.etag:
            self.send_header("ETag", how.etag)
        if how.modified:
            self.send_header("Last-Modified", how.modified)
        if how.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif how.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def _send(self, how: Behaviour, body: bytes, *, whole: bool) -> None:
        if how.hang_at is not None:
            self.wfile.write(body[: how.hang_at])
            self.server.over.wait()
        elif how.chunked:
            for at in range(0, len(body), 5000):
                part = body[at : at + 5000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if whole:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Serves `how.body` on its own port, in threads, within a `with` block."""

    daemon_threads = False
    request_queue_size = 128  # with the default of 5 a busy computer drops connections of parallel readers

    def __init__(self, how: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.how = how
        self.over = threading.Event()
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.server_address[1]}/disk"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def handle_error(self, *_: Any) -> None:
        """Many tests have clients that hang up."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

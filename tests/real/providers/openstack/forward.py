"""A forward proxy between a step and OpenStack that can kill the step at a chosen request.

The step finds it by `http_proxy`, as every program with `requests` does (RFC 9112, 3.2.2: the request has the
whole URL). The download of an image does not use it: the disk path has its own client.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from tests.serving import serving

_HOP: Final = ("connection", "proxy-connection", "keep-alive", "transfer-encoding", "host")
"""Headers that concern one connection only (RFC 9110, 7.6.1)."""


@dataclass(frozen=True)
class Request:
    """A request through the proxy."""

    method: str
    path: str
    body: bytes = field(repr=False, default=b"")

    @property
    def changes(self) -> bool:
        """Whether it changes OpenStack. Requesting a token from Keystone changes nothing."""
        return self.method != "GET" and not self.path.endswith("/auth/tokens")

    @property
    def kind(self) -> str:
        """What the request is about, without IDs: the key of an action, or service and collection."""
        if self.path.endswith("/action"):
            return str(next(iter(json.loads(self.body))))
        words = [word for word in self.path.split("/") if word and not re.search(r"\d", word)]
        return "/".join(words[:2])


Victim = Callable[[], int]
"""The process group to kill."""


class Forward:
    """The proxy; `deaths` determines the changing request at which, before or after, the victim dies."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.when: Callable[[Request, bool], bool] = lambda _request, _after: False
        self.victim: Victim | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Forward]:
        with serving(self._server):
            yield self

    def kill(self, request: Request, *, after: bool) -> bool:
        """Kill the victim if it is due; returns whether it was."""
        with self._lock:
            if self.victim is None or not self.when(request, after):
                return False
            group, self.victim = self.victim(), None
        os.killpg(group, signal.SIGKILL)
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        forward = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers

            def _pass(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                request = Request(self.command, parts.path, self.rfile.read(length))
                forward.seen.append(request)
                if forward.kill(request, after=False):
                    self.close_connection = True
                    return
                status, headers, body = _asked(request, parts.netloc, parts.query, dict(self.headers))
                if forward.kill(request, after=True):
                    self.close_connection = True
                    return
                self.send_response(status)
                for key, value in headers:
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Log nothing."""

        return Handler


def _asked(
    request: Request, host: str, query: str, headers: dict[str, str]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """The service's answer: status, headers, body."""
    connection = http.client.HTTPConnection(host, timeout=120)
    kept = {key: value for key, value in headers.items() if key.lower() not in _HOP}
    target = f"{request.path}?{query}" if query else request.path
    try:
        connection.request(request.method, target, body=request.body or None, headers=kept)
        answer = connection.getresponse()
        body = answer.read()
        passed = [(k, v) for k, v in answer.getheaders() if k.lower() not in (*_HOP, "content-length")]
        return answer.status, passed, body
    finally:
        connection.close()

"""Endpoints for the kubelet and Prometheus: /healthz, /readyz and /metrics, plain HTTP in the cluster."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

PORT: Final = 8080
REQUEST_SECONDS: Final = 10
"""A silent connection is closed after this time, so that it does not hold its thread."""
FindProblem = Callable[[], str]
"""Returns what is wrong; empty when healthy."""


def serve(
    collector: Collector, healthy: FindProblem, ready: FindProblem, port: int = PORT
) -> http.server.HTTPServer:
    """Serve in a separate thread; returns the server so that it can be closed."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._respond(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif self.path in ("/healthz", "/readyz"):
                problem = healthy() if self.path == "/healthz" else ready()
                self._respond(503 if problem else 200, (problem or "ok").encode() + b"\n", "text/plain")
            else:
                self._respond(404, b"/healthz, /readyz or /metrics\n", "text/plain")

        def _respond(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
            """Do not log the frequent probes."""

    server = _server(port, Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class _DualStackServer(http.server.ThreadingHTTPServer):
    """Listens on all addresses of both families."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _server(port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> http.server.ThreadingHTTPServer:
    """A pod of an IPv6-only cluster has no IPv4 address; a kernel may lack IPv6."""
    kind = _DualStackServer if socket.has_dualstack_ipv6() else http.server.ThreadingHTTPServer
    return kind(("", port), handler)

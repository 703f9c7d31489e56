"""Endpoints for the kubelet and Prometheus: /healthz, /readyz and /metrics, plain HTTP in the cluster."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from steps.model.contract import Exit, StepError

PORT: Final = 8080
PORT_ENV: Final = "VMFERRY_PORT"
"""Another port, for a controller that runs outside of the cluster."""
REQUEST_SECONDS: Final = 10
"""A silent connection is closed after this time, so that it does not hold its thread."""
FindProblem = Callable[[], str]
"""Returns what is wrong; empty when healthy."""


def port_of(environment: Mapping[str, str]) -> int:
    """The port to serve at. Raises StepError (INVALID) if the variable has no port."""
    text = environment.get(PORT_ENV, "") or str(PORT)
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        raise StepError(Exit.INVALID, f"{PORT_ENV} {text[:40]!r} is not a port", remedy="write 1 to 65535")
    return int(text)


def host_of(environment: Mapping[str, str]) -> str:
    """All addresses in a pod, where the kubelet asks; else only this computer."""
    return "" if "KUBERNETES_SERVICE_HOST" in environment else "127.0.0.1"


def serve(
    collector: Collector, healthy: FindProblem, ready: FindProblem, port: int = PORT, host: str = ""
) -> http.server.HTTPServer:
    """Serve in a separate thread; returns the server so that it can be closed.

    Raises:
        StepError: INVALID, if the port is taken.
    """
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

    try:
        server = _server(host, port, Handler)
    except OSError as error:
        raise StepError(
            Exit.INVALID,
            f"cannot listen on port {port}",
            error.strerror or str(error),
            f"end the other program, or set {PORT_ENV} to another port",
        ) from None
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class _DualStackServer(http.server.ThreadingHTTPServer):
    """Listens on all addresses of both families."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _server(
    host: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]
) -> http.server.ThreadingHTTPServer:
    """A pod of an IPv6-only cluster has no IPv4 address; a kernel may lack IPv6."""
    is_dual = not host and socket.has_dualstack_ipv6()
    return (_DualStackServer if is_dual else http.server.ThreadingHTTPServer)((host, port), handler)

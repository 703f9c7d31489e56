"""A vSphere API makes no redirects: pyVmomi follows none, and neither does the request for the versions."""

from __future__ import annotations

import gc
import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.providers.vmware.session import log_in
from steps.runtime.stop import Stop
from tests.serving import serving
from tests.tls import SelfSigned, self_signed

VERSIONS = b"<namespaces><namespace><version>8.0.1.0</version></namespace></namespaces>"


class Web(http.server.ThreadingHTTPServer):
    """Redirects the methods in `redirected` to `location`; keeps the requests."""

    def __init__(self, redirected: tuple[str, ...] = (), location: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.redirected = redirected
        self.location = location
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        if self.command in self.server.redirected:
            self._answer(302, b"", self.server.location)
        else:
            self._answer(200, VERSIONS)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def _answer(self, status: int, body: bytes, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def served(server: Web, tls: SelfSigned) -> Iterator[Web]:
    server.socket = tls.server().wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_request_follows_a_redirect(tmp_path: Path, method: str) -> None:
    tls = self_signed(tmp_path)
    for key in ("username", "password"):
        (tmp_path / key).write_text("x")
    with served(Web(), tls) as other:
        location = f"https://127.0.0.1:{other.server_port}/sdk"
        with served(Web((method,), location), tls) as vcenter:
            plan = SourcePlan(
                kind=SourceKind.VMWARE,
                name="vcenter",
                endpoint=f"https://127.0.0.1:{vcenter.server_port}/sdk",
                insecure_skip_tls_verify=True,
            )
            access = Access(
                plan=plan, credentials=tmp_path, stop=Stop(), run="r", step="look", state_folder=tmp_path
            )
            with pytest.raises(StepError):
                log_in(access)
            assert [asked for asked in vcenter.asked if asked.startswith(method)]
        assert other.asked == []
    gc.collect()  # pyVmomi does not close the answers that it refuses: the warning belongs to this test

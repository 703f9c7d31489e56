"""The controller's watches with the real kopf, against a server that only records its requests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.operator.options import Options
from controller.operator.watch import watch
from tests.forwardproxy import Forward, forward

__all__ = ["forward"]


class _Nothing(BaseHTTPRequestHandler):
    """Knows no kind of object."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        text = json.dumps({"versions": [], "groups": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The requests that the API server of KUBECONFIG gets."""
    seen: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Nothing,), {"asked": seen})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield seen
        server.shutdown()
        thread.join()


def test_requests_to_the_api_server_use_no_proxy(
    asked: list[str], forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, forward.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ended = threading.Event()
    running = threading.Thread(
        target=lambda: asyncio.run(watch(Options(), lambda *_: None, ended)), daemon=True
    )
    running.start()
    end = time.monotonic() + 30
    while not (asked or forward.asked):
        assert time.monotonic() < end, "it sent no request"
        time.sleep(0.02)
    ended.set()
    running.join(30)
    assert (bool(asked), forward.asked, running.is_alive()) == (True, [], False)

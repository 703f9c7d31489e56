"""Redirects of OpenStack's services: keystoneauth1 would send the password and the token again."""

from __future__ import annotations

import http.server
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.providers.openstack.cloud import connect
from steps.runtime.guard import REDIRECT_HOSTS
from steps.runtime.stop import Stop
from tests.serving import serving

SECRET = {"username": "u", "password": "s3cret", "project_name": "shop", "domain_name": "Default"}
STATUSES = (301, 302, 303, 305, 307, 308)


class Web(http.server.ThreadingHTTPServer):
    """Answers every request with a redirect to `location`, or with 401; keeps the requests."""

    def __init__(self, location: str = "", status: int = 307) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.location = location
        self.status = status
        self.asked: list[tuple[str, bytes]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((f"{self.command} {self.path}", body))
        is_redirect = self.server.location and not self.path.startswith("/identity")
        self.send_response(self.server.status if is_redirect else 401)
        if is_redirect:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def served(location: str = "", status: int = 307) -> Iterator[Web]:
    with serving(Web(location, status)) as server:
        yield server


def refused(folder: Path, server: Web) -> StepError:
    for key, value in SECRET.items():
        (folder / key).write_text(value)
    plan = SourcePlan(
        kind=SourceKind.OPENSTACK, name="cloud", endpoint=f"http://127.0.0.1:{server.server_port}/v3"
    )
    access = Access(plan=plan, credentials=folder, stop=Stop(), run="r", step="look", state_folder=folder)
    with pytest.raises(StepError) as caught, connect(access):
        pass
    return caught.value


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_password_does_not_follow_a_redirect_to_another_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, host: str
) -> None:
    """Another host or another port, also if the installation allows all hosts."""
    monkeypatch.setenv(REDIRECT_HOSTS, "*")
    with (
        served() as other,
        served(f"http://{host}:{other.server_port}/v3/auth/tokens", status) as keystone,
    ):
        error = refused(tmp_path, keystone)
        assert keystone.asked
        assert other.asked == []
    assert error.code is Exit.INVALID
    assert f"redirects to http on the host '{host}', port {other.server_port}" in str(error)
    assert "spec.endpoint" in str(error)


@pytest.mark.parametrize("location", ["/identity/v3/auth/tokens", "http://127.0.0.1:{port}/identity/v3"])
def test_a_redirect_at_the_same_origin_is_followed(tmp_path: Path, location: str) -> None:
    """As of a Keystone that moved to another path. The second answer refuses the login here."""
    with served() as keystone:
        keystone.location = location.format(port=keystone.server_port)
        error = refused(tmp_path, keystone)
        path, body = keystone.asked[-1]
    assert error.code is Exit.DENIED
    assert path.startswith("POST /identity/v3")
    assert SECRET["password"].encode() in body


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://localhost\\@127.0.0.1/", "http://[::1"])
def test_a_location_that_is_no_url_is_refused(tmp_path: Path, location: str) -> None:
    with served(location) as keystone:
        error = refused(tmp_path, keystone)
    assert error.code is Exit.INVALID
    assert "redirects to an address that cannot be used" in str(error)

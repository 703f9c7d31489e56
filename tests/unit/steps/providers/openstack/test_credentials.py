"""Which files of the Secret make which login."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.session import Session

from steps.model.contract import Exit, StepError
from steps.providers.openstack.credentials import Credentials

UPSTREAM = {"username": "u", "password": "p", "project_name": "shop", "domain_name": "Default"}


def read(folder: Path, **values: str) -> Credentials:
    for key, value in values.items():
        (folder / key).write_text(value)
    return Credentials.read(folder)


def test_the_secret_of_vm_import_controller_is_accepted(tmp_path: Path) -> None:
    found = read(tmp_path, **UPSTREAM, ca_cert="PEM\n")
    assert (found.method, found.ca) == ("password", "PEM")
    assert found.options == {
        "username": "u",
        "password": "p",
        "user_domain_name": "Default",
        "project_name": "shop",
        "project_domain_name": "Default",
    }


def test_user_and_project_may_be_of_different_domains(tmp_path: Path) -> None:
    found = read(tmp_path, **UPSTREAM, user_domain_name="people\n")
    assert found.options["user_domain_name"] == "people"
    assert found.options["project_domain_name"] == "Default"


def test_a_project_may_be_named_by_its_id(tmp_path: Path) -> None:
    by_id = {"username": "u", "password": "p", "user_domain_name": "people", "project_id": "0c1d"}
    found = read(tmp_path, **by_id)
    assert found.options["project_id"] == "0c1d"
    assert "project_domain_name" not in found.options


def test_an_application_credential_is_bound_to_its_project(tmp_path: Path) -> None:
    given = {"application_credential_id": "i", "application_credential_secret": "s"}
    found = read(tmp_path, **UPSTREAM, **given)
    assert (found.method, found.options) == ("application-credential", given)


def test_an_application_credential_by_name_needs_its_user(tmp_path: Path) -> None:
    given = {"application_credential_name": "n", "application_credential_secret": "s"}
    found = read(tmp_path, **given, username="u", domain_name="people")
    assert found.options == given | {"username": "u", "user_domain_name": "people"}


@pytest.mark.parametrize(
    "project", [{"project_id": "0c1d"}, {"project_name": "shop", "project_domain_name": "Default"}]
)
def test_a_token_needs_only_its_project(tmp_path: Path, project: dict[str, str]) -> None:
    found = read(tmp_path, **{"token": "gAAAAAB\n", **project})
    assert (found.method, found.options) == ("token", {"token": "gAAAAAB", **project})
    assert "gAAAAAB" not in repr(found)


def test_a_token_without_a_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="has no project_name:"):
        read(tmp_path, token="gAAAAAB")  # noqa: S106


def test_keystone_gets_the_token_and_the_project(tmp_path: Path) -> None:
    """The body of `POST /v3/auth/tokens` (Identity API v3, token authentication)."""
    asked: list[dict[str, Any]] = []

    class Keystone(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Log nothing."""

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            token = {"methods": ["token"], "expires_at": "2999-01-01T00:00:00Z", "catalog": [], "user": {}}
            body = json.dumps({"token": token}).encode()
            self.send_response(201)
            for name, value in {"X-Subject-Token": "scoped", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Keystone) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            plugin = read(tmp_path, token="gAAAAAB", project_id="0c1d").plugin(  # noqa: S106
                f"http://127.0.0.1:{server.server_address[1]}/v3"
            )
            assert plugin.get_token(Session()) == "scoped"
        finally:
            server.shutdown()
            thread.join()
    identity = {"methods": ["token"], "token": {"id": "gAAAAAB"}}
    assert asked == [{"auth": {"identity": identity, "scope": {"project": {"id": "0c1d"}}}}]


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("username", "username"),
        ("password", "password"),
        ("project_name", "project_name"),
        ("domain_name", "user_domain_name or domain_name"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str, named: str) -> None:
    given = {key: value for key, value in UPSTREAM.items() if key != missing}
    with pytest.raises(StepError, match=f"has no {named}:") as caught:
        read(tmp_path, **given)
    assert caught.value.code is Exit.INVALID


def test_no_secret_is_shown(tmp_path: Path) -> None:
    assert "hunter2" not in repr(read(tmp_path, **UPSTREAM | {"password": "hunter2"}))

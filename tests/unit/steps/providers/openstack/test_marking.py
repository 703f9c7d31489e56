"""Marks a server over openstacksdk's own requests to a small stand-in for Nova and Neutron."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token
from openstack.connection import Connection

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.source_mark import SourceMark
from steps.model.sources import SourceKind
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.marking import ServerMarker
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_nic

MACS = ("fa:16:3e:00:00:00", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02")
MACHINE = a_machine(
    name="web",
    source_id="server-1",
    nics=tuple(a_nic(id=f"nic-{n}", mac=mac, connected=n < 2) for n, mac in enumerate(MACS)),
)


@dataclass
class Project:
    """One server with three ports; the last one was down before the import."""

    name: str = "web"
    tags: list[str] = field(default_factory=list)
    up: dict[str, bool] = field(default_factory=lambda: dict(zip("abc", (True, True, False), strict=True)))
    changes: list[str] = field(default_factory=list)
    is_deleted: bool = False

    def get(self, path: str, url: str) -> Any:
        if path == "/servers/server-1":
            shown = {"id": "server-1", "name": self.name, "status": "SHUTOFF", "tags": self.tags}
            return None if self.is_deleted else {"server": shown}
        if path.startswith("/v2.0/ports"):
            macs = zip(self.up.items(), MACS, strict=True)
            return {
                "ports": [
                    {"id": port, "mac_address": mac, "admin_state_up": up, "device_id": "server-1"}
                    for (port, up), mac in macs
                ]
            }
        version = {"id": "v2.1", "status": "CURRENT", "version": "2.100", "min_version": "2.1"}
        neutron = {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{url}/v2.0"}]}
        return {"versions": [{**version, "links": [{"rel": "self", "href": url}]}, neutron]}

    def change(self, method: str, path: str, body: Any) -> Any:
        self.changes.append(f"{method} {path}")
        parts = path.strip("/").split("/")
        match parts:
            case ["servers", "server-1", "tags", quoted]:
                tag = unquote(quoted, encoding="latin-1")  # as Nova does
                self.tags = [*self.tags, tag] if method == "PUT" else [one for one in self.tags if one != tag]
            case ["servers", "server-1", "tags"]:
                self.tags = body["tags"]
            case ["servers", "server-1"]:
                self.name = body["server"]["name"]
                return self.get("/servers/server-1", "")
            case ["v2.0", "ports", port]:
                self.up[port] = body["port"]["admin_state_up"]
                return {"port": {"id": port}}
            case _:
                raise AssertionError(path)
        return {}


class Handler(BaseHTTPRequestHandler):
    project: Project

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        found = self.project.get(self.path.split("?", 1)[0], f"http://{self.headers['Host']}")
        self._answer(404 if found is None else 200, found or {})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.project.change(self.command, self.path, json.loads(body) if body else None)
        self._answer(200 if answer else 201, answer)

    def do_DELETE(self) -> None:
        self.project.change(self.command, self.path, None)
        self._answer(204, {})

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode() if status != 204 else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def project() -> Project:
    return Project()


@pytest.fixture
def marker(project: Project) -> Iterator[ServerMarker]:
    handler = type("H", (Handler,), {"project": project})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="cloud", endpoint=url)
    connection = Connection(session=Session(Token(url, "token")))
    yield ServerMarker(Cloud(plan=plan, connection=connection, tls=None, stop=Stop()), MACHINE)
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_server_gets_a_tag_once_and_loses_it(project: Project, marker: ServerMarker) -> None:
    for present, tags in ((True, ["moved"]), (False, [])):
        for _ in range(2):
            marker.set_tag("moved", present=present)
        assert project.tags == tags
    assert len(project.changes) == 2


@pytest.mark.parametrize("tag", ["to check?", "#1", "a b", "a&b=c", "für später"])
def test_a_tag_with_any_character_stays_one(project: Project, marker: ServerMarker, tag: str) -> None:
    project.tags = ["live"]
    assert not marker.has_tag(tag)
    marker.set_tag(tag, present=True)
    assert project.tags == ["live", tag]
    assert marker.has_tag(tag)
    marker.set_tag(tag, present=False)
    assert project.tags == ["live"]


def test_the_server_is_renamed_once(project: Project, marker: ServerMarker) -> None:
    for _ in range(2):
        marker.rename("web", "web-imported")
    assert project.name == "web-imported"
    assert project.changes == ["PUT /servers/server-1"]
    with pytest.raises(StepError) as caught:
        marker.rename("db", "db-imported")
    assert caught.value.code is Exit.INVALID


def test_only_ports_that_were_up_are_changed(project: Project, marker: ServerMarker) -> None:
    """None is detached: Nova would delete it, with its MAC address."""
    for _ in range(2):
        marker.connect_nics(connected=False)
    assert project.up == {"a": False, "b": False, "c": False}
    marker.connect_nics(connected=True)
    assert project.up == {"a": True, "b": True, "c": False}
    assert project.changes == [f"PUT /v2.0/ports/{port}" for port in "abab"]


def test_a_server_that_was_deleted_is_an_error(project: Project, marker: ServerMarker) -> None:
    project.is_deleted = True
    with pytest.raises(StepError, match="it was deleted") as caught:
        marker.set_tag("moved", present=True)
    assert caught.value.code is Exit.NOT_FOUND


def test_nothing_is_lacking_before_the_import(project: Project, marker: ServerMarker) -> None:
    assert marker.lacks(SourceMark(tag="moved", disconnect_nics=True)) == []
    assert project.changes == []

"""A small client of the engine for the tests of the stand-in: one JSON or XML call at a time."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from tests.real.ovirt.lab import Json, Lab

SECONDS: Final = 120.0


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Json:
        document: Json = json.loads(self.body)
        return document

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)  # noqa: S314 - our own stand-in's


class Client:
    """Calls with a token, a new connection for each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.context = ssl.create_default_context(cafile=str(lab.ca))
        self.token = self.log_in().json["access_token"]

    def log_in(self, password: str | None = None, **headers: str) -> Reply:
        form = {
            "grant_type": "password",
            "scope": "ovirt-app-api",
            "username": self.lab.username,
            "password": self.lab.password if password is None else password,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", **headers}
        return self.send("POST", self._root("/sso/oauth/token"), urlencode(form), kind)

    def log_out(self) -> Reply:
        form = urlencode({"token": self.token, "scope": "ovirt-app-api"})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", self._root("/services/sso-logout"), form, kind)

    def get(self, path: str, *, accept: str = "application/json", **query: str) -> Reply:
        url = f"{self.lab.url}{path}" + (f"?{urlencode(query)}" if query else "")
        return self.send("GET", url, None, self._headers(accept))

    def post(self, path: str, body: Json | None = None, *, accept: str = "application/json") -> Reply:
        headers = {**self._headers(accept), "Content-Type": "application/json"}
        return self.send("POST", f"{self.lab.url}{path}", json.dumps(body or {}), headers)

    def download(self, disk: str, **wanted: Any) -> Reply:
        body = {"disk": {"id": disk}, "direction": "download", "format": "raw", **wanted}
        return self.post("/imagetransfers", body)

    def transfer(self, disk: str, **wanted: Any) -> Json:
        """A new transfer, once it is `transferring`."""
        made = self.download(disk, **wanted)
        assert made.status == 201, made.body
        return self.until_phase(made.json["id"], "transferring")

    def until_phase(self, transfer: str, *phases: str) -> Json:
        found: list[Json] = []

        def there() -> bool:
            found.append(self.get(f"/imagetransfers/{transfer}").json)
            return found[-1]["phase"] in phases

        until(there)
        return found[-1]

    def read(self, url: str, first: int, last: int) -> Reply:
        return self.send("GET", url, None, {"Range": f"bytes={first}-{last}"})

    def send(self, method: str, url: str, body: str | None, headers: Mapping[str, str]) -> Reply:
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=SECONDS, context=self.context
        )
        with contextlib.closing(connection):
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), dict(answer.getheaders()))

    def _headers(self, accept: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Accept": accept, "Version": "4"}

    def _root(self, path: str) -> str:
        return self.lab.url.removesuffix("/api") + path


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.05)

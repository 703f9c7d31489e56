"""A small client of the services' APIs with the calls that the start needs."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Final

from .config import passwords
from .layout import Layout, StackError

_SECONDS: Final = 60.0

_HEADERS: Final = {"Content-Type": "application/json"}
# Placement's first version has no candidates.
_VERSIONS: Final = {"placement": {"OpenStack-API-Version": "placement 1.17"}}

Json = dict[str, Any]

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Api:
    """Requests as the administrator, over the services' own plain HTTP."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._token = ""
        self.project = ""

    def login(self) -> None:
        """Get a token for the project `admin`."""
        domain = {"name": "Default"}
        user = {"name": "admin", "domain": domain, "password": passwords(self.layout)["admin"]}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin", "domain": domain}},
            }
        }
        answer, self._token = self._send("POST", "keystone", "/v3/auth/tokens", body)
        self.project = answer["token"]["project"]["id"]

    def get(self, api: str, path: str) -> Json:
        return self._send("GET", api, path, None)[0]

    def send(self, method: str, api: str, path: str, body: Json | None = None) -> Json:
        return self._send(method, api, path, body)[0]

    def _send(self, method: str, api: str, path: str, body: Json | None) -> tuple[Json, str]:
        """The answer, and the token if there is one.

        Raises:
            StackError: the answer is an error; OSError: there was no answer.
        """
        request = urllib.request.Request(  # noqa: S310 - the address is the stack's own
            self.layout.inner(api) + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=_HEADERS | _VERSIONS.get(api, {}) | {"X-Auth-Token": self._token},
            method=method,
        )
        try:
            with _OPENER.open(request, timeout=_SECONDS) as answer:
                content = answer.read()
                return json.loads(content) if content else {}, answer.headers.get("X-Subject-Token", "")
        except urllib.error.HTTPError as error:
            raise StackError(
                f"{api} answered {error.code} to {method} {path}: {error.read()[:500]!r}"
            ) from error


def answers(layout: Layout, api: str) -> bool:
    """Whether its first page answers, with any status below 500."""
    try:
        with _OPENER.open(layout.inner(api) + "/", timeout=_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, http.client.HTTPException):
        return False

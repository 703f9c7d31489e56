"""What a message shows of an error's answer: it may come from any server that a tenant named."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from typing import Any

import pytest
from keystoneauth1.exceptions import HttpError
from keystoneauth1.session import Session
from openstack.exceptions import HttpException, raise_from_response

from steps.providers.openstack.faults import error_text
from tests.serving import serving

PAGE = "<html><body>INTERNAL STATUS PAGE</body></html>"
JSON = json.dumps({"error": {"code": 403, "message": "the quota is used up"}})


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers each request with an error: `/page` is a web page, `/json` is an API's error."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = ("application/json", JSON) if self.path == "/json" else ("text/html", PAGE)
            self.send_response(403)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def from_keystoneauth(url: str) -> Exception:
    with pytest.raises(HttpError) as caught:
        Session().get(url, authenticated=False)
    return caught.value


def from_openstacksdk(url: str) -> Exception:
    with pytest.raises(HttpException) as caught:
        raise_from_response(Session().get(url, authenticated=False, raise_exc=False))
    return caught.value


ANY_LIBRARY = pytest.mark.parametrize("error", [from_keystoneauth, from_openstacksdk])


@ANY_LIBRARY
def test_a_web_page_is_not_shown(url: str, error: Any) -> None:
    assert error_text(error(f"{url}/page")) == "it answers 403"


@ANY_LIBRARY
def test_the_message_of_an_api_is_shown(url: str, error: Any) -> None:
    assert "the quota is used up" in error_text(error(f"{url}/json"))

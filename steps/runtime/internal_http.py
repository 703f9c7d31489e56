"""Requests between vmferry's own steps: never through a proxy, even if the environment sets one.

A proxy of the environment is for sources (`steps.runtime.proxy`). It may be injected into every pod of a
namespace. It cannot reach a Service of the cluster, and it would get the secret part of a disk's URL.
"""

from __future__ import annotations

import ssl
import urllib.request
from http.client import HTTPResponse
from typing import Any, Final

ANSWER_SECONDS: Final = 10


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """nginx of the step `serve` makes none; a step that serves a hostile disk must not choose a host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """The answer becomes an HTTPError."""


_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def request(url: str, *, method: str = "GET", tls: ssl.SSLContext | None = None) -> HTTPResponse:
    """The answer of another step, or of vmferry's own nginx; the caller closes it. `tls` is for https.

    Raises:
        OSError: no answer; `urllib.error.HTTPError`, a subclass, if the answer is an error.
    """
    http_request = urllib.request.Request(url, method=method)  # noqa: S310 - our own address
    opener = _DIRECT if tls is None else _opener(tls)
    answer: HTTPResponse = opener.open(http_request, timeout=ANSWER_SECONDS)
    return answer


def _opener(tls: ssl.SSLContext) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )

"""What stands before a daemon: it passes each request on, so that calls are recorded and can be given faults.

Bytes come from the real daemon. A kept-alive connection of a client has one to the daemon.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from typing import Final

from tests.real.ovirt.pki import Pki
from tests.real.ovirt.web import Answer, Request

_PIECE: Final = 1 << 20
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Gate:
    """Passes requests on to the daemon at a port."""

    def __init__(self, address: str, port: int, keys: Pki) -> None:
        self._address, self._port = address, port
        self._context = ssl.create_default_context(cafile=str(keys.authority))
        self._local = threading.local()

    def handle(self, request: Request) -> Answer:
        """The daemon's own answer. Each thread, so each client's connection, has one connection to it."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(
                self._address, self._port, timeout=300, context=self._context
            )
            self._local.connection = connection
        headers = {key: value for key, value in request.headers.items() if key not in _HOP}
        try:
            connection.request(request.method, request.target, request.body or None, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._local.connection = None
            raise ConnectionResetError("the daemon closed the connection") from error
        kept = {key: value for key, value in answer.getheaders() if key.lower() not in _HOP}
        kind = kept.pop("content-type", kept.pop("Content-Type", "application/octet-stream"))
        if answer.will_close:
            kept["Connection"] = "close"
        length = int(answer.getheader("Content-Length") or 0)
        return Answer(answer.status, b"", kind, kept, _pieces(answer), length)


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := answer.read(_PIECE):
        yield piece

"""One HTTP connection at a time whose socket another thread can shut down at any moment."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

CONNECT_SECONDS: Final = 10.0
"""A host on a working network answers in far less; a stop has to wait for this at worst."""
IDLE_SECONDS: Final = 60.0
"""Longer silence is a dead connection. ESXi's NFC service stalls for tens of seconds under load."""


class Wire:
    """GET requests to one URL, over TLS for https."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._port = parts.port
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._connection: _Connection | None = None

    def get(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send a request on a new connection and wait for the head of its answer.

        Raises:
            OSError, http.client.HTTPException: as the library has them.
        """
        self.close()
        self._connection = connection = _Connection(self.host, self._port, self._tls)
        connection.request("GET", self._target, headers=headers)
        connection.response = connection.getresponse()
        return connection.response

    def abort(self) -> None:
        """End whatever the reading thread waits for."""
        if self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.hang_up()
            self._connection = None


class _Connection(http.client.HTTPConnection):
    """`wire` is the socket from before the handshake until the last byte; `sock` is not.

    (http.client lets go of `sock` when a response ends with the connection, HTTPSConnection sets it
    only after the handshake.)
    """

    wire: socket.socket | None = None
    response: http.client.HTTPResponse | None = None

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port or (443 if tls else 80), timeout=IDLE_SECONDS)
        self._tls = tls

    def connect(self) -> None:
        plain = self.wire = socket.create_connection((self.host, self.port), CONNECT_SECONDS)
        plain.settimeout(IDLE_SECONDS)
        if self._tls is not None:
            secure = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self.wire = secure
            secure.do_handshake()
        self.sock = self.wire

    def abort(self) -> None:
        if self.wire is not None:
            with contextlib.suppress(OSError):  # it may have gone already
                # Not SSLSocket's own: that one pulls the TLS object away under the reading thread.
                socket.socket.shutdown(self.wire, socket.SHUT_RDWR)

    def hang_up(self) -> None:
        self.abort()
        # `close` here would leave the socket to the response, and that one its file to the collector.
        for part in (self.response, self.wire, self):
            if part is not None:
                part.close()

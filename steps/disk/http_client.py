"""One HTTP connection at a time whose socket another thread can shut down at any moment.

It uses the environment's proxy for the URL, by CONNECT for TLS.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import string
import struct
from typing import Final
from urllib.parse import quote, urlsplit

from steps.model.contract import Exit, StepError
from steps.runtime import guard, proxy
from steps.runtime.proxy import Proxy, ProxyError

CONNECT_SECONDS: Final = 10.0
"""A host on a working network answers in far less; a stop waits this long at worst."""
IDLE_SECONDS: Final = 60.0
"""Longer silence is a dead connection. ESXi's NFC service stalls for tens of seconds under load."""


_PROXY_STATUSES: Final = (407, 502, 503, 504)
"""Answers to a plain request that mean that a proxy did not, or could not, forward it."""


def _ascii_url(url: str) -> str:
    """A URL as it goes over the wire: some write letters with marks in names of hosts and files.

    Raises:
        StepError: INVALID, where no host can be called that.
    """
    if url.isascii():
        return url
    parts = urlsplit(url)
    try:
        host = parts.netloc.encode("idna").decode()
    except UnicodeError as error:
        raise StepError(Exit.INVALID, f"the host {parts.hostname!r} cannot be asked", str(error)) from None
    path, query = (quote(text, safe=string.punctuation) for text in (parts.path, parts.query))
    return parts._replace(netloc=host, path=path, query=query).geturl()


class HttpClient:
    """Requests to one URL, over TLS for https."""

    def __init__(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(_ascii_url(url))
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.proxy = proxy.for_url(url)
        if self.proxy is not None:
            guard.check_requested(self.host, self.port)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        # A proxy that forwards a plain request gets the full URL (RFC 9112, 3.2.2).
        is_plain_proxied = self.proxy is not None and self._tls is None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._request_target = f"http://{parts.netloc.rpartition('@')[2]}{path}" if is_plain_proxied else path
        self._proxy_headers = dict(self.proxy.headers) if self.proxy and is_plain_proxied else {}
        self._connection: _Connection | None = None

    @property
    def name(self) -> str:
        """The host, for errors."""
        return f"{self.host} (through the proxy {self.proxy})" if self.proxy else self.host

    def get(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send a request on a new connection and wait for the head of its answer.

        Raises:
            OSError, http.client.HTTPException: from the library; ProxyError.
        """
        return self.request("GET", headers)

    def request(
        self, method: str, headers: dict[str, str], body: bytes | None = None, *, reuse: bool = False
    ) -> http.client.HTTPResponse:
        """As `get`, with any method.

        Args:
            method: the HTTP method.
            headers: of the request.
            body: of the request; None for none.
            reuse: use the connection of the previous request, whose answer must be read to its end. The
            server
                may have closed it, so this is only for requests that may be repeated.
        """
        connection = self._connection if reuse and self._connection is not None else self._new_connection()
        connection.request(method, self._request_target, body, headers={**headers, **self._proxy_headers})
        connection.response = answer = connection.getresponse()
        if self._uses_plain_proxy and answer.status in _PROXY_STATUSES:
            raise ProxyError(f"it answers {answer.status} {answer.reason}".rstrip())
        return answer

    def probe(self) -> None:
        """Connect, with the handshake for TLS; sends no request. Raises as `get`."""
        self._new_connection().connect()

    @property
    def _uses_plain_proxy(self) -> bool:
        return self.proxy is not None and self._tls is None

    def _new_connection(self) -> _Connection:
        self.close()
        self._connection = _Connection(self.host, self.port, self._tls, self.proxy)
        return self._connection

    def abort(self) -> None:
        """End the wait of the reading thread."""
        if self._connection is not None:
            self._connection.abort()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close_all()
            self._connection = None


class _Connection(http.client.HTTPConnection):
    """`transport` is the socket from before the handshake until the last byte; `sock` is not.

    (http.client lets go of `sock` when a response ends with the connection, HTTPSConnection sets it
    only after the handshake.)
    """

    transport: socket.socket | None = None
    response: http.client.HTTPResponse | None = None

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, via_proxy: Proxy | None) -> None:
        peer = (host, port) if via_proxy is None else (via_proxy.host, via_proxy.port)
        super().__init__(*peer, timeout=IDLE_SECONDS)
        self._tls = tls
        self._name = host
        self._proxy = via_proxy
        if via_proxy is not None and tls is not None:
            self.set_tunnel(host, port, dict(via_proxy.headers))
            if ":" in host:  # Python before 3.12 leaves out the brackets of an IPv6 address (RFC 9112, 3.2.3)
                self._tunnel_host = f"[{host}]"

    def connect(self) -> None:
        plain = self.transport = self._open_socket()
        plain.settimeout(IDLE_SECONDS)
        if self._tls is not None:
            secure = self._tls.wrap_socket(plain, server_hostname=self._name, do_handshake_on_connect=False)
            self.transport = secure
            secure.do_handshake()
        self.sock = self.transport

    def _open_socket(self) -> socket.socket:
        """A socket to the host, possibly through a tunnel."""
        try:
            sock = self.transport = self.sock = socket.create_connection(
                (self.host, self.port), CONNECT_SECONDS
            )
            if self._proxy is not None and self._tls is not None:
                self._tunnel()  # type: ignore[attr-defined]  # as HTTPConnection.connect does
        except (OSError, http.client.HTTPException) as error:
            if self._proxy is None:
                raise
            raise ProxyError(str(error) or type(error).__name__) from error
        return sock

    def abort(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                # Not SSLSocket's own: that one pulls the TLS object away under the reading thread.
                socket.socket.shutdown(self.transport, socket.SHUT_RDWR)

    def _reset_on_close(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                self.transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close_all(self) -> None:
        """Close the connection. A server that still sends an answer notices it at once.

        After an ordinary close, it may wait for a minute with full buffers: Linux answers no probe of the
        window of a closed socket in FIN_WAIT2.
        """
        # An answer that `abort` has cut counts as closed, but not all of its bytes were read.
        if self.response is not None and (self.response.length or not self.response.isclosed()):
            self._reset_on_close()
        self.abort()
        # `close` here would leave the socket to the response, and that one its file to the collector.
        for part in (self.response, self.transport, self):
            if part is not None:
                part.close()

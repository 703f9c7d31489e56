"""A proxy to a server that breaks: it counts the bytes it carries and cuts connections at given counts."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

BLOCK = 1 << 16


class Cutter:
    """Carries TCP connections one after another; `carried` counts the bytes from the server.

    A connection is reset when `carried` reaches the next value of `cuts`: its receiver loses what it had not
    read by then.
    """

    def __init__(self, server: tuple[str, int], cuts: Sequence[int]) -> None:
        self._server = server
        self._cuts = sorted(cuts, reverse=True)
        self.carried = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def left(self) -> int:
        """Cuts that were not made."""
        return len(self._cuts)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, socket.create_connection(self._server) as server:
                    self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """The request is one small GET; after it everything comes from the server."""
        with contextlib.suppress(OSError):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += client.recv(BLOCK)
            server.sendall(request)
            while data := server.recv(BLOCK):
                client.sendall(data)
                self.carried += len(data)
                if self._cuts and self.carried >= self._cuts[-1]:
                    self._cuts.pop()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextlib.contextmanager
def cutter(url: str, cuts: Sequence[int]) -> Iterator[Cutter]:
    parts = urlsplit(url)
    made = Cutter((parts.hostname or "", parts.port or 80), cuts)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(10)

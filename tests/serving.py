"""Servers that run in a thread of a test."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

POLL_SECONDS: Final = 0.01
"""How often a server looks whether it must stop; the library's 0.5 s would make each test longer."""


Server = TypeVar("Server", bound=socketserver.BaseServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server, running. At the end of the block it is closed, and its thread has ended."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

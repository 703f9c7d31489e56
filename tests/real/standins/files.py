"""A web server for the files of a folder, with HEAD and ranges, at an address that pods of the lab reach."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from tests.serving import serving

CHUNK: Final = 1 << 20


class Server(ThreadingHTTPServer):
    """Serves `folder` at the root."""

    daemon_threads = True

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__((address, 0), Handler)
        self.folder = folder


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        found = self._head()
        if found is None:
            return
        path, start, length = found
        with path.open("rb") as file, contextlib.suppress(ConnectionError):
            file.seek(start)
            while length > 0:
                chunk = file.read(min(CHUNK, length))
                self.wfile.write(chunk)
                length -= len(chunk)

    def _head(self) -> tuple[Path, int, int] | None:
        path = self.server.folder / Path(self.path).name
        if not path.is_file():
            self.send_error(404)
            return None
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, last = (int(wanted[1]), min(int(wanted[2]), size - 1)) if wanted else (0, size - 1)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{last}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - start))
        self.end_headers()
        return path, start, last + 1 - start

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def served(address: str, folder: Path) -> Iterator[str]:
    """The URL of the folder."""
    with serving(Server(address, folder)) as server:
        yield f"http://host.lab.local:{server.server_address[1]}"

"""The serve step, a receiver, and somebody between them who listens and changes bytes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.real.standins.downloads import Download, Faults
from tests.real.standins.web import Web
from tests.real.targets.test_programs import until
from tests.unit.steps.targets.harvester.test_programs import DATA, Pod, Serving


@contextlib.contextmanager
def running(pod: Pod, *, tls: Path | None = None) -> Iterator[Serving]:
    made = Serving(pod, tls=tls)
    made.start()
    until(lambda: made.web.served_disk("disk-0") is not None or not made.is_alive())
    try:
        yield made
    finally:
        made.stop.set()
        made.join(20)


class Meddler:
    """Carries connections to `port`, and inverts one byte of what the server sends, at offset `at`."""

    def __init__(self, port: int, at: int) -> None:
        self._server = ("127.0.0.1", port)
        self._at = at
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.changed = 0
        self.heard = bytearray()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, contextlib.suppress(OSError):
            back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(1 << 16):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            back.join(20)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        done = 0
        with contextlib.suppress(OSError):
            while data := bytearray(server.recv(1 << 16)):
                if done <= self._at < done + len(data):
                    data[self._at - done] ^= 0xFF
                    self.changed += 1
                done += len(data)
                self.heard += data
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def meddling(port: int, at: int = len(DATA) // 2) -> Iterator[Meddler]:
    made = Meddler(port, at)
    try:
        yield made
    finally:
        made.close()


def download(url: str, file: Path, *, ca: Path | None = None) -> Download:
    """The stand-in's download, finished."""
    tls = ssl.create_default_context(cafile=ca) if ca else ssl.create_default_context()
    job = Download(Web(tls=tls), url, file, Faults())
    job.start()
    job.join(60)
    assert not job.is_alive()
    return job

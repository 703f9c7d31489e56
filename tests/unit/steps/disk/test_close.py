"""How a connection ends: a server that still sends must notice it at once, or it waits for a minute."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from steps.disk.http_client import HttpClient

READ = 10
"""Bytes of the answer that arrive."""


@contextmanager
def answered(length: int) -> Iterator[tuple[HttpClient, socket.socket]]:
    """A client that has read the first bytes of an answer, and the server's connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = HttpClient(f"http://127.0.0.1:{server.getsockname()[1]}/disk", None)
        client.probe()
        connection, _ = server.accept()
        with connection:
            connection.settimeout(30)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + bytes(READ))
            answer = client.request("GET", {}, reuse=True)
            assert answer.readinto(bytearray(READ)) == READ
            assert b"GET /disk" in connection.recv(1 << 16)
            yield client, connection


def is_reset(connection: socket.socket) -> bool:
    """Whether the client refuses more bytes, and has not only ended its own: wait for it."""
    poll = select.poll()
    poll.register(connection, 0)  # POLLHUP and POLLERR are always reported
    return bool(poll.poll(10_000))


def test_an_answer_that_is_not_read_to_its_end_is_reset() -> None:
    with answered(READ + 1) as (client, connection):
        client.close()
        assert is_reset(connection)


def test_an_answer_that_was_aborted_is_reset() -> None:
    """The thread that reads it sees an end."""
    with answered(READ + 1) as (client, connection):
        client.abort()
        answer = client._connection.response if client._connection else None
        assert answer is not None
        assert answer.readinto(bytearray(READ)) == 0
        client.close()
        assert is_reset(connection)


def test_an_answer_that_was_read_ends_without_a_reset() -> None:
    with answered(READ) as (client, connection):
        client.close()
        assert connection.recv(1) == b""
        connection.sendall(bytes(1))

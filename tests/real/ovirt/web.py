"""The HTTP servers of the stand-in: TLS, kept-alive connections, outages, and answers with faults."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Literal

from tests.real.ovirt.documents import merged
from tests.real.ovirt.faults import Faults, Json, Rule

Outage = Literal["", "refuse", "reset", "503"]

_RESET: Final = struct.pack("ii", 1, 0)
_PIECE: Final = 64 << 10
_UNAVAILABLE: Final = (
    b"<!DOCTYPE HTML>\n<html><head>\n<title>503 Service Unavailable</title>\n"
    b"</head><body>\n<h1>Service Unavailable</h1>\n</body></html>\n"
)


@dataclass
class Answer:
    """An answer: its whole body, or a stream of `length` bytes."""

    status: int
    body: bytes = b""
    type: str = "text/html;charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None
    length: int = 0

    def pieces(self) -> Iterator[bytes]:
        return iter([self.body]) if self.stream is None else self.stream

    def size(self) -> int:
        return len(self.body) if self.stream is None else self.length


@dataclass
class Request:
    """One request, read completely."""

    method: str
    target: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes


class Server:
    """A server on one address, whose port stays the same over outages."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext | None,
        handle: Callable[[Request], Answer],
        *,
        kind: str = "",
        faults: Faults | None = None,
    ) -> None:
        self._context, self.handle, self.kind, self.faults = context, handle, kind, faults
        self.outage: Outage = ""
        self._open: set[socket.socket] = set()
        self._listen(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]

    def _listen(self, address: tuple[str, int]) -> None:
        self._listener = socket.create_server(address, backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go_away(self, mode: Outage) -> None:
        """Begin an outage, or end it with ""; all connections are reset."""
        if self.outage == "refuse" and mode != "refuse":
            self._listen(self.address)
        self.outage = mode
        if mode == "refuse":
            # a thread in accept() would keep the socket open
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                # a thread in recv() would keep the connection open
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            _reset(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, peer), daemon=True).start()

    def _serve(self, connection: socket.socket, peer: Any) -> None:
        if self.outage == "reset":
            _reset(connection)
            return
        with contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            try:
                _Handler(connection, peer, self)  # type: ignore[arg-type]
            finally:
                self._open.discard(connection)
                connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body would wait 40 ms for the ACK of the headers
    server_version, sys_version = "Apache/2.4.57", ""
    server: Server  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        """The record has every call."""

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        faults = self.server.faults
        if self.server.outage == "503":
            self._send(Answer(503, _UNAVAILABLE), None)
            return
        if faults is None:
            self._send(self.server.handle(request), None)
            return
        facts = {"range": headers["range"]} if "range" in headers else {}
        agent = headers.get("user-agent", "")
        call, rule = faults.begin(self.server.kind, request.method, request.target, agent, **facts)
        self._answer(faults, call, rule, request)

    def _answer(self, faults: Faults, call: Json, rule: Rule | None, request: Request) -> None:
        status, sent, outcome = 0, 0, "clientGone"
        try:
            answer = self._carried_out(faults, call, rule, request)
            if answer is not None:
                status = answer.status
                sent, outcome = self._send(answer, rule)
        except OSError:
            self.close_connection = True
        finally:
            faults.end(call, status, outcome, sent)

    def _carried_out(self, faults: Faults, call: Json, rule: Rule | None, request: Request) -> Answer | None:
        if rule is None:
            return self.server.handle(request)
        if rule.delay is not None:
            time.sleep(rule.delay)
        if rule.hold == "before" and not faults.hold(call, "before", self._is_alive):
            return None
        answer = Answer(rule.status) if rule.status is not None else self.server.handle(request)
        if rule.hold == "after" and not faults.hold(call, "after", self._is_alive):
            return None
        return _changed(answer, rule)

    def _is_alive(self) -> bool:
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        return not poll.poll(0)

    def _send(self, answer: Answer, rule: Rule | None) -> tuple[int, str]:
        """Send the answer; returns how many bytes of the body were sent, and the outcome for the record."""
        rule = rule or Rule()
        length = max(0, answer.size() - (rule.short or 0))
        if rule.cut is not None:
            length = max(length, rule.cut + 1)
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.type, **answer.headers}.items():
            self.send_header(name, value)
        if rule.endless:
            self.send_header("Connection", "close")
        elif answer.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.close_connection = self.close_connection or rule.endless or "Connection" in answer.headers
        if self.command == "HEAD" or answer.status == 204:
            return 0, "completed"
        sent = 0
        for piece in _altered(answer.pieces(), rule, length):
            self._write(piece, rule.bytes_per_second)
            sent += len(piece)
        while rule.endless:
            sent += self._write(b" " * _PIECE, rule.bytes_per_second)
        if rule.cut is None:
            return sent, "completed"
        _reset(self.connection)
        self.close_connection = True
        return sent, "cut"

    def _write(self, body: bytes, rate: int | None) -> int:
        piece = len(body) if rate is None else max(1, rate // 10)
        for at in range(0, len(body), piece or 1):
            self.wfile.write(body[at : at + piece])
            if rate is not None:
                time.sleep(0.1)
        return len(body)


def _altered(pieces: Iterator[bytes], rule: Rule, length: int) -> Iterator[bytes]:
    """The body with a byte inverted, and no longer than the rule allows."""
    end = length if rule.cut is None else rule.cut
    at = 0
    for piece in pieces:
        if rule.corrupt is not None and at <= rule.corrupt < at + len(piece):
            where = rule.corrupt - at
            piece = piece[:where] + bytes([piece[where] ^ 0xFF]) + piece[where + 1 :]  # noqa: PLW2901
        if piece[: end - at]:
            yield piece[: end - at]
        at += len(piece)


def _changed(answer: Answer, rule: Rule) -> Answer:
    if rule.body is not None:
        for _ in answer.pieces():  # the daemon's connection is used again
            pass
        answer = Answer(answer.status, rule.body.encode(), answer.type, answer.headers)
    if rule.type is not None:
        answer.type = rule.type
    if rule.patch is not None:
        answer.body = json.dumps(merged(json.loads(answer.body), rule.patch)).encode()
    answer.headers |= rule.headers
    return answer


def json_answer(document: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode(), "application/json")


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        # the raw socket: a close of TLS would say goodbye
        socket.socket.close(connection)

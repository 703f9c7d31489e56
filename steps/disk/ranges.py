"""A disk behind HTTP whose places with data are known: only these are requested, over several connections.

    data    ▒▒▒▒▒▒      ▒▒▒▒▒▒▒▒▒▒▒▒        total
    reads   ├──┤├┤      ├──┤├──┤├──┤
    stream  ▒▒▒▒▒▒000000▒▒▒▒▒▒▒▒▒▒▒▒00000000

The stream has all bytes in order, zeros included, so that everything behind it works as for other bodies.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from steps.disk.faults import broken_stream_fault, describe, lost_connection_fault, status_fault
from steps.disk.http_client import HttpClient
from steps.disk.source import Source, Validators
from steps.disk.web import RESUME_PAUSES, parse_content_range
from steps.model.contract import StepError, Stopped

log = logging.getLogger(__name__)

BLOCK: Final = 4 << 20
"""Most bytes of a range: large enough that the request is cheap, small enough for a few in memory."""
LOOK_SECONDS: Final = 0.2
"""How often a thread that waits for a range looks for a stop."""
_ZEROS: Final = bytes(1 << 18)


class _Block:
    """A range of the disk, `start` to `end`; its first `done` bytes are in `view`."""

    def __init__(self, start: int, end: int, buffer: bytearray) -> None:
        self.start = start
        self.end = end
        self.buffer = buffer
        self.view = memoryview(buffer)[: end - start]
        self.done = 0
        self.read: Future[None]


class RangesBody:
    """See `body.Body`. Read by one thread; `abort` may come from another."""

    end_is_proved = True

    def __init__(self, source: Source) -> None:
        self.position = 0
        self.total: int | None = source.length or 0
        self.validators = Validators(etag=source.validator, total=source.length)
        self._size = source.length or 0
        self._source = source
        self._aborted = threading.Event()
        self._readers = ThreadPoolExecutor(source.readers, "range-reader")
        self._own = threading.local()
        self._clients: list[HttpClient] = []
        self._lock = threading.Lock()
        self._free_buffers = [bytearray(BLOCK) for _ in range(source.readers + 1)]
        self._pending: deque[_Block] = deque()
        self._blocks: Iterator[tuple[int, int]] = iter(())

    def open(self, position: int, previous: Validators) -> None:
        del previous  # the caller compares
        while self._pending:
            block = self._pending.popleft()
            block.read.cancel()
            with contextlib.suppress(Exception):
                block.read.result()
            self._free_buffers.append(block.buffer)
        self.position = position
        self._blocks = _blocks(self._source.data or (), position)

    def readinto(self, view: memoryview) -> int:
        if self.position >= self._size or not len(view):
            return 0
        self._request_ahead()
        next_data = self._pending[0].start if self._pending else self._size
        count = self._zeros(view, next_data) if self.position < next_data else self._data(view)
        self.position += count
        return count

    def _request_ahead(self) -> None:
        """Request the next ranges, as long as there is memory for them."""
        while self._free_buffers and (found := next(self._blocks, None)) is not None:
            block = _Block(*found, self._free_buffers.pop())
            block.read = self._readers.submit(self._fetch, block)
            self._pending.append(block)

    def _zeros(self, view: memoryview, end: int) -> int:
        count = min(len(view), end - self.position, len(_ZEROS))
        view[:count] = _ZEROS[:count]
        return count

    def _data(self, view: memoryview) -> int:
        block = self._pending[0]
        while wait([block.read], LOOK_SECONDS).not_done:
            self._stop_if_aborted()
        block.read.result()
        offset = self.position - block.start
        count = min(len(view), block.end - self.position)
        view[:count] = block.view[offset : offset + count]
        if self.position + count == block.end:
            self._pending.popleft()
            self._free_buffers.append(block.buffer)
        return count

    def _fetch(self, block: _Block) -> None:
        """Read one range, in a thread of the pool; its rest is requested again after a broken connection.

        Raises:
            StepError: the server refuses it, or does not send it after all attempts.
            Stopped: `abort` was called.
        """
        failures = 0
        while block.done < len(block.view):
            before = block.done
            fault = self._try(block)
            if fault is None:
                continue
            failures = failures + 1 if block.done == before else 1
            if failures > len(RESUME_PAUSES):
                raise fault
            self._source.interrupted()
            self._aborted.wait(RESUME_PAUSES[failures - 1])
            log.info("%s; asking for the rest", fault)

    def _try(self, block: _Block) -> StepError | None:
        """One request for the rest of a range; returns the fault that another request may repair."""
        client = self._client()
        try:
            self._stop_if_aborted()
            self._receive(client, block)
        except StepError as error:
            client.close()
            if error.code.permanent:
                raise
            return error
        except (OSError, ValueError, http.client.HTTPException) as error:
            client.close()
            self._stop_if_aborted()
            what = f"the stream from {client.host} broke at byte {block.start + block.done}"
            fault = lost_connection_fault(what, describe(error))
            fault.__cause__ = error
            return fault
        return None

    def _receive(self, client: HttpClient, block: _Block) -> None:
        start, end = (self._source.offset + at for at in (block.start + block.done, block.end))
        headers = {
            **self._source.headers,
            "Accept-Encoding": "identity",
            "Range": f"bytes={start}-{end - 1}",
        }
        answer = client.request("GET", headers, reuse=True)
        if answer.status not in (200, 206):
            raise status_fault(answer.status, answer.reason, client.name)
        if answer.status == 200:
            raise broken_stream_fault(f"{client.host} does not answer requests for a part of the disk")
        parse_content_range(answer, start)
        if answer.length != end - start:
            raise broken_stream_fault(
                f"requested {end - start} bytes from {client.host}, but it announces {answer.length}"
            )
        while block.done < len(block.view):
            count = answer.readinto(block.view[block.done :])
            if not count:
                raise lost_connection_fault(
                    f"{client.host} ended the stream at byte {block.start + block.done} of the disk"
                )
            block.done += count

    def _client(self) -> HttpClient:
        """The connection of this thread."""
        client: HttpClient | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = HttpClient(self._source.url, self._source.tls)
            with self._lock:
                self._clients.append(client)
        return client

    def _stop_if_aborted(self) -> None:
        if self._aborted.is_set():
            raise Stopped

    def abort(self) -> None:
        self._aborted.set()
        with self._lock:
            for client in self._clients:
                client.abort()

    def close(self) -> None:
        self.abort()
        self._readers.shutdown(wait=False, cancel_futures=True)
        # A reader may have connected after `abort` has looked for connections.
        while running := [block.read for block in self._pending if not block.read.done()]:
            wait(running, LOOK_SECONDS)
            self.abort()
        self._readers.shutdown()
        for client in self._clients:
            client.close()


def _blocks(data: tuple[tuple[int, int], ...], position: int) -> Iterator[tuple[int, int]]:
    """The ranges to request from `position` on, `BLOCK` bytes at most."""
    for start, end in data:
        for at in range(max(start, position), end, BLOCK):
            yield at, min(at + BLOCK, end)

"""A window of a file behind HTTP: opened in the middle by Range, and again when a connection breaks."""

from __future__ import annotations

import http.client
import logging
import re
import threading
from typing import Final

from steps.disk.faults import (
    broken_stream_fault,
    connection_fault,
    describe,
    lost_connection_fault,
    status_fault,
)
from steps.disk.http_client import HttpClient
from steps.disk.source import FileChangedError, Source, Validators
from steps.model.contract import NoAnswerError, StepError, Stopped

log = logging.getLogger(__name__)

RESUME_PAUSES: Final = (0.0, 0.5, 2.0, 8.0)
"""Seconds before each attempt to resume a broken stream; counted from the start whenever bytes arrive."""
_NO_RANGE: Final = (400, 416)
"""Glance answers 400 where its store has no random access (glance/api/v2/image_data.py), and a server
416 if the file has become shorter: in both cases the stream is requested from its start."""
_FROM_START: Final = (
    "the server does not support Range: the next attempt reads from the start and compares the data"
    " with what has landed"
)
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
"""Numbers of at most 19 digits: Python refuses to convert thousands of them."""
_SHOWN: Final = 100
"""Characters of a header in a message."""
_SKIP_BYTES: Final = 1 << 18


class WebBody:
    """See `body.Body`. One connection at a time, read by one thread; `abort` may come from another."""

    def __init__(self, source: Source) -> None:
        self.position = 0
        self.total: int | None = source.length
        self.validators = Validators()
        self.end_is_proved = True
        self._source = source
        self._client = HttpClient(source.url, source.tls)
        self._aborted = threading.Event()
        self._failures = 0
        self._response: http.client.HTTPResponse

    def open(self, position: int, previous: Validators) -> None:
        response = self._request(position, previous)
        if response.status in _NO_RANGE and position + self._source.offset:
            response = self._request(0, Validators(), ranged=False)
        if response.status not in (200, 206):
            raise status_fault(response.status, response.reason, self._client.name, response.headers)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise broken_stream_fault(f"{self._client.host} sends the disk with Content-Encoding {encoding}")
        self._response = response
        self._seek_window(response, position)

    def _request(
        self, position: int, previous: Validators, *, ranged: bool = True
    ) -> http.client.HTTPResponse:
        """Send GET and read the head of the answer. Redirects are not followed."""
        source = self._source
        headers = {**source.headers, "Accept-Encoding": "identity"}
        start = source.offset + position
        if ranged and (start or source.length is not None):
            end = source.offset + source.length - 1 if source.length is not None else ""
            headers["Range"] = f"bytes={start}-{end}"
            if position and previous.if_range:
                headers["If-Range"] = previous.if_range
        try:
            return self._client.get(headers)
        except (OSError, http.client.HTTPException) as error:
            self._stop_if_aborted()
            raise connection_fault(error, self._client.name) from error

    def _seek_window(self, response: http.client.HTTPResponse, position: int) -> None:
        """Find the window in the answer and leave the stream at its first byte."""
        source = self._source
        start, file_size = 0, response.length
        if response.status == 206:
            start, file_size = parse_content_range(response, source.offset + position)
        etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        source.file_validators.check_unchanged(Validators(etag, modified, file_size), self._client.name)
        if file_size is not None:
            remaining = max(0, file_size - source.offset)
            self.total = remaining if source.length is None else source.length
        self.end_is_proved = self.total is not None or response.chunked
        self.validators = Validators(source.validator or etag, modified, self.total)
        self.position = start - source.offset
        self._skip_to_window()

    def _skip_to_window(self) -> None:
        """Read on to the first byte of the window, for servers without Range."""
        view = memoryview(bytearray(_SKIP_BYTES))
        while self.position < 0:
            count = self._receive(view[: -self.position])
            if not count:
                raise broken_stream_fault(f"{self._client.host} ended the file before the disk began")
            self.position += count

    def readinto(self, view: memoryview) -> int:
        if self.total is not None:
            view = view[: self.total - self.position]
        while True:
            try:
                count = self._receive(view)
            except StepError as error:
                self._resume(error)
                continue
            if count or self.total is None or self.position >= self.total:
                self.position += count
                self._failures = self._failures if not count else 0
                return count
            self._resume(
                lost_connection_fault(
                    f"{self._client.host} ended the stream at byte {self.position} of {self.total}"
                )
            )

    def _receive(self, view: memoryview) -> int:
        if not len(view):
            return 0
        try:
            return self._response.readinto(view)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._stop_if_aborted()
            why = describe(error)
            raise lost_connection_fault(
                f"the stream from {self._client.host} broke at byte {self.position}", why
            ) from error

    def _resume(self, fault: StepError) -> None:
        """Ask for the rest of a broken stream.

        Raises:
            StepError: `fault` when the server does not give the rest, or when nothing proves that it is the
                same file's: the next attempt compares what has come. FileChangedError, when it is not.
        """
        position, previous = self.position, self.validators
        self._source.interrupted()
        while self._failures < len(RESUME_PAUSES):
            self._aborted.wait(RESUME_PAUSES[self._failures])
            self._stop_if_aborted()
            self._failures += 1
            log.info("%s; asking for the rest", fault)
            try:
                self.open(position, previous)
            except FileChangedError as error:
                fault = error
                break
            except StepError as error:
                if error.code.permanent:  # for example an expired lease: the next attempt may get another
                    break
                if isinstance(error, NoAnswerError) and error.retry_after:
                    fault = error  # the step waits so long, in view of everybody (`steps.providers.outage`)
                    break
                continue
            if (
                self.position == position
                and self.validators.agrees_with(previous)
                and self._is_same_content(position, previous)
            ):
                return
            if self._response.status == 200 and position:
                fault = type(fault)(fault.code, fault.what, fault.why, _FROM_START)
            break
        self._client.close()
        raise fault

    def _is_same_content(self, position: int, previous: Validators) -> bool:
        """Whether the bytes from `position` on belong to the earlier ones: by a validator or a digest."""
        return not position or self.validators.proves_same_bytes(previous) or self._source.digest is not None

    def _stop_if_aborted(self) -> None:
        if self._aborted.is_set():
            raise Stopped

    def abort(self) -> None:
        self._aborted.set()
        self._client.abort()

    def close(self) -> None:
        self._client.close()


def parse_content_range(response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """First byte and length of the whole file, from a 206.

    Raises:
        StepError: BROKEN_STREAM, if the range is not the requested one.
    """
    text = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None or int(match[1]) != start:
        raise broken_stream_fault(
            f"requested the bytes from {start}, but the server sent Content-Range {text[:_SHOWN]!r}"
        )
    return start, None if match[3] == "*" else int(match[3])

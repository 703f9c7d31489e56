"""A source of bytes that can be opened in the middle: a local file, or HTTP (`web`, `ranges`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol
from urllib.parse import unquote, urlsplit

from steps.disk.faults import broken_stream_fault
from steps.disk.ranges import RangesBody
from steps.disk.source import Source, Validators
from steps.disk.web import WebBody
from steps.model.contract import Exit, StepError


class Body(Protocol):
    """A window of a source as a stream. Positions and `total` are bytes within the window."""

    position: int
    total: int | None
    validators: Validators
    end_is_proved: bool
    """Whether the end of the stream can be distinguished from a closed connection."""

    def open(self, position: int, previous: Validators) -> None:
        """Begin at `position`, or at 0 if the source cannot; `position` shows which.

        Raises:
            StepError: the source does not answer, or sends an unexpected answer.
        """

    def readinto(self, view: memoryview) -> int:
        """Read the next bytes into `view`; 0 only at the end.

        Raises:
            StepError: BROKEN_STREAM, UNREACHABLE; data read before is still valid.
        """

    def abort(self) -> None:
        """Abort a `readinto` that waits in another thread; it fails."""

    def close(self) -> None: ...


def body_for(source: Source) -> Body:
    """The body for a source's URL.

    Raises:
        StepError: INVALID, for other schemes than http, https and file.
    """
    web: Callable[[Source], Body] = WebBody if source.data is None else RangesBody
    makers: dict[str, Callable[[Source], Body]] = {"http": web, "https": web, "file": FileBody}
    scheme = urlsplit(source.url).scheme
    if scheme not in makers:
        raise StepError(
            Exit.INVALID, f"cannot read {scheme or 'a URL without a scheme'}", remedy="use an https URL"
        )
    return makers[scheme](source)


class FileBody:
    """A window in a local file."""

    end_is_proved = True

    def __init__(self, source: Source) -> None:
        self.position = 0
        self._source = source
        self._path = unquote(urlsplit(source.url).path)
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise StepError(
                Exit.NOT_FOUND, f"cannot open {self._path}", os.strerror(error.errno or 0)
            ) from None
        status = os.fstat(self._file)
        remaining = max(0, status.st_size - source.offset)
        self.total: int | None = remaining if source.length is None else source.length
        self.validators = Validators(etag=f"{status.st_size}-{status.st_mtime_ns}", total=self.total)
        try:
            source.file_validators.check_unchanged(replace(self.validators, total=status.st_size), self._path)
        except StepError:
            self.close()
            raise

    def open(self, position: int, previous: Validators) -> None:
        del previous  # the caller compares
        self.position = position

    def readinto(self, view: memoryview) -> int:
        remaining = (self.total or 0) - self.position
        if remaining <= 0:
            return 0
        count = os.preadv(self._file, [view[:remaining]], self._source.offset + self.position)
        if not count:
            raise broken_stream_fault(f"{self._path} ends at byte {self.position} of {self.total}")
        self.position += count
        return count

    def abort(self) -> None:
        """Nothing to abort: a local read returns."""

    def close(self) -> None:
        os.close(self._file)

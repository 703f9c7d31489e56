"""Bodies over other bodies: bytes checked against a digest, joined files, gzip, a limit.

    window ─ Digested ┐
    window ─ Digested ┼─ Joined ─ Gunzip ─ Limited ─ the disk's bytes
    window ─ Digested ┘

None of them can begin in the middle: a digest is over all bytes, and neither it nor an inflater can be stored
from one process to the next. They always begin at 0; a caller that resumes skips the bytes that it has.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from steps.disk.body import Body, body_for
from steps.disk.faults import broken_stream_fault, corruption_fault
from steps.disk.source import Digest, Source, Validators
from steps.model.contract import Exit, StepError, Stopped

_GZIP: Final = 31
"""zlib's window bits for gzip, header and checksum included (zlib.h, inflateInit2)."""
_READ: Final = 1 << 16


def layered_body(source: Source) -> Body:
    """The body of a source, with its parts, digest and compression.

    Raises:
        StepError: as `body_for`.
    """
    body: Body = JoinedBody(source.parts) if source.parts else body_for(source)
    if source.digest is not None:
        body = DigestCheckedBody(body, source.digest)
    if source.compression:
        body = GunzipBody(body)
    return body if source.most is None else LimitedBody(body, source.most)


class DigestCheckedBody:
    """Another body's bytes; a wrong digest is an error at the end of the stream."""

    def __init__(self, body: Body, digest: Digest) -> None:
        self._body = body
        self._digest = digest
        self._hash = hashlib.new(digest.algorithm, usedforsecurity=False)
        self.position = 0
        self.total = body.total
        self.validators = body.validators
        self.end_is_proved = True  # by the digest

    def open(self, position: int, previous: Validators) -> None:
        del position
        self._body.open(0, previous)
        self._hash = hashlib.new(self._digest.algorithm, usedforsecurity=False)
        self.position = 0
        self.total, self.validators = self._body.total, self._body.validators

    def readinto(self, view: memoryview) -> int:
        count = self._body.readinto(view)
        self._hash.update(view[:count])
        self.position += count
        if not count and len(view):
            self._check_digest()
        return count

    def _check_digest(self) -> None:
        expected, actual = self._digest, self._hash.hexdigest()
        if actual != expected.value:
            raise corruption_fault(
                f"{expected.name} does not match its digest",
                f"its {expected.algorithm} is {actual}, not {expected.value}",
                "get a new copy of the file from where it was made",
            )

    def abort(self) -> None:
        self._body.abort()

    def close(self) -> None:
        self._body.close()


class JoinedBody:
    """Several sources as one stream; each is opened when the previous one has ended."""

    def __init__(self, parts: tuple[Source, ...]) -> None:
        lengths = [part.length for part in parts]
        self.position = 0
        self.total: int | None = None if None in lengths else sum(filter(None, lengths))
        self.validators = Validators(total=self.total)
        self.end_is_proved = True
        self._parts = parts
        self._remaining_parts: Iterator[Source] = iter(())
        self._body: Body | None = None
        self._aborted = False

    def open(self, position: int, previous: Validators) -> None:
        del position, previous  # the parts' digests or the checksum of the bytes show whether it is the same
        self.close()
        self.position = 0
        self._remaining_parts = iter(self._parts)
        self._open_next_part()

    def readinto(self, view: memoryview) -> int:
        count = 0
        while self._body is not None and not count and len(view):
            count = self._body.readinto(view)
            if not count:
                self._open_next_part()
        self.position += count
        return count

    def _open_next_part(self) -> None:
        """Continue with the next part."""
        self.close()
        part = next(self._remaining_parts, None)
        if part is None:
            return
        self._body = body = layered_body(part)
        if self._aborted:
            raise Stopped
        body.open(0, Validators())
        if not body.end_is_proved:
            raise StepError(Exit.INVALID, "the server does not report the length of the disk's parts")

    def abort(self) -> None:
        self._aborted = True
        if (body := self._body) is not None:
            body.abort()

    def close(self) -> None:
        if (body := self._body) is not None:
            self._body = None
            body.close()


class GunzipBody:
    """The content of a gzip file (RFC 1952) with one or more members. Inflates no more than requested."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._inflate = zlib.decompressobj(_GZIP)
        self._input = b""
        self._buffer = memoryview(bytearray(_READ))
        self.position = 0
        self.total: int | None = None
        self.validators = Validators()
        self.end_is_proved = True  # by length and checksum behind each member

    def open(self, position: int, previous: Validators) -> None:
        del position
        # The total that is known is the content's; the other body knows the compressed one.
        self._body.open(0, replace(previous, total=None))
        self._inflate = zlib.decompressobj(_GZIP)
        self._input = b""
        self.position = 0
        self.validators = replace(self._body.validators, total=None)

    def readinto(self, view: memoryview) -> int:
        content = b""
        while not content and len(view):
            if not self._input and not self._read_input():
                return 0
            content = self._inflate_some(len(view))
        view[: len(content)] = content
        self.position += len(content)
        return len(content)

    def _read_input(self) -> bool:
        """Read more input; False at the end, which must be the end of a member."""
        count = self._body.readinto(self._buffer)
        self._input = bytes(self._buffer[:count])
        if not count and not self._inflate.eof:
            raise broken_stream_fault(
                f"the compressed file ends early, at byte {self.position} of its content"
            )
        return count > 0

    def _inflate_some(self, limit: int) -> bytes:
        """Inflate up to `limit` bytes of the input."""
        if self._inflate.eof:
            self._input = self._input.lstrip(b"\0")  # padding after the last member
            if not self._input:
                return b""
            self._inflate = zlib.decompressobj(_GZIP)
        try:
            content = self._inflate.decompress(self._input, limit)
        except zlib.error as error:
            raise broken_stream_fault(
                f"the compressed file is damaged at byte {self.position} of its content", str(error)
            ) from None
        self._input = self._inflate.unused_data or self._inflate.unconsumed_tail
        return content

    def abort(self) -> None:
        self._body.abort()

    def close(self) -> None:
        self._body.close()


class LimitedBody:
    """Another body's bytes; more than the limit is an error: a little gzip unpacks to any number of zeros."""

    def __init__(self, body: Body, most: int) -> None:
        self._body = body
        self._most = most
        self.position = 0
        self.total = body.total
        self.validators = body.validators
        self.end_is_proved = body.end_is_proved

    def open(self, position: int, previous: Validators) -> None:
        self._body.open(position, previous)
        self._update()

    def readinto(self, view: memoryview) -> int:
        count = self._body.readinto(view)
        self._update()
        if self.position > self._most:
            raise corruption_fault(
                f"the source sends more than {self._most} bytes",
                "it is not the disk that was planned",
                "check the disk at the source, then start a new import",
            )
        return count

    def _update(self) -> None:
        body = self._body
        self.position, self.total = body.position, body.total
        self.validators, self.end_is_proved = body.validators, body.end_is_proved

    def abort(self) -> None:
        self._body.abort()

    def close(self) -> None:
        self._body.close()

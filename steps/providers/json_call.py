"""One call to the JSON API of a source: over a connection of its own, with a bounded answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from steps.disk.http_client import HttpClient
from steps.model.contract import StepError
from steps.providers.answers import Answer
from steps.runtime.retry_after import Headers
from steps.runtime.stop import Stop

MOST_BYTES: Final = 64 << 20
"""Bytes of an answer: pages of lists, in which a VM has 10 KiB to 1.5 MB."""
_READ_BYTES: Final = 1 << 16

A = TypeVar("A", bound=Answer)


class Reply(NamedTuple):
    """An answer as it arrived, of any status."""

    status: int
    body: bytes
    headers: Headers


def exchange(
    client: HttpClient,
    method: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    kind: type[Answer],
    seconds: float,
    stop: Stop,
    most_bytes: int | None = None,
) -> Reply:
    """The answer to one request; the client is closed.

    `seconds`: within which the whole answer must arrive. `most_bytes`: of it; None for `MOST_BYTES`.

    Raises:
        OSError, http.client.HTTPException: no answer.
        StepError: UNREACHABLE in the words of `kind`, for an answer that is too long or too slow.
        Stopped: a stop was requested.
    """
    try:
        limit = most_bytes or MOST_BYTES
        answer = client.request(method, dict(headers), body)
        deadline = time.monotonic() + seconds
        data = bytearray()
        while part := answer.read1(_READ_BYTES):
            stop.check()
            data += part
            if len(data) > limit:
                raise kind.unusable(f"it has more than {limit >> 20} MiB")
            if time.monotonic() > deadline:
                raise kind.unusable(f"it did not end within {seconds:g} s")
        if answer.length:  # read1 does not notice that the connection was closed too early
            raise ConnectionError(f"the answer ended {answer.length} bytes early")
        return Reply(answer.status, bytes(data), answer.headers)
    finally:
        client.close()


def parse(kind: type[A], what: str, status: int, body: bytes) -> A:
    """The answer; of an error another body than a JSON object is ignored, such as a page of a gateway.

    Raises:
        StepError: UNREACHABLE; its text begins with `what`.
    """
    try:
        answer = kind.parse(body)
        answer.child("any")  # it must be an object
    except StepError as error:
        if status >= 300:
            return kind({})
        raise StepError(error.code, what, f"{error.what}: {error.why}", error.remedy) from None
    return answer

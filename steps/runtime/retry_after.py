"""The header Retry-After: how long a server asks its clients to wait (RFC 9110, 10.2.3).

An object store, a gateway or a rate limit sends it with 429 and 503. A client that asks earlier is refused
again, and some servers count that against it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

HEADER: Final = "Retry-After"
BUSY_STATUSES: Final = (429, 503)
"""Statuses that may come with it: too many requests, and a service that is away for a while."""
_LONGEST: Final = 7 * 24 * 3600.0
"""Seconds. More is an error of the server; nothing waits for so long anyway."""


class Headers(Protocol):
    """The headers of an answer."""

    def get(self, name: str, /) -> Any: ...


def seconds(headers: Headers, now: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait from now on; None if the server does not say it, or not in a known form.

    Args:
        headers: of the answer. Their names must be found in any case, as in http.client and requests.
        now: the wall clock, for a header that is a date.
    """
    text = (headers.get(HEADER) or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST)
    try:
        date = parsedate_to_datetime(text)
        return min(max(0.0, date.timestamp() - now()), _LONGEST)
    except (ValueError, OverflowError, OSError):
        return None


def request(waiting_seconds: float | None) -> str:
    """What the server asks for, as a part of a message; "" for nothing."""
    return "" if waiting_seconds is None else f"it asks to wait {waiting_seconds:.0f} s"

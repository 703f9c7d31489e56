"""Credentials that a source has refused, whichever source objects use them."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from controller.operator.sources import attempts
from controller.operator.sources.check import SourceVerdict

MOST_ACCOUNTS: Final = 1000
"""Refused credentials that are remembered; then the oldest are forgotten."""

Account = tuple[str, str]
"""An endpoint, and a digest of the credentials that are used there."""


class RefusedAccounts:
    """Credentials that an endpoint refuses: two sources may share an account."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: Counter[Account] = Counter()

    def is_refused(self, account: Account) -> bool:
        with self._lock:
            return self._refusals[account] >= attempts.MOST_REFUSALS

    def note(self, account: Account, verdict: SourceVerdict) -> None:
        with self._lock:
            if verdict.reason == attempts.REFUSED:
                self._refusals[account] = self._refusals.pop(account, 0) + 1
                if len(self._refusals) > MOST_ACCOUNTS:
                    del self._refusals[next(iter(self._refusals))]
            elif verdict.ready:
                del self._refusals[account]

    def forget(self, account: Account) -> None:
        with self._lock:
            del self._refusals[account]

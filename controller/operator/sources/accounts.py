"""Credentials that a source has refused, and accounts that are near their lock, for all source objects."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from controller.operator.sources import attempts
from controller.operator.sources.check import SourceVerdict

MOST_ACCOUNTS: Final = 1000
"""Refused credentials, and accounts, that are remembered; then the oldest are forgotten."""
WINDOW: Final = timedelta(minutes=3)
"""vCenter locks an account after five refusals in this time (its default lockout policy)."""
MOST_OF_NAMESPACE: Final = 2
MOST_OF_ALL: Final = 4
"""Refused log-ins for an account in `WINDOW`: from the sources of one namespace, and from all.

The first one is smaller, so that a tenant who guesses passwords does not delay the checks of another one.
"""


class Account(NamedTuple):
    """What a source logs in with."""

    endpoint: str
    credentials: str
    """A digest of the credentials, the password included."""
    name: str
    """A digest of the endpoint and the name of the account (`account_of`); empty without credentials."""


class RefusedAccounts:
    """What endpoints refuse: two sources may share an account."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._recent: dict[str, list[tuple[datetime, str]]] = {}
        """By the name of the account: time and namespace of the latest refusals."""

    def is_refused(self, account: Account) -> bool:
        """Whether these credentials were refused as often as vmferry tries them."""
        with self._lock:
            return self._refusals[account[:2]] >= attempts.MOST_REFUSALS

    def is_near_lock(self, account: Account, namespace: str, now: datetime) -> bool:
        """Whether another wrong password from this namespace could lock the account.

        Each new password counts as a new attempt for `is_refused`, but not at the source.
        """
        with self._lock:
            recent = [space for time, space in self._recent.get(account.name, ()) if now - time < WINDOW]
        return recent.count(namespace) >= MOST_OF_NAMESPACE or len(recent) >= MOST_OF_ALL

    def note(self, account: Account, verdict: SourceVerdict, namespace: str, now: datetime) -> None:
        """Count the verdict of a check of a source in `namespace`."""
        key = account[:2]
        with self._lock:
            if verdict.reason == attempts.REFUSED:
                self._refusals[key] = self._refusals.pop(key, 0) + 1
                if len(self._refusals) > MOST_ACCOUNTS:
                    del self._refusals[next(iter(self._refusals))]
                self._note_refusal(account.name, namespace, now)
            elif verdict.ready:
                del self._refusals[key]

    def forget(self, account: Account) -> None:
        """A person asks for another attempt. The lock of the account does not depend on that."""
        with self._lock:
            del self._refusals[account[:2]]

    def _note_refusal(self, name: str, namespace: str, now: datetime) -> None:
        if not name:
            return
        earlier = self._recent.pop(name, [])
        self._recent[name] = [*(one for one in earlier if now - one[0] < WINDOW), (now, namespace)]
        if len(self._recent) > MOST_ACCOUNTS:
            del self._recent[next(iter(self._recent))]

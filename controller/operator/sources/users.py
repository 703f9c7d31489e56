"""Which imports of `v2v.kubevirt.io` need which Secrets: a Secret that no import needs is not checked.

Only imports that may use a Secret count (`observe.grant`): nobody else makes the controller log in with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from controller.operator.observe.facts import Facts
from controller.operator.observe.v2v import SecretSource
from controller.operator.routing import ImportKey, SourceKey
from workflows.api.annotations import RETRY
from workflows.api.status import ImportPhase
from workflows.status.phase import has_succeeded


class SecretUsers:
    """See above. `check` is called with a Secret that a new import needs; `requeue` with an import."""

    def __init__(
        self,
        check: Callable[[SourceKey], None] = lambda _: None,
        requeue: Callable[[ImportKey], None] = lambda _: None,
    ) -> None:
        self._check = check
        self._requeue = requeue
        self._lock = threading.Lock()
        self._needs: dict[ImportKey, SecretSource] = {}
        self._users: dict[SecretSource, set[ImportKey]] = {}

    def note(self, key: ImportKey, facts: Facts) -> None:
        """Remember what the import needs now."""
        dialect = facts.dialect
        wanted = dialect.secret if dialect is not None and _needs_source(facts) else None
        if wanted is not None and facts.resolved.is_due:
            self._check(SourceKey(*wanted))
        with self._lock:
            before = self._needs.get(key)
            if before == wanted:
                return
            self._forget(key)
            if wanted is not None:
                self._needs[key] = wanted
                self._users.setdefault(wanted, set()).add(key)
        for source in (before, wanted):
            if source is not None:
                self._check(SourceKey(*source))

    def forget(self, key: ImportKey) -> None:
        """Forget a deleted import."""
        with self._lock:
            before = self._needs.get(key)
            self._forget(key)
        if before is not None:
            self._check(SourceKey(*before))

    def is_needed(self, key: SourceKey) -> bool:
        """Whether any import needs the Secret."""
        with self._lock:
            return SecretSource(*key) in self._users

    def wake(self, key: SourceKey) -> None:
        """Reconcile the imports that need the Secret: the result of its check has changed."""
        with self._lock:
            users = set(self._users.get(SecretSource(*key), ()))
        for user in users:
            self._requeue(user)

    def _forget(self, key: ImportKey) -> None:
        before = self._needs.pop(key, None)
        if before is None:
            return
        users = self._users[before]
        users.discard(key)
        if not users:
            del self._users[before]


def _needs_source(facts: Facts) -> bool:
    if facts.deletion_time or has_succeeded(facts.status):
        return False
    is_retried = RETRY in facts.annotations or facts.spec_changed
    return facts.status.import_status != ImportPhase.FAILED or is_retried

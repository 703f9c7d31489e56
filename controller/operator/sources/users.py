"""Which imports of `v2v.kubevirt.io` need which Secrets: a Secret that no import needs is not checked.

Only imports that may use a Secret count (`observe.grant`): nobody else makes the controller log in with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from controller.operator.observe.facts import Facts
from controller.operator.observe.v2v import SecretSource
from controller.operator.references import References
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
        self._needs: References[ImportKey, SecretSource] = References()

    def note(self, key: ImportKey, facts: Facts) -> None:
        """Remember what the import needs now."""
        dialect = facts.dialect
        wanted = dialect.secret if dialect is not None and _needs_source(facts) else None
        self._put(key, wanted)

    def forget(self, key: ImportKey) -> None:
        """Forget a deleted import."""
        self._put(key, None)

    def is_needed(self, key: SourceKey) -> bool:
        """Whether any import needs the Secret."""
        with self._lock:
            return SecretSource(*key) in self._needs

    def wake(self, key: SourceKey) -> None:
        """Reconcile the imports that need the Secret: the result of its check has changed."""
        with self._lock:
            users = self._needs.keys(SecretSource(*key))
        for user in users:
            self._requeue(user)

    def _put(self, key: ImportKey, wanted: SecretSource | None) -> None:
        with self._lock:
            before = self._needs.put(key, wanted)
        for source in (before, wanted):
            if source is not None and before != wanted:
                self._check(SourceKey(*source))


def _needs_source(facts: Facts) -> bool:
    if facts.deletion_time or has_succeeded(facts.status):
        return False
    is_retried = RETRY in facts.annotations or facts.spec_changed
    return facts.status.import_status != ImportPhase.FAILED or is_retried

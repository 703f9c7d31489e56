"""Reconciles one source: checks whether it can be used, and writes its status."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from pydantic import ValidationError

from controller.operator.counters import Counters
from controller.operator.events import emit
from controller.operator.observe.request import credentials_digest
from controller.operator.observe.secret import Credentials, read_secret
from controller.operator.observe.source import READY, parse_source
from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources import attempts, check
from controller.operator.sources.check import SourceVerdict
from steps.model.document import first_error
from steps.model.kinds import Object
from steps.runtime.cluster import Cluster
from workflows import texts
from workflows.accounts import place
from workflows.api.annotations import RETRY
from workflows.api.sources import Source
from workflows.api.status import SourceStatus, Verification
from workflows.plan import source_reasons

log = structlog.get_logger()

MOST_ACCOUNTS: Final = 1000
"""Refused credentials that are remembered; then the oldest are forgotten."""
CHANGE_SECONDS: Final = 30.0
"""Seconds until a change of the Secret of a source that is not ready is noticed: Secrets are not watched."""
Verify = Callable[[Source, Mapping[str, bytes], Options], SourceVerdict]

Account = tuple[str, str]
"""An endpoint, and a digest of the credentials that are used there."""


@dataclass(frozen=True)
class _Attempt:
    """What a source is verified with."""

    source: Source
    credentials: Mapping[str, bytes] = field(repr=False)
    account: Account


class SourceReconciler:
    """Verifies sources. Remembers the credentials with which each was last verified."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        verify: Verify = check.verify,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        counters: Counters | None = None,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._verify = verify
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: dict[SourceKey, tuple[str, datetime]] = {}
        self._statuses: dict[SourceKey, str] = {}
        self._accounts = RefusedAccounts()
        self._counters = counters or Counters()

    def reconcile(self, key: SourceKey) -> float | None:
        """Verify a source if that is due. Returns seconds until the next reconcile; None if deleted.

        Raises:
            StepError: where the API refuses or does not answer.
        """
        raw = self._cluster.get(key.kind, key.name, key.namespace)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            with self._lock:
                self._verified.pop(key, None)
                self._statuses.pop(key, None)
            return None
        before = SourceStatus.read(raw.get("status"))
        asked = RETRY in (raw["metadata"].get("annotations") or {})
        secret, attempt = self._read(raw)
        wait = 0.0 if asked else self._seconds_left(key, raw, before, secret)
        if wait > 0:
            return min(wait, CHANGE_SECONDS) if before.status != READY else wait
        log.info("Reconciling source", kind=key.kind.kind, name=key.name, namespace=key.namespace)
        if asked:
            if isinstance(attempt, _Attempt):
                self._accounts.forget(attempt.account)
            before = before.model_copy(update={"verification": Verification()})
            change = {"metadata": {"annotations": {RETRY: None}}}
            self._cluster.patch(key.kind, key.name, change, key.namespace)
        verdict = self._try(attempt) if isinstance(attempt, _Attempt) else attempt
        after = self._status(raw, before, verdict, secret.version)
        self._report(key, raw, before, after)
        with self._lock:
            self._statuses[key] = after.status
            self._verified[key] = (secret.version, self._clock())
        return self._options.recheck_seconds if after.status == READY else attempts.FIRST_PAUSE

    def count_by_status(self) -> Counter[str]:
        """The number of sources by status, for metrics."""
        with self._lock:
            return Counter(self._statuses.values())

    def _read(self, raw: Object) -> tuple[Credentials, _Attempt | SourceVerdict]:
        """The credentials, and the attempt that they allow; a verdict if an attempt is pointless."""
        try:
            source = parse_source(raw)
        except ValidationError as error:
            return Credentials(), _refused("Invalid", first_error(error))
        if reasons := tuple(source_reasons(source)):
            return Credentials(), _refused("Invalid", texts.message(reasons))
        secret = read_secret(self._cluster, source, self._options.namespace)
        if secret.data is None:
            return secret, _refused(secret.reason, secret.message)
        try:
            values = {name: base64.b64decode(value, validate=True) for name, value in secret.data.items()}
        except binascii.Error:
            return secret, _refused("SecretInvalid", "the Secret's data is not base64")
        return secret, _Attempt(source, values, _account(source, secret.data))

    def _seconds_left(self, key: SourceKey, raw: Object, before: SourceStatus, secret: Credentials) -> float:
        """Seconds until a source must be verified again; 0 after a change of its spec or credentials."""
        if before.observed_generation != _generation(raw) or not before.status:
            return 0.0
        now = self._clock()
        if before.status != READY:
            if secret.data is not None and attempts.is_refused(before, secret.version):
                return self._options.recheck_seconds
            return attempts.seconds_left(before, secret.version, now)
        with self._lock:
            known = self._verified.get(key)
        if known is None or known[0] != secret.version:
            return 0.0
        elapsed = (now - known[1]).total_seconds()
        return self._options.recheck_seconds - elapsed if elapsed >= 0 else 0.0  # the clock was set back

    def _try(self, attempt: _Attempt) -> SourceVerdict:
        if self._accounts.is_refused(attempt.account):
            return _refused(attempts.REFUSED, f"the source has refused these credentials; {attempts.WAITING}")
        start = time.monotonic()
        verdict = self._verify(attempt.source, attempt.credentials, self._options)
        self._counters.see_check(ready=verdict.ready, seconds=time.monotonic() - start)
        self._accounts.note(attempt.account, verdict)
        return verdict

    def _status(
        self, raw: Object, before: SourceStatus, verdict: SourceVerdict, credentials: str
    ) -> SourceStatus:
        generation = _generation(raw)
        now = self._clock()
        if verdict.ready:
            return check.status(verdict, before, generation, now, Verification())
        same = before if before.observed_generation == generation else SourceStatus()
        record = attempts.counted(same, verdict.reason, credentials, now)
        if record.refusals >= attempts.MOST_REFUSALS and attempts.WAITING not in verdict.message:
            verdict = replace(verdict, message=f"{verdict.message.rstrip('.')}. {attempts.WAITING}")
        return check.status(verdict, before, generation, now, record)

    def _report(self, key: SourceKey, raw: Object, before: SourceStatus, after: SourceStatus) -> None:
        if after == before:
            return
        self._cluster.patch_status(key.kind, key.name, after.to_document(), key.namespace)
        if (after.status, after.message) != (before.status, before.message):
            ready = after.status == READY
            message = "The source answers and accepts the credentials" if ready else after.message
            emit(self._cluster, raw, "SourceReady" if ready else "SourceNotReady", message, warning=not ready)


class RefusedAccounts:
    """Credentials that an endpoint refuses, whichever sources use them: two sources may share an account."""

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


def _account(source: Source, data: Mapping[str, str]) -> Account:
    """The account of a source; all spellings of an endpoint are one."""
    return place(source.spec.address), credentials_digest(data)


def _refused(reason: str, message: str) -> SourceVerdict:
    return SourceVerdict(ready=False, reason=reason, message=message)


def _generation(raw: Object) -> int:
    return int(raw["metadata"].get("generation") or 0)

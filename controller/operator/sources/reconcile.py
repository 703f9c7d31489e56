"""Reconciles one source: checks whether it can be used, and writes its status."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import structlog
from pydantic import ValidationError

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


class SourceReconciler:
    """Verifies sources. Remembers the credentials with which each was last verified."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        verify: Verify = check.verify,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._verify = verify
        self._clock = clock
        self._lock = threading.Lock()
        self._verified: dict[SourceKey, tuple[str, datetime]] = {}
        self._statuses: dict[SourceKey, str] = {}
        self._accounts = RefusedAccounts()

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
        source, secret, refusal = self._read(raw)
        wait = 0.0 if asked else self._seconds_left(key, raw, before, secret)
        if wait > 0:
            return min(wait, CHANGE_SECONDS) if before.status != READY else wait
        log.info("Reconciling source", kind=key.kind.kind, name=key.name, namespace=key.namespace)
        if asked:
            self._accounts.forget(source, secret)
            before = before.model_copy(update={"verification": Verification()})
            change = {"metadata": {"annotations": {RETRY: None}}}
            self._cluster.patch(key.kind, key.name, change, key.namespace)
        verdict = refusal or self._verdict(source, secret)
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

    def _read(self, raw: Object) -> tuple[Source | None, Credentials, SourceVerdict | None]:
        """The source, its credentials, and the verdict if one of them makes an attempt pointless."""
        try:
            source = parse_source(raw)
        except ValidationError as error:
            return (
                None,
                Credentials(),
                SourceVerdict(ready=False, reason="Invalid", message=first_error(error)),
            )
        if reasons := tuple(source_reasons(source)):
            message = texts.message(reasons)
            return source, Credentials(), SourceVerdict(ready=False, reason="Invalid", message=message)
        secret = read_secret(self._cluster, source, self._options.namespace)
        if secret.data is None:
            return source, secret, SourceVerdict(ready=False, reason=secret.reason, message=secret.message)
        return source, secret, None

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
        return self._options.recheck_seconds - (now - known[1]).total_seconds()

    def _verdict(self, source: Source | None, secret: Credentials) -> SourceVerdict:
        if source is None or secret.data is None:
            return SourceVerdict(ready=False, reason="Invalid")
        try:
            values = {name: base64.b64decode(value, validate=True) for name, value in secret.data.items()}
        except binascii.Error:
            return SourceVerdict(
                ready=False, reason="SecretInvalid", message="the Secret's data is not base64"
            )
        if self._accounts.is_refused(source, secret):
            message = f"the source has refused these credentials; {attempts.WAITING}"
            return SourceVerdict(ready=False, reason=attempts.REFUSED, message=message)
        verdict = self._verify(source, values, self._options)
        self._accounts.note(source, secret, verdict)
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
        self._refusals: Counter[tuple[str, str]] = Counter()

    def is_refused(self, source: Source, secret: Credentials) -> bool:
        with self._lock:
            return self._refusals[_account(source, secret)] >= attempts.MOST_REFUSALS

    def note(self, source: Source, secret: Credentials, verdict: SourceVerdict) -> None:
        with self._lock:
            if verdict.reason == attempts.REFUSED:
                account = _account(source, secret)
                self._refusals[account] = self._refusals.pop(account, 0) + 1
                if len(self._refusals) > MOST_ACCOUNTS:
                    del self._refusals[next(iter(self._refusals))]
            elif verdict.ready:
                del self._refusals[_account(source, secret)]

    def forget(self, source: Source | None, secret: Credentials) -> None:
        if source is not None and secret.data is not None:
            with self._lock:
                del self._refusals[_account(source, secret)]


def _account(source: Source, secret: Credentials) -> tuple[str, str]:
    """The endpoint as it is the same for all spellings, and a digest of the credentials."""
    parts = urlsplit(source.spec.address.strip())
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return f"{host}:{port}", credentials_digest(secret.data or {})


def _generation(raw: Object) -> int:
    return int(raw["metadata"].get("generation") or 0)

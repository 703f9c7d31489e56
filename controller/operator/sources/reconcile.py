"""Reconciles one source: checks whether it can be used, and writes its status."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import structlog
from pydantic import ValidationError

from controller.operator.events import emit
from controller.operator.observe.request import credentials_digest
from controller.operator.observe.source import READY, parse_source, read_secret
from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources import check
from controller.operator.sources.check import SourceVerdict
from steps.model.document import first_error
from steps.model.kinds import Object
from steps.runtime.cluster import Cluster
from workflows.api.resources import Source
from workflows.api.status import SourceStatus

log = structlog.get_logger()

NOT_READY_SECONDS: Final = 15.0
"""Seconds until a source that cannot be used is checked again."""
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
        wait = self._seconds_until_due(key, raw, before)
        if wait > 0:
            return wait
        log.info("Reconciling source", kind=key.kind.kind, name=key.name, namespace=key.namespace)
        after = check.status(self._verify_and_remember(key, raw), before, _generation(raw), self._clock())
        self._report(key, raw, before, after)
        with self._lock:
            self._statuses[key] = after.status
        return self._options.recheck_seconds if after.status == READY else NOT_READY_SECONDS

    def count_by_status(self) -> Counter[str]:
        """The number of sources by status, for metrics."""
        with self._lock:
            return Counter(self._statuses.values())

    def _seconds_until_due(self, key: SourceKey, raw: Object, before: SourceStatus) -> float:
        """Seconds until a source must be verified again; 0 after a change of its spec or credentials."""
        with self._lock:
            known = self._verified.get(key)
        if (
            known is None
            or before.observed_generation != _generation(raw)
            or known[0] != self._fingerprint(raw)
        ):
            return 0.0
        period = self._options.recheck_seconds if before.status == READY else NOT_READY_SECONDS
        return period - (self._clock() - known[1]).total_seconds()

    def _verify_and_remember(self, key: SourceKey, raw: Object) -> SourceVerdict:
        fingerprint = self._fingerprint(raw)
        verdict = self._verdict(raw)
        with self._lock:
            self._verified[key] = (fingerprint, self._clock())
        return verdict

    def _verdict(self, raw: Object) -> SourceVerdict:
        try:
            source = parse_source(raw)
        except ValidationError as error:
            return SourceVerdict(ready=False, reason="Invalid", message=first_error(error))
        secret, missing = read_secret(self._cluster, source)
        if secret is None:
            return SourceVerdict(ready=False, reason="SecretNotFound", message=missing)
        try:
            values = {name: base64.b64decode(value, validate=True) for name, value in secret.items()}
        except binascii.Error:
            return SourceVerdict(
                ready=False, reason="SecretInvalid", message="the Secret's data is not base64"
            )
        return self._verify(source, values, self._options)

    def _fingerprint(self, raw: Object) -> str:
        """Digest of the credentials, on which a verdict depends in addition to the source itself."""
        try:
            secret, _ = read_secret(self._cluster, parse_source(raw))
        except ValidationError:
            return ""
        return credentials_digest(secret) if secret is not None else ""

    def _report(self, key: SourceKey, raw: Object, before: SourceStatus, after: SourceStatus) -> None:
        if after == before:
            return
        self._cluster.patch_status(key.kind, key.name, after.to_document(), key.namespace)
        if (after.status, after.message) != (before.status, before.message):
            ready = after.status == READY
            message = "The source answers and accepts the credentials" if ready else after.message
            emit(self._cluster, raw, "SourceReady" if ready else "SourceNotReady", message, warning=not ready)


def _generation(raw: Object) -> int:
    return int(raw["metadata"].get("generation") or 0)

"""Reconciles one source: whether it can be used, and its status. A check pod asks the source.

A reconcile never waits for a source. The verdict is written to the status together with the uid of the pod
that it comes from, and only then the pod is deleted: a controller that is killed in between counts no attempt
twice and makes none twice.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from controller.operator.checkpods.check import Ended, Owner, Problem, account_of
from controller.operator.checkpods.runner import CheckPods
from controller.operator.counters import Counters
from controller.operator.events import emit
from controller.operator.observe.request import credentials_digest
from controller.operator.observe.secret import Credentials, read_secret
from controller.operator.observe.source import READY
from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources import attempts, check
from controller.operator.sources.accounts import Account, RefusedAccounts
from controller.operator.sources.check import SourceVerdict
from controller.operator.sources.objects import Objects, SecretObjects, SourceObjects
from controller.operator.sources.users import SecretUsers
from steps.model.contract import Exit, StepError
from steps.model.kinds import NAMESPACE, SECRET_SOURCES, Object
from steps.runtime.cluster import Cluster
from workflows import profiles, texts
from workflows.accounts import place
from workflows.api.annotations import RETRY
from workflows.api.sources import Source
from workflows.api.status import SourceStatus, Verification
from workflows.plan import source_profile_reasons, source_reasons

CHANGE_SECONDS: Final = 30.0
"""Seconds until a change of the Secret of a source that is not ready is noticed: Secrets are not watched."""
ENDING: Final = "NamespaceTerminating"
"""Reason of a source that is not checked any more; the word of the API server for such a namespace."""


@dataclass(frozen=True)
class _Attempt:
    """What a source is verified with."""

    source: Source
    credentials: Mapping[str, str] = field(repr=False)
    """Base64."""
    account: Account
    version: str
    """Of the spec and the credentials, by `_version`."""


class SourceReconciler:
    """Verifies sources. What it remembers serves the metrics and the refused accounts only."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        checks: CheckPods,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        counters: Counters | None = None,
        secrets: SecretUsers | None = None,
    ) -> None:
        self._objects = Objects(cluster)
        self._secrets = SecretObjects(cluster, options, secrets or SecretUsers())
        self._cluster = cluster
        self._options = options
        self._checks = checks
        self._clock = clock
        self._lock = threading.Lock()
        self._statuses: dict[SourceKey, str] = {}
        self._asked: dict[SourceKey, tuple[str, Account | None]] = {}
        """The version and the account of the latest check."""
        self._records: dict[SourceKey, tuple[str, Verification]] = {}
        """The uid and the latest record of each source: an older CRD does not store the record."""
        self._accounts = RefusedAccounts()
        self._counters = counters or Counters()

    def reconcile(self, key: SourceKey) -> float | None:
        """Make the next step of a source. Returns seconds until the next reconcile; None if deleted.

        Raises:
            StepError: where the API refuses or does not answer.
        """
        raw = self._of(key).read(key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            self._checks.drop(Owner(*key))
            with self._lock:
                self._statuses.pop(key, None)
                self._asked.pop(key, None)
                self._records.pop(key, None)
            return None
        before = self._with_record(key, raw)
        secret, attempt = self._read(key, raw)
        if RETRY in (raw["metadata"].get("annotations") or {}):
            before = self._forget_failures(key, raw, before, attempt)
        if not self._of(key).are_secrets:
            with self._lock:
                self._statuses[key] = before.status
        wait = self._seconds_left(raw, before, secret)
        if wait > 0:
            self._settle(key)
            return min(wait, CHANGE_SECONDS) if before.status != READY else wait
        if isinstance(attempt, SourceVerdict):
            self._settle(key)
            return self._write(key, raw, before, attempt, Ended("", _version(raw, secret.version)))
        return self._check(key, raw, before, attempt)

    def count_by_status(self) -> Counter[str]:
        """The number of sources by status, for metrics."""
        with self._lock:
            return Counter(self._statuses.values())

    def _of(self, key: SourceKey) -> SourceObjects:
        """The objects of a source, by what its kind is."""
        return self._secrets if key.kind in SECRET_SOURCES.values() else self._objects

    def _read(self, key: SourceKey, raw: Object) -> tuple[Credentials, _Attempt | SourceVerdict]:
        """The credentials, and the attempt that they allow; a verdict if an attempt is pointless."""
        found = self._of(key).source(key, raw)
        if isinstance(found, str):
            return Credentials(), _refused("Invalid", found)
        source, in_secret = found
        named = source_profile_reasons(source, self._options.settings)
        if reasons := (*source_reasons(source), *named):
            return Credentials(), _refused("Invalid", texts.message(reasons))
        secret = in_secret or read_secret(self._cluster, source, self._options.namespace)
        if secret.data is None:
            return secret, _refused(secret.reason, secret.message)
        try:
            for value in secret.data.values():
                base64.b64decode(value, validate=True)
        except binascii.Error:
            return secret, _refused("SecretInvalid", "the Secret's data is not base64")
        address = source.spec.address
        name = account_of(address, secret.data)
        account = Account(place(address), credentials_digest(secret.data), name)
        return secret, _Attempt(source, secret.data, account, _version(raw, secret.version))

    def _with_record(self, key: SourceKey, raw: Object) -> SourceStatus:
        """The status; with the record that this process remembers if the API server has not stored it."""
        status = self._of(key).status(key, raw)
        with self._lock:
            uid, record = self._records.get(key, ("", Verification()))
        if status.verification != Verification() or uid != raw["metadata"].get("uid"):
            return status
        return status.model_copy(update={"verification": record})

    def _forget_failures(
        self, key: SourceKey, raw: Object, before: SourceStatus, attempt: _Attempt | SourceVerdict
    ) -> SourceStatus:
        """A person asks for another attempt. The annotation is removed last, so that a kill loses nothing."""
        if isinstance(attempt, _Attempt):
            self._accounts.forget(attempt.account)
        kept = Verification(check=before.verification.check)  # its pod may still exist
        after = before.model_copy(update={"verification": kept})
        if after != before:
            self._store(key, raw, after)
        change = {"metadata": {"annotations": {RETRY: None}}}
        self._cluster.patch(key.kind, key.name, change, key.namespace)
        return after

    def _seconds_left(self, raw: Object, before: SourceStatus, secret: Credentials) -> float:
        """Seconds until a source must be verified again; 0 after a change of its spec or credentials."""
        if before.observed_generation != _generation(raw) or not before.status:
            return 0.0
        recheck = self._options.recheck_seconds
        if before.status != READY and secret.data is not None and attempts.is_refused(before, secret.version):
            return recheck
        return attempts.seconds_left(before, secret.version, self._clock(), recheck)

    def _check(self, key: SourceKey, raw: Object, before: SourceStatus, attempt: _Attempt) -> float:
        """Ask the check pod, and write its verdict."""
        owner, seconds = Owner(*key), self._options.verify_seconds
        if not self._checks.is_running(owner) and self._is_ending(key.namespace):
            return self._give_up(key, raw, before)
        if self._accounts.is_refused(attempt.account) and not self._checks.is_running(owner):
            self._settle(key)
            refused = f"the source has refused these credentials; {attempts.WAITING}"
            verdict = _refused(attempts.REFUSED, refused)
            return self._write(key, raw, before, verdict, Ended("", attempt.version))
        if self._would_lock(key, before, attempt) and not self._checks.is_running(owner):
            self._settle(key)
            later = Ended("", attempt.version, message=attempts.NEAR_LOCK, problem=Problem.NOT_STARTED)
            return self._write(key, raw, before, check.verdict_of(later), later)
        has_failed = before.verification.failures > 0
        settings = self._options.settings
        wanted = check.check_of(
            *(owner, attempt.source, attempt.credentials, attempt.version, seconds),
            has_failed=has_failed,
            profile=profiles.find(settings, profiles.chosen(settings, attempt.source)),
        )
        if not self._checks.is_running(owner):
            with self._lock:
                self._asked[key] = (attempt.version, attempt.account)
        ended = self._checks.ask(wanted)
        if ended is None:
            return CHANGE_SECONDS
        if ended.pod and ended.pod == before.verification.check:  # it is counted; the controller was killed
            self._checks.close(owner)
            return 0.0
        verdict = check.verdict_of(ended)
        self._counters.see_check(ready=verdict.ready, seconds=ended.seconds)
        again = self._write(key, raw, before, verdict, ended)
        self._note(key, ended, attempt)
        self._checks.close(owner, failed=not verdict.ready if verdict.is_about_the_source else None)
        return again if ended.version == attempt.version else 0.0

    def _is_ending(self, namespace: str) -> bool:
        """Whether the namespace is being deleted. Without the right to read it, that is not known."""
        try:
            found = self._cluster.get(NAMESPACE, namespace)
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            return False
        return found is not None and bool(found["metadata"].get("deletionTimestamp"))

    def _give_up(self, key: SourceKey, raw: Object, before: SourceStatus) -> float:
        """Check no source whose namespace is being deleted: nobody can use it, and its end may take long.

        Such a namespace accepts no Event. The record stays, so that writing the status is no attempt.
        """
        self._settle(key)
        message = f"namespace {key.namespace} is being deleted: this source is not checked any more"
        if before.message != message:
            verdict, record = _refused(ENDING, message), before.verification
            self._store(key, raw, check.status(verdict, before, _generation(raw), self._clock(), record))
        return self._options.recheck_seconds

    def _would_lock(self, key: SourceKey, before: SourceStatus, attempt: _Attempt) -> bool:
        """Whether a wrong password could lock the account now. Accepted credentials are no guesses."""
        generation, credentials = _parse_version(attempt.version)
        is_same = (before.observed_generation, before.verification.credentials) == (generation, credentials)
        if before.status == READY and is_same and not before.verification.failures:
            return False
        return self._accounts.is_near_lock(attempt.account, key.namespace, self._clock())

    def _settle(self, key: SourceKey) -> None:
        """Close a check that is not wanted any more, when it has ended: its log-in may have been refused."""
        owner = Owner(*key)
        if not self._checks.is_running(owner):
            self._checks.drop(owner)
            return
        ended = self._checks.result(owner, self._options.verify_seconds)
        if ended is not None:
            self._note(key, ended, None)
            self._checks.close(owner)

    def _note(self, key: SourceKey, ended: Ended, attempt: _Attempt | None) -> None:
        """Count a refusal, once, for the account with which the pod has logged in."""
        with self._lock:
            version, account = self._asked.pop(key, ("", None))
        if version != ended.version and attempt is not None and attempt.version == ended.version:
            account = attempt.account  # another process has created the pod
        elif version != ended.version:
            return
        if account is not None:
            self._accounts.note(account, check.verdict_of(ended), key.namespace, self._clock())

    def _write(
        self, key: SourceKey, raw: Object, before: SourceStatus, verdict: SourceVerdict, ended: Ended
    ) -> float:
        """Write the status after a verdict; returns the seconds until the next reconcile."""
        generation, credentials = _parse_version(ended.version)
        now = self._clock()
        is_same = before.observed_generation == generation
        if verdict.ready:
            record = attempts.succeeded(credentials, ended.pod, now)
        else:
            earlier = before if is_same else SourceStatus()
            record = attempts.failed(earlier, verdict.reason, credentials, ended.pod, now)
        if record.refusals >= attempts.MOST_REFUSALS and attempts.WAITING not in verdict.message:
            verdict = replace(verdict, message=f"{verdict.message.rstrip('.')}. {attempts.WAITING}")
        known = is_same and before.status == READY and before.verification.credentials == credentials
        if known and not verdict.is_about_the_source:
            after = before.model_copy(update={"verification": record})
            if not self._of(key).are_secrets:
                emit(self._cluster, raw, verdict.reason, verdict.message, warning=True)
        else:
            after = check.status(verdict, before, generation, now, record)
        self._report(key, raw, before, after)
        if not self._of(key).are_secrets:
            with self._lock:
                self._statuses[key] = after.status
        if after.status == READY and not record.failures:
            return self._options.recheck_seconds
        return attempts.FIRST_PAUSE

    def _report(self, key: SourceKey, raw: Object, before: SourceStatus, after: SourceStatus) -> None:
        if after == before:
            return
        self._store(key, raw, after)
        if self._of(key).are_secrets:
            return
        if (after.status, after.message) != (before.status, before.message):
            ready = after.status == READY
            message = "The source answers and accepts the credentials" if ready else after.message
            emit(self._cluster, raw, "SourceReady" if ready else "SourceNotReady", message, warning=not ready)

    def _store(self, key: SourceKey, raw: Object, after: SourceStatus) -> None:
        self._of(key).store(key, after)
        with self._lock:
            self._records[key] = str(raw["metadata"].get("uid", "")), after.verification


def _version(raw: Object, credentials: str) -> str:
    """The version of a spec and of a Secret as one text."""
    return f"{_generation(raw)}/{credentials}"


def _parse_version(version: str) -> tuple[int, str]:
    """The generation of a spec and the version of its Secret."""
    generation, _, credentials = version.partition("/")
    return int(generation) if generation.isdecimal() else 0, credentials


def _refused(reason: str, message: str) -> SourceVerdict:
    return SourceVerdict(ready=False, reason=reason, message=message)


def _generation(raw: Object) -> int:
    return int(raw["metadata"].get("generation") or 0)

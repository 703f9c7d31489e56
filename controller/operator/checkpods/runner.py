"""Runs checks in pods without waiting for them: each call makes at most one step forward.

The state of a check is its pod, which has a fixed name: a controller that starts again, or two controllers,
find the same pod and make no second attempt. A caller stores a result before it closes the check, and knows
by the pod's uid a result that it has stored already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from controller.operator.checkpods import objects, outcome
from controller.operator.checkpods.check import Check, Ended, Owner
from controller.operator.checkpods.slots import Slots, Wish
from controller.operator.options import NAME, Options
from steps.model.contract import StepError
from steps.model.kinds import CONFIG_MAP, POD, SECRET, Object
from steps.model.log_text import LINE, MOST_LINES, from_lines
from steps.runtime.cluster import Cluster, ExistsError

log = structlog.get_logger()

POLL_SECONDS: Final = 1.0
"""Seconds between two lists of the pods while checks run."""
IDLE_SECONDS: Final = 15.0
"""The same while none runs."""
UNUSED_SECONDS: Final = 120.0
"""A slot whose owner creates no pod is freed after so many seconds."""
OTHER_LINES: Final = 20
"""Lines of the log after the document, at most."""
LOG_BYTES: Final = (MOST_LINES + OTHER_LINES) * 4 * LINE


@dataclass(frozen=True)
class _Seen:
    """A pod that was seen."""

    uid: str
    version: str
    since: float


class CheckPods:
    """See above. `requeue` is called with the owner of a check that can make its next step."""

    def __init__(
        self,
        cluster: Cluster,
        options: Options,
        requeue: Callable[[Owner], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._requeue = requeue
        self._clock = clock
        self._lock = threading.Lock()
        self._slots = Slots(options.checks.at_once, options.checks.at_once_per_namespace, clock)
        self._seen: dict[Owner, _Seen] = {}
        self._complete: set[str] = set()
        """uids of pods whose Secret exists."""
        self._release: Object | None = None
        self._begun = threading.Event()

    # --- for the reconciles

    def ask(self, check: Check) -> Ended | None:
        """The result of the owner's check; None while it waits or runs. It starts when its turn has come.

        Raises:
            StepError: where the API does not answer.
        """
        if not self._take_slot(check):
            return None
        found = self._pod(check.owner)
        if found is None:
            return self._gone(check.owner) or self._begin(check)
        if found["metadata"].get("deletionTimestamp"):
            return None
        if objects.annotation(found, objects.UID) != check.uid:  # of a deleted object with the same name
            self.close(check.owner)
            self._notify([check.owner])
            return None
        ended = self._read(found, check.owner, check.seconds)
        return ended if ended is not None else self._complete_pod(check, found)

    def result(self, owner: Owner, seconds: float) -> Ended | None:
        """The result of a check that runs and is not wanted any more; None while it runs.

        Raises:
            StepError: where the API does not answer.
        """
        found = self._pod(owner)
        return self._gone(owner) if found is None else self._read(found, owner, seconds)

    def document(self, owner: Owner) -> str:
        """The packed text in the log of an ended check.

        Raises:
            StepError: CORRUPT, if there is none; where the API refuses or does not answer.
        """
        text = self._cluster.log(
            objects.name_of(owner),
            self._options.namespace,
            objects.CONTAINER,
            lines=MOST_LINES + OTHER_LINES,
            limit=LOG_BYTES,
        )
        return from_lines(text)

    def pod(self, owner: Owner) -> Object | None:
        """The pod of an owner's check; None if somebody has deleted it.

        Raises:
            StepError: where the API does not answer.
        """
        return self._pod(owner)

    def close(self, owner: Owner, *, failed: bool | None = None) -> None:
        """Delete the pod and the Secret of a check, and let the next check begin.

        `failed` is whether the source could not be used; None if the check said nothing about that.

        Raises:
            StepError: where the API does not answer; the check stays known.
        """
        name, namespace = objects.name_of(owner), self._options.namespace
        self._cluster.delete(SECRET, name, namespace)  # first: only the pod leads back to it
        self._cluster.delete(POD, name, namespace)
        with self._lock:
            seen = self._seen.pop(owner, None)
            self._complete.discard(seen.uid if seen else "")
            if failed is not None:
                self._slots.note(owner.namespace, failed=failed)
            granted = self._slots.release(owner)
        self._notify(granted)

    def drop(self, owner: Owner) -> None:
        """No check of this owner is wanted any more: as `close`, but without a request if none is known."""
        with self._lock:
            is_held = self._slots.holds(owner)
            granted = self._slots.release(owner) if self._slots.waits(owner) else []
        self._notify(granted)
        if is_held:
            self.close(owner)

    # --- for the process

    def poll(self) -> float:
        """List the pods once, and requeue the owners of those that have ended; returns seconds to the next.

        Raises:
            StepError: where the API refuses or does not answer.
        """
        found = self._cluster.find(POD, self._options.namespace, {objects.LABEL_CHECK: "true"})
        by_owner = {owner: pod for pod in found if (owner := objects.owner_of(pod)) is not None}
        due = [owner for owner, pod in by_owner.items() if self._is_due(owner, pod)]
        with self._lock:
            # Somebody has deleted the pod, or its owner has a slot and has not created it yet.
            without_pod = {owner: age for owner, age in self._slots.held().items() if owner not in by_owner}
            unused = [
                owner
                for owner, age in without_pod.items()
                if owner not in self._seen and age > UNUSED_SECONDS
            ]
            granted = [next_owner for owner in unused for next_owner in self._slots.release(owner)]
            is_idle = not self._slots.held()
        self._notify([*due, *without_pod, *granted])
        return IDLE_SECONDS if is_idle else POLL_SECONDS

    def wait(self, seconds: float) -> None:
        """Wait until the next `poll` is due: for so many seconds, or until a check begins."""
        self._begun.wait(seconds)
        self._begun.clear()

    def is_running(self, owner: Owner) -> bool:
        """Whether a pod of the owner's check is known."""
        with self._lock:
            return owner in self._seen

    def running(self) -> int:
        with self._lock:
            return len(self._slots.held())

    def waiting(self) -> int:
        with self._lock:
            return self._slots.waiting

    def oldest_seconds(self) -> float:
        """How long the check that has waited longest has waited for its turn."""
        with self._lock:
            return self._slots.oldest_seconds()

    # --- inside

    def _take_slot(self, check: Check) -> bool:
        wish = Wish(check.owner, check.account, check.has_failed)
        with self._lock:
            granted = self._slots.request(wish)
            has_slot = self._slots.holds(check.owner)
        self._notify([owner for owner in granted if owner != check.owner])
        return has_slot

    def _pod(self, owner: Owner) -> Object | None:
        return self._cluster.get(POD, objects.name_of(owner), self._options.namespace)

    def _gone(self, owner: Owner) -> Ended | None:
        """The result of a pod that somebody deleted; None if there was no pod."""
        with self._lock:
            seen = self._seen.get(owner)
        return outcome.deleted(seen.uid, seen.version) if seen else None

    def _begin(self, check: Check) -> Ended | None:
        name, namespace = objects.name_of(check.owner), self._options.namespace
        try:
            # One of an earlier pod, which the garbage collector has not deleted yet.
            self._cluster.delete(SECRET, name, namespace)
            made = self._cluster.create(objects.pod(check, self._options, self._release_object()))
        except ExistsError:
            return None
        except StepError as error:
            if not error.code.permanent:
                raise
            return outcome.not_created(check, str(error))
        self._note(check.owner, made)
        self._begun.set()
        log.info("The check of a source starts", check=str(check.owner), pod=name)
        return self._complete_pod(check, made)

    def _complete_pod(self, check: Check, found: Object) -> Ended | None:
        """Create the Secret for which the pod waits, if it is not known to exist."""
        uid = str(found["metadata"]["uid"])
        if uid in self._complete:
            return None
        try:
            self._create_secret(check, found)
        except StepError as error:
            if not error.code.permanent:
                raise
            return outcome.not_created(check, str(error))
        self._complete.add(uid)
        return None

    def _create_secret(self, check: Check, found: Object) -> None:
        wanted = objects.secret(check, self._options, found)
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        try:
            self._cluster.create(wanted)
        except ExistsError:
            existing = self._cluster.get(SECRET, name, namespace)
            if existing is not None and objects.is_owned_by(existing, found):
                return  # a controller that was killed had created it
            if existing is not None:
                self._cluster.delete(SECRET, name, namespace, uid=existing["metadata"]["uid"])
            self._cluster.create(wanted)

    def _read(self, found: Object, owner: Owner, seconds: float) -> Ended | None:
        age = self._clock() - self._note(owner, found).since
        return outcome.read(found, age, seconds, self._options.checks.start_seconds)

    def _is_due(self, owner: Owner, found: Object) -> bool:
        """Whether a pod's owner has something to do. A pod that this process did not create is adopted."""
        if found["metadata"].get("deletionTimestamp"):
            return False
        with self._lock:
            is_new = not self._slots.holds(owner)
            if is_new:
                self._slots.adopt(objects.wish_of(found, owner))
        self._note(owner, found)
        seconds = found["spec"].get("activeDeadlineSeconds", 0) - objects.START_ALLOWANCE
        return is_new or self._read(found, owner, seconds) is not None

    def _note(self, owner: Owner, found: Object) -> _Seen:
        """Remember a pod and since when it is known."""
        uid = str(found["metadata"]["uid"])
        with self._lock:
            seen = self._seen.get(owner)
            if seen is None or seen.uid != uid:
                version = objects.annotation(found, objects.VERSION)
                seen = self._seen[owner] = _Seen(uid, version, self._clock())
            return seen

    def _release_object(self) -> Object | None:
        """The chart's ConfigMap: when it is uninstalled, check pods are deleted with it."""
        if self._release is None:
            self._release = self._cluster.get(CONFIG_MAP, NAME, self._options.namespace)
        return self._release

    def _notify(self, owners: list[Owner]) -> None:
        for owner in owners:
            self._requeue(owner)

"""Lists and watches: every event becomes a key to reconcile, and nothing is decided here.

Each kind has a thread for each namespace. It reads a list in small pages and routes each object at once, so
that the size of the list does not count: tenants choose how large their objects are, and how many they make.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

import structlog
from kubernetes.watch import Watch

from controller.operator.options import Options
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    IMPORT,
    IMPORT_MAPPING,
    MIGRATION_PLAN,
    RESOURCE_MAPPING,
    SOURCES,
    V2V_IMPORT,
    WORKFLOW,
    Kind,
    Object,
)
from steps.runtime.cluster import SMALL_PAGE, Page
from steps.runtime.kubeapi import Change, ExpiredError

log = structlog.get_logger()

OnEvent = Callable[[Kind, Mapping[str, Any], bool], None]
"""Called with a kind, an object, and whether it was deleted. It must not block."""

WATCH_SECONDS: Final = (240, 300)
"""A watch ends after a time between these two, so that not all of them start at the same moment."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts, as for a missing CRD or an API server that does not answer."""
ABORT_SECONDS: Final = 0.1
_LABELS: Final = (names.LABEL_UID, names.LABEL_NAMESPACE, names.LABEL_NAME, names.LABEL_API)


class Api(Protocol):
    """What a watch needs of `steps.runtime.kubeapi.ApiCluster`."""

    def page(
        self, kind: Kind, namespace: str = "", *, label: str = "", limit: int, more: str = ""
    ) -> Page: ...

    def changes(
        self, kind: Kind, namespace: str, version: str, *, label: str = "", seconds: int, watch: Watch
    ) -> Iterator[Change]: ...


class Watched(NamedTuple):
    """The objects of a kind in a namespace; "" means all namespaces."""

    kind: Kind
    namespace: str
    label: str = ""
    """Only objects with a label of that key."""
    is_optional: bool = False
    """Whether the cluster may lack the kind: the chart can leave out its CRD."""


def watched(options: Options) -> list[Watched]:
    """Everything that the controller watches. Workflows are only in the release namespace."""
    spaces = options.namespaces or ("",)
    kinds = (V2V_IMPORT, RESOURCE_MAPPING) if options.v2v.enabled else ()
    v2v = [Watched(kind, space, is_optional=True) for kind in kinds for space in spaces]
    ours = [Watched(kind, space) for kind in (IMPORT, *SOURCES.values()) for space in spaces]
    optional = (IMPORT_MAPPING, MIGRATION_PLAN)
    mappings = [Watched(kind, space, is_optional=True) for kind in optional for space in spaces]
    return [*ours, *mappings, *v2v, Watched(WORKFLOW, options.namespace, names.LABEL_UID)]


class Watches:
    """The threads that list and watch."""

    def __init__(self, connect: Callable[[], Api], options: Options, on_event: OnEvent) -> None:
        self._stop = threading.Event()
        self._watches = [_Watch(connect, one, on_event, self._stop) for one in watched(options)]

    def start(self) -> None:
        for one in self._watches:
            one.thread.start()

    def close(self) -> None:
        """End all threads soon; see `join`."""
        self._stop.set()
        for one in self._watches:
            one.abort()

    def join(self, deadline: float) -> None:
        """Wait until all threads have ended, or until `deadline` (monotonic clock)."""
        for one in self._watches:
            # A watch may have connected after `abort` has looked for a connection.
            while one.thread.is_alive() and time.monotonic() < deadline:
                one.abort()
                one.thread.join(ABORT_SECONDS)


class _Watch:
    """List, then watch, and again after an error."""

    def __init__(
        self, connect: Callable[[], Api], of: Watched, on_event: OnEvent, stop: threading.Event
    ) -> None:
        self._connect = connect
        self._of = of
        self._on_event = on_event
        self._stop = stop
        self._stream = Watch()  # type: ignore[no-untyped-call]
        self._known: dict[tuple[str, str], Object] = {}
        """What `on_event` needs of an object that was deleted while nobody watched, by namespace and name."""
        name = f"watch-{of.kind.plural}{'-' if of.namespace else ''}{of.namespace}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def abort(self) -> None:
        self._stream.stop()  # type: ignore[no-untyped-call]

    def _run(self) -> None:
        api, pause = self._connect(), FIRST_PAUSE
        while not self._stop.is_set():
            try:
                version = self._list(api)
                while not self._stop.is_set():
                    version = self._follow(api, version)
                    pause = FIRST_PAUSE
            except StepError as error:
                is_missing = self._of.is_optional and error.code is Exit.NOT_FOUND
                is_normal = is_missing or isinstance(error, ExpiredError)
                pause = self._wait(pause, str(error), is_normal=is_normal)
            except Exception as error:
                log.exception("internal error in vmferry")
                pause = self._wait(pause, str(error), is_normal=True)

    def _wait(self, pause: float, why: str, *, is_normal: bool = False) -> float:
        """Wait before the next attempt; returns the pause before the one after that."""
        if not self._stop.is_set():
            write = log.debug if is_normal else log.warning
            write(f"{why}; listing again in {pause:g} s", kind=self._of.kind.kind)
            self._stop.wait(pause)
        return min(2 * pause, LONGEST_PAUSE)

    def _list(self, api: Api) -> str:
        """Route all objects, also those that have disappeared; returns the version to watch from."""
        gone, version, more = set(self._known), "", ""
        while not self._stop.is_set():
            page = api.page(
                self._of.kind, self._of.namespace, label=self._of.label, limit=SMALL_PAGE, more=more
            )
            version, more = version or page.version, page.more
            for resource in page.items:
                self._route(resource, is_deleted=False)
                gone.discard(_key(resource))
            if not more:
                break
        for key in gone if not more else ():
            self._route(self._known[key], is_deleted=True)
        return version

    def _follow(self, api: Api, version: str) -> str:
        """Route what happens after `version`; returns the version from which to continue."""
        of, seconds = self._of, random.randint(*WATCH_SECONDS)  # noqa: S311 - no secret
        for change in api.changes(
            of.kind, of.namespace, version, label=of.label, seconds=seconds, watch=self._stream
        ):
            if self._stop.is_set():
                break
            if change.type != "BOOKMARK":
                self._route(change.object, is_deleted=change.type == "DELETED")
            version = change.object["metadata"]["resourceVersion"]
        return version

    def _route(self, resource: Object, *, is_deleted: bool) -> None:
        key = _key(resource)
        if is_deleted:
            self._known.pop(key, None)
        else:
            self._known[key] = _outline(resource)
        try:
            self._on_event(self._of.kind, resource, is_deleted)
        except Exception:  # the other objects must be reconciled all the same
            log.exception("internal error in vmferry", kind=self._of.kind.kind, object="/".join(key))


def _key(resource: Object) -> tuple[str, str]:
    metadata = resource["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _outline(resource: Object) -> Object:
    """The object as `on_event` needs it after its deletion: small, whatever its size was."""
    metadata = resource["metadata"]
    labels = metadata.get("labels") or {}
    kept = {name: metadata.get(name, "") for name in ("namespace", "name", "uid")}
    return {"metadata": {**kept, "labels": {name: labels[name] for name in _LABELS if name in labels}}}

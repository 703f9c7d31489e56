"""The base of every stand-in: it watches, and brings objects one step closer to their spec.

A controller is one thread. Any change wakes it; it reconciles all of its objects, and requeues each for the
time that it returns. It writes whole objects with the resource version that it read, so a decision on stale
data is refused.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import urllib3

from steps.model.kinds import Kind, Object
from tests.real.standins.api import Api, ApiError

log = logging.getLogger("standins")

AGAIN: Final = 0.2
"""Seconds to wait after a lost race."""
AWAY: Final = 1.0
"""Seconds to wait after another failure, such as an unreachable API server."""
CALM: Final = 30.0
"""Seconds after which a controller reconciles even without a change."""

Key = tuple[str, str]


class Store:
    """The objects of a kind, kept up to date by a watch."""

    def __init__(self, api: Api, kind: Kind, wake: Wake) -> None:
        self.kind = kind
        self.synced = threading.Event()
        self._api = api
        self._wake = wake
        self._objects: dict[Key, Object] = {}

    def all(self) -> list[Object]:
        return [copy.deepcopy(one) for one in list(self._objects.values())]

    def get(self, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self._objects.get((namespace, name)))

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._follow()
            except (ApiError, urllib3.exceptions.HTTPError, OSError) as error:
                if not (isinstance(error, ApiError) and error.status == 410):
                    log.warning("watch of %s: %s", self.kind.plural, error)
                    stop.wait(AWAY)

    def _follow(self) -> None:
        found, version = self._api.list(self.kind)
        self._objects = {key(one): one for one in found}
        self.synced.set()
        self._wake.all()
        for event, thing in self._api.watch(self.kind, version):
            if event == "DELETED":
                self._objects.pop(key(thing), None)
            elif event != "BOOKMARK":
                self._objects[key(thing)] = thing
            self._wake.all()


class Wake:
    """Wakes all threads that wait for changes."""

    def __init__(self) -> None:
        self._sleepers: list[threading.Event] = []

    def sleeper(self) -> threading.Event:
        event = threading.Event()
        self._sleepers.append(event)
        return event

    def all(self) -> None:
        for event in self._sleepers:
            event.set()


class Cluster:
    """Shared by the controllers: the API and a store per kind."""

    def __init__(self, api: Api, kinds: Iterable[Kind]) -> None:
        self.api = api
        self.wake = Wake()
        self.stop = threading.Event()
        self._stores = {kind: Store(api, kind, self.wake) for kind in kinds}

    def __getitem__(self, kind: Kind) -> Store:
        return self._stores[kind]

    def start(self) -> None:
        """Returns when every store has been filled once."""
        for store in self._stores.values():
            threading.Thread(target=store.run, args=(self.stop,), daemon=True).start()
        for store in self._stores.values():
            if not store.synced.wait(60):
                raise TimeoutError(f"no list of {store.kind.plural} within 60 s")


class Controller:
    """Reconciles the objects of one kind, one at a time, in its own thread."""

    kind: Kind

    def __init__(self, cluster: Cluster) -> None:
        self.name = type(self).__name__
        self.cluster = cluster
        self.api = cluster.api
        self._woken = cluster.wake.sleeper()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def one(self, thing: Object) -> float | None:
        """Reconcile one object; returns the seconds to the next reconcile, or None to wait for a change."""
        raise NotImplementedError

    def gone(self, there: set[Key]) -> None:
        """Called with the keys of all existing objects, before each round."""

    def end(self) -> None:
        """Release what is outside the cluster."""

    def _run(self) -> None:
        while not self.cluster.stop.is_set():
            self._woken.clear()
            things = self.cluster[self.kind].all()
            self.gone({key(one) for one in things})
            waits = [self._guarded(one) for one in things]
            self._woken.wait(min([wait for wait in waits if wait is not None], default=CALM))
        self.end()

    def _guarded(self, thing: Object) -> float | None:
        try:
            return self.one(thing)
        except ApiError as error:
            if error.reason in ("Conflict", "AlreadyExists", "NotFound"):
                return AGAIN
            log.warning("%s %s: %s", self.name, thing["metadata"]["name"], error)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            log.warning("%s %s: %s", self.name, thing["metadata"]["name"], error)
        except Exception:
            log.exception("%s %s", self.name, thing["metadata"]["name"])
        return AWAY

    def finalize(self, thing: Object, finalizer: str) -> bool:
        """Add the finalizer; returns whether it was already there."""
        there = thing["metadata"].setdefault("finalizers", [])
        if finalizer in there:
            return True
        there.append(finalizer)
        self.api.update(thing)
        return False

    def let_go(self, thing: Object, finalizer: str) -> None:
        there = thing["metadata"].get("finalizers", [])
        if finalizer in there:
            there.remove(finalizer)
            self.api.update(thing)


def key(thing: Object) -> Key:
    return thing["metadata"].get("namespace", ""), thing["metadata"]["name"]


def deleting(thing: Object) -> bool:
    return "deletionTimestamp" in thing["metadata"]


def now() -> str:
    """In Go's time.RFC3339, as in a container, whose time zone is UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(when: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type, or an empty one."""
    return next((one for one in status.get("conditions") or [] if one["type"] == kind), {})


def owner(thing: Object, *, controller: bool = True) -> Object:
    metadata = thing["metadata"]
    named = {"apiVersion": thing["apiVersion"], "kind": thing["kind"]}
    more = {"controller": True} if controller else {}
    return {**named, "name": metadata["name"], "uid": metadata["uid"], "blockOwnerDeletion": True, **more}

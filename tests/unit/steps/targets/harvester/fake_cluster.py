"""A Kubernetes API in memory that behaves like the real one, and refuses kinds it was not given.

It knows: uids, resource versions and their conflicts, duplicate creation, merge patch, server-side apply by
field manager (a field that its manager leaves out is removed), finalizers, background garbage collection by
owner uid, owners that do not exist, quotas, rights by verb and resource. Each request is a `Call`; a test may
lose any request or any answer.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, Final, TypeVar

from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    IMPORT,
    IMPORTS,
    KINDS,
    MIGRATION_PLAN,
    POD,
    SOURCES,
    Kind,
    Object,
    kind_of,
)
from steps.runtime.cluster import Cluster, InvalidNameError, Page, check_names, failure

POD_LOG: Final = Kind("v1", "log of Pod", "pods/log")
Key = tuple[Kind, str, str]
T = TypeVar("T")
SCALARS: Final = frozenset({str, int, float, bool, NoneType})
READ: Final = ("get", "list")
SUBRESOURCE: Final = (*IMPORTS.values(), MIGRATION_PLAN, *SOURCES.values())
"""Kinds whose status an ordinary write does not change."""


@dataclass(frozen=True)
class Call:
    """A request: its verb as in a Role, its kind, and the object's name."""

    verb: str
    kind: Kind
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.kind.resource} {self.namespace}/{self.name}"


@dataclass
class Fault:
    """Loses the request number `at` (from 0) before it has an effect, or its answer."""

    at: int
    answer_only: bool = False


@dataclass
class FakeCluster(Cluster):
    """See above. `kinds` are the installed kinds, `namespaces` the existing namespaces."""

    kinds: set[Kind] = field(default_factory=lambda: set(KINDS.values()))
    namespaces: set[str] = field(default_factory=lambda: {"default", "vmferry", "longhorn-system"})
    denied: set[tuple[str, Kind]] = field(default_factory=set)
    quota: dict[tuple[str, Kind], int] = field(default_factory=dict)
    fault: Fault | None = None
    calls: list[Call] = field(default_factory=list)
    admission: list[Callable[[str, Object], None]] = field(default_factory=list)
    """Webhooks: called with "create", "update" or "delete" and the object; they may change or refuse it."""
    dry_run: bool = False
    """Whether the current request is a dry run."""
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    """Logs by namespace and name of the pod."""
    contents: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    """The bytes of subresources by namespace, name and part; others do not exist."""
    reconcilers: list[Callable[[FakeCluster], None]] = field(default_factory=list)
    """Controllers: called before every read."""

    def __post_init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._of_kind: dict[Kind, dict[Key, Object]] = {}  # the same objects: controllers list at every read
        self._applied: dict[Key, Object] = {}
        self._counter = itertools.count(1)

    # --- the protocol

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        try:
            check_names("get", kind, namespace, name)
        except InvalidNameError:
            return None
        with _Request(self, Call("get", kind, namespace, name)):
            return _copied(self._objects.get((kind, namespace, name)))

    def find(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[Object]:
        check_names("list", kind, namespace, labels=labels)
        with _Request(self, Call("list", kind, namespace)) as request:
            if kind not in self.kinds:
                raise request.failure(404, "NotFound", "the server could not find the requested resource")
            wanted = (labels or {}).items()
            return [_copied(one) for one in self.all(kind, namespace) if wanted <= _labels(one).items()]

    def page(self, kind: Kind, namespace: str = "", *, label: str = "", limit: int, more: str = "") -> Page:
        """The token of the next page is the number of objects before it, as "3"."""
        found = [one for one in self.find(kind, namespace) if not label or label in _labels(one)]
        first = int(more or 0)
        end = first + limit
        return Page(tuple(found[first:end]), str(end) if end < len(found) else "", "1")

    def outlines(self, kind: Kind, namespace: str, label: str) -> Iterator[Object]:
        for one in self.find(kind, namespace):
            if label in _labels(one):
                yield {key: one[key] for key in ("apiVersion", "kind", "metadata")}

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        metadata = manifest["metadata"]
        kind, namespace, name = kind_of(manifest), metadata.get("namespace", ""), metadata["name"]
        with _Request(self, Call("create", kind, namespace, name)) as request:
            request.must_have_place()
            if (kind, namespace, name) in self._objects:
                raise request.failure(409, "AlreadyExists", f'{kind.resource} "{name}" already exists')
            return self._store_new(request, manifest, dry_run=dry_run)

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        metadata = manifest["metadata"]
        kind, namespace, name = kind_of(manifest), metadata.get("namespace", ""), metadata["name"]
        with _Request(self, Call("patch", kind, namespace, name)) as request:
            request.must_have_place()
            key = (kind, namespace, name)
            there = self._objects.get(key)
            before = self._applied.get(key, {})
            if not dry_run:
                self._applied[key] = _copied(manifest)
            if there is None:
                return self._store_new(request, manifest, dry_run=dry_run)
            merged = _merged(_without(there, before, manifest), manifest)
            return self._judged("update", merged) if dry_run else self._store(key, merged)

    def patch(self, kind: Kind, name: str, change: Object, namespace: str = "") -> Object | None:
        with _Request(self, Call("patch", kind, namespace, name)) as request:
            there = self._objects.get((kind, namespace, name))
            if there is None:
                return None
            version = change.get("metadata", {}).get("resourceVersion")
            if version not in (None, there["metadata"]["resourceVersion"]):
                words = "Operation cannot be fulfilled: the object has been modified"
                raise request.failure(409, "Conflict", words)
            mine = {key: part for key, part in change.items() if key != "status" or kind not in SUBRESOURCE}
            return self._store((kind, namespace, name), _merged(there, mine))

    def serves(self, group: str) -> bool:
        return any(kind.group == group for kind in self.kinds)

    def patch_status(self, kind: Kind, name: str, status: Object, namespace: str = "") -> Object | None:
        with _Request(self, Call("patch", kind, namespace, f"{name}/status")):
            there = self._objects.get((kind, namespace, name))
            if there is None:
                return None
            return self._store((kind, namespace, name), _merged(there, {"status": status}))

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        with _Request(self, Call("delete", kind, namespace, name)):
            there = self._objects.get((kind, namespace, name))
            if there is not None and uid in ("", there["metadata"]["uid"]):
                self._admit("delete", there)
                self._remove((kind, namespace, name))

    def log(self, pod: str, namespace: str, container: str, *, lines: int, limit: int) -> str:
        with _Request(self, Call("get", POD_LOG, namespace, pod)) as request:
            there = self._objects.get((POD, namespace, pod))
            if there is None:
                raise request.failure(404, "NotFound", f'pods "{pod}" not found')
            assert container in [one["name"] for one in there["spec"]["containers"]]
            tail = self.logs.get((namespace, pod), "").splitlines(keepends=True)[-lines:]
            return "".join(tail).encode()[:limit].decode(errors="replace")

    def content(
        self, kind: Kind, name: str, namespace: str, part: str, *, limit: int, port: int = 0
    ) -> bytes:
        of_part = kind._replace(plural=f"{kind.plural}/{part.partition('/')[0]}")
        with _Request(self, Call("get", of_part, namespace, name)) as request:
            found = self.contents.get((namespace, f"{name}:{port}" if port else name, part))
            if found is None:
                raise request.failure(404, "NotFound", f'{kind.resource} "{name}" not found')
            return found[:limit]

    # --- for tests, and for the stand-ins of controllers

    def put(self, manifest: Object) -> Object:
        """Store an object, of any owner; a uid that it has is kept."""
        metadata = manifest["metadata"]
        key = (kind_of(manifest), metadata.get("namespace", ""), metadata["name"])
        fresh = _copied(manifest)
        fresh["metadata"].setdefault("uid", f"uid-{next(self._counter)}")
        fresh["metadata"].setdefault("creationTimestamp", self._now())
        return self._store(key, fresh)

    def all(self, kind: Kind, namespace: str = "") -> list[Object]:
        found = sorted(self._of_kind.get(kind, {}).items())
        return [one for (_, where, _), one in found if where == namespace or not namespace]

    def peek(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The stored object itself, without a request: a controller may change it."""
        return self._objects.get((kind, namespace, name))

    def drop(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Delete as a user does: finalizers and garbage collection apply, rights do not."""
        self._remove((kind, namespace, name))

    def finish(self, kind: Kind, name: str, namespace: str = "") -> None:
        """Remove the finalizers, as their controllers do."""
        there = self._objects[kind, namespace, name]
        there["metadata"]["finalizers"] = []
        if "deletionTimestamp" in there["metadata"]:
            self._remove((kind, namespace, name))

    def writes(self) -> list[str]:
        return [str(call) for call in self.calls if call.verb not in READ]

    # --- inside

    def _store_new(self, request: _Request, manifest: Object, *, dry_run: bool) -> Object:
        call = request.call
        limit = self.quota.get((call.namespace, call.kind))
        if limit is not None and len(self.all(call.kind, call.namespace)) >= limit:
            words = f'{call.kind.plural} "{call.name}" is forbidden: exceeded quota: small, requested: 1'
            raise request.failure(403, "Forbidden", words)
        if dry_run:
            return self._judged("create", manifest)
        made = _copied(manifest)
        self._admit("create", made)
        return _copied(self.put(made))

    def _now(self) -> str:
        """Each write advances the clock by a second."""
        now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._counter))
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _judged(self, verb: str, thing: Object) -> Object:
        """The answer to a dry run: the object as the webhooks change it."""
        made = _copied(thing)
        self.dry_run = True
        try:
            self._admit(verb, made)
        finally:
            self.dry_run = False
        return made

    def _store(self, key: Key, thing: Object) -> Object:
        if key in self._objects:
            self._admit("update", thing)
        thing["metadata"]["resourceVersion"] = str(next(self._counter))
        self._objects[key] = thing
        self._of_kind.setdefault(key[0], {})[key] = thing
        metadata = thing["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._remove(key)
        self._collect()
        return _copied(thing)

    def _admit(self, verb: str, thing: Object) -> None:
        for webhook in self.admission:
            webhook(verb, thing)

    def _remove(self, key: Key) -> None:
        there = self._objects.get(key)
        if there is None:
            return
        if there["metadata"].get("finalizers"):
            there["metadata"].setdefault("deletionTimestamp", "now")
            return
        del self._objects[key], self._of_kind[key[0]][key]
        self._applied.pop(key, None)
        self._collect()

    def _collect(self) -> None:
        """Background garbage collection: objects whose owners are all deleted are deleted."""
        uids = {one["metadata"]["uid"] for one in self._objects.values()}
        for key, one in list(self._objects.items()):
            owners = one["metadata"].get("ownerReferences") or []
            if owners and not any(owner["uid"] in uids for owner in owners) and key in self._objects:
                self._remove(key)


class _Request:
    """One request: counted, lost if planned, refused without the right or the namespace."""

    def __init__(self, cluster: FakeCluster, call: Call) -> None:
        self.cluster = cluster
        self.call = call
        self._number = len(cluster.calls)

    def __enter__(self) -> _Request:
        check_names(
            self.call.verb, self.call.kind, self.call.namespace, self.call.name.removesuffix("/status")
        )
        self.cluster.calls.append(self.call)
        self._lose(answer_only=False)
        if (self.call.verb, self.call.kind) in self.cluster.denied:
            user = f'User "sa" cannot {self.call.verb} resource "{self.call.kind.plural}"'
            raise self.failure(403, "Forbidden", f"{self.call.kind.resource} is forbidden: {user}")
        if self.call.verb in READ:
            for reconcile in self.cluster.reconcilers:
                reconcile(self.cluster)
        return self

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._lose(answer_only=True)

    def must_have_place(self) -> None:
        call = self.call
        if call.kind not in self.cluster.kinds:
            raise self.failure(404, "NotFound", "the server could not find the requested resource")
        if call.kind.namespaced and call.namespace not in self.cluster.namespaces:
            raise self.failure(404, "NotFound", f'namespaces "{call.namespace}" not found')

    def failure(self, status: int, reason: str, message: str) -> StepError:
        body = f'{{"reason": "{reason}", "message": {_quoted(message)}}}'
        where = f"{self.call.namespace}/{self.call.name}"
        return failure(self.call.verb, self.call.kind, where, status, body)

    def _lose(self, *, answer_only: bool) -> None:
        fault = self.cluster.fault
        if fault is not None and (fault.at, fault.answer_only) == (self._number, answer_only):
            raise KilledError(f"lost: {self.call}")


class KilledError(Exception):
    """The process died at this request."""


def refused(message: str, code: Exit = Exit.INVALID) -> StepError:
    """The answer of a webhook."""
    return StepError(code, "admission webhook denied the request", message)


def an_import(name: str = "web", namespace: str = "default", uid: str = "6f1d") -> Object:
    return {
        "apiVersion": IMPORT.api_version,
        "kind": IMPORT.kind,
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
    }


def _labels(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("labels") or {}


def _copied(value: T) -> T:
    """A copy of a document; much faster than copy.deepcopy, which takes most of a test's time."""
    made: Any = value
    kind = type(value)
    if kind is dict:
        of: Any = value
        made = {key: part if type(part) in SCALARS else _copied(part) for key, part in of.items()}
    elif kind is list:
        each: Any = value
        made = [part if type(part) in SCALARS else _copied(part) for part in each]
    elif kind not in SCALARS:
        made = copy.deepcopy(value)
    found: T = made
    return found


def _merged(thing: Any, change: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(change, dict):
        return _copied(change)
    merged = dict(thing) if isinstance(thing, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _without(thing: Any, before: Any, now: Any) -> Any:
    """The rest, after fields that were applied before are not applied now."""
    if not isinstance(thing, dict) or not isinstance(before, dict):
        return thing
    gone: Iterable[str] = (key for key in before if not isinstance(now, dict) or key not in now)
    kept = {key: value for key, value in thing.items() if key not in set(gone)}
    return {key: _without(value, before.get(key), (now or {}).get(key)) for key, value in kept.items()}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

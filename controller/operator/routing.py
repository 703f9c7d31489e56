"""Maps an event to the imports, plans and sources that must be reconciled.

It remembers which import refers to which source and plan, and what of each source has been seen.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from controller.operator.observe.fields import mapping, rows, text
from controller.operator.observe.source import KINDS
from controller.operator.references import References
from controller.operator.workqueue import Queue
from steps.model import names
from steps.model.kinds import (
    IMPORT,
    IMPORT_MAPPING,
    MIGRATION_PLAN,
    RESOURCE_MAPPING,
    V2V_GROUP,
    V2V_IMPORT,
    WORKFLOW,
    Kind,
)

PLAN_SECONDS: Final = 3.0
"""Seconds after an event of an import until its plan is reconciled: many imports have events at a time."""


class ImportKey(NamedTuple):
    """An import, or a plan of imports."""

    namespace: str
    name: str
    kind: Kind = IMPORT
    """Of its dialect."""


class SourceKey(NamedTuple):
    """A source."""

    kind: Kind
    namespace: str
    name: str


class EventRouter:
    """Turns observed objects into keys that are due."""

    def __init__(self, imports: Queue[ImportKey], sources: Queue[SourceKey]) -> None:
        self._imports = imports
        self._sources = sources
        self._lock = threading.Lock()
        self._by_uid: dict[str, ImportKey] = {}
        self._source_of: References[ImportKey, SourceKey] = References()
        self._seen: dict[SourceKey, int] = {}
        self._mapping_of: References[ImportKey, ImportKey] = References()
        """Imports and the mappings that they use, of either dialect, which have keys of the same form."""
        self._plan_of: References[ImportKey, ImportKey] = References()
        """Imports and the plans that own them."""

    def route(self, kind: Kind, resource: Mapping[str, Any], is_deleted: bool) -> None:
        """An object was added, changed or deleted."""
        metadata = resource["metadata"]
        key = (str(metadata.get("namespace", "")), str(metadata["name"]))
        if kind == WORKFLOW:
            self._workflow(metadata.get("labels") or {})
        elif kind == IMPORT:
            self._import(ImportKey(*key), resource, is_deleted)
        elif kind == V2V_IMPORT:
            self._v2v_import(ImportKey(*key, V2V_IMPORT), resource, is_deleted)
        elif kind == MIGRATION_PLAN:
            self._plan(ImportKey(*key, MIGRATION_PLAN), resource, is_deleted)
        elif kind in (RESOURCE_MAPPING, IMPORT_MAPPING):
            self._mapping(ImportKey(*key, kind))
        else:
            self._source(SourceKey(kind, *key), resource, is_deleted)

    def _workflow(self, labels: Mapping[str, str]) -> None:
        """By uid if the import was seen; else by the labels, whose values may be truncated."""
        with self._lock:
            key = self._by_uid.get(labels.get(names.LABEL_UID, ""))
        place = (labels.get(names.LABEL_NAMESPACE, ""), labels.get(names.LABEL_NAME, ""))
        kind = V2V_IMPORT if labels.get(names.LABEL_API) == V2V_GROUP else IMPORT
        if key or all(place):
            self._imports.add(key or ImportKey(*place, kind))

    def _import(self, key: ImportKey, resource: Mapping[str, Any], is_deleted: bool) -> None:
        uid = names.label_value(str(resource["metadata"]["uid"]))
        source = None if is_deleted else _source_of(resource, key[0])
        mapping_key = None if is_deleted else _mapping_of(resource, key.namespace, IMPORT_MAPPING)
        plan = None if is_deleted else _plan_of(resource, key.namespace)
        with self._lock:
            before = self._source_of.put(key, source)
            self._mapping_of.put(key, mapping_key)
            plan_before = self._plan_of.put(key, plan)
            self._note_uid(uid, None if is_deleted else key)
        self._imports.add(key)
        for one in {plan, plan_before} - {None}:
            self._add_plan(one)
        if source and source != before:
            self._sources.add(source)

    def _add_plan(self, key: ImportKey | None) -> None:
        if key is not None:
            self._imports.add(key, PLAN_SECONDS)

    def _plan(self, key: ImportKey, resource: Mapping[str, Any], is_deleted: bool) -> None:
        """A plan uses its source and the mapping of its template as an import does."""
        spec = mapping(resource.get("spec"))
        source = None if is_deleted else _source_of(resource, key.namespace)
        template = {"spec": mapping(spec.get("template"))}
        mapping_key = None if is_deleted else _mapping_of(template, key.namespace, IMPORT_MAPPING)
        with self._lock:
            before = self._source_of.put(key, source)
            self._mapping_of.put(key, mapping_key)
        self._imports.add(key)
        if source and source != before:
            self._sources.add(source)

    def _v2v_import(self, key: ImportKey, resource: Mapping[str, Any], is_deleted: bool) -> None:
        """Its source has no object. Its ResourceMapping has."""
        uid = names.label_value(str(resource["metadata"]["uid"]))
        mapping_key = None if is_deleted else _mapping_of(resource, key.namespace, RESOURCE_MAPPING)
        with self._lock:
            self._mapping_of.put(key, mapping_key)
            self._note_uid(uid, None if is_deleted else key)
        self._imports.add(key)

    def _note_uid(self, uid: str, key: ImportKey | None) -> None:
        self._by_uid.pop(uid, None)
        if key is not None:
            self._by_uid[uid] = key

    def _mapping(self, mapping_key: ImportKey) -> None:
        with self._lock:
            keys = self._mapping_of.keys(mapping_key)
        for key in keys:
            self._imports.add(key)

    def _source(self, source: SourceKey, resource: Mapping[str, Any], is_deleted: bool) -> None:
        seen = None if is_deleted else _news(resource)
        with self._lock:
            if seen is not None and self._seen.get(source) == seen:
                return  # the status records one more attempt: every few minutes, for each source
            self._seen.pop(source, None)
            if seen is not None:
                self._seen[source] = seen
            keys = self._source_of.keys(source)
        if not is_deleted:
            self._sources.add(source)
        for key in keys:
            self._imports.add(key)


def _news(resource: Mapping[str, Any]) -> int:
    """A hash of what concerns a reconcile; the record of attempts in a source's status does not."""
    metadata, status = resource["metadata"], mapping(resource.get("status"))
    of_object = [metadata.get(name) for name in ("uid", "generation", "annotations", "deletionTimestamp")]
    return hash(repr([of_object, [status.get(name) for name in ("status", "message", "observedGeneration")]]))


_MAPPING_FIELDS: Final = {RESOURCE_MAPPING: "resourceMapping", IMPORT_MAPPING: "importMapping"}


def _mapping_of(resource: Mapping[str, Any], namespace: str, kind: Kind) -> ImportKey | None:
    reference = mapping(mapping(resource.get("spec")).get(_MAPPING_FIELDS[kind]))
    name = reference.get("name")
    if not name:
        return None
    return ImportKey(str(reference.get("namespace") or namespace), str(name), kind)


def _plan_of(resource: Mapping[str, Any], namespace: str) -> ImportKey | None:
    """The plan that owns an import. Anybody can write an owner, so it is only a hint."""
    owners = rows(mapping(resource.get("metadata")).get("ownerReferences"))
    kind = MIGRATION_PLAN.kind
    name = next((text(owner.get("name")) for owner in owners if owner.get("kind") == kind), "")
    return ImportKey(namespace, name, MIGRATION_PLAN) if name else None


def _source_of(resource: Mapping[str, Any], namespace: str) -> SourceKey | None:
    spec = resource.get("spec")
    reference = (spec.get("sourceCluster") if isinstance(spec, Mapping) else None) or {}
    kind = KINDS.get(str(reference.get("kind") or "").lower())
    if kind is None or not reference.get("name"):
        return None
    return SourceKey(kind, str(reference.get("namespace") or namespace), str(reference["name"]))

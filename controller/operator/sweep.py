"""Leftovers of deleted imports: runs of imports that had ended, or whose finalizer was removed."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from steps.model import names
from steps.model.kinds import CONFIG_MAP, IMPORT
from steps.runtime.cluster import Cluster

log = structlog.get_logger()


def left_by(namespace: str, name: str) -> dict[str, str]:
    """The labels of everything that belongs to imports of that name, for `sweep`."""
    return {names.LABEL_NAMESPACE: namespace, names.LABEL_NAME: names.label_value(name)}


def sweep(cluster: Cluster, namespace: str, labels: Mapping[str, str] | None = None) -> list[str]:
    """Delete the requests of deleted imports, and with them all of their runs; returns the names.

    With `labels`, only the requests that have them.

    An import is deleted when its name does not exist or has another uid: only names are reused.

    Raises:
        StepError: where the API refuses or does not answer.
    """
    removed = []
    for page in cluster.outlines(CONFIG_MAP, namespace, names.LABEL_UID):
        metadata = page["metadata"]
        marks = metadata.get("labels") or {}
        if metadata.get("ownerReferences") or not (labels or {}).items() <= marks.items():
            continue
        if not _lives(cluster, marks):
            cluster.delete(CONFIG_MAP, metadata["name"], namespace, uid=metadata["uid"])
            removed.append(metadata["name"])
    if removed:
        log.warning(f"deleted leftovers of deleted imports: {', '.join(removed)}")
    return removed


def _lives(cluster: Cluster, labels: dict[str, str]) -> bool:
    name, namespace = labels.get(names.LABEL_NAME, ""), labels.get(names.LABEL_NAMESPACE, "")
    found = cluster.get(IMPORT, name, namespace)
    if found is not None:
        return names.label_value(found["metadata"]["uid"]) == labels[names.LABEL_UID]
    # A label truncates a long name: then the uids of all imports must be compared.
    everyone = (one["metadata"]["uid"] for one in cluster.find(IMPORT, namespace))
    return labels[names.LABEL_UID] in map(names.label_value, everyone)

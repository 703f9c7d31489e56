"""What belongs to imports that are gone: runs of imports that were done, or whose finalizer was taken off."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from steps.model import names
from steps.model.kinds import CONFIG_MAP, IMPORT
from steps.runtime.cluster import Cluster

log = structlog.get_logger()


def left_by(namespace: str, name: str) -> dict[str, str]:
    """The labels of all that belongs to imports of that name, for `sweep`."""
    return {names.LABEL_NAMESPACE: namespace, names.LABEL_NAME: names.label_value(name)}


def sweep(cluster: Cluster, namespace: str, labels: Mapping[str, str] | None = None) -> list[str]:
    """Delete the requests of imports that are no more, and with them all of their runs; returns their names.

    Only those with `labels`, when these are given.

    An import is gone when there is none of that name, or another one: names are made anew, uids are not.

    Raises:
        StepError: where the API refuses or does not answer.
    """
    removed = []
    for page in cluster.find(CONFIG_MAP, namespace, labels):
        metadata = page["metadata"]
        marks = metadata.get("labels") or {}
        if names.LABEL_UID not in marks or metadata.get("ownerReferences"):
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
    # A name too long for a label is cut in there: then only a look at all of them tells.
    everyone = (one["metadata"]["uid"] for one in cluster.find(IMPORT, namespace))
    return labels[names.LABEL_UID] in map(names.label_value, everyone)

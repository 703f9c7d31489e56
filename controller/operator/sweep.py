"""What belongs to imports that are gone: it stays when somebody takes our finalizer off by force."""

from __future__ import annotations

import structlog

from steps.cluster import CONFIG_MAP, IMPORT, Cluster
from workflows import names

log = structlog.get_logger()


def sweep(cluster: Cluster, namespace: str) -> list[str]:
    """Delete the requests of imports that are no more, and with them all of their runs; returns their names.

    An import is gone when there is none of that name, or another one: names are made anew, uids are not.

    Raises:
        StepError: where the API refuses or does not answer.
    """
    removed = []
    for page in cluster.find(CONFIG_MAP, namespace):
        metadata = page["metadata"]
        labels = metadata.get("labels") or {}
        if names.LABEL_UID not in labels or metadata.get("ownerReferences"):
            continue
        if not _lives(cluster, labels):
            cluster.delete(CONFIG_MAP, metadata["name"], namespace, uid=metadata["uid"])
            removed.append(metadata["name"])
    if removed:
        log.warning(f"deleted what imports that are gone had left: {', '.join(removed)}")
    return removed


def _lives(cluster: Cluster, labels: dict[str, str]) -> bool:
    name, namespace = labels.get(names.LABEL_NAME, ""), labels.get(names.LABEL_NAMESPACE, "")
    found = cluster.get(IMPORT, name, namespace)
    if found is not None:
        return names.label_value(found["metadata"]["uid"]) == labels[names.LABEL_UID]
    # A name too long for a label is cut in there: then only a look at all of them tells.
    everyone = (one["metadata"]["uid"] for one in cluster.find(IMPORT, namespace))
    return labels[names.LABEL_UID] in map(names.label_value, everyone)

"""Leftovers of deleted imports: runs of imports that had ended, or whose finalizer was removed."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, V2V_GROUP, V2V_IMPORT
from steps.runtime.cluster import Cluster, each

log = structlog.get_logger()


def left_by(namespace: str, name: str) -> dict[str, str]:
    """The labels of everything that belongs to imports of that name, for `sweep`."""
    return {names.LABEL_NAMESPACE: namespace, names.LABEL_NAME: names.label_value(name)}


def sweep(cluster: Cluster, namespace: str, labels: Mapping[str, str] | None = None) -> list[str]:
    """Delete the requests of deleted imports, and with them all of their runs; returns the names.

    With `labels`, only the requests that have them. Not those that `controller.operator.orphans` still needs.

    An import is deleted when its name does not exist or has another uid: only names are reused.

    Raises:
        StepError: where the API refuses or does not answer.
    """
    removed = []
    for config_map in cluster.outlines(CONFIG_MAP, namespace, names.LABEL_UID):
        metadata = config_map["metadata"]
        own_labels = metadata.get("labels") or {}
        if metadata.get("ownerReferences") or not (labels or {}).items() <= own_labels.items():
            continue
        if names.LABEL_LEFTOVERS not in own_labels and not import_exists(cluster, own_labels):
            cluster.delete(CONFIG_MAP, metadata["name"], namespace, uid=metadata["uid"])
            removed.append(metadata["name"])
    if removed:
        log.warning(f"deleted leftovers of deleted imports: {', '.join(removed)}")
    return removed


def import_exists(cluster: Cluster, labels: Mapping[str, str]) -> bool:
    """Whether the import with these labels exists."""
    name, namespace = labels.get(names.LABEL_NAME, ""), labels.get(names.LABEL_NAMESPACE, "")
    kind = V2V_IMPORT if labels.get(names.LABEL_API) == V2V_GROUP else IMPORT
    try:
        existing = cluster.get(kind, name, namespace)
        if existing is not None:
            return names.label_value(existing["metadata"]["uid"]) == labels[names.LABEL_UID]
        # A label truncates a long name: then the uids of all imports must be compared.
        uids = (other["metadata"]["uid"] for other in each(cluster, kind, namespace))
        return labels[names.LABEL_UID] in map(names.label_value, uids)
    except StepError as error:
        if kind == IMPORT or error.code not in (Exit.NOT_FOUND, Exit.DENIED):
            raise
        return True  # the chart leaves the API out now; nobody knows which of its imports exist

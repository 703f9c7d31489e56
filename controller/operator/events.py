"""Events about an object, for `kubectl describe`: one for each reason and message, with a count."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

import structlog

from steps.model.contract import StepError
from steps.model.kinds import EVENT, Object
from steps.runtime.cluster import Cluster, ExistsError
from workflows.api.conditions import stamp

log = structlog.get_logger()

COMPONENT: Final = "vmferry-controller"
LIMIT: Final = 1024
"""Maximum bytes of a message in the API server (kubernetes pkg/apis/core/validation/events.go)."""


def emit(
    cluster: Cluster,
    regarding: Object,
    reason: str,
    message: str,
    *,
    warning: bool = False,
    component: str = COMPONENT,
) -> None:
    """Write an Event. Never fails: a lost Event must not stop an import."""
    now = stamp(datetime.now(UTC))
    new = event(regarding, reason, message, now, warning=warning)
    new["source"]["component"] = component
    try:
        try:
            cluster.create(new)
        except ExistsError:
            _count(cluster, new, now)
    except StepError as error:
        log.warning(f"could not write an Event: {error}", reason=reason)


def event(regarding: Object, reason: str, message: str, now: str, *, warning: bool = False) -> Object:
    """The Event. Its name is a digest of object, reason and message, so that a repetition is found."""
    metadata = regarding["metadata"]
    text = message.encode()[:LIMIT].decode(errors="ignore")
    digest = hashlib.sha256(f"{metadata['uid']}/{reason}/{text}".encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": f"{metadata['name'][:200].rstrip('-.')}.{digest}",  # a label may not end with a dash
            "namespace": metadata.get("namespace") or "default",
        },
        "involvedObject": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": text,
        "type": "Warning" if warning else "Normal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _count(cluster: Cluster, new: Object, now: str) -> None:
    name, namespace = new["metadata"]["name"], new["metadata"]["namespace"]
    existing = cluster.get(EVENT, name, namespace)
    if existing is not None:
        change = {"count": int(existing.get("count") or 1) + 1, "lastTimestamp": now}
        cluster.patch(EVENT, name, change, namespace)

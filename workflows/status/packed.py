"""Changes of the nodes of a Workflow's status, also where Argo has packed them.

`steps.model.workflow_nodes` reads them.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from steps.model.workflow_nodes import Json, whole_nodes_of


def is_packed(status: Mapping[str, Any]) -> bool:
    return not status.get("nodes") and bool(status.get("compressedNodes"))


def changed(status: Mapping[str, Any], changes: Mapping[str, Json]) -> Json:
    """The merge patch of a status that changes fields of some nodes, packed again if they were packed."""
    if not is_packed(status):
        return {"nodes": dict(changes)}
    nodes = whole_nodes_of(status)
    merged = {**nodes, **{id_: {**nodes.get(id_, {}), **change} for id_, change in changes.items()}}
    return {"compressedNodes": pack(merged)}


def pack(nodes: Json) -> str:
    """Nodes as Argo packs them."""
    return base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()

"""The nodes of a Workflow's status, also where Argo has packed them.

Argo packs the nodes above 1 MiB (argo-workflows, workflow/packer): base64 of gzip of JSON. A Workflow of some
sixty disks reaches that. Nodes that Argo keeps in a database cannot be read here.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

Json = dict[str, Any]
UNPACKED_LIMIT: Final = 8 << 20
"""Maximum bytes of nodes in a packed status. 256 disks with all their retries have less than 5 MiB: a node
has some 750 bytes, a disk 9 nodes and one more for each retry."""
UNUSED: Final = frozenset(
    (
        *("boundaryID", "children", "estimatedDuration", "hostNodeName", "nodeFlag", "outboundNodes"),
        *("resourcesDuration", "taskResultSynced", "templateRef", "templateScope"),
    )
)
"""Fields of a node that nobody here reads: half of its bytes."""


def nodes_of(status: Mapping[str, Any]) -> Json:
    """The nodes by their ids; empty if there are none, or none that can be read.

    Packed nodes lack the fields `UNUSED`, so that a look needs less memory.
    """
    nodes = status.get("nodes")
    if isinstance(nodes, dict) and nodes:
        return nodes
    return _unpacked(status.get("compressedNodes"), _without_unused)


def is_packed(status: Mapping[str, Any]) -> bool:
    return not status.get("nodes") and bool(status.get("compressedNodes"))


def changed(status: Mapping[str, Any], changes: Mapping[str, Json]) -> Json:
    """The merge patch of a status that changes fields of some nodes, packed again if they were packed."""
    if not is_packed(status):
        return {"nodes": dict(changes)}
    nodes = _unpacked(status.get("compressedNodes"))
    merged = {**nodes, **{id_: {**nodes.get(id_, {}), **change} for id_, change in changes.items()}}
    return {"compressedNodes": pack(merged)}


def pack(nodes: Json) -> str:
    """Nodes as Argo packs them."""
    return base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()


def _without_unused(fields: Json) -> Json:
    return {key: value for key, value in fields.items() if key not in UNUSED}


def _unpacked(packed: object, object_hook: Callable[[Json], Json] | None = None) -> Json:
    """Empty for any other compression, for damaged data, and for more than `UNPACKED_LIMIT` bytes."""
    if not isinstance(packed, str):
        return {}
    try:
        data = base64.b64decode(packed, validate=True)
        text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, UNPACKED_LIMIT)
        nodes = json.loads(text, object_hook=object_hook)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        return {}
    return nodes if isinstance(nodes, dict) else {}

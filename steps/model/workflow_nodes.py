"""The nodes of an Argo Workflow's status, also where Argo has packed them. Pure.

Argo packs the nodes of a Workflow above 1 MiB (argo-workflows, workflow/packer): base64 of gzip of JSON. A
Workflow of some sixty disks reaches that. Nodes that Argo keeps in a database cannot be read here.
"""

from __future__ import annotations

import base64
import binascii
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
    return _unpacked_nodes(status.get("compressedNodes"), _without_unused)


def whole_nodes_of(status: Mapping[str, Any]) -> Json:
    """The packed nodes with all their fields, to write them again."""
    return _unpacked_nodes(status.get("compressedNodes"))


def output_of(node: Mapping[str, Any], name: str) -> str | None:
    """A node's output parameter; None without one."""
    for parameter in (node.get("outputs") or {}).get("parameters") or []:
        if parameter.get("name") == name and isinstance(parameter.get("value"), str):
            return str(parameter["value"])
    return None


def gunzip(data: bytes, limit: int) -> bytes:
    """The content of a gzip stream.

    Raises:
        ValueError: the data is damaged, or its content has more than `limit` bytes.
    """
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = reader.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(content) > limit:
        raise ValueError(f"its content has more than {limit} bytes")
    if not reader.eof:
        raise ValueError("it is cut off")
    if reader.unused_data:
        raise ValueError("something follows its end")
    return content


def _without_unused(fields: Json) -> Json:
    return {key: value for key, value in fields.items() if key not in UNUSED}


def _unpacked_nodes(packed: object, object_hook: Callable[[Json], Json] | None = None) -> Json:
    """Empty for any other compression, for damaged data, and for more than `UNPACKED_LIMIT` bytes."""
    if not isinstance(packed, str):
        return {}
    try:
        text = gunzip(base64.b64decode(packed, validate=True), UNPACKED_LIMIT)
        nodes = json.loads(text, object_hook=object_hook)
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return nodes if isinstance(nodes, dict) else {}

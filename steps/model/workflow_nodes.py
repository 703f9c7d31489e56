"""The nodes of an Argo Workflow's status, also where Argo has packed them. Pure.

Argo packs the nodes of a Workflow above 1 MiB (argo-workflows, workflow/packer): base64 of gzip of JSON. A
Workflow of some sixty disks reaches that. Nodes that Argo keeps in a database cannot be read here.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]
UNPACKED_LIMIT: Final = 16 << 20
"""Maximum bytes of nodes in a packed status: enough for hundreds of disks, but no bomb."""


def nodes_of(status: Mapping[str, Any]) -> Json:
    """The nodes by their ids; empty if there are none, or none that can be read."""
    nodes = status.get("nodes")
    if isinstance(nodes, dict) and nodes:
        return nodes
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
    return content


def _unpacked_nodes(packed: object) -> Json:
    """Empty for any other compression, for damaged data, and for more than `UNPACKED_LIMIT` bytes."""
    if not isinstance(packed, str):
        return {}
    try:
        nodes = json.loads(gunzip(base64.b64decode(packed, validate=True), UNPACKED_LIMIT))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return nodes if isinstance(nodes, dict) else {}

"""Waiting for a limit: which imports use its slots, and which key sets the number of slots. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from workflows import argo_names
from workflows.stages import Limit

_LOCK: Final = re.compile(
    r"Waiting for \S*/(?P<key>[^/\s]+) lock(?: \([^)]*\))?\. "
    r"Lock status: (?P<free>-?\d{1,9})/(?P<limit>\d{1,9})"
)
"""argo-workflows workflow/sync/semaphore.go, checkAcquire: free slots, and all slots."""
_COUNTED: Final[Mapping[str, str]] = {
    Limit.MACHINES: "VMs of {source} are in transfer",
    Limit.STREAMS: "disks of {source} are being read",
}
ELSEWHERE: Final = ""
"""Instead of the name of an import in another namespace, which must not be visible."""


def describe_lock(message: str, source: str, holders: Sequence[str], holder_names: Mapping[str, str]) -> str:
    """Argo's message about a lock, for a person: `2 of 2 VMs of vcenter are in transfer (a, b); …`.

    `holders` are the Workflows that have the slots, `holder_names` their imports, by Workflow. Any other
    message stays unchanged.
    """
    match = _LOCK.search(message)
    counted = _COUNTED.get(match["key"].rpartition(".")[2]) if match else None
    if match is None or counted is None:
        return message
    limit = int(match["limit"])
    taken = min(limit, max(0, limit - int(match["free"])))
    text = f"{taken} of {limit} {counted.format(source=source)}{_names(holders, holder_names)}"
    outlook = "this import continues when one of them is done" if taken >= limit else "older imports go first"
    return f"{text}; {outlook}. The limit is the key {match['key']} of ConfigMap {argo_names.LIMITS}"


def _names(holders: Sequence[str], holder_names: Mapping[str, str]) -> str:
    shown = [holder_names.get(workflow, ELSEWHERE) for workflow in dict.fromkeys(holders)]
    named = sorted({name for name in shown if name})
    others = sum(not name for name in shown)
    if others:
        named.append(f"{others} of other namespaces" if named else "of other namespaces")
    return f" ({', '.join(named)})" if named else ""

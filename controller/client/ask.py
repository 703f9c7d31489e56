"""Sends a request to an import in a cluster and waits until the controller has handled it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from controller.client.changes import Make, Seen
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMPORT
from steps.runtime.cluster import Cluster

PATIENCE: Final = 30.0
"""Seconds that the controller may take to handle a change; it watches imports."""
POLL: Final = 0.5


def ask(
    cluster: Cluster,
    namespace: str,
    name: str,
    make: Make,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Seen:
    """Send the request; returns the import once the controller has handled it. `say` prints the request.

    Raises:
        StepError: NOT_FOUND without such an import; INVALID, if the request does not fit its state;
            UNREACHABLE, if the controller does not react in time (the change stays); errors of the API.
    """
    wish = make(look(cluster, namespace, name))
    if cluster.patch(IMPORT, name, wish.change, namespace) is None:
        raise _missing(cluster, namespace, name)
    say(wish.said)
    end = clock() + PATIENCE
    while not wish.noticed(seen := look(cluster, namespace, name)):
        if clock() > end:
            raise StepError(
                Exit.UNREACHABLE,
                f"vmferry's controller has not reacted for {PATIENCE:g} s",
                remedy="check that it runs (kubectl get deployment -A | grep vmferry-controller); "
                "the request stays on the import",
            )
        sleep(POLL)
    return seen


def look(cluster: Cluster, namespace: str, name: str) -> Seen:
    """Read the import. Raises StepError (NOT_FOUND)."""
    found = cluster.get(IMPORT, name, namespace)
    if found is None:
        raise _missing(cluster, namespace, name)
    return Seen(found)


def told(seen: Seen) -> str:
    """The import's status on one line."""
    status = seen.status
    stand = status.import_status or "not started"
    step = f", {status.step}" if status.step else ""
    return f"{seen.title}: {stand}{step}: {status.message or 'no message yet'}"


def document(seen: Seen) -> dict[str, Any]:
    """The import's status as a document."""
    status, (namespace, _, name) = seen.status, seen.title.partition("/")
    return {
        "namespace": namespace,
        "import": name,
        "importStatus": status.import_status,
        "reason": seen.summary.reason,
        "step": status.step,
        "message": status.message,
        "percent": status.percent,
        "workflow": status.workflow.name if status.workflow else None,
    }


def _missing(cluster: Cluster, namespace: str, name: str) -> StepError:
    there = [one["metadata"]["name"] for one in cluster.find(IMPORT, namespace)]
    known = ", ".join(there[:20]) or "none"
    return StepError(
        Exit.NOT_FOUND,
        f"VirtualMachineImport {namespace}/{name} does not exist",
        f"imports in that namespace: {known}",
        "correct the name, or the namespace with -n",
    )

"""Sends a request to an import in a cluster and waits until the controller has handled it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from controller.client.changes import ImportObject, MakeRequest
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMPORT
from steps.runtime.cluster import Cluster

PATIENCE: Final = 30.0
"""Seconds that the controller may take to handle a change; it watches imports."""
POLL: Final = 0.5


def send(
    cluster: Cluster,
    namespace: str,
    name: str,
    make: MakeRequest,
    show: Callable[[str], None],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> ImportObject:
    """Send the request; returns the import once the controller has handled it. `show` prints the request.

    Raises:
        StepError: NOT_FOUND without such an import; INVALID, if the request does not fit its state;
            UNREACHABLE, if the controller does not react in time (the change stays); errors of the API.
    """
    request = make(read_import(cluster, namespace, name))
    if cluster.patch(IMPORT, name, request.change, namespace) is None:
        raise _missing(cluster, namespace, name)
    show(request.message)
    end = clock() + PATIENCE
    while not request.is_handled(seen := read_import(cluster, namespace, name)):
        if clock() > end:
            raise StepError(
                Exit.UNREACHABLE,
                f"vmferry's controller has not reacted for {PATIENCE:g} s",
                remedy="check that it runs (kubectl get deployment -A | grep vmferry-controller); "
                "the request stays on the import",
            )
        sleep(POLL)
    return seen


def read_import(cluster: Cluster, namespace: str, name: str) -> ImportObject:
    """Read the import. Raises StepError (NOT_FOUND)."""
    raw = cluster.get(IMPORT, name, namespace)
    if raw is None:
        raise _missing(cluster, namespace, name)
    return ImportObject(raw)


def status_line(seen: ImportObject) -> str:
    """The import's status on one line."""
    status = seen.status
    phase = status.import_status or "not started"
    step = f", {status.step}" if status.step else ""
    return f"{seen.title}: {phase}{step}: {status.message or 'no message yet'}"


def document(seen: ImportObject) -> dict[str, Any]:
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
    existing = [import_["metadata"]["name"] for import_ in cluster.find(IMPORT, namespace)]
    known = ", ".join(existing[:20]) or "none"
    return StepError(
        Exit.NOT_FOUND,
        f"VirtualMachineImport {namespace}/{name} does not exist",
        f"imports in that namespace: {known}",
        "correct the name, or the namespace with -n",
    )

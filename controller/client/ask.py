"""Sends a request to an import or a plan in a cluster and waits until the controller has handled it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from controller.client.changes import ClusterObject, ImportObject, Request, Seen
from controller.client.plan_changes import PlanObject
from steps.model.contract import Exit, StepError
from steps.model.kinds import Kind
from steps.runtime.cluster import Cluster

PATIENCE: Final = 30.0
"""Seconds that the controller may take to handle a change; it watches imports and plans."""
POLL: Final = 0.5


def send(
    cluster: Cluster,
    namespace: str,
    name: str,
    of: type[Seen],
    make: Callable[[Seen], Request[Seen]],
    show: Callable[[str], None],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Seen:
    """Send the request; returns the object once the controller has handled it. `show` prints the request.

    Raises:
        StepError: NOT_FOUND without such an object; INVALID, if the request does not fit its state;
            UNREACHABLE, if the controller does not react in time (the change stays); errors of the API.
    """
    request = make(read(cluster, namespace, name, of))
    if cluster.patch(of.KIND, name, request.change, namespace) is None:
        raise _missing(cluster, namespace, name, of.KIND)
    show(request.message)
    end = clock() + PATIENCE
    while not request.is_handled(seen := read(cluster, namespace, name, of)):
        if clock() > end:
            raise StepError(
                Exit.UNREACHABLE,
                f"vmferry's controller has not reacted for {PATIENCE:g} s",
                remedy="check that it runs (kubectl get deployment -A | grep vmferry-controller); "
                f"{of.STAYS}",
            )
        sleep(POLL)
    return seen


def read(cluster: Cluster, namespace: str, name: str, of: type[Seen]) -> Seen:
    """Read the object. Raises StepError (NOT_FOUND)."""
    raw = cluster.get(of.KIND, name, namespace)
    if raw is None:
        raise _missing(cluster, namespace, name, of.KIND)
    return of(raw)


def status_line(seen: ClusterObject) -> str:
    """The object's status on one line."""
    if isinstance(seen, PlanObject):
        return _plan_line(seen)
    assert isinstance(seen, ImportObject)  # noqa: S101 - there are two kinds
    status = seen.status
    phase = status.import_status or "not started"
    step = f", {status.step}" if status.step else ""
    return f"{seen.title}: {phase}{step}: {status.message or 'no message yet'}"


def _plan_line(seen: PlanObject) -> str:
    status = seen.status
    wave = f", wave {status.progress}" if status.progress else ""
    return f"{seen.title}: {status.phase or 'not started'}{wave}: {status.message or 'no message yet'}"


def document(seen: ClusterObject) -> dict[str, Any]:
    """The object's status as a document."""
    namespace, _, name = seen.title.partition("/")
    if isinstance(seen, PlanObject):
        return {"namespace": namespace, "plan": name, **plan_state(seen)}
    assert isinstance(seen, ImportObject)  # noqa: S101 - there are two kinds
    status = seen.status
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


def plan_state(seen: PlanObject) -> dict[str, Any]:
    """What a plan does now."""
    status = seen.status
    return {
        "phase": status.phase,
        "message": status.message,
        "wave": status.wave,
        "waves": status.waves,
        "counts": status.counts.model_dump(by_alias=True),
    }


def _missing(cluster: Cluster, namespace: str, name: str, kind: Kind) -> StepError:
    existing = [found["metadata"]["name"] for found in cluster.find(kind, namespace)]
    known = ", ".join(existing[:20]) or "none"
    what = "plans" if kind is PlanObject.KIND else "imports"
    return StepError(
        Exit.NOT_FOUND,
        f"{kind.kind} {namespace}/{name} does not exist",
        f"{what} in that namespace: {known}",
        "correct the name, or the namespace with -n",
    )

"""Harvester's status of an image (a VirtualMachineImage) as one value. Pure.

harvester v1.6.0, pkg/image/common/operator.go, stateTransit and failStateTransit: every failed attempt counts
up `status.failed` and writes its reason into the condition RetryLimitExceeded; that becomes True, and
Initialized or Imported False with the same words, when there are more than `spec.retry` of them. In between a
download starts over by itself 10 s later (pkg/controller/master/image/vm_image_controller.go, handleRetry).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steps.model.kinds import Object


@dataclass(frozen=True)
class State:
    """The state of an image. Sizes in bytes."""

    imported: bool
    failed: str
    """The final failure, verbatim; empty without one."""
    trouble: str
    """The failure of the last attempt, while attempts are left."""
    percent: int
    size: int
    virtual_size: int
    storage_class: str


def state(image: Object) -> State:
    """Read an image's status."""
    status: dict[str, Any] = image.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or []}
    imported = _is(conditions, "Imported", "True")
    used_up = _is(conditions, "RetryLimitExceeded", "True") or _is(conditions, "Imported", "False")
    words = _words(conditions)
    return State(
        imported=imported,
        failed=(words or "no reason given") if used_up and not imported else "",
        trouble=words if status.get("failed") and not imported else "",
        percent=int(status.get("progress") or 0),
        size=int(status.get("size") or 0),
        virtual_size=int(status.get("virtualSize") or 0),
        storage_class=str(status.get("storageClassName") or ""),
    )


def _is(conditions: dict[str, Any], kind: str, status: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == status)


def _words(conditions: dict[str, Any]) -> str:
    """The first condition with a reason."""
    told = (conditions.get(kind, {}) for kind in ("RetryLimitExceeded", "Imported", "Initialized"))
    return next((one["message"] for one in told if one.get("message")), "")

"""Harvester's status of an image (a VirtualMachineImage) as one value. Pure.

harvester v1.6.0, pkg/image/common/operator.go, stateTransit and failStateTransit: every failed attempt counts
up `status.failed` and writes its reason into the condition RetryLimitExceeded; that becomes True, and
Initialized or Imported False with the same words, when there are more than `spec.retry` of them. In between a
download starts over by itself 10 s later (pkg/controller/master/image/vm_image_controller.go, handleRetry).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from steps.model.kinds import IMAGE, Object
from steps.targets.cluster.completion import DiskObjects


@dataclass(frozen=True)
class ImageState:
    """The state of an image. Sizes in bytes."""

    imported: bool
    failed: str
    """The final failure, verbatim; empty without one."""
    last_failure: str
    """The failure of the last attempt, while attempts are left."""
    percent: int
    size: int
    virtual_size: int
    storage_class: str


def image_state(image: Object) -> ImageState:
    """Read an image's status."""
    status: dict[str, Any] = image.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    imported = _has_status(conditions, "Imported", "True")
    retries_exhausted = _has_status(conditions, "RetryLimitExceeded", "True") or _has_status(
        conditions, "Imported", "False"
    )
    message = _message(conditions)
    return ImageState(
        imported=imported,
        failed=(message or "no reason given") if retries_exhausted and not imported else "",
        last_failure=message if status.get("failed") and not imported else "",
        percent=int(status.get("progress") or 0),
        size=int(status.get("size") or 0),
        virtual_size=int(status.get("virtualSize") or 0),
        storage_class=str(status.get("storageClassName") or ""),
    )


def _has_status(conditions: dict[str, Any], kind: str, status: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == status)


def _message(conditions: dict[str, Any]) -> str:
    """The first condition with a reason."""
    candidates = (conditions.get(kind, {}) for kind in ("RetryLimitExceeded", "Imported", "Initialized"))
    return next((condition["message"] for condition in candidates if condition.get("message")), "")


IMAGES: Final = DiskObjects(
    IMAGE, lambda image: image_state(image).imported, lambda image: image_state(image).failed
)
"""On Harvester a disk becomes an image."""

"""Status changes of a VirtualMachineImage. Pure.

harvester v1.6.0, pkg/image/common/operator.go: stateTransit, failStateTransit, CheckURLAndUpdate; the names
of the conditions are in pkg/apis/harvesterhci.io/v1beta1/image.go.
"""

from __future__ import annotations

import copy
from typing import Any

from steps.model.kinds import Object
from tests.real.standins.controller import condition, now

INITIALIZED = "Initialized"
IMPORTED = "Imported"
LIMIT = "RetryLimitExceeded"


def initialized(image: Object) -> Object:
    new, status = _changed(image)
    spec = new["spec"]
    cdi = spec["backend"] == "cdi"
    status["appliedUrl"] = spec.get("url", "")
    status["storageClassName"] = spec["targetStorageClassName"] if cdi else class_of(new)
    status["progress"] = 0
    _set(status, IMPORTED, "Unknown", reason="Importing")
    _set(status, INITIALIZED, "True", reason="Initialized", message="")
    return new


def importing(image: Object, message: str, progress: int) -> Object:
    """100 is shown as 99: a file may be complete before it is ready."""
    new, status = _changed(image)
    status["progress"] = 99 if progress == 100 else progress
    _set(status, IMPORTED, "Unknown", reason="Importing", message=message)
    return new


def imported(image: Object, size: int, virtual_size: int) -> Object:
    new, status = _changed(image)
    status |= {"progress": 100, "size": size, "virtualSize": virtual_size}
    _set(status, IMPORTED, "True", reason="Imported", message="")
    _set(status, LIMIT, "False", reason="", message="")
    return new


def failed(image: Object, kind: str, why: str, progress: int) -> Object:
    """`kind` is the condition that becomes False when there are more failures than retries."""
    new, status = _changed(image)
    status["failed"] = status.get("failed", 0) + 1
    status["lastFailedTime"] = now()
    status["progress"] = progress
    words = f"failed due to error: {why}"
    retry = new["spec"]["retry"]
    if status["failed"] > 1:
        words = f"retry attempted {status['failed'] - 1}/{retry} {words}"
    if status["failed"] > retry:
        _set(status, LIMIT, "True", message=words)
        _set(status, kind, "False", message=words)
    else:
        _set(status, LIMIT, "False", message=words)
    return new


def sized(image: Object, size: int, virtual_size: int | None = None) -> Object:
    """After a request to the URL."""
    new, status = _changed(image)
    status["appliedUrl"] = new["spec"]["url"]
    if size > 0:
        status["size"] = size
    if virtual_size is not None:
        status["virtualSize"] = virtual_size
    return new


def is_true(image: Object, kind: str) -> bool:
    return condition(image.get("status") or {}, kind).get("status") == "True"


def class_of(image: Object) -> str:
    """The class of a backing image: `lh-UID` since v1.8.0 (seen with v1.8.2), `longhorn-NAME` before."""
    return f"lh-{image['metadata']['uid']}"


def _changed(image: Object) -> tuple[Object, dict[str, Any]]:
    new = copy.deepcopy(image)
    return new, new.setdefault("status", {})


def _set(status: dict[str, Any], kind: str, value: str, **parts: str) -> None:
    """A part that is not given does not change."""
    found = condition(status, kind)
    if not found:
        found = {"type": kind}
        status.setdefault("conditions", []).append(found)
    before = dict(found)
    found |= {"status": value, **parts}
    if found != before:
        found["lastUpdateTime"] = now()

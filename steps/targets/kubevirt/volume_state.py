"""CDI's status of a DataVolume as one value. Pure.

The importer of an HTTP source runs twice: the first pod ends because it needs scratch space, and the second
copies. So the phase goes back from ImportInProgress to ImportScheduled, which is no failure. CDI retries a
failed importer for ever: its restarts are counted, and the last words are in the condition Running. Only a
fatal error ends in the phase Failed (containerized-data-importer v1.66, pkg/controller/datavolume).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from steps.model.kinds import DATA_VOLUME, Object
from steps.targets.cluster.completion import DiskObjects

SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
MOST_RESTARTS: Final = 5
"""Restarts of the importer after which the DataVolume counts as failed. CDI itself never gives up, and each
attempt begins at the first byte."""
QUOTA: Final = "ErrExceededQuota"
INVALID_CLAIM: Final = "ErrClaimNotValid"
"""Reasons of the condition Bound (pkg/controller/datavolume/controller-base.go)."""
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


@dataclass(frozen=True)
class VolumeState:
    """The state of a DataVolume."""

    phase: str
    imported: bool
    failed: str
    """The final failure: CDI's words; empty without one."""
    last_failure: str
    """The failure of the last importer, while attempts are left."""
    percent: float
    restarts: int
    blocked: str = ""
    """The reason why CDI does not create the claim: `QUOTA` or `INVALID_CLAIM`; else empty."""
    blocked_message: str = ""


def volume_state(data_volume: Object) -> VolumeState:
    """Read a DataVolume's status; one that CDI has not seen yet has the phase ``."""
    status: dict[str, Any] = data_volume.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    phase, restarts = str(status.get("phase") or ""), int(status.get("restartCount") or 0)
    words = _last_words(conditions)
    given_up = phase == FAILED or restarts >= MOST_RESTARTS
    bound = conditions.get("Bound") or {}
    blocked = bound.get("reason") if bound.get("reason") in (QUOTA, INVALID_CLAIM) else ""
    imported = phase == SUCCEEDED
    return VolumeState(
        phase=phase,
        imported=imported,
        failed=(words or "CDI gives no reason") if given_up and not imported else "",
        last_failure=words if restarts and not imported else "",
        percent=_percent(str(status.get("progress") or "")),
        restarts=restarts,
        blocked=str(blocked or "") if not imported else "",
        blocked_message=str(bound.get("message") or "") if blocked else "",
    )


def _last_words(conditions: dict[str, Any]) -> str:
    """The importer's last error. `Scratch space required and none found` is the end of the first pod."""
    running = conditions.get("Running") or {}
    failed = running.get("status") == "False" and running.get("reason") == "Error"
    return str(running.get("message") or "") if failed else ""


def _percent(progress: str) -> float:
    """0 for `N/A`, which CDI shows until the second pod copies."""
    found = _PERCENT.fullmatch(progress)
    return min(float(found[1]), 100.0) if found else 0.0


DATA_VOLUMES: Final = DiskObjects(
    DATA_VOLUME,
    lambda data_volume: volume_state(data_volume).imported,
    lambda data_volume: volume_state(data_volume).failed,
)
"""On KubeVirt a disk becomes a DataVolume."""

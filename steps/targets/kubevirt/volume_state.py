"""CDI's status of a DataVolume as one value. Pure.

The importer of an HTTP source runs twice: the first pod ends because it needs scratch space, and the second
copies. So the phase goes back from ImportInProgress to ImportScheduled, which is no failure. CDI retries a
failed importer for ever: its restarts are counted, and the last words are in the condition Running until the
next importer runs. Only a fatal error ends in the phase Failed (containerized-data-importer v1.66,
pkg/controller/datavolume; the statuses of tests/unit/steps/targets/kubevirt/test_volume_state.py were seen).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from steps.model.kinds import DATA_VOLUME, Object
from steps.targets.cluster.completion import DiskObjects

SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
NO_REASON: Final = "CDI gives no reason"
MOST_RESTARTS: Final = 5
"""Restarts of the importer after which the DataVolume counts as failed. CDI itself never gives up, and each
attempt begins at the first byte."""
QUOTA: Final = "ErrExceededQuota"
INVALID_CLAIM: Final = "ErrClaimNotValid"
NO_VOLUME: Final = "Pending"
"""Reasons of the condition Bound (pkg/controller/datavolume/controller-base.go, conditions.go)."""
SCRATCH: Final = "Scratch space required"
"""Reason of the condition Running until the second importer runs."""
TOO_SMALL: Final = "DataVolume too small to contain image"
"""CDI shortens each error about that to these words (pkg/controller/common/util.go, simplifyKnownMessage)."""
_NO_ERRORS: Final = frozenset(
    {"", SCRATCH, "Pending", "ContainerCreating", "PodInitializing", "Unschedulable", "Completed"}
)
"""Reasons of the condition Running while it is False, without a failure. Others are `Error`, `OOMKilled` and
`ChecksumError`."""
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


@dataclass(frozen=True)
class VolumeState:
    """The state of a DataVolume."""

    phase: str
    imported: bool
    failed: str
    """The final failure: CDI's words; empty without one."""
    last_failure: str
    """The failure of the last importer; empty while the next one runs."""
    percent: float
    restarts: int
    blocked: str = ""
    """What CDI waits for: `QUOTA`, `INVALID_CLAIM`, `NO_VOLUME` or `SCRATCH`; else empty."""
    blocked_message: str = ""


def volume_state(data_volume: Object) -> VolumeState:
    """Read a DataVolume's status; one that CDI has not seen yet has the phase ``."""
    status: dict[str, Any] = data_volume.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    phase, restarts = str(status.get("phase") or ""), int(status.get("restartCount") or 0)
    words = _last_words(conditions.get("Running") or {})
    given_up = phase == FAILED or restarts >= MOST_RESTARTS
    imported = phase == SUCCEEDED
    blocked, blocked_message = ("", "") if imported else _blocked(phase, conditions)
    return VolumeState(
        phase=phase,
        imported=imported,
        failed=(words or NO_REASON) if given_up and not imported else "",
        last_failure=words if not imported else "",
        percent=_percent(str(status.get("progress") or "")),
        restarts=restarts,
        blocked=blocked,
        blocked_message=blocked_message,
    )


def _last_words(running: dict[str, Any]) -> str:
    """The importer's last error, or the reason why it was ended, such as `OOMKilled`."""
    reason = str(running.get("reason") or "")
    if running.get("status") != "False" or reason in _NO_ERRORS:
        return ""
    return str(running.get("message") or reason)


def _blocked(phase: str, conditions: dict[str, Any]) -> tuple[str, str]:
    """What CDI waits for, and the message that says most about it."""
    bound, running = conditions.get("Bound") or {}, conditions.get("Running") or {}
    reason, message = str(bound.get("reason") or ""), str(bound.get("message") or "")
    if reason in (QUOTA, INVALID_CLAIM):
        return reason, message
    if running.get("status") == "False" and running.get("reason") == SCRATCH:
        # A populator's claim repeats its last event; on another one the event alone says why.
        return SCRATCH, message if reason == NO_VOLUME else str(running.get("message") or "")
    if reason == NO_VOLUME and phase in ("", NO_VOLUME):
        return NO_VOLUME, message
    return "", ""


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

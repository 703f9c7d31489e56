"""importStatus and the conditions of today's controller, from what is seen of the steps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from workflows.api.conditions import holds, put
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import Condition, Conditions, Stand
from workflows.status.messages import words
from workflows.status.nodes import Leaf, Phase, blame
from workflows.status.observed import Observed

_FAILED: Final = (Phase.FAILED, Phase.ERROR)
Verdict = tuple[str, str] | None
"""(reason, message) of a condition that holds; None of one that does not."""


def stand(seen: Observed, disks: Sequence[str], *, started: bool) -> Stand:
    """How far the import is; of disks side by side the least advanced one counts."""
    if started and seen.well("start"):
        return Stand.RUNNING
    if seen.well("build"):
        return Stand.CREATED
    if disks and all(landed(seen, disk) for disk in disks):
        return _images([seen.leaf("image", disk) for disk in disks])
    if any(leaf.stage == "poweroff" or leaf.disk for leaf in seen.leaves):
        return Stand.SOURCE_READY
    return Stand.VALID if _is_checked(seen) else Stand.NEW


def _is_checked(seen: Observed) -> bool:
    """Whether every check has passed; a Workflow of an older template has no `admit`."""
    return seen.well("preflight") and (seen.leaf("admit") is None or seen.well("admit"))


def landed(seen: Observed, disk: str) -> bool:
    """Whether a disk lies on scratch as it will be served."""
    return seen.well("export", disk) and seen.well("convert", disk)


def _images(images: Sequence[Leaf | None]) -> Stand:
    if all(leaf and leaf.phase.well for leaf in images):
        return Stand.IMAGES_READY
    if any(leaf and leaf.phase in _FAILED for leaf in images):
        return Stand.IMAGE_FAILED
    return Stand.IMAGES_SUBMITTED if all(map(begun, images)) else Stand.DISKS_EXPORTED


def begun(leaf: Leaf | None) -> bool:
    """Whether a step has been at work."""
    return leaf is not None and (leaf.phase is Phase.RUNNING or leaf.phase in _FAILED or leaf.phase.well)


def of_import(
    conditions: Iterable[Condition],
    seen: Observed,
    spec: VirtualMachineImport,
    disks: Sequence[str],
    now: datetime,
) -> Conditions:
    """Today's conditions of an import, each with its reason."""
    verdicts: dict[str, Verdict] = {
        **_power(seen, spec),
        "VMExported": _exported(seen, disks),
        "VMExportFailed": _export_failed(seen),
    }
    return _all(conditions, verdicts, now)


def _power(seen: Observed, import_: VirtualMachineImport) -> dict[str, Verdict]:
    """Told by what was asked for, as today; of a machine that was off already too."""
    spec, vm = import_.spec, import_.spec.virtual_machine_name
    hard = bool(spec.force_power_off) and spec.source_cluster.kind.lower() == "vmwaresource"
    asked = begun(seen.leaf("poweroff"))
    return {
        "VMShutdownGuest": ("ShutdownAsked", f"The guest of {vm} is told to shut down")
        if asked and not hard
        else None,
        "VMPoweringOff": ("PowerOffAsked", f"{vm} is powered off at its source") if asked and hard else None,
        "VMPoweredOff": ("PoweredOff", f"{vm} is off at its source") if seen.well("poweroff") else None,
    }


def _exported(seen: Observed, disks: Sequence[str]) -> Verdict:
    done = disks and all(landed(seen, disk) for disk in disks)
    return ("Exported", f"Every disk has landed: {', '.join(disks)}") if done else None


def _export_failed(seen: Observed) -> Verdict:
    cause = blame(seen.leaves) if seen.phase in _FAILED and not seen.stopped else None
    if cause is None or cause.stage not in ("export", "convert"):
        return None
    return "ExportFailed", f"error exporting VM: {words(cause)}"


def of_disk(conditions: Iterable[Condition], image: Leaf | None, now: datetime) -> Conditions:
    """Today's conditions of a disk."""
    failed = image is not None and image.phase in _FAILED
    verdicts: dict[str, Verdict] = {
        "VirtualMachineImageSubmitted": _submitted(image),
        "VirtualMachineImageReady": ("Imported", "The image is there")
        if image and image.phase.well
        else None,
        "VirtualMachineImageFailed": ("ImageFailed", words(image)) if image and failed else None,
    }
    return _all(conditions, verdicts, now)


def _submitted(image: Leaf | None) -> Verdict:
    """Not of an image that failed before a byte of it was counted: the target has refused to make it."""
    if image is None or not begun(image) or (image.phase in _FAILED and image.total <= 1):
        return None
    return "Submitted", "The target is asked to make the image"


def _all(conditions: Iterable[Condition], verdicts: dict[str, Verdict], now: datetime) -> Conditions:
    """What holds is True, what held and holds no more is False, of what never held nothing is said."""
    made = tuple(conditions)
    for kind, verdict in verdicts.items():
        if verdict is not None:
            made = put(made, Condition(type=kind, status="True", reason=verdict[0], message=verdict[1]), now)
        elif holds(made, kind):
            again = "It was so before; the step has failed or is tried again"
            made = put(made, Condition(type=kind, status="False", reason="TriedAgain", message=again), now)
    return made

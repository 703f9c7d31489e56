"""How the disks of an import get to their volumes: landed on them, or downloaded by the target. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from steps.model.plan import DiskWay, TargetKind
from steps.model.sources import SourceKind
from workflows.settings import Settings, WantedWay

_MIXED: Final = (SourceKind.OPENSTACK, SourceKind.OVA)
"""Sources whose disks may be in a format that cannot be decoded while they arrive: qcow2 or VHDX."""
NO_PODS: Final = "this computer cannot mount a claim of the cluster"
EMBEDDED_LAND: Final = (
    f"disks cannot be landed on their volumes by `vmferry run`: {NO_PODS}; use --disks pull, or import with "
    "vmferry in the cluster"
)
EMBEDDED_VOLUME: Final = (
    f"disks cannot be landed on volumes (`as: volume`) by `vmferry run`: {NO_PODS}; remove the field, or "
    "import with vmferry in the cluster"
)


class Chosen(NamedTuple):
    """The way, and why, as a part of a sentence."""

    way: DiskWay
    why: str = ""


def choose(settings: Settings, source: SourceKind, classes: Iterable[str], *, plain: bool = False) -> Chosen:
    """The way of an import from a source of that kind; `classes` are the storage classes that it names.

    `plain`: whether a disk shall become a plain volume on Harvester. A folder has only files.
    """
    if settings.target is TargetKind.KUBEVIRT:
        return _choose_for_kubevirt(settings, source, classes)
    if settings.target is TargetKind.HARVESTER and plain:
        return Chosen(DiskWay.MIXED, "spec.diskMapping says which disks land on volumes")
    return Chosen(DiskWay.PULL)


def _choose_for_kubevirt(settings: Settings, source: SourceKind, classes: Iterable[str]) -> Chosen:
    if not settings.mounts_claims:
        return Chosen(DiskWay.PULL, NO_PODS)
    if settings.disks is not WantedWay.AUTO:
        return Chosen(DiskWay(settings.disks), f"the setting kubevirt.disks is {settings.disks}")
    pulled = [name for name in dict.fromkeys(classes) if name and name in settings.pull_classes]
    if pulled:
        return Chosen(DiskWay.PULL, f"the setting kubevirt.pullClasses lists {', '.join(pulled)}")
    if source in _MIXED:
        return Chosen(DiskWay.PULL, f"a disk of {source} may be in a format that only qemu-img can read")
    return Chosen(DiskWay.LAND, f"disks of {source} can be decoded while they arrive")

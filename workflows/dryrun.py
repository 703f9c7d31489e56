"""What both dry runs show: that of the command line and that of the controller. Pure."""

from __future__ import annotations

from typing import Any

from steps.model.machine import Disk
from steps.model.manifest import machine_for
from steps.model.mapping import Shape, TargetDisk
from steps.model.plan import DiskForm, DiskWay, TargetKind
from steps.model.volumes import Volumes, volume_name


def planned_manifest(target: TargetKind, shape: Shape, volumes: Volumes) -> dict[str, Any]:
    """The VM with volumes of those names; without chosen names, of the names that they get if free.

    A claim's name gets a short hash if it is taken; `admit` checks that.
    """
    plain = {disk.id: disk.name or volume_name(shape.name, disk.id) for disk in shape.disks}
    return machine_for(target, shape, {**plain, **volumes.names})


def form_of(disk: TargetDisk) -> DiskForm:
    """What a disk becomes on Harvester."""
    return DiskForm.VOLUME if disk.way is DiskWay.LAND else DiskForm.IMAGE


def disk_address(disk: Disk) -> str:
    """Where a disk is attached at its source: `SCSI 0:1`."""
    return f"{disk.controller} {disk.bus_number}:{disk.unit}"

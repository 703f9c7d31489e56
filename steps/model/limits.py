"""What an installation lets one import ask for: checked before the VM is powered off. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from steps.model.concerns import block
from steps.model.machine import MOST_DEVICES, Concern, Machine
from steps.model.plan import ImportLimits
from steps.model.quantity import shown


def exceeded(machine: Machine, limits: ImportLimits) -> Iterator[Concern]:
    """The limits of the installation that the VM exceeds.

    More disks than `MOST_DEVICES` are a concern of every VM (`concerns.about`).
    """
    most = limits.max_disks
    if most is not None and most < len(machine.disks) <= MOST_DEVICES:
        yield block(
            "disks-limit",
            f"the VM has {len(machine.disks)} disks, and this installation imports VMs with at most {most}",
            remedy("limits.maxDisks"),
        )
    largest = limits.max_disk_capacity
    for disk in machine.disks:
        if largest is not None and disk.capacity > largest:
            yield block(
                "capacity-limit",
                f"{disk.id} has {shown(disk.capacity)}, and this installation imports disks of at most "
                f"{shown(largest)}",
                remedy("limits.maxDiskCapacity"),
            )


def remedy(value: str) -> str:
    """Who can change a limit, and how. `value` is its name among the chart's values."""
    return f"ask an administrator of the cluster to raise the value {value} of the chart vmferry"

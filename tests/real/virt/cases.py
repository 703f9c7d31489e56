"""The imports that boot on the real KubeVirt: few of them cover every pair of what differs."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import combinations
from typing import Final, Literal

Source = Literal["vsphere", "ova", "openstack", "ovirt", "kubevirt"]
Way = Literal["embedded", "argo"]
Firmware = Literal["bios", "uefi"]
Bus = Literal["virtio", "sata"]
Mode = Literal["Block", "Filesystem"]
Disks = Literal["pull", "land"]

VALUES: Final[tuple[tuple[str, ...], ...]] = (
    ("vsphere", "ova", "openstack", "ovirt", "kubevirt"),
    ("embedded", "argo"),
    ("bios", "uefi"),
    ("virtio", "sata"),
    ("Block", "Filesystem"),
    ("pull", "land"),
)
"""The values of each field of a case, in its order."""
IMPOSSIBLE: Final = frozenset({("embedded", "land")})
"""A process on the host of `vmferry run` has no volume to write to."""


@dataclass(frozen=True)
class Case:
    """One import of the test guest.

    With the way `embedded` every step is a process of `vmferry run` on the host, with `argo` a pod of a
    Workflow. `disks` is the value `kubevirt.disks` of the chart.
    """

    source: Source
    way: Way
    firmware: Firmware
    bus: Bus
    mode: Mode
    disks: Disks = "pull"

    @property
    def name(self) -> str:
        """Also the name of the VM."""
        return "-".join(astuple(self)).lower()


CASES: Final = {
    case.name: case
    for case in (
        Case("vsphere", "embedded", "bios", "virtio", "Block"),
        Case("vsphere", "argo", "uefi", "sata", "Filesystem"),
        Case("ova", "embedded", "bios", "sata", "Filesystem"),
        Case("ova", "argo", "uefi", "virtio", "Block"),
        Case("openstack", "argo", "bios", "virtio", "Filesystem"),
        Case("openstack", "embedded", "uefi", "sata", "Block"),
        Case("ovirt", "embedded", "bios", "virtio", "Filesystem"),
        Case("vsphere", "argo", "bios", "virtio", "Block", "land"),
        Case("ova", "argo", "uefi", "sata", "Filesystem", "land"),
        Case("openstack", "argo", "bios", "virtio", "Block", "land"),
        Case("ovirt", "argo", "uefi", "sata", "Block", "land"),
        Case("kubevirt", "embedded", "uefi", "sata", "Filesystem"),
        Case("kubevirt", "argo", "bios", "virtio", "Block", "land"),
    )
}


def pairs_missing() -> set[tuple[str, str]]:
    """The pairs of values of two fields that no case has."""
    wanted = {(one, other) for first, second in combinations(VALUES, 2) for one in first for other in second}
    return wanted - IMPOSSIBLE - {pair for case in CASES.values() for pair in combinations(astuple(case), 2)}

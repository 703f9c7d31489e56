"""The inventory of the shared simulator. A test that changes a VM has one of its own."""

from __future__ import annotations

from typing import Any, Final

MIB: Final = 1 << 20


def _vm(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "disks": [{"capacity": 8 * MIB}], **more}


_HARDWARE: Final = _vm(
    "hardware",
    folder="prod/web",
    cpus=4,
    coresPerSocket=2,
    memoryMiB=3072,
    firmware="efi",
    secureBoot=True,
    tpm=True,
    annotation="first line\nsecond line",
    uuid="11111111-2222-4333-8444-555555555555",
    instanceUuid="50111111-2222-4333-8444-555555555555",
    bootOrder=["cdrom", "disk:2", "nic:0", "disk:0"],
    cdrom="empty",
    disks=[
        {"capacity": 5 * MIB, "controller": "pvscsi"},
        {"capacity": 6 * MIB, "controller": "sata"},
        {"capacity": 7 * MIB, "controller": "nvme"},
        {"capacity": 8 * MIB, "controller": "ide", "bus": 0},
        {"capacity": 9 * MIB, "controller": "pvscsi", "unit": 8},
        {"capacity": 10 * MIB, "controller": "lsilogic"},
        {"capacity": 11 * MIB, "controller": "lsilogic-sas"},
        {"capacity": 12 * MIB, "controller": "buslogic"},
    ],
    nics=[
        {"network": "prod-pg", "mac": "00:50:56:AA:BB:01"},
        {"network": "VM Network", "type": "e1000"},
        {"network": "VM Network", "type": "e1000e", "connected": False},
        {"network": "VM Network", "type": "vmxnet2"},
        {"network": "VM Network", "type": "vmxnet"},
        {"network": "VM Network", "type": "pcnet32"},
        {"network": "VM Network", "type": "sriov"},
    ],
)
_CONCERNS: Final = [
    _vm("rdm", disks=[{"rdm": "physical"}, {"rdm": "virtual"}]),
    _vm("shared-disk", disks=[{"sharing": "multi-writer"}]),
    _vm("independent", disks=[{"mode": "independent_persistent"}]),
    _vm("encrypted", encrypted=True),
    _vm("snapshots", snapshots=2),
    _vm("passthrough", passthrough=1, usbDevices=1, nics=[{"network": "prod-pg", "type": "sriov"}]),
    _vm("no-disks", disks=[]),
    _vm("plain"),
]
_NAMES: Final = [
    _vm("twin", folder="a"),
    _vm("twin", folder="b/c"),
    _vm("twin"),
    _vm("with/slash"),
    _vm("100%"),
    _vm("Case"),
]
_POWER: Final = [
    _vm("off"),
    _vm("polite", power="on"),
    _vm("polite-with-choice", power="on"),
    _vm("slow", power="on", shutdownSeconds=1),
    _vm("forced", power="on"),
    _vm("stubborn", power="on", ignoresShutdown=True),
    _vm("stubborn-for-ever", power="on", ignoresShutdown=True),
    _vm("stubborn-too", power="on", ignoresShutdown=True),  # vSphere remembers which guests were asked
    _vm("no-tools", power="on", tools="notRunning"),
    _vm("no-tools-forced", power="on", tools="notRunning"),
    _vm("tools-end", power="on"),
    _vm("twice", power="on", shutdownSeconds=1),
    _vm("unnoted", power="on", shutdownSeconds=1),
    _vm("race", power="on"),
    _vm("hard-race", power="on"),
    _vm("in-flight", power="on"),
    _vm("killed", power="on", ignoresShutdown=True),
    _vm("killed-tools-end", power="on", ignoresShutdown=True),
    _vm("killed-stubborn", power="on", ignoresShutdown=True),
    _vm("killed-before", power="on"),
    _vm("remembered", power="on", ignoresShutdown=True),
]

INVENTORY: Final[dict[str, Any]] = {
    "datacenters": [
        {
            "name": "DC0",
            "folders": ["empty"],
            "networks": [{"name": "VM Network"}, {"name": "prod-pg", "kind": "distributed"}],
            "vms": [_HARDWARE, *_CONCERNS, *_NAMES, *_POWER],
        },
        {"name": "emea/DC1", "networks": [{"name": "other"}], "vms": [_vm("elsewhere")]},
    ]
}

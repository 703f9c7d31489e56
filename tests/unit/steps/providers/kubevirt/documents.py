"""Objects of a cluster with KubeVirt: a VM, its claims."""

from __future__ import annotations

import copy
from typing import Any, Final

Json = dict[str, Any]
NAMESPACE: Final = "shop"
NAME: Final = "web"
UID: Final = "7d9f6ab2-5b1c-4c6e-8b0e-2f6c9f0f7a11"
CLAIMS: Final = ("web-root", "web-data")
SIZE: Final = 4 << 20
MAC: Final = "02:16:3e:aa:bb:01"


def claim(name: str, *, size: int = SIZE, mode: str = "Block", **spec: Any) -> Json:
    """A bound claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"claim-{name}",
            "annotations": {"cdi.kubevirt.io/storage.contentType": "kubevirt"},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": mode,
            "volumeName": f"pv-{name}",
            "storageClassName": "fast",
            "resources": {"requests": {"storage": str(size)}},
            **spec,
        },
        "status": {"phase": "Bound", "capacity": {"storage": str(size)}},
    }


def vm(**changes: Any) -> Json:
    """A VM with EFI, two disks and two NICs; `changes` replaces fields of spec.template.spec.domain."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 3,
            "resourceVersion": "100",
            "annotations": {"description": "the shop"},
            "labels": {"harvesterhci.io/os": "ubuntu"},
        },
        "spec": {
            "runStrategy": "Always",
            "template": {
                "metadata": {},
                "spec": {
                    "domain": {**copy.deepcopy(_DOMAIN), **changes},
                    "networks": [
                        {"name": "default", "pod": {}},
                        {"name": "lan", "multus": {"networkName": "vlan10"}},
                    ],
                    "volumes": [
                        {"name": "root", "dataVolume": {"name": CLAIMS[0]}},
                        {"name": "data", "persistentVolumeClaim": {"claimName": CLAIMS[1]}},
                    ],
                    "terminationGracePeriodSeconds": 120,
                },
            },
        },
        "status": {},
    }


_DOMAIN: Final[Json] = {
    "cpu": {"sockets": 2, "cores": 2, "threads": 1},
    "memory": {"guest": "2Gi"},
    "firmware": {
        "uuid": "3c1f4f0e-6d0a-4b52-9f3e-8d2f9a6b7c10",
        "serial": "S-17",
        "bootloader": {"efi": {"secureBoot": True}},
    },
    "features": {"smm": {"enabled": True}},
    "machine": {"type": "pc-q35-rhel9.6.0"},
    "clock": {"timezone": "Europe/Berlin"},
    "devices": {
        "tpm": {},
        "disks": [
            {"name": "data", "disk": {"bus": "scsi"}, "serial": "D-2"},
            {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
        ],
        "interfaces": [
            {"name": "default", "masquerade": {}, "model": "virtio", "macAddress": MAC},
            {"name": "lan", "bridge": {}, "model": "e1000e", "macAddress": "02:16:3e:aa:bb:02"},
        ],
    },
}

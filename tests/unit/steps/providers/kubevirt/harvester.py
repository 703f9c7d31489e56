"""A VM of Harvester, as its form and its controllers leave it.

Harvester v1.8.2: pkg/data/template.go (what the form begins with), pkg/util/constants.go (names),
pkg/webhook/resources/virtualmachine/mutator.go (CPU, memory, MAC addresses, grace period, affinity),
pkg/controller/master/virtualmachine/vm_controller.go (claims from the annotation, the run strategy).
"""

from __future__ import annotations

import copy
import json
from typing import Any, Final

from tests.unit.steps.providers.kubevirt.documents import MAC, NAME, NAMESPACE, SIZE, UID, Json, claim

DISKS: Final = ("web-disk-0-k2x7p", "web-disk-1-v9q4d")
IMAGE: Final = "image-7zs2p"
IMAGE_CLASS: Final = f"longhorn-{IMAGE}"
"""The storage class that Harvester makes for an image: a volume of it begins with the image's content."""
SECRET: Final = "web-cloudinit"  # noqa: S105 - the name of an object


def harvester_claim(name: str, storage_class: str, image: str = "") -> Json:
    """A claim of the annotation volumeClaimTemplates: no CDI has written it."""
    made = claim(name, accessModes=["ReadWriteMany"], storageClassName=storage_class)
    owner = {"schema": "kubevirt.io.virtualmachine", "refs": [f"{NAMESPACE}/{NAME}"]}
    made["metadata"]["annotations"] = {
        "harvesterhci.io/owned-by": json.dumps([owner]),
        **({"harvesterhci.io/imageId": f"{NAMESPACE}/{image}"} if image else {}),
    }
    return made


def harvester_claims() -> tuple[Json, ...]:
    """A root disk on the class of an image, and a data disk."""
    root, data = DISKS
    return harvester_claim(root, IMAGE_CLASS, IMAGE), harvester_claim(data, "harvester-longhorn")


def _claim_templates() -> str:
    entries = []
    for one in harvester_claims():
        kept = {key: value for key, value in one["spec"].items() if key != "volumeName"}
        entries.append({"metadata": {"name": one["metadata"]["name"]}, "spec": kept})
    return json.dumps(entries)


def harvester_vm(**changes: Any) -> Json:
    """A VM with two disks, a CD-ROM, cloud-init and a NIC; `changes` replaces fields of its metadata."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 2,
            "resourceVersion": "100",
            "finalizers": ["kubevirt.io/virtualMachineControllerFinalize", "wrangler.cattle.io/x"],
            "annotations": {
                "field.cattle.io/description": "the shop",
                "harvesterhci.io/vmRunStrategy": "RerunOnFailure",
                "harvesterhci.io/volumeClaimTemplates": _claim_templates(),
                "harvesterhci.io/mac-address": json.dumps({"default": MAC}),
                "network.harvesterhci.io/ips": "[]",
                "kubevirt.io/latest-observed-api-version": "v1",
            },
            "labels": {"harvesterhci.io/creator": "harvester", "harvesterhci.io/os": "ubuntu"},
            **copy.deepcopy(changes),
        },
        "spec": {
            "runStrategy": "RerunOnFailure",
            "template": {
                "metadata": {
                    "annotations": {"harvesterhci.io/sshNames": '["shop/me"]'},
                    "labels": {"harvesterhci.io/vmName": NAME},
                },
                "spec": copy.deepcopy(_SPEC),
            },
        },
        "status": {},
    }


_NETWORK_LABEL: Final = {"key": "network.harvesterhci.io/mgmt", "operator": "In", "values": ["true"]}
_SPEC: Final[Json] = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [_NETWORK_LABEL]}]
            }
        }
    },
    "architecture": "amd64",
    "domain": {
        "cpu": {"cores": 2, "sockets": 1, "threads": 1, "maxSockets": 1},
        "devices": {
            "disks": [
                {"name": "disk-0", "disk": {"bus": "virtio"}, "bootOrder": 1},
                {"name": "disk-1", "disk": {"bus": "virtio"}},
                {"name": "installer", "cdrom": {"bus": "sata", "readonly": True}, "bootOrder": 2},
                {"name": "empty-drive", "cdrom": {"bus": "sata"}},
                {"name": "cloudinitdisk", "disk": {"bus": "virtio"}},
            ],
            "inputs": [{"bus": "usb", "name": "tablet", "type": "tablet"}],
            "interfaces": [{"name": "default", "bridge": {}, "model": "virtio"}],
        },
        "features": {"acpi": {"enabled": True}, "smm": {"enabled": True}},
        "firmware": {
            "bootloader": {"efi": {"secureBoot": True}},
            "serial": "b3a1f2de-1c8f-4a0e-9a57-6a3f1f0c9b21",
            "uuid": "3c1f4f0e-6d0a-4b52-9f3e-8d2f9a6b7c10",
        },
        "machine": {"type": "q35"},
        "memory": {"guest": "3996Mi"},
        "resources": {
            "limits": {"cpu": "2", "memory": "4Gi"},
            "requests": {"cpu": "125m", "memory": "2730Mi"},
        },
    },
    "evictionStrategy": "LiveMigrateIfPossible",
    "hostname": NAME,
    "networks": [{"name": "default", "multus": {"networkName": f"{NAMESPACE}/vlan10"}}],
    "terminationGracePeriodSeconds": 120,
    "volumes": [
        {"name": "disk-0", "persistentVolumeClaim": {"claimName": DISKS[0]}},
        {"name": "disk-1", "persistentVolumeClaim": {"claimName": DISKS[1], "hotpluggable": True}},
        {"name": "installer", "persistentVolumeClaim": {"claimName": "web-installer"}},
        {
            "name": "cloudinitdisk",
            "cloudInitNoCloud": {"networkDataSecretRef": {"name": SECRET}, "secretRef": {"name": SECRET}},
        },
    ],
}
"""spec.template.spec. Guest memory is the limit without the 100 MiB that Harvester reserves by default before
its setting additional-guest-memory-overhead-ratio."""
DISK_SIZE: Final = SIZE

"""The KubeVirt VirtualMachine of a shape, as a plain dict (kubevirt.io/api core/v1 schema). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from steps.mapping import Interface, Shape, TargetDisk

IMPORTED_LABEL: Final = "migration.harvesterhci.io/imported"
"""Harvester's VM validator lets these machines use an image's own claim (harvester
pkg/webhook/resources/virtualmachine/validator.go)."""
DESCRIPTION: Final = "field.cattle.io/description"

Manifest = dict[str, Any]


def virtual_machine(shape: Shape, claims: Mapping[str, str]) -> Manifest:
    """The VirtualMachine; `claims` gives the PersistentVolumeClaim of each disk id."""
    metadata: Manifest = {
        "name": shape.name,
        "namespace": shape.namespace,
        "labels": {IMPORTED_LABEL: "true"},
    }
    if shape.description:
        metadata["annotations"] = {DESCRIPTION: shape.description}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": metadata,
        "spec": {
            "runStrategy": "RerunOnFailure" if shape.start else "Halted",
            "template": {
                "metadata": {"labels": {"harvesterhci.io/vmName": shape.name}},
                "spec": {
                    "evictionStrategy": "LiveMigrateIfPossible",
                    "domain": _domain(shape),
                    "networks": [_network(interface) for interface in shape.interfaces],
                    "volumes": [_volume(disk, claims[disk.id]) for disk in shape.disks],
                },
            },
        },
    }


def _domain(shape: Shape) -> Manifest:
    memory = f"{shape.memory_mib}Mi"
    return {
        "cpu": {"sockets": shape.sockets, "cores": shape.cores, "threads": 1},
        "memory": {"guest": memory},
        # Harvester's VM webhook derives the requests of an over-committed machine from both limits.
        "resources": {"limits": {"cpu": str(shape.vcpus), "memory": memory}},
        "clock": {"utc": {}, "timer": {}},
        "features": _features(shape),
        **_firmware(shape),
        "devices": {
            "disks": [_disk(disk) for disk in shape.disks],
            "interfaces": [_interface(interface) for interface in shape.interfaces],
            # without a card of its own the machine would be given one on the pod network
            **({} if shape.interfaces else {"autoattachPodInterface": False}),
            **({"tpm": {"persistent": True}} if shape.firmware.tpm else {}),
        },
    }


def _features(shape: Shape) -> Manifest:
    # KubeVirt refuses secure boot without SMM (kubevirt validating webhook).
    firmware = shape.firmware
    needed = firmware.kind == "efi" and (firmware.secure_boot or firmware.tpm)
    return {"acpi": {"enabled": True}, **({"smm": {"enabled": True}} if needed else {})}


def _firmware(shape: Shape) -> Manifest:
    firmware: Manifest = {"uuid": shape.uuid} if shape.uuid else {}
    if shape.firmware.kind == "efi":
        firmware["bootloader"] = {"efi": {"secureBoot": shape.firmware.secure_boot}}
    return {"firmware": firmware} if firmware else {}


def _disk(disk: TargetDisk) -> Manifest:
    order = {"bootOrder": disk.boot_order} if disk.boot_order else {}
    return {"name": disk.id, "disk": {"bus": str(disk.bus)}, **order}


def _volume(disk: TargetDisk, claim: str) -> Manifest:
    return {"name": disk.id, "persistentVolumeClaim": {"claimName": claim}}


def _interface(interface: Interface) -> Manifest:
    made: Manifest = {"name": interface.name, "model": str(interface.model)}
    if interface.mac:
        made["macAddress"] = interface.mac
    if interface.boot_order:
        made["bootOrder"] = interface.boot_order
    return {**made, "bridge" if interface.network else "masquerade": {}}


def _network(interface: Interface) -> Manifest:
    if interface.network:
        return {"name": interface.name, "multus": {"networkName": interface.network}}
    return {"name": interface.name, "pod": {}}

"""The KubeVirt VirtualMachine of a shape, as a plain dict (kubevirt.io/api core/v1 schema). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from steps.model.guestos import harvester_label
from steps.model.mapping import Shape, TargetDisk
from steps.model.names import LABEL_IMPORTED
from steps.model.networks import Interface
from steps.model.plan import TargetKind
from steps.model.vm_fields import applied, run_strategy

MANIFEST_FILE: Final = "virtualmachine.yaml"
"""Name of the file, and of the key in a ConfigMap, that holds the manifest."""
VM_NAME_LABEL: Final = "harvesterhci.io/vmName"
DESCRIPTION: Final = "field.cattle.io/description"
OS_LABEL: Final = "harvesterhci.io/os"
"""Harvester's form reads the system from it (harvester-ui-extension pkg/harvester/mixins/harvester-vm)."""
OS_ANNOTATION: Final = "vm.kubevirt.io/os"
"""KubeVirt's metrics read it from this one (pkg/monitoring/metrics/virt-controller/vmistats_collector.go)."""
RUN_STRATEGY: Final = "harvesterhci.io/vmRunStrategy"
"""When a VM is started, Harvester's webhook replaces its run strategy by this annotation; without it by
RerunOnFailure (harvester pkg/webhook/resources/virtualmachine/mutator.go, patchRunStrategy)."""

TABLET: Final = {"bus": "usb", "name": "tablet", "type": "tablet"}
"""Harvester's form adds it to each VM: without it the console's pointer does not follow the mouse."""
HYPERV: Final = {
    **{
        name: {"enabled": True}
        for name in ("relaxed", "vapic", "vpindex", "synic", "ipi", "runtime", "reset")
    },
    "spinlocks": {"enabled": True, "spinlocks": 8191},
    "synictimer": {"enabled": True, "direct": {"enabled": True}},
}
WINDOWS_TIMERS: Final = {
    "hpet": {"present": False},
    "hyperv": {"present": True},
    "pit": {"tickPolicy": "delay"},
    "rtc": {"tickPolicy": "catchup"},
}
"""Harvester's templates for Windows have these two (harvester pkg/data/template.go)."""

Manifest = dict[str, Any]


def virtual_machine(shape: Shape, claims: Mapping[str, str]) -> Manifest:
    """The VirtualMachine for Harvester; `claims` maps disk ids to PersistentVolumeClaims."""
    system, memory = harvester_label(shape.os), f"{shape.memory_mib}Mi"
    # Harvester's VM webhook derives the requests of an over-committed VM from both limits.
    limits = {"cpu": str(shape.vcpus), "memory": memory}
    domain = _domain(shape, {"resources": {"limits": limits}})
    return _machine(
        shape,
        claims,
        domain,
        labels={OS_LABEL: system} if system else {},
        annotations=_harvester_annotations(shape),
        pod_labels={VM_NAME_LABEL: shape.name},
        spec={"evictionStrategy": "LiveMigrateIfPossible"},
    )


def _harvester_annotations(shape: Shape) -> Manifest:
    description = {DESCRIPTION: shape.description} if shape.description else {}
    return {**description, **({RUN_STRATEGY: run_strategy(shape)} if shape.settings.run_strategy else {})}


def kubevirt_machine(shape: Shape, claims: Mapping[str, str]) -> Manifest:
    """The VirtualMachine for KubeVirt without Harvester; `claims` as above.

    Limits would restrict the guest, and KubeVirt adds its own where a quota needs them. The eviction strategy
    is the cluster's. Machine type and firmware are written in any case: a default or a preference of the
    cluster must not change what the guest sees.
    """
    domain = _domain(shape, {"machine": {"type": "q35"}})
    domain["firmware"] = {"bootloader": {"bios": {}}, **domain.get("firmware", {})}
    return _machine(
        shape,
        claims,
        domain,
        labels={},
        annotations={"description": shape.description} if shape.description else {},
        # Services and KubeVirt's own metrics select by these.
        pod_labels={"kubevirt.io/domain": shape.name, "vm.kubevirt.io/name": shape.name},
        spec={},
    )


def machine_for(target: TargetKind, shape: Shape, claims: Mapping[str, str]) -> Manifest:
    """The VirtualMachine for a target. A folder gets the one for Harvester."""
    return (kubevirt_machine if target is TargetKind.KUBEVIRT else virtual_machine)(shape, claims)


def _machine(
    shape: Shape,
    claims: Mapping[str, str],
    domain: Manifest,
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    pod_labels: Mapping[str, str],
    spec: Manifest,
) -> Manifest:
    made: Manifest = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": shape.name,
            "namespace": shape.namespace,
            "labels": {LABEL_IMPORTED: "true", **labels},
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        "spec": {
            "runStrategy": run_strategy(shape),
            "template": {
                "metadata": {
                    "labels": dict(pod_labels),
                    **({"annotations": {OS_ANNOTATION: shape.os}} if shape.os else {}),
                },
                "spec": {
                    **spec,
                    "domain": domain,
                    "networks": [_network(interface) for interface in shape.interfaces],
                    "volumes": [_volume(disk, claims[disk.id]) for disk in shape.disks],
                },
            },
        },
    }
    return applied(made, shape)


def _domain(shape: Shape, extra: Manifest) -> Manifest:
    return {
        "cpu": {"sockets": shape.sockets, "cores": shape.cores, "threads": shape.threads},
        "memory": {"guest": f"{shape.memory_mib}Mi"},
        **extra,
        "clock": _clock(shape),
        "features": _features(shape),
        **_firmware(shape),
        "devices": {
            "disks": [_disk(disk) for disk in shape.disks],
            "interfaces": [_interface(interface) for interface in shape.interfaces],
            # a VM without a NIC would get one on the pod network
            **({} if shape.interfaces else {"autoattachPodInterface": False}),
            **({"tpm": {"persistent": True}} if shape.firmware.tpm else {}),
            "inputs": [dict(TABLET)],
        },
    }


def _clock(shape: Shape) -> Manifest:
    """An offset makes KubeVirt keep what the guest sets the clock to; without one it is UTC at each boot."""
    clock = shape.clock
    offset = {"offsetSeconds": clock.offset_seconds} if clock.offset_seconds else {}
    base = {"timezone": clock.timezone} if clock.timezone else {"utc": offset}
    return {**base, "timer": deepcopy(WINDOWS_TIMERS) if shape.windows else {}}


def _features(shape: Shape) -> Manifest:
    # KubeVirt refuses secure boot without SMM (kubevirt validating webhook).
    firmware = shape.firmware
    needed = firmware.kind == "efi" and (firmware.secure_boot or firmware.tpm)
    return {
        "acpi": {"enabled": True},
        **({"smm": {"enabled": True}} if needed else {}),
        **({"apic": {"enabled": True}, "hyperv": deepcopy(HYPERV)} if shape.windows else {}),
    }


def _firmware(shape: Shape) -> Manifest:
    firmware: Manifest = {"uuid": shape.uuid} if shape.uuid else {}
    if shape.serial:
        firmware["serial"] = shape.serial
    if shape.firmware.kind == "efi":
        firmware["bootloader"] = {"efi": {"secureBoot": shape.firmware.secure_boot}}
    return {"firmware": firmware} if firmware else {}


def _disk(disk: TargetDisk) -> Manifest:
    order = {"bootOrder": disk.boot_order} if disk.boot_order else {}
    serial = {"serial": disk.serial} if disk.serial else {}
    return {"name": disk.id, "disk": {"bus": str(disk.bus)}, **order, **serial}


def _volume(disk: TargetDisk, claim: str) -> Manifest:
    return {"name": disk.id, "persistentVolumeClaim": {"claimName": claim}}


def _interface(interface: Interface) -> Manifest:
    made: Manifest = {"name": interface.name, "model": str(interface.model)}
    if interface.mac:
        made["macAddress"] = interface.mac
    if not interface.connected:
        made["state"] = "down"
    if interface.boot_order:
        made["bootOrder"] = interface.boot_order
    return {**made, "bridge" if interface.network else "masquerade": {}}


def _network(interface: Interface) -> Manifest:
    if interface.network:
        return {"name": interface.name, "multus": {"networkName": interface.network}}
    return {"name": interface.name, "pod": {}}

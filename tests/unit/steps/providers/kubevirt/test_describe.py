"""A VM of KubeVirt as a document, and what is named because it is not carried over."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from steps.model.contract import StepError
from steps.model.machine import Clock, Concern, Controller, Machine, NicModel, Power, Severity
from steps.providers.kubevirt import concerns, describe
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.find import Found
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, MAC, NAMESPACE, SIZE, UID, Json, claim, vm


def found(document: Json | None = None, instance: Json | None = None, *claims: Json) -> Found:
    known = claims or tuple(claim(name) for name in CLAIMS)
    return Found(
        vm=Answer(document or vm()),
        instance=None if instance is None else Answer(instance),
        claims={one["metadata"]["name"]: Answer(one) for one in known},
    )


def described(document: Json | None = None, instance: Json | None = None, *claims: Json) -> Machine:
    place = found(document, instance, *claims)
    return describe.machine(place, concerns.concerns(place))


def codes(machine: Machine) -> dict[str, Severity]:
    return {concern.code: concern.severity for concern in machine.concerns}


def concern(machine: Machine, code: str) -> Concern:
    (one,) = [concern for concern in machine.concerns if concern.code == code]
    return one


def changed(*path: str, to: Any) -> Json:
    """The VM with another value below spec.template.spec."""
    document = vm()
    place = document["spec"]["template"]["spec"]
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = to
    return document


def test_a_vm_is_described_field_by_field() -> None:
    machine = described()
    assert (machine.name, machine.path, machine.source_id) == ("web", f"{NAMESPACE}/web", UID)
    assert (machine.vcpus, machine.cores_per_socket, machine.threads_per_core) == (4, 2, 1)
    assert (machine.memory_mib, machine.serial, machine.notes) == (2048, "S-17", "the shop")
    assert machine.uuid == "3c1f4f0e-6d0a-4b52-9f3e-8d2f9a6b7c10"
    assert (machine.firmware.kind, machine.firmware.secure_boot, machine.firmware.tpm) == ("efi", True, True)
    assert machine.clock == Clock(timezone="Europe/Berlin")
    assert (machine.os, machine.power) == ("ubuntu", Power.ON)
    root, data = machine.disks
    assert (root.key, root.backing, root.boot_order, root.controller) == (
        "root",
        CLAIMS[0],
        1,
        Controller.VIRTIO,
    )
    assert (data.key, data.serial, data.boot_order, data.controller) == ("data", "D-2", None, Controller.SCSI)
    assert {disk.capacity for disk in machine.disks} == {SIZE}
    first, second = machine.nics
    assert (first.mac, first.network, first.model) == (MAC, "pod", NicModel.VIRTIO)
    assert (second.network, second.model, second.label) == (f"{NAMESPACE}/vlan10", NicModel.E1000E, "lan")
    assert [one for one in machine.concerns if one.severity is not Severity.LOG] == []


def test_defaults_are_those_of_kubevirt() -> None:
    document = changed("domain", to={"devices": {"disks": [{"name": "root", "disk": {}}]}})
    document["spec"]["template"]["spec"]["domain"]["resources"] = {
        "requests": {"memory": "1Gi", "cpu": "1500m"}
    }
    machine = described(document)
    assert (machine.vcpus, machine.memory_mib) == (2, 1024)
    assert machine.disks[0].controller is Controller.SATA
    assert machine.firmware.kind == "bios"
    assert codes(machine)["nic-implicit"] is Severity.WARN
    assert codes(machine)["uuid-unknown"] is Severity.LOG


def test_efi_has_secure_boot_unless_it_is_off() -> None:
    assert described(changed("domain", "firmware", "bootloader", to={"efi": {}})).firmware.secure_boot
    off = changed("domain", "firmware", "bootloader", to={"efi": {"secureBoot": False, "persistent": True}})
    assert not described(off).firmware.secure_boot
    assert codes(described(off))["efi-persistent"] is Severity.WARN


def test_a_running_instance_knows_more() -> None:
    document = changed("domain", "firmware", to={})
    document["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0].pop("macAddress")
    instance = {
        "metadata": {"uid": "i"},
        "spec": {"domain": {"firmware": {"uuid": "11111111-2222-3333-4444-555555555555"}}, "volumes": []},
        "status": {
            "phase": "Running",
            "interfaces": [{"name": "default", "mac": "02:00:00:00:00:99"}],
            "guestOSInfo": {"id": "rocky", "versionId": "9.4", "prettyName": "Rocky Linux 9.4"},
        },
    }
    machine = described(document, instance)
    assert machine.uuid == "11111111-2222-3333-4444-555555555555"
    assert machine.nics[0].mac == "02:00:00:00:00:99"
    assert (machine.os, machine.guest_name) == ("rocky9.4", "Rocky Linux 9.4")


def test_harvester_remembers_the_addresses_of_nics() -> None:
    document = vm()
    document["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0].pop("macAddress")
    for text, mac in (('{"default": "02:00:00:00:00:77"}', "02:00:00:00:00:77"), ("no json", None)):
        document["metadata"]["annotations"][describe.HARVESTER_MACS] = text
        machine = described(document)
        assert machine.nics[0].mac == mac
        assert ("nic-no-mac" in codes(machine)) is (mac is None)


@pytest.mark.parametrize(
    ("volume", "device", "code", "severity"),
    [
        ({"containerDisk": {"image": "x"}}, {"disk": {}}, "disk-not-on-claim", Severity.BLOCK),
        ({"hostDisk": {"path": "/x"}}, {"disk": {}}, "disk-not-on-claim", Severity.BLOCK),
        ({"ephemeral": {"persistentVolumeClaim": {}}}, {"disk": {}}, "disk-not-on-claim", Severity.BLOCK),
        ({"emptyDisk": {"capacity": "1Gi"}}, {"disk": {}}, "empty-disk", Severity.WARN),
        ({"cloudInitNoCloud": {"userData": "x"}}, {"disk": {}}, "initialization", Severity.WARN),
        ({"sysprep": {"secret": {}}}, {"cdrom": {}}, "removable-media", Severity.LOG),
        ({"configMap": {"name": "x"}}, {"disk": {}}, "payload", Severity.WARN),
        ({"dataVolume": {"name": "iso"}}, {"cdrom": {}}, "removable-media", Severity.LOG),
        ({"persistentVolumeClaim": {"claimName": CLAIMS[1]}}, {"lun": {}}, "lun", Severity.BLOCK),
        ({"dataVolume": {"name": "gone"}}, {"disk": {}}, "disk-unreadable", Severity.BLOCK),
        ({"somethingNew": {}}, {"disk": {}}, "disk-unreadable", Severity.BLOCK),
        ({}, {"disk": {}}, "disk-unreadable", Severity.BLOCK),
    ],
)
def test_what_is_no_disk_on_a_claim_is_named(
    volume: Json, device: Json, code: str, severity: Severity
) -> None:
    document = vm()
    spec = document["spec"]["template"]["spec"]
    spec["volumes"].append({"name": "extra", **volume})
    spec["domain"]["devices"]["disks"].append({"name": "extra", **device})
    machine = described(document)
    assert concern(machine, code).severity is severity
    assert "extra" in concern(machine, code).message
    assert [disk.key for disk in machine.disks] == ["root", "data"]


def test_a_claim_without_a_volume_is_refused() -> None:
    unbound = claim(CLAIMS[1], volumeName="")
    machine = described(vm(), None, claim(CLAIMS[0]), unbound)
    assert "has no volume yet" in concern(machine, "disk-unreadable").message


def test_two_disks_on_one_claim_are_refused() -> None:
    document = vm()
    document["spec"]["template"]["spec"]["volumes"][1] = {"name": "data", "dataVolume": {"name": CLAIMS[0]}}
    assert codes(described(document))["claim-twice"] is Severity.BLOCK


def test_a_disk_that_is_attached_only_for_now_is_named() -> None:
    extra = {"name": "hot", "persistentVolumeClaim": {"claimName": "hot"}}
    instance = {"metadata": {"uid": "i"}, "spec": {"volumes": [extra]}, "status": {"phase": "Running"}}
    assert codes(described(vm(), instance))["hotplugged-disk"] is Severity.WARN


@pytest.mark.parametrize(
    ("path", "value", "code", "severity"),
    [
        (("architecture",), "arm64", "architecture", Severity.BLOCK),
        (("domain", "launchSecurity"), {"sev": {}}, "launch-security", Severity.BLOCK),
        (("domain", "firmware", "kernelBoot"), {"container": {}}, "direct-kernel", Severity.BLOCK),
        (("domain", "devices", "tpm"), {"persistent": True}, "vtpm", Severity.WARN),
        (("domain", "machine", "type"), "pc-i440fx-2.12", "machine-type", Severity.LOG),
        (("domain", "devices", "gpus"), [{"name": "g"}], "vm-setting", Severity.WARN),
        (("domain", "devices", "watchdog"), {"name": "w"}, "vm-setting", Severity.WARN),
        (("domain", "devices", "filesystems"), [{"name": "f"}], "vm-setting", Severity.WARN),
        (("domain", "cpu", "dedicatedCpuPlacement"), True, "vm-setting", Severity.WARN),
        (("domain", "cpu", "model"), "Skylake", "vm-setting", Severity.WARN),
        (("domain", "memory", "hugepages"), {"pageSize": "2Mi"}, "vm-setting", Severity.LOG),
        (("nodeSelector",), {"zone": "a"}, "vm-setting", Severity.LOG),
        (("livenessProbe",), {"tcpSocket": {}}, "vm-setting", Severity.WARN),
        (("someday",), {"a": 1}, "unknown-setting", Severity.WARN),
        (("domain", "devices", "someday"), {}, "unknown-setting", Severity.WARN),
    ],
)
def test_a_field_that_is_not_carried_over_is_named(
    path: tuple[str, ...], value: Any, code: str, severity: Severity
) -> None:
    machine = described(changed(*path, to=value))
    assert concern(machine, code).severity is severity


@pytest.mark.parametrize(
    ("device", "code"),
    [
        ({"shareable": True}, "shared-disk"),
        ({"disk": {"bus": "virtio", "readonly": True}}, "disk-read-only"),
        ({"disk": {"bus": "floppy"}}, "disk-bus"),
        ({"cache": "none"}, "disk-setting"),
    ],
)
def test_what_a_disk_loses_is_named(device: Json, code: str) -> None:
    document = vm()
    document["spec"]["template"]["spec"]["domain"]["devices"]["disks"][1].update(device)
    assert "root" in concern(described(document), code).message


@pytest.mark.parametrize(
    ("interface", "code"),
    [
        ({"sriov": {}}, "sriov"),
        ({"model": "future"}, "nic.interface"),
        ({"state": "absent"}, "nic.plugged"),
        ({"dhcpOptions": {}}, "nic-setting"),
    ],
)
def test_what_a_nic_loses_is_named(interface: Json, code: str) -> None:
    document = vm()
    document["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0].update(interface)
    assert "default" in concern(described(document), code).message


def test_the_link_of_a_nic_is_carried_over() -> None:
    document = vm()
    nics = document["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    nics[0]["state"], nics[1]["state"] = "down", "absent"
    assert [(nic.plugged, nic.connected) for nic in described(document).nics] == [
        (True, False),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        (("metadata", "deletionTimestamp"), "2026-11-30T00:00:00Z", "vm-deleting"),
        (("status", "snapshotInProgress"), "snap", "vm-busy"),
        (("spec", "runStrategy"), "WaitAsReceiver", "vm-busy"),
    ],
)
def test_a_vm_in_between_is_refused(place: tuple[str, str], value: str, code: str) -> None:
    document = vm()
    document[place[0]][place[1]] = value
    assert codes(described(document))[code] is Severity.BLOCK


def test_a_paused_vm_is_refused() -> None:
    conditions = [{"type": "Paused", "status": "True"}]
    instance = {"metadata": {"uid": "i"}, "status": {"phase": "Running", "conditions": conditions}}
    assert codes(described(vm(), instance))["suspended"] is Severity.BLOCK


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("domain", "cpu", "cores"), 10**6),
        (("domain", "cpu", "cores"), "many"),
        (("domain", "cpu"), []),
        (("domain", "memory", "guest"), "much"),
        (("domain", "memory", "guest"), "1"),
        (("domain", "devices", "disks"), [1]),
        (("domain", "devices", "disks"), [{"disk": {}}]),
        (("domain", "devices", "interfaces"), "none"),
        (("domain", "devices"), "none"),
        (("volumes",), 7),
        (("networks",), [[]]),
    ],
)
def test_what_cannot_be_a_vm_is_one_clear_error(path: tuple[str, ...], value: Any) -> None:
    document = changed(*path, to=value)
    if path == ("domain", "devices", "disks") and value == [{"disk": {}}]:
        document["spec"]["template"]["spec"]["volumes"].append({"dataVolume": {"name": CLAIMS[0]}})
    with pytest.raises(StepError) as caught:
        described(document)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("missing", ["name", "namespace", "uid"])
def test_an_object_without_a_name_is_no_vm(missing: str) -> None:
    document = copy.deepcopy(vm())
    del document["metadata"][missing]
    with pytest.raises(StepError):
        described(document)

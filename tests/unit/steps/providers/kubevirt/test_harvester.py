"""A VM of Harvester as a source: what its own annotations, labels and volumes of images become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.model.machine import Controller, Machine, Severity
from steps.model.manifest import virtual_machine
from steps.model.mapping import shape
from steps.providers import connect
from steps.providers.kubevirt import concerns, describe
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.find import Found
from tests.unit.builders import a_plan
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess, a_disk
from tests.unit.steps.providers.kubevirt.documents import MAC, NAMESPACE, Json
from tests.unit.steps.providers.kubevirt.harvester import (
    DISKS,
    IMAGE_CLASS,
    harvester_claims,
    harvester_vm,
)
from tests.unit.steps.providers.kubevirt.standin import StandIn
from tests.unit.steps.providers.kubevirt.test_provider import exported


def described(document: Json | None = None, *claims: Json) -> Machine:
    known = claims or harvester_claims()
    found = Found(
        vm=Answer(document or harvester_vm()),
        claims={one["metadata"]["name"]: Answer(one) for one in known},
    )
    return describe.machine(found, concerns.concerns(found))


def messages(machine: Machine, code: str) -> list[str]:
    return [concern.message for concern in machine.concerns if concern.code == code]


def texts(value: Any) -> Iterator[str]:
    """Every key and every text in a document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    else:
        yield str(value)


def test_a_vm_of_harvester_is_described_field_by_field() -> None:
    machine = described()
    assert (machine.vcpus, machine.cores_per_socket, machine.memory_mib) == (2, 2, 3996)
    assert (machine.firmware.kind, machine.firmware.secure_boot) == ("efi", True)
    assert (machine.os, machine.notes) == ("ubuntu", "the shop")
    root, data = machine.disks
    assert (root.key, root.backing, root.storage, root.boot_order) == ("disk-0", DISKS[0], IMAGE_CLASS, 1)
    assert (data.key, data.backing, data.storage) == ("disk-1", DISKS[1], "harvester-longhorn")
    assert {disk.controller for disk in machine.disks} == {Controller.VIRTIO}
    (nic,) = machine.nics
    assert (nic.network, nic.mac) == (f"{NAMESPACE}/vlan10", MAC)  # from the annotation


def test_nothing_of_an_ordinary_vm_of_harvester_is_refused_or_unknown() -> None:
    machine = described()
    found = {concern.code: concern.severity for concern in machine.concerns}
    assert Severity.BLOCK not in found.values()
    assert "unknown-setting" not in found
    assert [code for code, severity in found.items() if severity is Severity.WARN] == ["initialization"]
    assert len(messages(machine, "removable-media")) == 2


def test_nothing_of_harvesters_own_notes_reaches_the_new_vm() -> None:
    """With volumeClaimTemplates Harvester would create the claims of the old VM again."""
    machine = described()
    claims = {disk.id: f"new-{disk.id}" for disk in machine.disks}
    made = virtual_machine(shape(a_plan(), machine), claims)
    assert made["metadata"]["annotations"] == {"field.cattle.io/description": "the shop"}
    assert set(made["metadata"]["labels"]) == {"migration.harvesterhci.io/imported", "harvesterhci.io/os"}
    assert made["spec"]["template"]["metadata"]["labels"] == {"harvesterhci.io/vmName": "web"}
    found = set(texts(made))
    of_the_source = {*DISKS, IMAGE_CLASS, "harvesterhci.io/sshNames", "network.harvesterhci.io/mgmt"}
    assert found & of_the_source == set()


def test_labels_of_people_are_named() -> None:
    labels = {
        "harvesterhci.io/creator": "harvester",
        "tag.harvesterhci.io/tier": "gold",
        "app.kubernetes.io/name": "shop",
        "kubevirt.io/vm": "web",
    }
    assert messages(described(harvester_vm(labels=labels)), "labels") == [
        "its labels app.kubernetes.io/name, tag.harvesterhci.io/tier are not carried over"
    ]
    assert messages(described(), "labels") == []


def test_many_labels_are_counted() -> None:
    labels = {f"tag.harvesterhci.io/{number:03d}": "x" for number in range(200)}
    (message,) = messages(described(harvester_vm(labels=labels)), "labels")
    assert "tag.harvesterhci.io/004 and 195 more" in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("annotations", "harvesterhci.io/reservedMemory"),
        ("annotations", "harvesterhci.io/enableCPUAndMemoryHotplug"),
        ("labels", "harvesterhci.io/maintain-mode-strategy"),
    ],
)
def test_a_setting_that_harvester_keeps_outside_of_the_spec_is_named(kind: str, name: str) -> None:
    machine = described(harvester_vm(**{kind: {name: "256Mi"}}))
    (message,) = messages(machine, "harvester-setting")
    assert message.startswith(f"its setting {name} is not carried over: ")


def test_a_volume_of_an_image_is_exported_whole(standin: StandIn, access: MakeAccess, tmp_path: Path) -> None:
    """The claim is exported, so the content of the image is part of what is read."""
    cluster = standin.cluster
    cluster.put("virtualmachines", harvester_vm())
    for number, claim in enumerate(harvester_claims()):
        cluster.put("persistentvolumeclaims", claim)
        standin.content[claim["metadata"]["name"]] = a_disk(10 + number)
    cluster.halt()
    with connect(access("preflight")) as source:
        machine = source.describe("web", None)
    for number, name in enumerate(DISKS):
        exported(access, machine, tmp_path / name, number)
        assert (tmp_path / name).read_bytes() == standin.content[name]
    assert cluster.held() == 0
    assert not any("harvesterhci.io" in call for call in standin.asked)

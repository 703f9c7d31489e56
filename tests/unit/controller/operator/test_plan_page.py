"""The dry run's plan, as a person reads it in the ConfigMap."""

from __future__ import annotations

from typing import Any

from controller.operator.decide.dryrun import HASH, TABLE, config_map_data
from steps.model.admission import Admission, not_checked, passed
from steps.model.machine import Concern, Controller, Firmware, Machine, Severity
from steps.model.manifest import MANIFEST_FILE
from steps.model.plan import InterfaceModel, MacPolicy, NetworkRule, TargetKind, UsedMapping
from steps.model.target_answer import Refusal, TargetAnswer
from steps.model.vm_settings import RunStrategy, VmSettings
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan

DISK = a_disk(label="Hard disk 1", controller=Controller.SCSI, bus_number=1, unit=2)
CONCERNS = (
    Concern(severity=Severity.LOG, code="snapshot", message="the VM has a snapshot"),
    Concern(severity=Severity.WARN, code="video", message="3D video is left out", remedy="use VNC"),
)
MACHINE = a_machine(
    path="/DC0/vm/web01",
    firmware=Firmware(kind="efi", secure_boot=True),
    disks=(DISK, a_disk(1, label="Hard disk 2")),
    nics=(a_nic(0, network="VM Network"), a_nic(1, network="DMZ")),
    concerns=CONCERNS,
)
NETWORKS = (
    NetworkRule(source="VM Network", destination="default/vlan1", model=InterfaceModel.E1000),
    NetworkRule(source="DMZ", destination="default/vlan2", mac=MacPolicy.NEW),
)
PAGE = """\
/DC0/vm/web01 of VmwareSource default/vc
becomes VirtualMachine default/web01, started
steps: preflight, admit, approve-poweroff, poweroff, export, convert, serve, image, build, approve-start, \
start, release-source, delete-scratch
refused: the quota is too small
passed: name
not checked: capacity: no driver reports it

CPU     2 vCPUs -> 1 socket of 2 cores
memory  2048 MiB -> 2048Mi
boot    efi, secure boot
disk-0  Hard disk 1 (scsi 1:2), 1073741824 bytes -> scsi
disk-1  Hard disk 2 (unknown 0:0), 1073741824 bytes -> virtio
nic-0   VM Network -> default/vlan1, e1000, 00:50:56:00:00:00
nic-1   DMZ -> default/vlan2, virtio, new MAC
warn: 3D video is left out; use VNC
"""


ANSWER = TargetAnswer(
    admission=Admission(findings=(passed("name"), not_checked("capacity", "no driver reports it"))),
    refused=(Refusal(code=13, message="the quota is too small"),),
)


def page(machine: Machine, **target: Any) -> list[str]:
    return config_map_data(a_plan(kind=TargetKind.HARVESTER, **target), machine, TargetAnswer())[
        TABLE
    ].splitlines()


def test_the_plan_says_what_becomes_of_each_part() -> None:
    assert (
        config_map_data(a_plan(kind=TargetKind.HARVESTER, networks=NETWORKS), MACHINE, ANSWER)[TABLE] == PAGE
    )


def test_the_manifest_names_the_claims_of_the_disks() -> None:
    manifest = config_map_data(a_plan(kind=TargetKind.HARVESTER, networks=NETWORKS), MACHINE, TargetAnswer())[
        MANIFEST_FILE
    ]
    assert [line.strip() for line in manifest.splitlines() if "claimName:" in line] == [
        "claimName: web01-disk-0",
        "claimName: web01-disk-1",
    ]


def test_a_vm_without_a_path_has_its_name() -> None:
    assert page(a_machine())[0] == "web01 of VmwareSource default/vc"


def test_a_vm_that_is_not_started() -> None:
    assert page(MACHINE, start=False)[1] == "becomes VirtualMachine default/web01, not started"


def test_a_nic_without_a_mapping_is_connected_to_the_pod_network() -> None:
    lines = page(a_machine(nics=(a_nic(),)))
    assert "nic-0   VM Network -> pod network, virtio, 00:50:56:00:00:00" in lines


def test_the_hash_is_of_the_vm_and_not_of_concerns() -> None:
    def hash_of(machine: Machine) -> str:
        return config_map_data(a_plan(networks=NETWORKS), machine, TargetAnswer())[HASH]

    assert hash_of(MACHINE) == hash_of(MACHINE.model_copy(update={"concerns": ()}))
    assert hash_of(MACHINE) != hash_of(MACHINE.model_copy(update={"vcpus": 4}))


def test_the_rows_of_a_shared_mapping_are_listed_with_their_document() -> None:
    used = UsedMapping(namespace="infra", name="dc1", generation=4)
    rows = (
        NetworkRule(source="DMZ", destination="default/own"),
        NetworkRule(source="VM Network", destination="infra/vlan1", shared=True),
    )
    lines = page(MACHINE, networks=rows, mapping=used)
    first = lines.index("rows of ImportMapping infra/dc1 (generation 4) and of the import:")
    assert lines[first + 1 : first + 3] == [
        "  nic-0: infra/vlan1, by the row for network 'VM Network' of ImportMapping infra/dc1",
        "  nic-1: default/own, by the row for network 'DMZ' of the import",
    ]


def test_what_the_import_says_about_the_new_vm_has_lines() -> None:
    settings = VmSettings(run_strategy=RunStrategy.ALWAYS, node_selector={"zone": "a"})
    lines = page(MACHINE, vm_labels={"team": "shop"}, settings=settings)
    assert [line for line in lines if line.startswith("VM ")] == [
        "VM      run strategy: Always",
        "VM      label: team=shop",
        "VM      node selector: zone=a",
    ]

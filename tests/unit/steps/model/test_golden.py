"""The manifests of VMs, as files for people to read.

`make golden` rewrites `virtualmachine.yaml` from `plan.json` and `machine.json`: look at the diff before you
commit it. tests/real/kubevirt proves that KubeVirt accepts every one of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from steps.model.machine import Machine
from steps.model.manifest import MANIFEST_FILE
from steps.model.mapping import shape
from steps.model.plan import DiskFormat, Plan
from steps.model.scratch import Ready, ready
from steps.runtime.stop import Stop
from steps.targets.directory import DirectoryTarget

GOLDEN: Final = Path(__file__).parents[2] / "golden"
CASES: Final = sorted(path.parent.name for path in GOLDEN.glob("*/plan.json"))


def built(case: str, into: Path) -> str:
    """The manifest that an import of this case writes to its folder; its disks have five bytes each."""
    plan, machine = Plan.load(GOLDEN / case / "plan.json"), Machine.load(GOLDEN / case / "machine.json")
    target = DirectoryTarget(into, Stop())
    for disk in machine.disks:
        scratch = into / "scratch" / disk.id
        scratch.mkdir(parents=True)
        (scratch / "disk").write_bytes(b"bytes")
        Ready(file="disk", format=DiskFormat.QCOW2, virtual_size=disk.capacity, size=5).save(ready(scratch))
        target.publish(disk.id, scratch, lambda _done, _total: None)
    target.build(machine, shape(plan, machine))
    return (into / MANIFEST_FILE).read_text()


@pytest.mark.parametrize("case", CASES)
def test_golden_manifest(case: str, tmp_path: Path) -> None:
    golden = GOLDEN / case / MANIFEST_FILE
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        golden.write_text(built(case, tmp_path))
        pytest.skip(f"{golden} written")
    assert built(case, tmp_path) == golden.read_text()


@pytest.mark.parametrize("source", ["vmware", "openstack", "ova"])
def test_every_source_has_golden_vms(source: str) -> None:
    plans = [Plan.load(GOLDEN / case / "plan.json") for case in CASES if case.startswith(f"{source}-")]
    assert len(plans) >= 3
    assert {plan.source.kind.lower() for plan in plans} == {f"{source}source"}


def manifest(case: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(GOLDEN / case / MANIFEST_FILE)
    return loaded


def domain(case: str) -> dict[str, Any]:
    found: dict[str, Any] = manifest(case)["spec"]["template"]["spec"]["domain"]
    return found


# The required content of the golden files: finds a wrong file that was written by mistake.


def test_a_bios_vm_has_no_firmware_and_no_smm() -> None:
    assert "firmware" not in domain("bios")
    assert domain("bios")["features"] == {"acpi": {"enabled": True}}


def test_secure_boot_comes_with_smm_and_the_tpm() -> None:
    found = domain("secure-boot")
    assert found["firmware"]["bootloader"] == {"efi": {"secureBoot": True}}
    assert found["features"]["smm"] == {"enabled": True}
    assert "tpm" in found["devices"]


def test_a_tpm_is_persistent_whatever_the_firmware() -> None:
    assert domain("secure-boot")["devices"]["tpm"] == {"persistent": True}
    found = domain("bios-tpm")
    assert found["devices"]["tpm"] == {"persistent": True}
    assert found["features"] == {"acpi": {"enabled": True}}


def test_uefi_without_secure_boot_is_explicit() -> None:
    assert domain("uefi")["firmware"] == {"bootloader": {"efi": {"secureBoot": False}}}
    assert "smm" not in domain("uefi")["features"]


def test_cpu_is_one_socket_with_all_cores_and_memory_is_in_mi() -> None:
    found = domain("secure-boot")
    assert found["cpu"] == {"sockets": 1, "cores": 8, "threads": 1}
    assert found["memory"] == {"guest": "8192Mi"}
    assert found["resources"]["limits"] == {"cpu": "8", "memory": "8192Mi"}


def test_three_controllers_become_three_buses() -> None:
    disks = domain("three-controllers")["devices"]["disks"]
    assert [disk["disk"]["bus"] for disk in disks] == ["sata", "scsi", "scsi"]
    assert [disk["bootOrder"] for disk in disks] == [1, 2, 3]


def test_a_dozen_disks_boot_as_at_the_source() -> None:
    devices = domain("dozen-disks")["devices"]
    orders = {disk["name"]: disk["bootOrder"] for disk in devices["disks"]}
    assert (orders["disk-3"], orders["disk-0"], devices["interfaces"][0]["bootOrder"]) == (1, 2, 3)
    assert sorted(orders.values()) == [1, 2, *range(4, 14)]


def test_every_nic_model_of_kubevirt_is_used() -> None:
    spec = manifest("many-nics")["spec"]["template"]["spec"]
    found = [(nic["name"], nic["model"]) for nic in spec["domain"]["devices"]["interfaces"]]
    assert found == [
        ("migrated-0", "virtio"),
        ("migrated-1", "e1000"),
        ("pod-network", "virtio"),
        ("migrated-4", "rtl8139"),
    ]
    assert spec["networks"] == [
        {"name": "migrated-0", "multus": {"networkName": "shop/vlan1"}},
        {"name": "migrated-1", "multus": {"networkName": "infra/vlan2"}},
        {"name": "pod-network", "pod": {}},
        {"name": "migrated-4", "multus": {"networkName": "shop/vlan1"}},
    ]


def test_the_pod_network_is_masqueraded_and_others_are_bridged() -> None:
    bindings = [set(nic) & {"bridge", "masquerade"} for nic in domain("many-nics")["devices"]["interfaces"]]
    assert bindings == [{"bridge"}, {"bridge"}, {"masquerade"}, {"bridge"}]


@pytest.mark.parametrize(("case", "strategy"), [("halted", "Halted"), ("bios", "RerunOnFailure")])
def test_the_run_strategy_follows_the_request(case: str, strategy: str) -> None:
    assert manifest(case)["spec"]["runStrategy"] == strategy


def test_an_unusual_description_is_kept() -> None:
    notes = Machine.load(GOLDEN / "odd-description" / "machine.json").notes
    assert manifest("odd-description")["metadata"]["annotations"]["field.cattle.io/description"] == notes


@pytest.mark.parametrize("case", CASES)
def test_labels_for_harvester_are_set(case: str) -> None:
    found = manifest(case)
    name = found["metadata"]["name"]
    assert found["metadata"]["labels"]["migration.harvesterhci.io/imported"] == "true"
    assert found["spec"]["template"]["metadata"]["labels"] == {"harvesterhci.io/vmName": name}


def test_a_windows_vm_has_the_features_of_harvesters_template() -> None:
    found = domain("vmware-windows")
    assert found["features"]["hyperv"]["vapic"] == {"enabled": True}
    assert found["clock"]["timer"]["hyperv"] == {"present": True}
    assert "hyperv" not in domain("vmware-bios")["features"]
    assert domain("vmware-bios")["clock"] == {"utc": {}, "timer": {}}


@pytest.mark.parametrize(
    ("case", "label", "os"),
    [
        ("vmware-windows", "windows", "win2k19"),
        ("vmware-bios", "redhat", "rhel7"),
        ("openstack-linux", "ubuntu", "ubuntu22.04"),
        ("ova-vmware", "otherLinux", "photon"),
    ],
)
def test_the_guest_system_is_set_for_harvester_and_kubevirt(case: str, label: str, os: str) -> None:
    found = manifest(case)
    assert found["metadata"]["labels"]["harvesterhci.io/os"] == label
    assert found["spec"]["template"]["metadata"]["annotations"] == {"vm.kubevirt.io/os": os}


def test_an_unknown_system_is_not_guessed() -> None:
    found = manifest("openstack-legacy")
    assert "harvesterhci.io/os" not in found["metadata"]["labels"]
    assert "annotations" not in found["spec"]["template"]["metadata"]


def test_uuid_and_serial_numbers_are_those_of_the_source() -> None:
    machine = Machine.load(GOLDEN / "vmware-windows" / "machine.json")
    found = domain("vmware-windows")
    assert found["firmware"]["uuid"] == machine.smbios_uuid != machine.uuid
    assert found["firmware"]["serial"] == machine.serial
    assert [disk.get("serial") for disk in found["devices"]["disks"]] == [d.serial for d in machine.disks]
    server = Machine.load(GOLDEN / "openstack-linux" / "machine.json")
    assert domain("openstack-linux")["firmware"] == {"uuid": server.source_id, "serial": server.source_id}


def test_the_clock_has_the_offset_of_the_source() -> None:
    assert domain("vmware-windows")["clock"]["utc"] == {"offsetSeconds": 3600}
    assert domain("openstack-windows")["clock"]["utc"] == {}


def test_threads_are_kept() -> None:
    assert domain("openstack-linux")["cpu"] == {"sockets": 1, "cores": 4, "threads": 2}
    assert domain("openstack-linux")["resources"]["limits"]["cpu"] == "8"


def test_a_disconnected_nic_has_its_link_down() -> None:
    states = {nic["name"]: nic.get("state") for nic in domain("vmware-nics")["devices"]["interfaces"]}
    assert states == {"migrated-0": None, "pod-network": None, "migrated-3": None, "migrated-4": "down"}


@pytest.mark.parametrize("case", CASES)
def test_the_pointer_of_the_console_is_absolute(case: str) -> None:
    assert domain(case)["devices"]["inputs"] == [{"bus": "usb", "name": "tablet", "type": "tablet"}]


CONCERNS: Final = {
    "vmware-bios": ["cpu-one-socket"],
    "vmware-windows": ["efi-variables", "cpu-one-socket"],
    "vmware-disks": ["efi-variables", "cpu-one-socket", "network-unmapped"],
    "vmware-nics": ["nic-disconnected", "cpu-one-socket", "network-unmapped", "network-left-out"],
    "openstack-linux": ["cpu-one-socket"],
    "openstack-windows": ["efi-variables", "clock-localtime", "cpu-one-socket"],
    "openstack-legacy": [
        "nic-disconnected",
        "tpm-version",
        "cpu-one-socket",
        "network-unmapped",
        "network-left-out",
    ],
    "ova-vmware": ["efi-variables"],
    "ova-virtualbox": ["clock-localtime", "network-unmapped", "network-left-out"],
    "ova-qemu": ["efi-variables", "cpu-one-socket", "network-unmapped"],
}


@pytest.mark.parametrize(("case", "codes"), CONCERNS.items())
def test_every_change_has_its_concern(case: str, codes: list[str]) -> None:
    plan, machine = Plan.load(GOLDEN / case / "plan.json"), Machine.load(GOLDEN / case / "machine.json")
    assert [concern.code for concern in shape(plan, machine).concerns] == codes

"""Whole imports: disks are equal byte for byte, documents are right, vCenter is unchanged."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.e2e.harness import EXPORT, MIB, POWER_OFF, SHUTDOWN, Json
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

MEMORY_MIB: Final = 128
"""The memory that a step may need for any size of the disk."""
NO_SHUTDOWN: Final = {"ignoresShutdown": True, "shutdownSeconds": 0}
# Controllers, each with its bus in KubeVirt. Three of them have a unit 0, and no two disks have the same
# size.
DOZEN: Final[tuple[tuple[Json, str], ...]] = (
    ({"controller": "pvscsi", "bus": 0, "unit": 0}, "sata"),
    ({"controller": "pvscsi", "bus": 0, "unit": 1}, "sata"),
    ({"controller": "pvscsi", "bus": 1, "unit": 0}, "sata"),
    ({"controller": "lsilogic", "bus": 2, "unit": 0}, "scsi"),
    ({"controller": "lsilogic-sas", "bus": 3, "unit": 5}, "scsi"),
    ({"controller": "sata", "bus": 0, "unit": 0}, "sata"),
    ({"controller": "sata", "bus": 0, "unit": 1}, "sata"),
    ({"controller": "nvme", "bus": 0, "unit": 0}, "virtio"),
    ({"controller": "nvme", "bus": 0, "unit": 3}, "virtio"),
    ({"controller": "ide", "bus": 0, "unit": 0}, "sata"),
    ({"controller": "ide", "bus": 1, "unit": 1}, "sata"),
    ({"controller": "usb", "bus": 0, "unit": 0}, "usb"),
)
EMOJI: Final = "00:50:56:ab:cd:ab"
"""A MAC address that libraries for terminals would turn into an emoji."""
NIC_MODELS: Final = (("vmxnet3", "virtio"), ("e1000", "e1000"), ("e1000e", "e1000e"), ("pcnet32", "pcnet"))


@pytest.fixture(scope="module")
def vcenter(disks: MakeDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """The usual vCenter: only one export at a time, streams in the layout of a host."""
    one = disks("one", 5, data=3)
    machines = [
        harness.machine("web", one, disks("web-data", 3), power="on", annotation="The shop's\nfront end"),
        harness.machine("off", one, nics=[{"network": "VM Network", "mac": EMOJI}]),
        harness.machine("deaf", one, power="on", **NO_SHUTDOWN),
        harness.machine("forced", one, power="on", tools="notInstalled"),
        harness.machine("first", one, folder="prod"),
        harness.machine("second", one, folder="prod/db"),
        harness.machine("Camel_Case.VM", one, power="on"),
        harness.machine("govc", one),
        harness.machine("large", disks("large", 80, data=48)),
    ]
    with harness.vcenter(tmp_path_factory.mktemp("import"), *machines) as simulator:
        yield simulator


def ran(simulator: Simulator, folder: Path, vm: str, *options: str, **spec: Any) -> Path:
    """Import a VM, which must succeed and leave nothing behind; returns the import's folder."""
    folder.mkdir(exist_ok=True)
    manifests = harness.manifests(simulator, folder / "manifests.yaml", vm, **spec)
    ended = harness.vmferry("run", "-f", manifests, "--into", folder / "out", *options)
    assert ended.code == Exit.DONE, ended.err
    assert harness.left(simulator) == []
    return folder / "out"


def manifest(folder: Path) -> Json:
    found: Json = YAML(typ="safe").load(folder / "virtualmachine.yaml")
    return found


def domain(folder: Path) -> Json:
    found: Json = manifest(folder)["spec"]["template"]["spec"]["domain"]
    return found


def test_a_running_vm_is_shut_down_and_imported(vcenter: Simulator, disks: MakeDisk, tmp_path: Path) -> None:
    folder = ran(vcenter, tmp_path, "web")
    assert harness.imported(folder, disks("one", 5), disks("web-data", 3))
    assert harness.tasks(vcenter, "web") == [(SHUTDOWN, ""), (EXPORT, ""), (EXPORT, "")]
    assert vcenter.vm("web")["power"] == "off"
    assert vcenter.vm("web")["powerOffs"] == 0
    machine = json.loads((folder / "machine.json").read_text())
    assert (machine["name"], machine["power"], machine["path"]) == ("web", "on", "/DC0/vm/web")
    assert [disk["capacity"] for disk in machine["disks"]] == [5 * MIB, 3 * MIB]
    assert manifest(folder)["metadata"]["name"] == "web"
    assert "The shop's" in (folder / "virtualmachine.yaml").read_text()
    for secret in (vcenter.password, "BEGIN CERTIFICATE"):
        leaks = subprocess.run(["grep", "-rl", secret, folder], capture_output=True, text=True, check=False)
        assert leaks.stdout == ""


@pytest.mark.parametrize("output", ["json", "yaml", "table"])
def test_plan_shows_the_result_and_changes_nothing(vcenter: Simulator, tmp_path: Path, output: str) -> None:
    manifests = harness.manifests(vcenter, tmp_path / "manifests.yaml", "off")
    before = vcenter.tasks()
    ended = harness.vmferry("plan", "-f", manifests, "-o", output)
    assert ended.code == Exit.DONE, ended.err
    assert EMOJI in ended.out
    if output != "table":
        (plan,) = YAML(typ="safe").load(ended.out)
        assert (plan["possible"], plan["reasons"]) == (True, [])
        made = plan["manifest"]["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
        assert [nic["macAddress"] for nic in made] == [EMOJI]
    assert vcenter.tasks() == before
    assert harness.left(vcenter) == []


def test_a_vm_that_is_off_gets_no_power_operation(
    vcenter: Simulator, disks: MakeDisk, tmp_path: Path
) -> None:
    folder = ran(vcenter, tmp_path, "off", "--format", "raw")
    assert harness.imported(folder, disks("one", 5), suffix="raw")
    assert (folder / "disk-0.raw").stat().st_blocks * 512 <= 4 * MIB  # zeroes use no room
    assert harness.tasks(vcenter, "off") == [(EXPORT, "")]
    assert (vcenter.vm("off")["powerOffs"], vcenter.vm("off")["shutdowns"]) == (0, 0)


@pytest.mark.parametrize(
    ("vm", "spec", "expected"),
    [
        ("deaf", {"gracefulShutdownTimeoutSeconds": 1}, [(SHUTDOWN, ""), (POWER_OFF, ""), (EXPORT, "")]),
        ("forced", {"forcePowerOff": True}, [(POWER_OFF, ""), (EXPORT, "")]),
    ],
)
def test_a_vm_is_powered_off_hard_on_request(
    vcenter: Simulator,
    disks: MakeDisk,
    tmp_path: Path,
    vm: str,
    spec: Json,
    expected: list[tuple[str, str]],
) -> None:
    folder = ran(vcenter, tmp_path, vm, **spec)
    assert harness.imported(folder, disks("one", 5))
    assert harness.tasks(vcenter, vm) == expected
    assert vcenter.vm(vm)["powerOffs"] == 1


def dozen(disks: MakeDisk) -> tuple[list[Path], Json]:
    """A VM with every feature, and its disks."""
    files = [disks(f"dozen-{number}", 2 + number / 4, data=1) for number in range(len(DOZEN))]
    described = [{"file": str(file), **at} for file, (at, _) in zip(files, DOZEN, strict=True)]
    nics = [
        {"network": f"net-{number}", "type": nic, "mac": f"00:50:56:01:02:0{number}"}
        for number, (nic, _) in enumerate(NIC_MODELS)
    ]
    more = {"firmware": "efi", "secureBoot": True, "tpm": True, "cpus": 4, "coresPerSocket": 2}
    return files, harness.machine("dozen", *described, **{**more, "nics": nics, "memoryMiB": 1536})


def test_a_dozen_disks_keep_their_sizes_buses_and_contents(disks: MakeDisk, tmp_path: Path) -> None:
    files, machine = dozen(disks)
    networks = [{"name": f"net-{n}", "kind": "distributed" if n % 2 else "standard"} for n in range(4)]
    inventory = {"datacenters": [{"name": "DC0", "networks": networks, "vms": [machine]}]}
    rows = [{"sourceNetwork": f"net-{n}", "destinationNetwork": f"vlan{n}"} for n in range(3)]
    with harness.vcenter(tmp_path, leases="many", vmdkLayout="qemu", **inventory) as simulator:
        folder = ran(simulator, tmp_path / "run", "dozen", networkMapping=rows)
        assert harness.tasks(simulator, "dozen") == [(EXPORT, "")] * len(DOZEN)
    # The order of the disks is that of the source; each is identified by its position and its size.
    found = json.loads((folder / "machine.json").read_text())["disks"]
    names = {(str(disk["controller"]), disk["busNumber"], disk["unit"]): disk for disk in found}
    devices = {disk["name"]: disk for disk in domain(folder)["devices"]["disks"]}
    for file, (at, bus) in zip(files, DOZEN, strict=True):
        disk = names[at["controller"], at["bus"], at["unit"]]
        assert disk["capacity"] == file.stat().st_size
        assert harness.same(file, folder / f"{disk['id']}.qcow2"), at
        assert devices[disk["id"]]["disk"]["bus"] == bus, at
    assert harness.sums_hold(folder)
    assert domain(folder)["firmware"]["bootloader"]["efi"]["secureBoot"] is True
    assert "tpm" in domain(folder)["devices"]
    assert (domain(folder)["cpu"]["sockets"], domain(folder)["cpu"]["cores"]) == (1, 4)
    assert domain(folder)["memory"]["guest"] == "1536Mi"
    interfaces = domain(folder)["devices"]["interfaces"]
    assert [nic["macAddress"] for nic in interfaces] == [f"00:50:56:01:02:0{n}" for n in range(4)]
    assert [nic["model"] for nic in interfaces[:3]] == [model for _, model in NIC_MODELS[:3]]
    assert (interfaces[3]["model"], interfaces[3]["masquerade"]) == ("virtio", {})
    multus = manifest(folder)["spec"]["template"]["spec"]["networks"]
    assert [n["multus"]["networkName"] for n in multus[:3]] == [f"default/vlan{n}" for n in range(3)]


def test_a_vm_of_a_stand_alone_host_is_imported(disks: MakeDisk, tmp_path: Path) -> None:
    disk = disks("one", 5, data=3)
    with harness.vcenter(
        tmp_path,
        kind="esxi",
        datacenters=[{"name": "ha-datacenter", "vms": [harness.machine("web", disk, power="on")]}],
    ) as simulator:
        folder = ran(simulator, tmp_path / "run", "web")
        assert harness.imported(folder, disk)
        assert harness.tasks(simulator, "web") == [(SHUTDOWN, ""), (EXPORT, "")]


def in_any_order(simulator: Simulator, *names: str) -> list[Json]:
    """The imports before their source, the source before its Secret, and the Secret in base64."""
    secret, source, import_ = scenario.manifests(simulator, folder=None, networkMapping=[])
    plain = secret.pop("stringData")
    secret["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
    imports = [
        {
            **import_,
            "metadata": {"name": f"import-{number}"},
            "spec": {**import_["spec"], "virtualMachineName": name},
        }
        for number, name in enumerate(names)
    ]
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "passed-over"}}
    return [*imports, foreign, source, secret]


def test_several_imports_are_read_from_standard_input(
    vcenter: Simulator, disks: MakeDisk, tmp_path: Path
) -> None:
    found = harness.manifests(vcenter, tmp_path / "source.yaml", "any")
    listed = harness.vmferry("inventory", "-f", found, "-o", "json")
    machines = {machine["name"]: machine for machine in json.loads(listed.out)["machines"]}
    names = (machines["first"]["instanceUuid"].upper(), vcenter.vm("second")["moid"])
    text = scenario.write(tmp_path / "all.yaml", in_any_order(vcenter, *names)).read_text()
    ended = harness.vmferry("run", "-f", "-", "--into", tmp_path / "out", stdin=text)
    assert ended.code == Exit.DONE, ended.err
    for number, vm in enumerate(("first", "second")):
        folder = tmp_path / "out" / f"import-{number}"
        assert harness.imported(folder, disks("one", 5))
        assert manifest(folder)["metadata"]["name"] == vm
        assert harness.tasks(vcenter, vm) == [(EXPORT, "")]
    assert harness.left(vcenter) == []
    again = harness.vmferry("retry", tmp_path / "out")
    assert (again.code, "the import has already succeeded" in again.err) == (Exit.DONE, True)


def test_unsuitable_names_and_networks_in_a_folder_are_adapted(
    vcenter: Simulator, disks: MakeDisk, tmp_path: Path
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    for number, document in enumerate(in_any_order(vcenter, "Camel_Case.VM")):
        if document["kind"] == "VirtualMachineImport":
            row = {"sourceNetwork": "bogus", "destinationNetwork": "vlan1"}
            document["spec"]["networkMapping"] = [row]
        scenario.write(folder / f"{number}.yaml", [document])
    (folder / "README.txt").write_text("not YAML: [")
    into = tmp_path / "out"
    ended = harness.vmferry("run", "-f", folder, "--into", into)
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(into, disks("one", 5))
    assert manifest(into)["metadata"]["name"] == "camel-case-vm"
    (nic,) = domain(into)["devices"]["interfaces"]
    assert (nic["name"], nic["model"], nic["masquerade"]) == ("pod-network", "virtio", {})
    assert "source network 'bogus' not found" in ended.err
    assert harness.tasks(vcenter, "Camel_Case.VM") == [(SHUTDOWN, ""), (EXPORT, "")]


def test_the_environment_of_govc_replaces_manifests(
    vcenter: Simulator, disks: MakeDisk, tmp_path: Path
) -> None:
    ended = harness.vmferry(
        "run",
        "--into",
        tmp_path / "out",
        GOVC_URL=vcenter.url,
        GOVC_USERNAME=vcenter.username,
        GOVC_PASSWORD=vcenter.password,
        GOVC_DATACENTER="DC0",
        GOVC_TLS_CA_CERTS=str(vcenter.ca),
        VM_NAME="govc",
    )
    assert ended.code == Exit.DONE, ended.err
    assert harness.imported(tmp_path / "out", disks("one", 5))
    assert harness.left(vcenter) == []


def test_no_process_needs_much_memory(vcenter: Simulator, disks: MakeDisk, tmp_path: Path) -> None:
    manifests = harness.manifests(vcenter, tmp_path / "manifests.yaml", "large")
    argv = harness.argv("run", "-f", manifests, "--into", tmp_path / "out")
    measured = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, *argv],
        env=harness.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert harness.imported(tmp_path / "out", disks("large", 80))
    assert int(done.stdout) <= MEMORY_MIB * 1024  # KiB, of the largest process

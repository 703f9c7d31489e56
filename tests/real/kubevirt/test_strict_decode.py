"""The strict decoder distinguishes right manifests from wrong ones, and accepts ours."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from steps.model.manifest import kubevirt_machine, virtual_machine
from steps.model.mapping import shape
from steps.model.plan import TargetKind
from steps.model.vm_settings import Matcher, VmSettings
from steps.model.yaml import to_yaml
from tests.real.kubevirt.decode import faults, program
from tests.unit.builders import a_machine, a_nic, a_plan

FOLDER: Final = Path(__file__).parents[2] / "unit" / "golden"
GOLDEN: Final = sorted(FOLDER.glob("*/*.yaml"))
BASE: Final = FOLDER / "dozen-disks" / "virtualmachine.yaml"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_kubevirt_accepts_every_golden_manifest(path: Path) -> None:
    assert faults(path.read_text()) == []


def test_kubevirt_knows_the_fields_of_an_instancetype() -> None:
    instancetype = Matcher(kind="VirtualMachineClusterInstancetype", name="u1.medium")
    plan = a_plan(kind=TargetKind.KUBEVIRT, settings=VmSettings(instancetype=instancetype))
    vm = shape(plan, a_machine(nics=(a_nic(),)))
    made = kubevirt_machine(vm, {disk.id: f"web01-{disk.id}" for disk in vm.disks})
    assert faults(to_yaml(made)) == []
    made["spec"]["template"]["spec"]["domain"]["cpu"] = {"cores": 2}
    assert any("conflict with the instancetype" in one for one in faults(to_yaml(made)))


Json = dict[str, Any]
Change = Callable[[Json], None]


def spec(machine: Json) -> Json:
    found: Json = machine["spec"]["template"]["spec"]
    return found


def devices(machine: Json) -> Json:
    found: Json = spec(machine)["domain"]["devices"]
    return found


def nic(machine: Json) -> Json:
    found: Json = devices(machine)["interfaces"][0]
    return found


def second_nic(machine: Json) -> None:
    devices(machine)["interfaces"].append({"name": "other", "bridge": {}})
    spec(machine)["networks"].append({"name": "other", "pod": {}})


def efi(**bootloader: Any) -> Change:
    return lambda machine: spec(machine)["domain"].update(firmware={"bootloader": bootloader})


WRONG: Final[dict[str, tuple[Change, str]]] = {
    "unknown field": (lambda m: devices(m)["disks"][1].update(colour="red"), 'disks[1].colour"'),
    "disk serial": (lambda m: devices(m)["disks"][1].update(serial="a b"), "disks[1].serial"),
    "link state": (lambda m: nic(m).update(state="sideways"), "interfaces[0].state"),
    "two clocks": (lambda m: spec(m)["domain"]["clock"].update(timezone="Europe/Berlin"), "domain.clock"),
    "field in wrong case": (lambda m: devices(m)["disks"][1].update(bootorder=1), 'disks[1].bootorder"'),
    "unknown field of the pod network": (lambda m: spec(m)["networks"][0]["pod"].update(a=1), '[0].pod.a"'),
    "unknown field of the VM": (lambda m: m["spec"].update(colour="red"), '"spec.colour"'),
    "wrong type": (lambda m: devices(m)["disks"][0].update(bootOrder="one"), "cannot unmarshal string"),
    "bad quantity": (lambda m: spec(m)["domain"]["memory"].update(guest="many"), "quantities must match"),
    "wrong kind": (lambda m: m.update(kind="VirtualMachineInstance"), "kind: "),
    "old version": (lambda m: m.update(apiVersion="kubevirt.io/v1alpha3"), "kind: "),
    "bad name": (lambda m: m["metadata"].update(name="Web_01"), "metadata.name: "),
    "bad label": (lambda m: m["metadata"]["labels"].update(a="-"), "metadata.labels: "),
    "no template": (lambda m: m["spec"].pop("template"), "spec.template: missing"),
    "no run strategy": (lambda m: m["spec"].pop("runStrategy"), "spec.runStrategy: exactly one"),
    "two run strategies": (lambda m: m["spec"].update(running=True), "spec.runStrategy: exactly one"),
    "bad run strategy": (lambda m: m["spec"].update(runStrategy="Never"), 'invalid "Never"'),
    "disk twice": (
        lambda m: devices(m)["disks"][1].update(name="disk-0"),
        'disks[1].name: "disk-0" is there',
    ),
    "volume twice": (
        lambda m: spec(m)["volumes"][1].update(name="disk-0"),
        'volumes[1].name: "disk-0" is th',
    ),
    "disk without volume": (lambda m: spec(m)["volumes"].pop(), 'disks[11].name: no volume "disk-11"'),
    "volume without disk": (lambda m: devices(m)["disks"].pop(), 'volumes[11].name: no disk "disk-11"'),
    "volume without source": (
        lambda m: spec(m)["volumes"][0].pop("persistentVolumeClaim"),
        "volumes[0]: 0 sources",
    ),
    "bad claim": (
        lambda m: spec(m)["volumes"][0]["persistentVolumeClaim"].update(claimName="A_b"),
        "volumes[0].persistentVolumeClaim.claimName: ",
    ),
    "disk name": (
        lambda m: devices(m)["disks"][0].update(name="disk.0"),
        "disks[0].name: must not contain dots",
    ),
    "unknown bus": (
        lambda m: devices(m)["disks"][0]["disk"].update(bus="ide"),
        'disks[0].bus: unknown bus "ide"',
    ),
    "two targets": (
        lambda m: devices(m)["disks"][0].update(cdrom={"bus": "sata"}),
        "disks[0]: more than one",
    ),
    "boot order zero": (lambda m: devices(m)["disks"][0].update(bootOrder=0), "disks[0].bootOrder: must be"),
    "boot order twice": (
        lambda m: devices(m)["disks"][5].update(bootOrder=1),
        "disks[5].bootOrder: 1 is that",
    ),
    "boot order of a NIC": (lambda m: nic(m).update(bootOrder=1), "interfaces[0].bootOrder: 1 is that"),
    "unknown model": (
        lambda m: nic(m).update(model="vmxnet3"),
        'interfaces[0].model: unknown model "vmxnet3"',
    ),
    "bad MAC": (lambda m: nic(m).update(macAddress="00:50:56"), 'macAddress: malformed "00:50:56"'),
    "long MAC": (lambda m: nic(m).update(macAddress="00:50:56:00:00:00:00:00"), "macAddress: malformed"),
    "reserved MAC": (lambda m: nic(m).update(macAddress="02:00:00:00:00:00"), "in-pod bridge"),
    "NIC without network": (lambda m: nic(m).update(name="x"), 'interfaces[0].name: no network "x"'),
    "network without NIC": (
        lambda m: spec(m)["networks"][0].update(name="x"),
        "networks[0].name: no interface",
    ),
    "NIC's name": (lambda m: nic(m).update(name="a.b"), 'interfaces[0].name: "a.b" is not made'),
    "two bindings": (lambda m: nic(m).update(bridge={}), "interfaces[0]: 2 bindings"),
    "masquerade off the pod network": (
        lambda m: spec(m)["networks"].__setitem__(0, {"name": "pod-network", "multus": {"networkName": "a"}}),
        "interfaces[0].masquerade: only on the pod network",
    ),
    "two pod networks": (second_nic, "networks: 2 pod networks"),
    "network of no kind": (lambda m: spec(m)["networks"][0].pop("pod"), "networks[0]: exactly one of"),
    "multus without a name": (
        lambda m: spec(m)["networks"].__setitem__(0, {"name": "pod-network", "multus": {"networkName": ""}}),
        "networks[0].multus.networkName: missing",
    ),
    "secure boot without SMM": (efi(efi={"secureBoot": True}), "secure boot requires features.smm"),
    "secure boot by default": (efi(efi={}), "secure boot requires features.smm"),
    "efi and bios": (efi(efi={"secureBoot": False}, bios={}), "both efi and bios"),
    "more memory than the limit": (
        lambda m: spec(m)["domain"]["memory"].update(guest="3Gi"),
        "memory.guest: 3Gi is more than the limit 2Gi",
    ),
    "no memory": (lambda m: spec(m)["domain"].pop("memory"), "memory.guest: no memory is asked for"),
}


def base() -> Json:
    loaded: Json = YAML(typ="safe").load(BASE)
    return loaded


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_is_detected(change: Change, message: str) -> None:
    machine = base()
    change(machine)
    assert any(message in fault for fault in faults(to_yaml(machine)))


def test_every_error_has_its_own_line() -> None:
    machine = base()
    for name in ("unknown field", "unknown bus", "bad MAC"):
        WRONG[name][0](machine)
    assert len(faults(to_yaml(machine))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no document"),
        ("# nothing\n---\n", "no document"),
        ("just text", "cannot unmarshal string"),
        ("a: b\n  c: d\n", "mapping values are not allowed"),
        ("kind: VirtualMachine\nkind: VirtualMachine\n", 'key "kind" already set'),
    ],
)
def test_text_that_is_not_a_manifest_is_detected(text: str, message: str) -> None:
    assert any(message in fault for fault in faults(text))


def test_every_document_is_read() -> None:
    good, bad = base(), base()
    WRONG["unknown bus"][0](bad)
    assert len(faults("---\n".join([to_yaml(good), to_yaml(bad), to_yaml(bad)]))) == 2


def test_files_are_named_and_a_missing_one_is_exit_code_2(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(to_yaml(base()).replace("bus: sata", "bus: ide"))
    ended = subprocess.run([program(), BASE, wrong], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert all(line.startswith(f"{wrong}[0]: ") for line in ended.stdout.splitlines())
    assert subprocess.run([program(), tmp_path / "none"], capture_output=True, check=False).returncode == 2


def yaml_of(**machine: Any) -> str:
    made = shape(a_plan(), a_machine(nics=(a_nic(),), **machine))
    return to_yaml(virtual_machine(made, {disk.id: f"{made.name}-{disk.id}" for disk in made.disks}))


BOOLEANS: Final = ("on", "off", "yes", "no", "y", "n")
"""Unquoted texts that YAML 1.1, and so kubectl, reads as true or false."""


@pytest.mark.parametrize(
    "name", ["1e3", "0b101", "0x10", "0o7", "017", "123", "null", "true", "1-1-1", "inf"]
)
def test_a_name_that_looks_like_another_type_stays_a_name(name: str) -> None:
    assert faults(yaml_of(name=name)) == []


@pytest.mark.parametrize("name", BOOLEANS)
def test_a_name_that_yaml_1_1_takes_for_a_boolean_stays_a_name(name: str) -> None:
    assert faults(yaml_of(name=name)) == []


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.text().filter(lambda text: text.lower() not in BOOLEANS))
def test_any_description_is_accepted(notes: str) -> None:
    assert faults(yaml_of(notes=notes)) == []

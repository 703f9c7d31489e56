"""The real virt-api judges every VM of the golden files, as a VirtualMachine and as its instance."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.real.cluster.lab import CommandError, Lab
from tests.real.harvester.install import namespace as namespace_object
from tests.real.harvester.test_golden import MACHINES
from tests.real.virt.judge import instance, judged, lost

Object = dict[str, Any]
PLAIN: Final = "vmware-bios-virtualmachine"


@pytest.fixture(scope="module")
def surroundings(lab: Lab) -> None:
    spaces = {one["metadata"]["namespace"] for one in MACHINES.values()}
    lab.apply(*(namespace_object(name) for name in sorted(spaces - {"default"})))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.usefixtures("surroundings")
def test_kubevirt_accepts_a_golden_vm_and_keeps_all_of_it(lab: Lab, name: str) -> None:
    machine = MACHINES[name]
    assert list(lost(machine, judged(lab, machine))) == []


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.usefixtures("surroundings")
def test_kubevirt_accepts_the_instance_of_a_golden_vm(lab: Lab, name: str) -> None:
    made = instance(MACHINES[name])
    assert list(lost(made, judged(lab, made))) == []


def domain(machine: Object) -> Object:
    found: Object = machine["spec"]["template"]["spec"]["domain"]
    return found


WRONG: Final[dict[str, tuple[Callable[[Object], None], str]]] = {
    "unknown field": (
        lambda m: domain(m).update(colour="red"),
        'unknown field "spec.template.spec.domain.colour"',
    ),
    "unknown bus": (lambda m: domain(m)["devices"]["disks"][0]["disk"].update(bus="ide"), "bus"),
    "disk without volume": (lambda m: m["spec"]["template"]["spec"]["volumes"].pop(), "disks"),
    "secure boot without SMM": (
        lambda m: domain(m)["firmware"].update(bootloader={"efi": {"secureBoot": True}}),
        "SMM",
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("surroundings")
def test_a_wrong_vm_is_refused(lab: Lab, change: Callable[[Object], None], words: str) -> None:
    machine = copy.deepcopy(MACHINES[PLAIN])
    change(machine)
    with pytest.raises(CommandError, match=words):
        judged(lab, machine)

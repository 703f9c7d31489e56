"""The real virt-api judges every VM of the golden files, as a VirtualMachine and as its instance.

CDI's own webhook judges every DataVolume.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import pytest

from steps.model.kinds import DATA_VOLUME, MACHINE
from steps.model.plan import TargetKind
from tests.real.cluster.lab import CommandError, Lab
from tests.real.golden import golden
from tests.real.harvester.install import namespace as namespace_object
from tests.real.virt.judge import instance, judged, lost

Object = dict[str, Any]
HARVESTER: Final = golden(MACHINE, TargetKind.HARVESTER)
KUBEVIRT: Final = golden(MACHINE, TargetKind.KUBEVIRT)
MACHINES: Final = HARVESTER | KUBEVIRT
DATA_VOLUMES: Final = golden(DATA_VOLUME, TargetKind.KUBEVIRT)
PLAIN: Final = "vmware-bios-kubevirt"


@pytest.fixture(scope="module")
def surroundings(lab: Lab) -> None:
    spaces = {one["metadata"]["namespace"] for one in MACHINES.values()}
    lab.apply(*(namespace_object(name) for name in sorted(spaces - {"default"})))


def test_golden_vms_exist_for_both_targets() -> None:
    assert len(MACHINES) == len(HARVESTER) + len(KUBEVIRT)
    assert len(KUBEVIRT) >= 10
    assert len(DATA_VOLUMES) >= 4


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


@pytest.mark.parametrize("name", DATA_VOLUMES)
@pytest.mark.usefixtures("surroundings", "cdi")
def test_cdi_accepts_a_golden_data_volume_and_keeps_all_of_it(lab: Lab, name: str) -> None:
    data_volume = copy.deepcopy(DATA_VOLUMES[name])
    http = data_volume["spec"]["source"]["http"]
    if "checksum" in http:  # the files have a word instead of digits; CDI checks that they are 128
        http["checksum"] = f"sha512:{'0a' * 64}"
    assert list(lost(data_volume, judged(lab, data_volume))) == []


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

"""The provider over the stand-in: it finds, describes, shuts down, exports and releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steps.disk.land import Landed
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import connect
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, NAMESPACE, SIZE, UID
from tests.unit.steps.providers.kubevirt.standin import StandIn


def described(access: MakeAccess, name: str = "web", folder: str | None = None, **more: Any) -> Machine:
    with connect(access("preflight", **more)) as source:
        machine = source.describe(name, folder)
        return machine.model_copy(update={"mark": source.power_mark(machine)})


def shut_down(access: MakeAccess, machine: Machine, policy: PowerPlan | None = None, **more: Any) -> None:
    with connect(access("poweroff", machine=machine, **more)) as source:
        source.power_off(machine, policy or PowerPlan())


def exported(access: MakeAccess, machine: Machine, out: Path, number: int = 0, **more: Any) -> Landed:
    with connect(access(f"export-disk-{number}", machine=machine, **more)) as source:
        return source.export(machine, machine.disks[number], out, DiskFormat.RAW, lambda _done, _total: None)


@pytest.fixture
def machine(standin: StandIn, access: MakeAccess) -> Machine:
    standin.cluster.halt()
    return described(access)


def test_a_vm_is_found_by_its_name(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    assert (machine.source_id, machine.path, machine.power) == (UID, f"{NAMESPACE}/web", Power.ON)
    assert standin.changes() == []


def test_a_vm_is_shut_down_once(standin: StandIn, access: MakeAccess) -> None:
    machine = described(access)
    for _ in range(2):
        shut_down(access, machine)
    assert standin.cluster.stops == 1
    assert described(access).power is Power.OFF
    assert standin.cluster.run_strategy == "Halted"


def test_a_disk_is_exported_and_nothing_is_left(
    standin: StandIn, access: MakeAccess, machine: Machine, tmp_path: Path
) -> None:
    for number, disk in enumerate(machine.disks):
        landed = exported(access, machine, tmp_path / disk.id, number)
        assert landed.virtual_size == SIZE
        assert (tmp_path / disk.id).read_bytes() == standin.content[disk.backing]
    assert [disk.backing for disk in machine.disks] == list(CLAIMS)
    assert standin.cluster.held() == 0


def test_a_vm_that_runs_is_not_exported(standin: StandIn, access: MakeAccess, tmp_path: Path) -> None:
    machine = described(access)
    with pytest.raises(StepError) as caught:
        exported(access, machine, tmp_path / "out")
    assert caught.value.code is Exit.POWER
    assert standin.cluster.held() == 0


def test_the_tags_are_the_labels_of_the_vm(standin: StandIn, access: MakeAccess) -> None:
    standin.cluster.vm["metadata"]["labels"] = {"harvesterhci.io/os": "ubuntu", "team": "shop"}
    machine = described(access)
    with connect(access("preflight", machine=machine)) as source:
        assert source.tags(machine) == (
            Tag(name="harvesterhci.io/os", value="ubuntu"),
            Tag(name="team", value="shop"),
        )
    standin.cluster.vm["metadata"].pop("labels")
    with connect(access("preflight", machine=machine)) as source:
        assert source.tags(machine) == ()

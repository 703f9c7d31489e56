from __future__ import annotations

from typing import Any

import pytest

from controller.assess.readiness import Assessed, Readiness
from controller.assess.selection import Selection, Sort, in_order, select
from steps.model.concerns import block, warn
from steps.model.machine import Power, Tag
from tests.unit.builders import GIB, a_disk, a_machine

WEB = Assessed(
    a_machine(
        name="web",
        path="/DC0/vm/prod/web/web",
        source_id="vm-1",
        power=Power.ON,
        tags=(Tag(name="env", value="prod"), Tag(name="wave", value="1")),
        disks=(a_disk(0, capacity=2 * GIB, allocated=GIB),),
    )
)
DB = Assessed(
    a_machine(
        name="db",
        path="/DC0/vm/prod/db",
        source_id="vm-2",
        vcpus=8,
        tags=(Tag(name="env", value="prod"),),
        disks=(a_disk(0, capacity=9 * GIB, allocated=0),),
    ),
    warnings=(warn("w", "x"),),
)
TEST = Assessed(
    a_machine(name="test", path="/DC0/vm/test", source_id="vm-3", memory_mib=1, tags=(Tag(name="old"),)),
    blockers=(block("b", "x"),),
)
ALL = (WEB, DB, TEST)


def names(**wanted: Any) -> list[str]:
    return [one.machine.name for one in select(ALL, Selection(**wanted))]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["web", "db", "test"]),
        ({"names": ("web",)}, ["web"]),
        ({"names": ("web", "d*")}, ["web", "db"]),
        ({"names": ("vm-3",)}, ["test"]),
        ({"folders": ("prod",)}, ["web", "db"]),
        ({"folders": ("/DC0/vm/prod/",)}, ["web", "db"]),
        ({"folders": ("prod/web",)}, ["web"]),
        ({"folders": ("/",)}, ["web", "db", "test"]),
        ({"folders": ("pro",)}, []),
        ({"folders": ("p*",)}, ["web", "db"]),
        ({"tags": ("prod",)}, ["web", "db"]),
        ({"tags": ("env:prod", "wave:*")}, ["web"]),
        ({"tags": ("old",)}, ["test"]),
        ({"tags": ("env",)}, []),
        ({"powers": (Power.ON,)}, ["web"]),
        ({"powers": (Power.ON, Power.OFF)}, ["web", "db", "test"]),
        ({"readiness": (Readiness.BLOCKED,)}, ["test"]),
        ({"readiness": (Readiness.READY, Readiness.WARNINGS), "folders": ("prod",)}, ["web", "db"]),
        ({"names": ("web",), "powers": (Power.OFF,)}, []),
    ],
)
def test_vms_are_selected(wanted: dict[str, Any], found: list[str]) -> None:
    assert names(**wanted) == found


def test_a_selection_shows_its_options() -> None:
    wanted = Selection(names=("a*",), folders=("b",), tags=("c",), powers=(Power.ON,))
    assert str(wanted) == "--name a* --folder b --tag c --power on"
    assert wanted
    assert not Selection()


@pytest.mark.parametrize(
    ("by", "found"),
    [
        (None, ["web", "db", "test"]),
        (Sort.NAME, ["db", "test", "web"]),
        (Sort.PATH, ["db", "web", "test"]),
        (Sort.VCPUS, ["web", "test", "db"]),
        (Sort.MEMORY, ["test", "web", "db"]),
        (Sort.DISKS, ["test", "web", "db"]),
        (Sort.READ, ["db", "web", "test"]),
        (Sort.READINESS, ["web", "db", "test"]),
        (Sort.POWER, ["db", "test", "web"]),
        (Sort.OS, ["web", "db", "test"]),
    ],
)
def test_vms_are_sorted_and_equal_ones_stay_in_order(by: Sort | None, found: list[str]) -> None:
    assert [one.machine.name for one in in_order(ALL, by, descending=False)] == found


def test_the_order_can_be_descending() -> None:
    assert [one.machine.name for one in in_order(ALL, Sort.DISKS, descending=True)] == ["db", "web", "test"]
    assert [one.machine.name for one in in_order(ALL, None, descending=True)] == ["test", "db", "web"]

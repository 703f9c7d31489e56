"""What a pod with all disks mounts: the words of the controller, and the expression that reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from steps.model.landing import LandingDisk, MixedDisk
from steps.model.machine import Machine
from steps.model.plan import DiskForm, DiskRule, DiskWay, ImportLimits, Plan, TargetKind
from tests.unit.builders import a_disk, a_machine, a_plan
from workflows.mounts import MOST, NOTHING, pod_patch, words
from workflows.stages import stage_named

INSPECT = stage_named("inspect")


def machine(count: int) -> Machine:
    return a_machine(disks=tuple(a_disk(number) for number in range(count)))


def landing(**target: Any) -> Plan:
    return a_plan(kind=TargetKind.KUBEVIRT, way=DiskWay.LAND, **target)


def row(disk: str, mode: str = "Block", *, landed: bool = False) -> dict[str, Any]:
    return LandingDisk.of(disk, f"other-{disk}", mode, landed=landed).model_dump()


def test_disks_on_scratch_are_named_in_the_order_of_the_vm() -> None:
    found = a_machine(disks=(a_disk(2), a_disk(0)))
    assert words(a_plan(), found, ["disk-0", "disk-2"]) == "disk-2:scratch disk-0:scratch"


def test_the_rows_of_admit_say_only_the_mode_and_whether_the_volume_is_there() -> None:
    rows = [row("disk-0"), row("disk-1", "Filesystem"), row("disk-2", landed=True)]
    assert words(landing(), machine(3), rows) == "disk-0:Block disk-1:Filesystem disk-2:notes"


def test_the_disks_of_a_mixed_vm_are_mounted_by_their_way() -> None:
    plan = a_plan(way=DiskWay.MIXED, disks=(DiskRule(disk="disk-1", form=DiskForm.VOLUME),))
    rows = [
        MixedDisk.on_scratch("disk-0", "x-disk-0").model_dump(),
        MixedDisk.on_volume(LandingDisk.of("disk-1", "x-disk-1", "Block", landed=False), "x").model_dump(),
    ]
    assert words(plan, machine(2), rows) == "disk-0:scratch disk-1:Block"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["disk-0"],
        [None, 7, [], {}],
        [{"disk": "disk-0"}],
        [{**row("disk-0"), "mounts": "env"}],
        [{**row("disk-0"), "landed": "maybe"}],
        [{**row("disk-0"), "disk": "../disk-0"}],
        [{**row("disk-0"), "disk": "disk-0:Block disk-1"}],
        [row("disk-7")],
    ],
)
def test_a_disk_without_a_valid_row_is_not_mounted_nor_is_any_other(rows: Iterable[object]) -> None:
    assert words(landing(), machine(1), rows) == NOTHING


@pytest.mark.parametrize("count", [0, 3, MOST + 1])
def test_a_vm_without_disks_or_with_more_than_allowed_mounts_nothing(count: int) -> None:
    plan = a_plan().model_copy(update={"limits": ImportLimits(max_disks=2)})
    assert words(plan, machine(count), []) == NOTHING


def test_without_a_limit_of_the_installation_the_number_is_bounded_too() -> None:
    assert words(a_plan(), machine(MOST + 1), []) == NOTHING
    assert len(words(a_plan(), machine(MOST), []).split()) == MOST


def test_the_expression_has_no_braces_that_would_end_it() -> None:
    """Argo ends a tag at the first two closing braces (valyala/fasttemplate)."""
    found = re.fullmatch(r"\{\{=(.*)\}\}\n", pod_patch(INSPECT), re.DOTALL)
    assert found is not None
    assert "{{" not in found[1]
    assert "}}" not in found[1]


def test_an_inspection_mounts_everything_read_only_but_the_records() -> None:
    text = pod_patch(INSPECT)
    assert re.findall(r"'readOnly': ([^,}]*)", text) == [
        "# endsWith ':Block'",
        "# endsWith ':scratch'",
        "true",
    ]
    writing = pod_patch(replace(INSPECT, writes=True))
    assert re.findall(r"'readOnly': ([^,}]*)", writing) == ["false", "false", "false"]

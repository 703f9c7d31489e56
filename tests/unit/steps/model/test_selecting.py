"""Which VMs the rows of a plan select, and the result as a text that a hostile program may have written."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from steps.model.concerns import block
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Tag
from steps.model.selecting import (
    LONGEST_OUTPUT,
    LONGEST_REFERENCE,
    MOST_VMS,
    Found,
    FoundVm,
    Rows,
    VmRow,
    pack,
    select,
    unpack,
)
from steps.model.sources import SourceKind
from tests.unit.builders import a_disk, a_machine


def a_vm(number: int, folder: str = "", **more: Any) -> Machine:
    path = f"/DC0/vm/{folder}web-{number}"
    return a_machine(**{"name": f"web-{number}", "source_id": f"vm-{number}", "path": path, **more})


VMS = (
    a_vm(0, tags=(Tag(name="env", value="prod"), Tag(name="tier", value="web"))),
    a_vm(1, "prod/", host="host-7"),
    a_vm(2, "prod/db/", tags=(Tag(name="env", value="prod"),)),
    a_vm(3, "test/"),
)


def chosen(
    *rows: VmRow, exclude: tuple[str, ...] = (), vms: tuple[Machine, ...] = VMS
) -> list[tuple[int, str]]:
    found = select(vms, SourceKind.VMWARE, Rows(rows=rows, exclude=exclude))
    return [(vm.row, vm.id) for vm in found.vms]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (VmRow(name="web-1"), ["vm-1"]),
        (VmRow(name="vm-2"), ["vm-2"]),
        (VmRow(name="/DC0/vm/prod/*"), ["vm-1", "vm-2"]),
        (VmRow(folder="prod"), ["vm-1", "vm-2"]),
        (VmRow(folder="/DC0/vm/prod/db"), ["vm-2"]),
        (VmRow(tags=("env:prod",)), ["vm-0", "vm-2"]),
        (VmRow(tags=("env:prod", "tier:*")), ["vm-0"]),
        (VmRow(folder="prod", tags=("env:prod",)), ["vm-2"]),
        (VmRow(name="*"), ["vm-0", "vm-1", "vm-2", "vm-3"]),
        (VmRow(name="WEB-1"), []),
    ],
)
def test_a_row_selects_what_fits_all_of_it(row: VmRow, expected: list[str]) -> None:
    assert [vm_id for _, vm_id in chosen(row)] == expected


def test_rows_are_in_their_order_and_a_vm_belongs_to_the_first() -> None:
    rows = VmRow(name="web-3"), VmRow(folder="prod"), VmRow(name="*")
    assert chosen(*rows) == [(0, "vm-3"), (1, "vm-1"), (1, "vm-2"), (2, "vm-0")]
    assert chosen(*rows, exclude=("web-[12]",)) == [(0, "vm-3"), (2, "vm-0")]


def test_rows_that_select_nothing_are_named() -> None:
    rows = Rows(rows=(VmRow(name="web-1"), VmRow(folder="no", tags=("a:b",))), exclude=("old",))
    assert select(VMS, SourceKind.VMWARE, rows).unused == ("folder no, tag a:b", "exclude old")


def test_a_template_is_selected_only_by_its_name() -> None:
    template = a_vm(9, concerns=(block("template", "it is a template"),))
    assert chosen(VmRow(name="*"), vms=(template,)) == []
    assert chosen(VmRow(folder="/"), vms=(template,)) == []
    assert chosen(VmRow(name="web-9"), vms=(template,)) == [(0, "vm-9")]


def test_tags_that_the_source_does_not_show_are_an_error_only_where_they_are_needed() -> None:
    for_tag, for_name = (Rows(rows=(row,)) for row in (VmRow(tags=("a",)), VmRow(name="*")))
    with pytest.raises(StepError, match=r"cannot select VMs by tag: no right; select") as caught:
        select(VMS, SourceKind.VMWARE, for_tag, "no right")
    assert caught.value.code is Exit.UNSUPPORTED
    assert len(select(VMS, SourceKind.VMWARE, for_name, "no right").vms) == 4


def test_too_many_vms_are_refused() -> None:
    vms = [a_vm(number) for number in range(MOST_VMS + 1)]
    with pytest.raises(
        StepError, match=f"the plan selects {MOST_VMS + 1} VMs: a plan has at most {MOST_VMS}"
    ):
        select(vms, SourceKind.VMWARE, Rows(rows=(VmRow(name="*"),)))


def test_a_vm_is_named_by_what_is_unique() -> None:
    twins = (
        a_vm(1),
        a_vm(2, path="/DC0/vm/web-1"),
        a_vm(3, path=f"/DC0/vm/{'x' * LONGEST_REFERENCE}"),
        a_vm(4),
    )
    found = select(twins, SourceKind.VMWARE, Rows(rows=(VmRow(name="*"),)))
    assert [vm.vm for vm in found.vms] == ["vm-1", "vm-2", "vm-3", "/DC0/vm/web-4"]
    other = select(twins, SourceKind.OPENSTACK, Rows(rows=(VmRow(name="*"),)))
    assert [vm.vm for vm in other.vms] == ["web-1", "web-2", "web-3", "web-4"]


def test_the_result_survives_its_way_through_a_log() -> None:
    disks = (a_disk(0, storage="fast", storage_id="datastore-1", label="Hard disk 1", uuid="6000"),)
    found = select((a_vm(0, disks=disks, host="host-7"),), SourceKind.VMWARE, Rows(rows=(VmRow(name="*"),)))
    assert unpack(pack(found)) == found
    (vm,) = found.vms
    assert vm.host == "host-7"
    assert vm.disks[0].as_disk().storage_id == "datastore-1"


def test_a_thousand_vms_fit() -> None:
    vms = [a_vm(number, disks=(a_disk(0, uuid=f"{number:032x}"), a_disk(1))) for number in range(MOST_VMS)]
    found = select(vms, SourceKind.VMWARE, Rows(rows=(VmRow(name="*"),)))
    assert len(pack(found)) < LONGEST_OUTPUT


def test_a_result_that_is_too_large_is_not_handed_over() -> None:
    names = [f"{number}{'ä' * 500}" for number in range(MOST_VMS)]
    vms = tuple(FoundVm(row=0, id=name, vm=name, name=name) for name in names)
    with pytest.raises(StepError, match="is too large"):
        pack(Found(vms=vms))


def packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*", "the list of VMs is not valid"),
        ("A" * (LONGEST_OUTPUT + 1), "it has more than"),
        (packed("[]"), "Input should be an object"),
        (packed('{"vms": [{"row": -1, "id": "a", "vm": "a", "name": "a"}]}'), "vms.0.row"),
        (packed('{"vms": [{"row": 0, "id": "", "vm": "a", "name": "a"}]}'), "vms.0.id"),
        (packed('{"vms": [], "more": 1}'), "more: Extra inputs"),
        (packed(" " * (3 << 20)), "its content has more than"),
    ],
)
def test_a_text_of_another_form_is_refused(text: str, words: str) -> None:
    with pytest.raises(StepError, match=words) as caught:
        unpack(text)
    assert caught.value.code is Exit.INVALID


def test_a_vm_without_a_name_is_named_by_its_id() -> None:
    vms = (a_vm(1, name="", path=""), a_vm(2))
    found = select(vms, SourceKind.OVIRT, Rows(rows=(VmRow(name="*"),)))
    assert [vm.vm for vm in found.vms] == ["vm-1", "web-2"]


@pytest.mark.parametrize("vm_id", ["", "x" * (LONGEST_REFERENCE + 1)])
def test_a_vm_that_nobody_can_name_is_refused_unless_it_is_excluded(vm_id: str) -> None:
    vms = (a_vm(1, source_id=vm_id), a_vm(2))
    with pytest.raises(StepError, match="VM /DC0/vm/web-1 cannot be imported: its ID has") as caught:
        chosen(VmRow(name="*"), vms=vms)
    assert caught.value.code is Exit.UNSUPPORTED
    assert chosen(VmRow(name="*"), exclude=("web-1",), vms=vms) == [(0, "vm-2")]

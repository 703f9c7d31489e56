"""The VMs of a plan after one selection and after another: names, waves, and who comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.model.contract import StepError
from steps.model.selecting import FoundVm
from tests.unit.workflows.migration.plans import a_spec
from workflows.api.migration_plan import NO_ROW, PlannedVm, VmPhase
from workflows.migration.vms import import_name, merged, with_waves


def found(number: int, name: str = "", row: int = 0, **more: Any) -> FoundVm:
    name = name or f"web-{number}"
    return FoundVm(**{"row": row, "id": f"vm-{number}", "vm": f"/DC0/vm/{name}", "name": name, **more})


def selected(
    every: Sequence[FoundVm], recorded: Sequence[PlannedVm] = (), **spec: Any
) -> tuple[PlannedVm, ...]:
    return merged("prod", a_spec(**spec), every, recorded, lambda vm: ("fast",) if vm.disks else ())


def started(vm: PlannedVm, phase: VmPhase = VmPhase.RUNNING) -> PlannedVm:
    return vm.model_copy(update={"phase": str(phase), "uid": f"uid of {vm.id}"})


def names(vms: Sequence[PlannedVm]) -> list[str]:
    return [vm.import_ for vm in vms]


def waves(vms: Sequence[PlannedVm]) -> list[tuple[str, int]]:
    return [(vm.id, vm.wave) for vm in vms]


def test_an_import_is_named_after_its_plan_and_its_vm() -> None:
    (vm,) = selected([found(1, "Web Frontend_01")])
    assert (vm.import_, vm.target, vm.vm) == ("prod-web-frontend-01", "", "/DC0/vm/Web Frontend_01")


def test_vms_with_one_name_get_names_of_their_own() -> None:
    vms = selected([found(1, "Web"), found(2, "web"), found(3, "web.")])
    assert names(vms) == ["prod-web-vm-1", "prod-web-vm-2", "prod-web-vm-3"]
    assert [vm.target for vm in vms] == ["web-vm-1", "web-vm-2", "web-vm-3"]


def test_a_vm_that_comes_later_does_not_take_the_name_of_another() -> None:
    first = selected([found(1, "web")])
    both = selected([found(2, "web"), found(1, "web")], first)
    assert {vm.id: (vm.import_, vm.target) for vm in both} == {
        "vm-1": ("prod-web", ""),
        "vm-2": ("prod-web-vm-2", "web-vm-2"),
    }


def test_long_names_are_cut_and_stay_apart() -> None:
    long = "a" * 60
    one, other = import_name("p" * 40, long, "vm-1"), import_name("p" * 40, long, "vm-2")
    assert len(one) == len(other) == 63
    assert one != other


def test_waves_have_their_size_in_the_order_of_the_rows() -> None:
    vms = selected([found(number) for number in range(5)], waves={"size": 2})
    assert waves(vms) == [("vm-0", 1), ("vm-1", 1), ("vm-2", 2), ("vm-3", 2), ("vm-4", 3)]


def test_rows_may_number_their_waves() -> None:
    rows = [{"name": "web*", "wave": 2}, {"name": "db*", "wave": 1}]
    vms = selected([found(1, row=0), found(2, row=1), found(3, row=0)], vms=rows)
    assert waves(vms) == [("vm-2", 1), ("vm-1", 2), ("vm-3", 2)]


def test_a_vm_that_has_started_stays_when_it_vanishes_and_another_one_leaves() -> None:
    first = selected([found(number) for number in range(3)], waves={"size": 1})
    begun = [started(first[0]), *first[1:]]
    vms = selected([found(2)], begun, waves={"size": 1})
    assert waves(vms) == [("vm-0", 1), ("vm-2", 2)]
    assert vms[0] == begun[0].model_copy(update={"row": NO_ROW})


def test_a_new_vm_joins_a_wave_that_has_not_begun() -> None:
    first = selected([found(1), found(2)], waves={"size": 2})
    begun = [started(first[0]), first[1]]
    vms = selected([found(0), found(1), found(2)], begun, waves={"size": 2})
    assert waves(vms) == [("vm-1", 1), ("vm-2", 1), ("vm-0", 2)]


def test_a_changed_size_divides_only_what_has_not_begun() -> None:
    first = selected([found(number) for number in range(5)], waves={"size": 1})
    begun = [started(first[0]), *first[1:]]
    assert waves(with_waves(a_spec(waves={"size": 3}), begun)) == [
        ("vm-0", 1),
        ("vm-1", 2),
        ("vm-2", 2),
        ("vm-3", 2),
        ("vm-4", 3),
    ]


def test_a_vm_that_moved_is_named_by_its_new_place_until_it_starts() -> None:
    first = selected([found(1), found(2)])
    begun = [started(first[0]), first[1]]
    vms = selected([found(1, vm="/DC0/vm/new/web-1"), found(2, vm="/DC0/vm/new/web-2")], begun)
    assert [vm.vm for vm in vms] == ["/DC0/vm/web-1", "/DC0/vm/new/web-2"]


def test_a_vm_that_has_started_follows_its_row() -> None:
    """Its retry would get the overrides of another row otherwise."""
    first = selected([found(1, row=0), found(2, row=1)])
    begun = [started(vm, VmPhase.FAILED) for vm in first]
    vms = selected([found(2, row=0)], begun, vms=[{"name": "web-2"}])
    assert {vm.id: vm.row for vm in vms} == {"vm-1": NO_ROW, "vm-2": 0}


def test_hosts_and_storage_classes_are_recorded() -> None:
    disk = {"id": "disk-0", "key": "2000"}
    (vm,) = selected([found(1, host="host-7", disks=[disk])])
    assert (vm.host, vm.storage_classes) == ("host-7", ("fast",))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["web", "WEB", "web-vm-1", "a" * 70, "é", "..", "x"]), max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(1, 3),
    st.permutations(range(8)),
)
def test_another_selection_renames_nothing_and_gives_no_name_twice(
    called: list[str], begun: list[bool], size: int, order: list[int]
) -> None:
    every = [found(number, name) for number, name in enumerate(called)]
    half = selected(every[::2], waves={"size": size})
    recorded = [started(vm) if begun[number] else vm for number, vm in enumerate(half)]
    shuffled = [every[number] for number in order if number < len(every)]
    vms = selected(shuffled, recorded, waves={"size": size})
    assert len(set(names(vms))) == len(vms) == len(every)
    before, after = {vm.id: vm for vm in recorded}, {vm.id: vm for vm in vms}
    for vm_id, vm in before.items():
        assert after[vm_id].import_ == vm.import_
        if vm.uid:
            assert after[vm_id] == vm
    assert selected(shuffled, vms, waves={"size": size}) == vms


def test_a_source_that_gives_two_vms_one_id_is_an_error() -> None:
    """A hostile source may do that. There would be no name for the import of each of them."""
    with pytest.raises(StepError, match="several VMs have the ID vm-1"):
        selected([found(1, "web"), found(1, "db")])

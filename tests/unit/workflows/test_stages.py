from __future__ import annotations

import importlib.util
from graphlib import TopologicalSorter

import pytest

from steps import hand_over
from steps.model.plan import Adapt, DiskWay, GuestPlan, TargetKind
from workflows.stages import (
    CAPABILITIES,
    STAGES,
    Identity,
    Image,
    Retry,
    Scope,
    Stage,
    stage_named,
    stages_for,
)


def edges(target: TargetKind) -> dict[str, tuple[str, ...]]:
    return {stage.name: stage.after for stage in stages_for(target)}


def test_the_edges_of_the_target_directory() -> None:
    assert edges(TargetKind.DIRECTORY) == {
        "preflight": (),
        "approve-poweroff": ("preflight",),
        "poweroff": ("approve-poweroff",),
        "export": ("poweroff",),
        "convert": ("export",),
        "image": ("convert",),
        "build": ("image",),
        "release-source": (),
    }


def test_the_edges_of_the_target_harvester() -> None:
    assert edges(TargetKind.HARVESTER) == {
        "preflight": (),
        "admit": ("preflight",),
        "approve-poweroff": ("admit",),
        "poweroff": ("approve-poweroff",),
        "export": ("poweroff",),
        "convert": ("export",),
        "serve": ("convert",),
        "image": ("convert",),
        "build": ("image", "serve"),
        "approve-start": ("build",),
        "start": ("approve-start",),
        "halt": (),
        "release-source": ("halt",),
        "delete-scratch": ("release-source",),
    }


def test_the_edges_of_kubevirt_if_the_disks_land_on_their_volumes() -> None:
    landing = {stage.name: stage.after for stage in stages_for(TargetKind.KUBEVIRT, DiskWay.LAND)}
    assert landing == {
        "preflight": (),
        "admit": ("preflight",),
        "approve-poweroff": ("admit",),
        "poweroff": ("approve-poweroff",),
        "export": ("poweroff",),
        "convert": ("export",),
        "hand-over": ("export",),
        "build": ("approve-poweroff",),
        "approve-start": ("build", "hand-over"),
        "start": ("approve-start",),
        "halt": (),
        "release-source": ("halt",),
        "delete-scratch": ("release-source",),
    }


def test_the_program_of_the_hand_over_waits_for_the_stage_of_its_row() -> None:
    assert stage_named("hand-over").awaits == hand_over.AWAITED


def test_the_edges_of_harvester_if_some_disks_land_on_plain_volumes() -> None:
    plain = {stage.name: stage.after for stage in stages_for(TargetKind.HARVESTER)}
    mixed = {stage.name: stage.after for stage in stages_for(TargetKind.HARVESTER, DiskWay.MIXED)}
    assert mixed == plain | {"hand-over": ("export",), "build": ("hand-over", "image", "serve")}


def test_only_the_stages_of_a_disk_know_that_disks_have_different_ways() -> None:
    mixed = stages_for(TargetKind.HARVESTER, DiskWay.MIXED)
    assert [one.name for one in mixed if one.mixed] == [one.name for one in mixed if one.scope is Scope.DISK]
    assert not any(
        one.mixed for way in (DiskWay.PULL, DiskWay.LAND) for one in stages_for(TargetKind.HARVESTER, way)
    )


@pytest.mark.parametrize("target", TargetKind)
def test_only_disks_that_land_mount_their_volume(target: TargetKind) -> None:
    assert not any(stage.volume for stage in stages_for(target))
    landing = stages_for(TargetKind.KUBEVIRT, DiskWay.LAND)
    assert [stage.name for stage in landing if stage.volume] == ["export", "convert"]


def test_scratch_is_deleted_by_a_stage_only_where_it_is_in_claims() -> None:
    in_cluster, embedded = stages_for(TargetKind.HARVESTER), stages_for(TargetKind.HARVESTER, embedded=True)
    assert {one.name for one in in_cluster} - {one.name for one in embedded} == {"delete-scratch"}


def test_no_stage_has_both_the_credentials_of_the_source_and_the_api() -> None:
    assert [stage.name for stage in STAGES if stage.credentials and stage.api] == []


def test_stages_that_read_foreign_data_may_only_report() -> None:
    """`serve` reads the disk's bytes and parses nothing; `image` only names them to the target."""
    of_disks = {stage.name for stage in STAGES if stage.image is Image.GUEST}
    reading = {stage.name for stage in STAGES if stage.credentials or stage.image is Image.DISK}
    assert of_disks == {"inspect", "adapt"}
    assert reading == {"preflight", "poweroff", "export", "convert", "release-source"}
    for names, identity in ((reading, Identity.DATA), (of_disks, Identity.GUEST)):
        assert {stage_named(name).identity for name in names} == {identity}
        programs = {stage.name for stage in STAGES if stage.identity is identity and not stage.answer}
        assert programs == names


@pytest.mark.parametrize("target", TargetKind)
def test_edges_are_complete_and_without_a_cycle(target: TargetKind) -> None:
    found = edges(target)
    assert {name for after in found.values() for name in after} <= set(found)
    assert set(TopologicalSorter(found).static_order()) == set(found)


@pytest.mark.parametrize("target", TargetKind)
def test_a_stage_comes_after_the_stages_it_waits_for(target: TargetKind) -> None:
    names = [stage.name for stage in stages_for(target)]
    assert all(
        names.index(one) < names.index(stage.name) for stage in stages_for(target) for one in stage.after
    )


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_is_a_step_program_or_a_gate(stage: Stage) -> None:
    assert (importlib.util.find_spec(f"steps.{stage.program}") is None) is (stage.gate or bool(stage.answer))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_waiting_retry_never_holds_its_lock_for_more_than_a_minute(stage: Stage) -> None:
    assert max(stage.retry.delay(attempt) for attempt in range(1, 10)) <= 60


def test_delays_double_up_to_the_cap() -> None:
    assert [Retry(limit=5).delay(attempt) for attempt in range(1, 6)] == [10, 20, 40, 60, 60]


def test_disk_stages_are_inside_the_transfer() -> None:
    assert all(stage.in_transfer for stage in STAGES if stage.scope is Scope.DISK)
    without_scratch = [stage.name for stage in STAGES if stage.scope is Scope.DISK and not stage.scratch]
    assert without_scratch == ["hand-over"]


def test_the_weights_of_the_stages_sum_to_100() -> None:
    assert sum(stage.weight for stage in STAGES) == 100


def test_every_target_has_its_capabilities() -> None:
    assert set(CAPABILITIES) == set(TargetKind)


def test_a_stage_is_found_by_name() -> None:
    assert stage_named("export").name == "export"
    with pytest.raises(KeyError):
        stage_named("fly")


def test_both_targets_in_a_cluster_have_the_same_stages_so_one_template_fits_both() -> None:
    assert stages_for(TargetKind.KUBEVIRT) == stages_for(TargetKind.HARVESTER)
    assert stages_for(TargetKind.KUBEVIRT, embedded=True) == stages_for(TargetKind.HARVESTER, embedded=True)


@pytest.mark.parametrize("target", TargetKind)
def test_without_an_inspection_the_disks_flow_independently(target: TargetKind) -> None:
    plain = {stage.name: stage.after for stage in stages_for(target)}
    assert "inspect" not in plain
    assert plain["image"] == ("convert",)


@pytest.mark.parametrize("target", TargetKind)
def test_with_an_inspection_it_stands_between_the_stages_of_the_disks(target: TargetKind) -> None:
    rows = {stage.name: stage.after for stage in stages_for(target, embedded=True, asked=("inspect",))}
    assert rows["inspect"] == ("convert",)
    assert rows["image"] == ("inspect",)
    assert rows.get("serve", ("inspect",)) == ("inspect",)
    others = {stage.name for stage in stages_for(target, embedded=True)}
    assert set(rows) - others == {"inspect"}


@pytest.mark.parametrize("target", TargetKind)
@pytest.mark.parametrize("way", [DiskWay.PULL, DiskWay.LAND])
def test_a_boot_check_is_the_last_stage_and_changes_no_other(target: TargetKind, way: DiskWay) -> None:
    plain = stages_for(target, way)
    checked = stages_for(target, way, asked=["check"])
    rows = {stage.name: stage for stage in checked}
    check = rows.pop("check", None)
    assert tuple(rows.values()) == plain
    if target is TargetKind.DIRECTORY:
        assert check is None, "a folder runs no VM"
    else:
        assert check is not None
        assert check.after == ("start",)


@pytest.mark.parametrize("target", TargetKind)
def test_an_adaptation_follows_the_inspection_and_comes_before_the_disks_are_handed_on(
    target: TargetKind,
) -> None:
    asked = GuestPlan(inspect=True, adapt=Adapt.AUTO).stages
    rows = {stage.name: stage.after for stage in stages_for(target, embedded=True, asked=asked)}
    assert rows["inspect"] == ("convert",)
    assert rows["adapt"] == ("inspect",)
    assert rows["image"] == ("adapt",)
    assert rows.get("serve", ("adapt",)) == ("adapt",)

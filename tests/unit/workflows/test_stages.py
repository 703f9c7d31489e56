from __future__ import annotations

import importlib.util
from graphlib import TopologicalSorter

import pytest

from steps.model.plan import TargetKind
from workflows.stages import CAPABILITIES, STAGES, Retry, Scope, Stage, stage_named, stages_for


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
        "build": ("convert", "image"),
        "cleanup": (),
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
        "cleanup": (),
    }


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
    assert (importlib.util.find_spec(f"steps.{stage.name}") is None) is stage.gate


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_waiting_retry_never_holds_its_lock_for_more_than_a_minute(stage: Stage) -> None:
    assert max(stage.retry.delay(attempt) for attempt in range(1, 10)) <= 60


def test_delays_double_up_to_the_cap() -> None:
    assert [Retry(limit=5).delay(attempt) for attempt in range(1, 6)] == [10, 20, 40, 60, 60]


def test_disk_stages_are_inside_the_transfer() -> None:
    assert all(stage.in_transfer for stage in STAGES if stage.scope is Scope.DISK)
    assert all(stage.scratch for stage in STAGES if stage.scope is Scope.DISK)


def test_the_weights_of_the_stages_sum_to_100() -> None:
    assert sum(stage.weight for stage in STAGES) == 100


def test_every_target_has_its_capabilities() -> None:
    assert set(CAPABILITIES) == set(TargetKind)


def test_a_stage_is_found_by_name() -> None:
    assert stage_named("export").name == "export"
    with pytest.raises(KeyError):
        stage_named("fly")

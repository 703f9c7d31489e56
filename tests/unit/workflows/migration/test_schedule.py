"""Which imports of a plan start, in tables and for random plans."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.workflows.migration.plans import a_spec, a_vm
from workflows.api.migration_plan import PlannedVm, PlanPhase, VmPhase
from workflows.migration import windows
from workflows.migration.schedule import IN_FLIGHT, NO_VM, InFlight, Moment, Schedule, decide

NOW: Final = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
"""A Tuesday."""
DONE, FAILED, RUNNING = VmPhase.SUCCEEDED, VmPhase.FAILED, VmPhase.RUNNING
OPEN: Final = {"start": "11:00", "end": "13:00"}
SHUT: Final = {"start": "22:00", "end": "06:00", "timeZone": "Europe/Berlin"}


def scheduled(vms: list[PlannedVm], *, moment: dict[str, Any] | None = None, **spec: Any) -> Schedule:
    return decide(a_spec(**spec), Moment(**{"now": NOW, "vms": tuple(vms), **(moment or {})}))


def waves_of(*phases: list[VmPhase]) -> list[PlannedVm]:
    """VMs of waves 1, 2 and so on with these phases."""
    numbers = iter(range(100))
    return [a_vm(next(numbers), phase, wave) for wave, some in enumerate(phases, 1) for phase in some]


PENDING = VmPhase.PENDING


def test_the_first_wave_starts_as_a_whole() -> None:
    found = scheduled(waves_of([PENDING, PENDING], [PENDING]))
    assert (found.phase, found.wave) == (PlanPhase.RUNNING, 1)
    assert found.start == ("prod-web-0", "prod-web-1")
    assert found.message == "2 imports start"


@pytest.mark.parametrize("phase", IN_FLIGHT)
def test_the_next_wave_waits_for_the_end_of_this_one(phase: VmPhase) -> None:
    found = scheduled(waves_of([DONE, phase], [PENDING]))
    assert (found.phase, found.start) == (PlanPhase.RUNNING, ())
    assert found.message == "wave 1: 1 of 2 VMs are imported, 1 import runs"


def test_the_next_wave_starts_when_this_one_has_ended() -> None:
    found = scheduled(waves_of([DONE, VmPhase.CANCELLED, VmPhase.DELETED], [PENDING], [PENDING]))
    assert (found.phase, found.wave, found.start) == (PlanPhase.RUNNING, 2, ("prod-web-3",))
    assert found.wave_ended is None


def test_a_plan_without_vms_says_so() -> None:
    found = scheduled([])
    assert (found.phase, found.message) == (PlanPhase.FAILED, NO_VM)


# --- the end


def test_a_plan_whose_vms_are_all_imported_has_succeeded() -> None:
    found = scheduled(waves_of([DONE, DONE], [DONE]))
    assert (found.phase, found.message) == (PlanPhase.SUCCEEDED, "All 3 VMs are imported")


RETRY_THEM = "retry those that are failed or deleted with the annotation migration.harvesterhci.io/retry=true"
RESUME_THEM = "resume a cancelled import with `vmferry resume`"


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([FAILED], f"failed: prod-web-1; {RETRY_THEM} on the plan"),
        ([VmPhase.CANCELLED], f"cancelled: prod-web-1; {RESUME_THEM}"),
        (
            [FAILED, VmPhase.CANCELLED, VmPhase.DELETED],
            "cancelled: prod-web-2; deleted: prod-web-3; failed: prod-web-1; "
            f"{RETRY_THEM} on the plan; {RESUME_THEM}",
        ),
    ],
    ids=["failed", "cancelled", "all"],
)
def test_a_plan_names_what_is_not_imported_at_the_end_and_what_helps(
    phases: list[VmPhase], message: str
) -> None:
    """A retry of the plan starts no cancelled import again, so the message must not offer that."""
    found = scheduled(waves_of([DONE, *phases]))
    assert found.phase is PlanPhase.FAILED
    assert found.message == f"1 of {len(phases) + 1} VMs are imported; {message}"


# --- the threshold


@pytest.mark.parametrize(
    ("threshold", "failures", "stops"),
    [
        (None, 0, False),
        (None, 1, True),
        (2, 1, False),
        (2, 2, True),
        ("20%", 1, False),
        ("20%", 2, True),
        ("1%", 0, False),
        ("100%", 9, False),
        ("100%", 10, True),
    ],
)
def test_too_many_failures_stop_the_next_wave(threshold: Any, failures: int, stops: bool) -> None:
    waves = {} if threshold is None else {"failureThreshold": threshold}
    first = [FAILED] * failures + [DONE] * (10 - failures)
    found = scheduled(waves_of(first, [PENDING]), waves=waves)
    assert found.phase is (PlanPhase.STOPPED if stops else PlanPhase.RUNNING)
    assert bool(found.start) is not stops
    if stops:
        assert found.message.startswith("Too many imports of wave 1 failed (prod-web-0")
        assert "migration.harvesterhci.io/approve=2" in found.message


def test_failures_of_an_earlier_wave_do_not_count_again() -> None:
    found = scheduled(waves_of([FAILED], [DONE], [PENDING]))
    assert found.start == ("prod-web-2",)


def test_an_approval_continues_in_spite_of_failures() -> None:
    vms = waves_of([FAILED], [PENDING])
    assert scheduled(vms, moment={"approved_wave": 1}).phase is PlanPhase.STOPPED
    assert scheduled(vms, moment={"approved_wave": 2}).start == ("prod-web-1",)


def test_the_wave_goes_on_at_the_threshold_unless_it_shall_stop() -> None:
    vms = waves_of([FAILED, RUNNING, PENDING], [PENDING])
    assert scheduled(vms).start == ("prod-web-2",)
    stopped = scheduled(vms, waves={"atThreshold": "stopStarting"})
    assert (stopped.phase, stopped.start) == (PlanPhase.STOPPED, ())
    assert stopped.message.endswith("0 of 3 VMs are imported, 1 import runs")
    approved = scheduled(vms, waves={"atThreshold": "stopStarting"}, moment={"approved_wave": 2})
    assert approved.start == ("prod-web-2",)


# --- retries


def test_only_what_failed_is_retried_and_the_next_wave_waits_for_it() -> None:
    vms = waves_of([DONE, FAILED], [PENDING])
    vms[1] = vms[1].model_copy(update={"retry": True})
    found = scheduled(vms)
    assert (found.phase, found.retry, found.start) == (PlanPhase.RUNNING, ("prod-web-1",), ())


def test_a_retry_respects_the_window_and_the_suspension() -> None:
    vms = [a_vm(0, FAILED, retry=True)]
    assert scheduled(vms, windows=[SHUT]).phase is PlanPhase.WINDOW
    assert scheduled(vms, suspend=True).phase is PlanPhase.SUSPENDED


# --- between two waves


def test_a_wave_waits_for_an_approval_of_its_number() -> None:
    vms = waves_of([DONE], [PENDING], [PENDING])
    found = scheduled(vms, waves={"approval": True})
    assert (found.phase, found.start) == (PlanPhase.APPROVAL, ())
    assert "migration.harvesterhci.io/approve=2" in found.message
    assert scheduled(vms, waves={"approval": True}, moment={"approved_wave": 2}).start == ("prod-web-1",)
    assert scheduled(waves_of([PENDING]), waves={"approval": True}).start == ("prod-web-0",)


def test_the_pause_counts_from_the_end_of_the_wave() -> None:
    vms, waves = waves_of([DONE], [PENDING]), {"pauseMinutes": 30}
    first = scheduled(vms, waves=waves)
    assert (first.phase, first.seconds, first.wave_ended) == (PlanPhase.PAUSED, 1800.0, NOW)
    later = {"now": NOW + timedelta(minutes=29), "wave_ended": NOW}
    assert scheduled(vms, waves=waves, moment=later).seconds == 60.0
    over = {"now": NOW + timedelta(minutes=30), "wave_ended": NOW}
    assert scheduled(vms, waves=waves, moment=over).start == ("prod-web-1",)
    assert scheduled(vms, waves=waves, moment={"approved_wave": 2}).start == ("prod-web-1",)


# --- gates


def test_nothing_starts_while_the_plan_is_suspended() -> None:
    found = scheduled(waves_of([RUNNING, PENDING]), suspend=True)
    assert (found.phase, found.start) == (PlanPhase.SUSPENDED, ())
    assert found.message == (
        "No import starts: set spec.suspend to false; wave 1: 0 of 2 VMs are imported, 1 import runs"
    )


def test_nothing_starts_outside_the_windows() -> None:
    found = scheduled(waves_of([PENDING]), windows=[SHUT])
    assert (found.phase, found.start) == (PlanPhase.WINDOW, ())
    assert found.message == "The next window opens at 2026-12-01T21:00:00Z"
    assert found.seconds == 9 * 3600
    assert scheduled(waves_of([PENDING]), windows=[SHUT, OPEN]).start == ("prod-web-0",)


def test_a_plan_whose_windows_are_all_over_says_so() -> None:
    past = {"dates": ["2026-11-01"], "start": "22:00", "end": "23:00"}
    found = scheduled(waves_of([PENDING]), windows=[past])
    assert (found.phase, found.seconds) == (PlanPhase.WINDOW, None)
    assert found.message == "No window of spec.windows opens again: add one"


def test_a_plan_with_a_higher_priority_goes_first() -> None:
    found = scheduled(waves_of([PENDING]), moment={"preferred": "MigrationPlan urgent"})
    assert (found.phase, found.start) == (PlanPhase.PRIORITY, ())


# --- limits


def test_limits_count_imports_of_this_plan_and_of_others() -> None:
    vms = [
        a_vm(0, RUNNING, host="esx-1", storage_classes=("fast",)),
        a_vm(1, host="esx-1"),
        a_vm(2, host="esx-2", storage_classes=("fast", "slow")),
        a_vm(3, host="esx-3", storage_classes=("slow",)),
        a_vm(4, host="", storage_classes=()),
    ]
    assert scheduled(vms, limits={"perHost": 1}).start == ("prod-web-2", "prod-web-3", "prod-web-4")
    assert scheduled(vms, limits={"perStorageClass": 1}).start == ("prod-web-1", "prod-web-3", "prod-web-4")
    others = InFlight(hosts={"esx-3": 1})
    assert scheduled(vms, limits={"perHost": 1}, moment={"others": others}).start == (
        "prod-web-2",
        "prod-web-4",
    )


def test_a_plan_whose_places_are_all_taken_waits() -> None:
    others = InFlight(classes={"fast": 2})
    found = scheduled(
        [a_vm(0, storage_classes=("fast",))], limits={"perStorageClass": 2}, moment={"others": others}
    )
    assert (found.phase, found.start) == (PlanPhase.LIMITS, ())


# --- random plans


@st.composite
def moments(draw: st.DrawFn) -> tuple[dict[str, Any], Moment]:
    """A plan in a state that its own decisions can lead to, or that a person made."""
    phases = st.sampled_from(list(VmPhase))
    vms = tuple(
        a_vm(
            number,
            phase,
            draw(st.integers(1, 4)),
            host=draw(st.sampled_from(["", "a", "b"])),
            storage_classes=draw(st.sampled_from([(), ("x",), ("x", "y")])),
            retry=phase == VmPhase.FAILED and draw(st.booleans()),
        )
        for number, phase in enumerate(draw(st.lists(phases, min_size=1, max_size=8)))
    )
    spec: dict[str, Any] = {
        "suspend": draw(st.booleans()),
        "windows": draw(st.sampled_from([[], [OPEN], [SHUT]])),
        "waves": {
            "failureThreshold": draw(st.sampled_from([1, 3, "50%"])),
            "approval": draw(st.booleans()),
            "pauseMinutes": draw(st.sampled_from([0, 10])),
            "atThreshold": draw(st.sampled_from(["finishWave", "stopStarting"])),
        },
        "limits": {"perHost": draw(st.integers(1, 3)), "perStorageClass": draw(st.integers(1, 3))},
    }
    preferred = draw(st.sampled_from(["", "other"]))
    moment = Moment(NOW, vms, approved_wave=draw(st.integers(0, 4)), preferred=preferred)
    return spec, moment


@settings(max_examples=400, deadline=None)
@given(moments())
def test_whatever_the_state_nothing_starts_that_must_not(case: tuple[dict[str, Any], Moment]) -> None:
    given_spec, moment = case
    spec = a_spec(**given_spec)
    found = decide(spec, moment)
    by_name = {vm.import_: vm for vm in moment.vms}
    started, retried = [by_name[one] for one in found.start], [by_name[one] for one in found.retry]
    assert all(vm.phase == VmPhase.PENDING for vm in started)
    assert all(vm.phase == VmPhase.FAILED and vm.retry for vm in retried)
    assert len(set(found.start + found.retry)) == len(started) + len(retried)
    if spec.suspend or not windows.is_open(spec.windows, NOW) or moment.preferred:
        assert not started
        assert not retried
    new = [*started, *retried]
    running = [vm for vm in moment.vms if vm.phase in IN_FLIGHT]
    hosts = Counter(vm.host for vm in [*running, *new] if vm.host)
    classes = Counter(name for vm in [*running, *new] for name in vm.storage_classes)
    assert spec.limits is not None
    for vm in new:
        assert not vm.host or hosts[vm.host] <= (spec.limits.per_host or 0)
        assert all(classes[name] <= (spec.limits.per_storage_class or 0) for name in vm.storage_classes)
    begun = max((vm.wave for vm in moment.vms if vm.phase != VmPhase.PENDING), default=0)
    later = {vm.wave for vm in started if vm.wave > begun}
    assert len(later) <= 1, "one wave at a time"
    if later:
        earlier = [vm for vm in moment.vms if vm.wave <= begun]
        assert not any(vm.phase in (VmPhase.PENDING, *IN_FLIGHT) or vm.retry for vm in earlier)


@settings(max_examples=200, deadline=None)
@given(moments(), st.data())
def test_every_plan_comes_to_an_end(case: tuple[dict[str, Any], Moment], data: st.DataObject) -> None:
    """If a person approves every wave and imports end, each VM gets its turn, and the plan ends."""
    given_spec, moment = case
    spec = a_spec(**{**given_spec, "suspend": False, "windows": []})
    vms = moment.vms
    found = decide(spec, Moment(NOW, vms, approved_wave=99))
    for _ in range(4 * len(vms) + 4):
        found = decide(spec, Moment(NOW, vms, approved_wave=99))
        if found.phase in (PlanPhase.SUCCEEDED, PlanPhase.FAILED):
            break
        new = {*found.start, *found.retry}
        assert new or any(vm.phase in IN_FLIGHT for vm in vms), found
        end = data.draw(st.sampled_from([DONE, FAILED]))
        vms = tuple(
            vm.model_copy(update={"phase": end if vm.phase in IN_FLIGHT else vm.phase})
            if vm.import_ not in new
            else vm.model_copy(update={"phase": RUNNING, "retry": False})
            for vm in vms
        )
    assert found.phase in (PlanPhase.SUCCEEDED, PlanPhase.FAILED)
    assert not any(vm.phase in (VmPhase.PENDING, *IN_FLIGHT) for vm in vms)

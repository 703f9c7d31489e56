"""`reflect()` for any Workflow: total, deterministic, idempotent, never going back, fair to siblings."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workflows.status.situations import (
    DISKS,
    IMPORT,
    NOW,
    RECORDED,
    RUN,
    Json,
    later,
    node,
    workflow,
)
from workflows.api.status import ImportStatus
from workflows.stages import STAGES, Scope
from workflows.status.reflect import reflect

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PHASES = st.sampled_from(
    ["Pending", "Running", "Succeeded", "Skipped", "Failed", "Error", "Omitted", "", "Odd"]
)
CODES = st.sampled_from([None, 0, 1, 10, 13, 20, 32, 64, 137, 143])


@st.composite
def nodes(draw: st.DrawFn) -> Json:
    """A node that Argo might show: any stage, any phase, any end."""
    stage = draw(st.sampled_from(STAGES))
    disk = draw(st.sampled_from(DISKS)) if stage.scope is Scope.DISK else None
    name = f"onExit.{stage.name}" if stage.scope is Scope.EXIT else stage.name
    kind = draw(st.sampled_from(["Pod", "Retry", "Suspend", "Skipped", "DAG"]))
    made = node(
        name,
        draw(PHASES),
        disk,
        kind=kind,
        attempt=draw(st.sampled_from([None, 0, 1])),
        end=draw(st.integers(0, 99)),
    )
    code = draw(CODES)
    if code is not None and kind == "Pod":  # groups have no container with an exit code
        made |= {
            "outputs": {"exitCode": str(code)},
            "message": f"main: Error (exit code {code}): words of {code}",
        }
    total = draw(st.integers(1, 10**12))
    return {**made, "progress": f"{draw(st.integers(0, total))}/{total}"}


@st.composite
def workflows(draw: st.DrawFn) -> Json:
    more: Json = draw(
        st.sampled_from(
            [
                {},
                {"spec": {"shutdown": "Stop"}},
                {"spec": {"suspend": True}},
                {"offloadNodeStatusVersion": "1"},
            ]
        )
    )
    return workflow(*draw(st.lists(nodes(), max_size=12)), phase=draw(PHASES), **more)


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A real Workflow with one value, anywhere, replaced."""
    made = copy.deepcopy(RECORDED[draw(st.sampled_from(sorted(RECORDED)))])
    place: Any = made
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not inner or not isinstance(inner, dict | list) or draw(st.integers(0, 5)) == 0:
            place[key] = draw(JUNK)
            return made
        place = inner


def chain(seen: list[Any]) -> list[ImportStatus]:
    """The statuses of one Workflow after another, ten seconds apart."""
    status, made = None, []
    for number, one in enumerate(seen):
        status = reflect(one, IMPORT, status, later(10 * number))
        made.append(status)
    return made


@given(st.lists(JUNK | spoilt() | workflows(), min_size=1, max_size=4))
def test_reflect_is_total_deterministic_and_fits_the_api(seen: list[Any]) -> None:
    before = copy.deepcopy(seen)
    made = chain(seen)
    assert made == chain(seen)
    assert repr(seen) == repr(before)
    for status in made:
        assert ImportStatus.read(status.to_document()) == status


@given(st.lists(workflows(), min_size=1, max_size=6))
def test_percentages_never_fall_within_a_run(seen: list[Json]) -> None:
    made = chain(seen)
    for before, after in itertools.pairwise(made):
        assert 0 <= before.percent <= after.percent <= 100
        for row in before.disk_import_status:
            later_row = after.disk(row.disk_name)
            assert later_row is not None
            assert row.percent <= later_row.percent <= 100


@given(st.lists(workflows() | st.none(), max_size=3), workflows() | spoilt() | st.none())
def test_reflecting_twice_changes_nothing(earlier: list[Any], last: Any) -> None:
    *_, before = chain([None, *earlier])
    once = reflect(last, IMPORT, before, later(500))
    assert reflect(last, IMPORT, once, later(500)) == once


@given(st.lists(nodes(), max_size=12))
def test_a_sibling_is_never_to_blame(made: list[Json]) -> None:
    status = reflect(workflow(*made, phase="Failed"), IMPORT, None, NOW)
    assert "words of 20" not in status.message
    assert not status.step or "exit code 20" not in status.message


@given(workflows())
def test_transition_times_move_only_with_the_status(seen: Json) -> None:
    first = reflect(seen, IMPORT, None, NOW)
    second = reflect(seen, IMPORT, first, later(1000))
    assert [one.last_transition_time for one in first.import_conditions] == [
        one.last_transition_time for one in second.import_conditions
    ]


@given(st.lists(workflows(), min_size=1, max_size=5))
def test_running_is_final_for_any_workflow(seen: list[Json]) -> None:
    phases = [status.import_status for status in chain(seen)]
    if "virtualMachineRunning" in phases:
        assert set(phases[phases.index("virtualMachineRunning") :]) == {"virtualMachineRunning"}


def test_the_run_is_identified_by_its_name() -> None:
    assert (
        reflect(workflow(name=RUN.replace("-g1", "-g7")), IMPORT, None, NOW).workflow
        == (
            ImportStatus.read(
                {"workflow": {"name": RUN.replace("-g1", "-g7"), "namespace": "vmferry", "generation": 7}}
            )
        ).workflow
    )

from __future__ import annotations

import io
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from rich.console import Console, RenderableType

from controller.cli.rates import Rates
from controller.cli.view import (
    counts_bytes,
    lines,
    phases,
    running_text,
    table,
    transfer_text,
    transferring,
    visible_leaves,
)
from controller.cli.watch import Watch
from controller.units import size
from tests.unit.steps.runtime.test_progress import Clock
from tests.unit.workflows.status.test_nodes import RECORDED, node, workflow
from workflows.status.nodes import Leaf, Phase, leaves
from workflows.status.progress import duration

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def a_leaf(**more: Any) -> Leaf:
    given: dict[str, Any] = {
        "stage": "export",
        "disk": "disk-0",
        "phase": Phase.RUNNING,
        "attempts": 1,
        "message": "",
        "exit_code": None,
        "done": 0,
        "total": 1000,
        "started": BEGAN,
        "finished": BEGAN + timedelta(seconds=3),
    }
    return Leaf(**{**given, **more})


def text(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (1 << 20, "1 MiB"),
        (1_572_864, "1.5 MiB"),
        (40 << 30, "40 GiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_sizes_have_three_digits(count: int, wanted: str) -> None:
    assert size(count) == wanted


@pytest.mark.parametrize("count", [1_023_897, 999.9 * (1 << 20), 999.9 * (1 << 30), 2000 << 40])
def test_no_size_is_shown_with_an_exponent(count: float) -> None:
    assert "e+" not in size(count)


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(0, "0s"), (0.4, "0s"), (59.5, "1m00s"), (61, "1m01s"), (3660, "1h01m")]
)
def test_durations_are_shown_as_minutes_and_seconds(seconds: float, wanted: str) -> None:
    assert duration(seconds) == wanted


def test_a_transfer_is_shown_with_percent_rate_and_remaining_time() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.note(a_leaf(done=0))
    clock.now = 1
    leaf = a_leaf(done=450, total=1800)
    assert transfer_text(leaf, rates) == " 25 %  450 B of 1.76 KiB"
    rates.note(leaf)
    assert transfer_text(leaf, rates) == " 25 %  450 B of 1.76 KiB  450 B/s  3s left"


def test_stages_that_count_no_bytes_have_no_bar() -> None:
    assert not counts_bytes(a_leaf(total=1))
    assert counts_bytes(a_leaf())


@pytest.mark.parametrize("moment", RECORDED)
def test_a_table_has_a_row_for_each_relevant_stage(moment: str) -> None:
    head, *rows = text(table("alpha", RECORDED[moment], Rates())).splitlines()
    assert head.startswith("alpha  ")
    assert sum(not row.startswith("  ") for row in rows) == len(list(visible_leaves(RECORDED[moment])))


def test_a_failure_is_shown_with_its_message() -> None:
    shown_ = text(table("alpha", RECORDED["3"], Rates()))
    assert "✘ image disk-1" in shown_
    assert "exceeded quota" in shown_
    assert "exit code" not in shown_


def test_a_running_gate_is_shown_and_a_skipped_one_is_not() -> None:
    assert "approve-poweroff" in text(table("a", RECORDED["1"], Rates()))
    skipped = workflow(node("w.approve-poweroff", "Skipped"), node("w.build", "Omitted"))
    assert [leaf.stage for leaf in visible_leaves(skipped)] == ["build"]


def test_a_second_attempt_is_counted() -> None:
    tries = workflow(node("w.build(0)", "Failed", 30), node("w.build(1)", "Running"))
    assert "(attempt 2)" in text(table("a", tries, Rates()))
    assert list(lines("a", {}, tries)) == ["a: build running (attempt 2)"]


@pytest.mark.parametrize(("before", "after"), list(itertools.pairwise(RECORDED)))
def test_lines_show_each_change_once(before: str, after: str) -> None:
    seen = phases(RECORDED[before])
    output = list(lines("a", seen, RECORDED[after]))
    assert bool(output) == (after != "4")  # right after a retry no step has started yet
    assert list(lines("a", phases(RECORDED[after]), RECORDED[after])) == []
    assert not any("omitted" in line for line in output)


def test_the_line_of_a_failure_has_its_cause() -> None:
    output = list(lines("alpha", phases(RECORDED["2"]), RECORDED["3"]))
    (line,) = [line for line in output if "image disk-1" in line]
    assert line.startswith("alpha: image disk-1 failed: cannot create VirtualMachineImage")


def test_only_stages_with_progress_are_moving() -> None:
    still, going = node("w.build", "Running"), node("w.export", "Running", progress="5/10")
    assert [leaf.stage for leaf in transferring(workflow(still, going))] == ["export"]


def test_a_stage_without_bytes_shows_its_running_time() -> None:
    still = workflow(node("w.poweroff", "Running", startedAt="2026-01-01T00:00:00Z"))
    (leaf,) = leaves(still)
    assert leaf.started is not None
    now = leaf.started + timedelta(seconds=95)
    assert "running for 1m35s" in text(table("web", still, Rates(), now))
    assert running_text(leaf, Rates(), now) == "running for 1m35s"


def test_without_a_runner_a_running_stage_was_interrupted() -> None:
    head, row = text(table("web", workflow(node("w.poweroff", "Running")), Rates())).splitlines()
    assert head.startswith("web  Interrupted")
    assert row.startswith("✘ poweroff")
    assert "interrupted" in row


# --- the watch


def watched(*moments: Any, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None, force_terminal=terminal)
    with Watch(console) as watch:
        for moment in moments:
            watch.changed("alpha", moment)
        watch.warn("alpha", "two [old] networks")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_pipe_gets_plain_lines() -> None:
    output = watched(*RECORDED.values(), terminal=False)
    assert "\x1b" not in output
    assert output.splitlines()[0].endswith("alpha: preflight succeeded")
    assert output.splitlines()[-1].endswith("alpha: warning: two [old] networks")
    assert sum("image disk-0 succeeded" in line for line in output.splitlines()) == 1


def test_a_terminal_gets_the_table() -> None:
    output = watched(*RECORDED.values(), terminal=True)
    assert "alpha  Succeeded" in output
    assert "✔ image disk-1" in output


def test_progress_is_not_printed_at_every_change() -> None:
    states = [workflow(node("w.export", "Running", progress=f"{done}/100")) for done in range(100)]
    assert len(watched(*states, terminal=False).splitlines()) == 2


def test_a_pipe_gets_a_line_from_time_to_time_without_changes() -> None:
    clock, console = Clock(), Console(file=io.StringIO(), width=120)
    still = workflow(node("w.poweroff", "Running", startedAt="2026-01-01T00:00:00Z"))
    (leaf,) = leaves(still)
    began = leaf.started
    assert began is not None
    with Watch(console, clock=clock, now=lambda: began + timedelta(seconds=clock.now)) as watch:
        watch.changed("web", still)
        for second in range(61):
            clock.now = second
            watch.tick()
    assert isinstance(console.file, io.StringIO)
    output = [line.partition(" ")[2] for line in console.file.getvalue().splitlines()]
    assert output == [
        "web: poweroff running",
        "web: poweroff running for 30s",
        "web: poweroff running for 1m00s",
    ]

"""An import that asks for an inspection: the disks wait for each other, and what was found is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.guest import GUEST, Guest
from steps.model.guest_judge import judged
from steps.model.plan import GuestPlan, TargetKind
from tests.unit.controller.local.fakes import Import
from tests.unit.steps.model.test_guest_judge import NO_VIRTIO, a_linux, facts
from workflows.status.nodes import Phase


@pytest.fixture
def one(tmp_path: Path) -> Import:
    return Import(tmp_path / "one", guest=GuestPlan(inspect=True))


def found(one: Import, guest: Guest) -> None:
    guest.save(one.rundir.request / GUEST)


@pytest.mark.parametrize("target", [TargetKind.DIRECTORY, TargetKind.HARVESTER])
def test_it_runs_once_after_every_disk_and_before_any_is_handed_on(
    tmp_path: Path, target: TargetKind
) -> None:
    one = Import(tmp_path / "one", target=target, guest=GuestPlan(inspect=True))
    assert one.run() is Phase.SUCCEEDED
    events = one.launcher.events
    start, end = events.index(("begin", "inspect")), events.index(("end", "inspect"))
    for disk in one.disks:
        assert events.index(("end", f"convert {disk}")) < start
        assert end < events.index(("begin", f"image {disk}"))
    assert set(one.launcher.left()) <= {"halt"}


def test_without_the_wish_it_does_not_run(tmp_path: Path) -> None:
    one = Import(tmp_path / "one")
    assert one.run() is Phase.SUCCEEDED
    assert "inspect" not in one.launcher.began


def test_nothing_is_handed_on_if_it_fails_and_a_retry_repeats_only_it(one: Import) -> None:
    assert one.run(inspect=[Exit.INVALID]) is Phase.FAILED
    assert one.leaf("image disk-0").phase is Phase.OMITTED
    one.reopen()
    rest = {name: [0] for name in ("inspect", "image_disk_0", "image_disk_1", "build")}
    done: dict[str, list[int]] = {
        name: [] for name in ("preflight", "poweroff", "export_disk_0", "export_disk_1")
    }
    assert one.run(**rest, **done, convert_disk_0=[], convert_disk_1=[]) is Phase.SUCCEEDED


def test_a_failed_disk_leaves_it_out(one: Import) -> None:
    assert one.run(convert_disk_1=[Exit.CORRUPT]) is Phase.FAILED
    assert one.leaf("inspect").phase is Phase.OMITTED
    assert one.leaf("image disk-0").phase is Phase.OMITTED


def test_the_verdict_and_the_warnings_are_shown(one: Import) -> None:
    found(one, judged(facts(a_linux(NO_VIRTIO))))
    one.run()
    assert one.warnings[0] == "guest: it boots from sata as it is; a conversion gives it virtio"
    assert one.warnings[1].startswith("guest: Debian GNU/Linux 12 has no drivers for virtio")


def test_a_guest_to_leave_alone_does_not_end_the_import(one: Import) -> None:
    found(one, judged(facts()))
    assert one.run() is Phase.SUCCEEDED
    assert one.warnings == ["guest: no operating system was found"]

"""The step `inspect`: the disks that convert has checked, in the order of the VM, and its document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steps import inspect
from steps.guest.run import DiskImage
from steps.model.contract import Exit, StepError
from steps.model.guest import GUEST, Guest
from steps.model.guest_facts import Facts
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready, ready
from steps.runtime.program import MACHINE, run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_disk, a_machine
from tests.unit.steps.model.test_guest_judge import a_linux, facts


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[DiskImage]:
    """The disks that would be inspected."""
    disks: list[DiskImage] = []

    def read(images: Any, folder: Path, *, report: Any, **_: Any) -> Facts:
        assert list(folder.iterdir()) == []
        disks.extend(images)
        report(1, 4, "looking for operating systems")
        return facts(a_linux(), devices=("/dev/sda", "/dev/sdb"))

    monkeypatch.setattr(inspect, "read_facts", read)
    return disks


def run(tmp_path: Path) -> Exit:
    for name in ("request", "outputs"):
        (tmp_path / name).mkdir(exist_ok=True)
    a_machine(disks=(a_disk(1), a_disk(0))).save(tmp_path / "request" / MACHINE)
    argv = ["--request", str(tmp_path / "request"), "--outputs", str(tmp_path / "outputs")]
    return run_body(inspect.arguments(), inspect.body, [*argv, "--disks", str(tmp_path / "disks")], Stop())


def landed(tmp_path: Path, disk: str, disk_format: DiskFormat) -> Path:
    folder = tmp_path / "disks" / disk
    folder.mkdir(parents=True)
    file = f"disk.{disk_format}"
    Ready(file=file, format=disk_format, virtual_size=1, size=1).save(ready(folder))
    return folder / file


def test_it_looks_into_all_disks_in_the_order_of_the_vm(tmp_path: Path, seen: list[DiskImage]) -> None:
    first = landed(tmp_path, "disk-1", DiskFormat.RAW)
    second = landed(tmp_path, "disk-0", DiskFormat.QCOW2)
    assert run(tmp_path) is Exit.DONE
    assert seen == [DiskImage(first, "raw"), DiskImage(second, "qcow2")]
    guest = Guest.load(tmp_path / "outputs" / GUEST)
    assert [(disk.device, disk.name) for disk in guest.disks] == [
        ("/dev/sda", "disk-1"),
        ("/dev/sdb", "disk-0"),
    ]
    assert guest.verdict.answer == "fits"


def test_a_disk_that_was_not_checked_is_refused(tmp_path: Path, seen: list[DiskImage]) -> None:
    landed(tmp_path, "disk-1", DiskFormat.RAW)
    assert run(tmp_path) is Exit.INVALID
    assert seen == []


def test_a_failure_is_the_code_of_the_step(
    tmp_path: Path, seen: list[DiskImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Facts:
        raise StepError(Exit.INTERNAL, "the appliance of libguestfs does not start")

    for disk in ("disk-0", "disk-1"):
        landed(tmp_path, disk, DiskFormat.RAW)
    monkeypatch.setattr(inspect, "read_facts", fail)
    assert run(tmp_path) is Exit.INTERNAL
    assert not (tmp_path / "outputs" / GUEST).exists()

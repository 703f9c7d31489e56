"""The step `inspect`: the disks that convert has checked, in the order of the VM, and its document."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from steps import inspect
from steps.disk import qemu
from steps.disk.volume import Volume
from steps.guest.run import DiskImage
from steps.model.contract import Exit, StepError
from steps.model.guest import GUEST, Guest
from steps.model.guest_facts import Facts
from steps.model.guest_output import GUEST_OUTPUT, NOT_INSPECTED, from_output
from steps.model.plan import DiskFormat, DiskWay, GuestPlan, Plan, TargetKind
from steps.model.scratch import Ready, ready
from steps.runtime.program import MACHINE, PLAN, run_body
from steps.runtime.stop import Stop
from tests.unit.builders import a_disk, a_machine, a_plan
from tests.unit.steps.model.test_guest_judge import a_linux, facts

SIZE: Final = 1 << 20


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


def run(tmp_path: Path, plan: Plan | None = None, *more: str) -> Exit:
    for name in ("request", "outputs"):
        (tmp_path / name).mkdir(exist_ok=True)
    (plan or a_plan()).save(tmp_path / "request" / PLAN)
    a_machine(disks=(a_disk(1, capacity=SIZE), a_disk(0, capacity=SIZE))).save(tmp_path / "request" / MACHINE)
    argv = ["--request", str(tmp_path / "request"), "--outputs", str(tmp_path / "outputs")]
    argv += ["--disks", str(tmp_path / "disks"), *more]
    return run_body(inspect.arguments(), inspect.body, argv, Stop())


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
    assert from_output((tmp_path / "outputs" / GUEST_OUTPUT).read_text()) == guest
    assert {one.name for one in (tmp_path / "disks" / "disk-1").iterdir()} == {"ready.json"}, "it only reads"


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


def test_an_inspection_that_nobody_asked_for_does_not_end_the_import(
    tmp_path: Path, seen: list[DiskImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Facts:
        raise StepError(Exit.INVALID, "libguestfs is not installed", "no Python here has its binding")

    for disk in ("disk-0", "disk-1"):
        landed(tmp_path, disk, DiskFormat.RAW)
    monkeypatch.setattr(inspect, "read_facts", fail)
    plan = a_plan().model_copy(update={"guest": GuestPlan(inspect=True, optional=True)})
    assert run(tmp_path, plan) is Exit.DONE
    guest = Guest.load(tmp_path / "outputs" / GUEST)
    assert guest.verdict.reason == NOT_INSPECTED
    (concern,) = guest.concerns
    assert "libguestfs is not installed" in concern.message
    assert (guest.disk_buses, guest.nic_models) == ((), ())


# --- disks that landed on their volumes


def landing(*, optional: bool = False) -> Plan:
    plan = a_plan(kind=TargetKind.KUBEVIRT, way=DiskWay.LAND)
    return plan.model_copy(update={"guest": GuestPlan(inspect=True, optional=optional)})


def volumes(tmp_path: Path, *disks: str) -> Path:
    """The volumes of disks, with a file system each, and the folders of their records."""
    for disk in disks:
        (tmp_path / "volumes" / disk).mkdir(parents=True, exist_ok=True)
        (tmp_path / "volumes" / disk / "disk.img").touch()
    for disk in ("disk-0", "disk-1"):
        (tmp_path / "disks" / disk).mkdir(parents=True, exist_ok=True)
    return tmp_path / "volumes"


def inspected(tmp_path: Path, plan: Plan) -> Exit:
    return run(tmp_path, plan, "--volumes", str(tmp_path / "volumes"))


def test_landed_disks_are_read_on_their_volumes(tmp_path: Path, seen: list[DiskImage]) -> None:
    place = volumes(tmp_path, "disk-0", "disk-1")
    assert inspected(tmp_path, landing()) is Exit.DONE
    assert seen == [DiskImage(place / disk / "disk.img", "raw") for disk in ("disk-1", "disk-0")]


def test_the_result_is_kept_with_the_records_and_used_after_a_hand_over(
    tmp_path: Path, seen: list[DiskImage]
) -> None:
    place = volumes(tmp_path, "disk-0", "disk-1")
    inspected(tmp_path, landing())
    first = (tmp_path / "outputs" / GUEST).read_text()
    seen.clear()
    (place / "disk-0" / "disk.img").unlink()
    (place / "disk-0").rmdir()
    assert inspected(tmp_path, landing()) is Exit.DONE
    assert seen == []
    assert (tmp_path / "outputs" / GUEST).read_text() == first


def test_a_hand_over_without_an_inspection_before_is_no_failure(
    tmp_path: Path, seen: list[DiskImage]
) -> None:
    volumes(tmp_path, "disk-1")
    assert inspected(tmp_path, landing()) is Exit.DONE
    assert seen == []
    assert Guest.load(tmp_path / "outputs" / GUEST).verdict.reason == NOT_INSPECTED


def test_a_damaged_record_fails_only_an_inspection_that_was_asked_for(
    tmp_path: Path, seen: list[DiskImage]
) -> None:
    volumes(tmp_path, "disk-1")
    (tmp_path / "disks" / "disk-1" / GUEST).write_text("{}")
    assert inspected(tmp_path, landing()) is Exit.INVALID
    assert inspected(tmp_path, landing(optional=True)) is Exit.DONE


def test_a_device_that_is_larger_than_its_disk_ends_where_the_disk_ends(
    tmp_path: Path, seen: list[DiskImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim is rounded up, and the second table of a GPT is in the last sector of the disk."""
    device = tmp_path / "device"
    with device.open("wb") as file:
        file.truncate(3 * SIZE)
    sizes: list[int] = []

    class Device:
        is_device, disk = True, device

    def cover(path: Path, image_format: str, layer: Path, size: int) -> None:
        created(path, image_format, layer, size)
        sizes.append(qemu_size(layer))

    created = qemu.cover
    monkeypatch.setattr(Volume, "at", lambda *_: Device())
    monkeypatch.setattr(qemu, "cover", cover)
    volumes(tmp_path, "disk-0", "disk-1")
    assert inspected(tmp_path, landing()) is Exit.DONE
    assert [image.format for image in seen] == ["qcow2", "qcow2"]
    assert sizes == [SIZE, SIZE]
    assert device.stat().st_size == 3 * SIZE


def qemu_size(layer: Path) -> int:
    """The virtual size in the header of a qcow2 image (docs/interop/qcow2.txt)."""
    return int.from_bytes(layer.read_bytes()[24:32], "big")

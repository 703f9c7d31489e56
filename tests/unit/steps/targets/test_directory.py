from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pytest

from steps.model.contract import StepError, Stopped
from steps.model.machine import Machine
from steps.model.mapping import shape
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready, landing, ready
from steps.runtime.stop import Stop
from steps.targets import connect
from steps.targets.directory import DirectoryTarget
from steps.targets.target import Published
from tests.unit.builders import a_disk, a_machine, a_plan

CONTENT: Final = b"disk content" * 1000


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A disk that convert has finished."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "disk.raw").write_bytes(CONTENT)
    made = Ready(file="disk.raw", format=DiskFormat.RAW, virtual_size=1 << 30, size=len(CONTENT))
    made.save(ready(folder))
    return folder


def quiet(_done: int, _total: int) -> None:
    pass


def test_a_disk_is_moved_and_its_digest_returned(into: Path, scratch: Path) -> None:
    seen: list[tuple[int, int]] = []
    published = DirectoryTarget(into, Stop()).publish("disk-0", scratch, lambda *report: seen.append(report))
    assert published.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (published.name, published.size) == ("disk-0.raw", len(CONTENT))
    assert (into / "disk-0.raw").read_bytes() == CONTENT
    assert not (scratch / "disk.raw").exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_moved_disk_is_not_needed_in_scratch(into: Path, scratch: Path) -> None:
    target = DirectoryTarget(into, Stop())
    first = target.publish("disk-0", scratch, quiet)
    ready(scratch).unlink()
    assert target.publish("disk-0", scratch, quiet) == first


def test_a_kill_before_the_move_is_recovered(into: Path, scratch: Path) -> None:
    DirectoryTarget(into, Stop()).publish("disk-0", scratch, quiet)
    (into / "disk-0.raw").rename(scratch / "disk.raw")
    DirectoryTarget(into, Stop()).publish("disk-0", scratch, quiet)
    assert (into / "disk-0.raw").read_bytes() == CONTENT


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"X" + CONTENT[1:]], ids=["short", "flipped"])
def test_a_damaged_disk_is_replaced(into: Path, scratch: Path, damaged: bytes) -> None:
    DirectoryTarget(into, Stop()).publish("disk-0", scratch, quiet)
    (into / "disk-0.raw").write_bytes(damaged)
    (scratch / "disk.raw").write_bytes(CONTENT)
    DirectoryTarget(into, Stop()).publish("disk-0", scratch, quiet)
    assert (into / "disk-0.raw").read_bytes() == CONTENT


def test_a_stop_moves_nothing(into: Path, scratch: Path) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        DirectoryTarget(into, stop).publish("disk-0", scratch, quiet)
    assert list(into.iterdir()) == []
    assert (scratch / "disk.raw").exists()


def test_the_folder_describes_the_vm(into: Path, scratch: Path) -> None:
    machine, plan = a_machine(), a_plan()
    target = connect(plan, into, Stop())
    target.publish("disk-0", scratch, quiet)
    (line,) = target.build(machine, shape(plan, machine))
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert line == f"disk-0.raw {len(CONTENT)} bytes sha256 {digest}"
    assert (into / "SHA256SUMS").read_text() == f"{digest}  disk-0.raw\n"
    assert Machine.load(into / "machine.json") == machine
    names = {path.name for path in into.iterdir()}
    assert names == {".vmferry", "SHA256SUMS", "machine.json", "virtualmachine.yaml", "disk-0.raw"}


def test_the_manifest_heading_has_the_upload_commands(into: Path, scratch: Path) -> None:
    machine, plan = a_machine(disks=(a_disk(capacity=(1 << 30) + 1),)), a_plan(namespace="shop")
    target = DirectoryTarget(into, Stop())
    target.publish("disk-0", scratch, quiet)
    target.build(machine, shape(plan, machine))
    wanted = "pvc web01-disk-0 -n shop --image-path=disk-0.raw --size=1025Mi\n"
    assert wanted in (into / "virtualmachine.yaml").read_text()


def test_a_vm_is_not_built_without_all_its_disks(into: Path, scratch: Path) -> None:
    machine, plan = a_machine(disks=(a_disk(0), a_disk(1))), a_plan()
    target = DirectoryTarget(into, Stop())
    target.publish("disk-0", scratch, quiet)
    with pytest.raises(StepError, match=r"disk-1\.json is missing"):
        target.build(machine, shape(plan, machine))
    assert not (into / "virtualmachine.yaml").exists()


def test_start_does_nothing_in_a_folder(into: Path) -> None:
    target, made = DirectoryTarget(into, Stop()), shape(a_plan(), a_machine())
    target.start(made)
    target.wait(made)
    assert list(into.iterdir()) == []


def test_files_in_scratch_have_their_names(tmp_path: Path) -> None:
    assert landing(tmp_path, DiskFormat.QCOW2) == tmp_path / "disk.qcow2"
    assert ready(tmp_path) == tmp_path / "ready.json"


def test_the_publication_is_a_document() -> None:
    given = {"id": "disk-0", "name": "disk-0.raw", "format": "raw", "size": 1, "sha256": "00"}
    assert Published.model_validate(given).format is DiskFormat.RAW

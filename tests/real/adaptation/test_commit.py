"""The commit of an adaptation with the real qemu-img, killed at random points."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steps.disk.landed import Landed, LandingFiles
from steps.guest.overlays import OVERLAY, Adaptation, GuestDisk
from steps.model import scratch
from steps.model.adapted import ADAPTED, Adapted, Phase
from steps.model.contract import Exit, StepError
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready
from steps.runtime.stop import Stop
from tests.real.adaptation import committing
from tests.real.adaptation.committing import MIB

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-utils is not installed"),
    pytest.mark.timeout(300),
]
ROOT = Path(__file__).parents[3]
SIZE = 64 * MIB
KILLS = 12
FORMATS = [DiskFormat.QCOW2, DiskFormat.RAW]


def landed(folder: Path, disk: str, disk_format: DiskFormat, key: str = "source") -> GuestDisk:
    """A disk as export and convert leave it: data in its first half."""
    place = folder / disk
    place.mkdir(parents=True, exist_ok=True)
    out = scratch.landing(place, disk_format)
    subprocess.run(["qemu-img", "create", "-q", "-f", str(disk_format), out, str(SIZE)], check=True)
    argv = ["qemu-io", "-f", str(disk_format), "-c", f"write -P 7 {MIB} {SIZE // 2 - MIB}", str(out)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    size = out.stat().st_size
    record = Landed(out, str(disk_format), SIZE, SIZE, 0, f"digest of {disk}", size, key)
    LandingFiles(out).landed.write_text(record.to_json())
    Ready(file=out.name, format=disk_format, virtual_size=SIZE, size=size).save(scratch.ready(place))
    return GuestDisk.load(disk, place)


def two(folder: Path, disk_format: DiskFormat) -> list[GuestDisk]:
    return [landed(folder, disk, disk_format) for disk in ("disk-0", "disk-1")]


def digests(disks: list[GuestDisk]) -> list[str]:
    return [hashlib.sha256(disk.path.read_bytes()).hexdigest() for disk in disks]


def contents(disks: list[GuestDisk], tmp_path: Path) -> list[str]:
    """SHA-256 of what a guest reads from each disk."""
    found = []
    for disk in disks:
        raw = tmp_path / "content.raw"
        argv = ["qemu-img", "convert", "-f", str(disk.ready.format), "-O", "raw", str(disk.path), str(raw)]
        subprocess.run(argv, check=True)
        found.append(hashlib.sha256(raw.read_bytes()).hexdigest())
    return found


def start(folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.real.adaptation.committing", str(folder)]
    return subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE)


def finished(folder: Path) -> float:
    """Run it to its end; returns the seconds."""
    begin = time.monotonic()
    process = start(folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return time.monotonic() - begin


@pytest.mark.parametrize("disk_format", FORMATS)
def test_two_digests_are_kept_and_the_overlays_are_gone(tmp_path: Path, disk_format: DiskFormat) -> None:
    disks = two(tmp_path / "run", disk_format)
    before = digests(disks)
    finished(tmp_path / "run")
    record = Adapted.load(tmp_path / "run/disk-0" / ADAPTED)
    assert record.phase is Phase.DONE
    assert record.changed
    assert [disk.landed for disk in record.disks] == before
    assert [disk.handed_over for disk in record.disks] == digests(disks) != before
    assert all(disk.changed == 15 * MIB for disk in record.disks)
    for disk in disks:
        assert not disk.overlay.exists()
        assert Ready.load(scratch.ready(disk.folder)).size == disk.path.stat().st_size
        subprocess.run(
            ["qemu-img", "check", "-q", "-f", str(disk_format), disk.path],
            check=disk_format is DiskFormat.QCOW2,
        )


@pytest.mark.parametrize("disk_format", FORMATS)
def test_killed_anywhere_it_leaves_the_disks_as_they_landed_or_finishes_in_the_next_attempt(
    tmp_path: Path, disk_format: DiskFormat
) -> None:
    template = tmp_path / "template"
    two(template, disk_format)
    whole = tmp_path / "whole"
    shutil.copytree(template, whole)
    seconds = finished(whole)
    expected = contents(committing.disks(whole), tmp_path)
    seed = int(os.environ.get("VMFERRY_SEED", "0")) or random.randrange(1 << 30)
    dice, phases = random.Random(seed), set()
    for number in range(KILLS):
        folder = tmp_path / f"run-{number}"
        shutil.copytree(template, folder)
        disks = committing.disks(folder)
        before = digests(disks)
        process = start(folder)
        # Half of the kills are where the disks change: from the record on.
        record = folder / "disk-0" / ADAPTED
        if number % 2:
            while not record.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(dice.uniform(0, seconds / 6))
        else:
            time.sleep(dice.uniform(0.2 * seconds, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        phase = Adapted.load(record).phase if record.exists() else None
        phases.add(phase)
        if phase is None:
            assert digests(disks) == before, f"VMFERRY_SEED={seed}"
        finished(folder)
        assert contents(committing.disks(folder), tmp_path) == expected, f"VMFERRY_SEED={seed}"
        assert Adapted.load(record).phase is Phase.DONE
        assert [disk.landed for disk in Adapted.load(record).disks] == before
        shutil.rmtree(folder)
    assert Phase.COMMITTING in phases, f"no kill was within the commit; seed {seed}"


def prepared(folder: Path, disk_format: DiskFormat) -> list[GuestDisk]:
    """Disks of which the first one is committed: what a kill between the two leaves."""
    disks = two(folder, disk_format)
    adaptation = Adaptation(disks, committing.silent, Stop())
    digests_before = adaptation.landed_digests(committing.silent)
    for number, overlay in enumerate(adaptation.create()):
        committing.write(overlay, 0x41 + number)
    record = adaptation._prepared(Adapted(phase=Phase.COMMITTING), digests_before)
    for disk in disks:
        disk.files.mark_adapted(disk.landed())
    record.save(folder / "disk-0" / ADAPTED)
    subprocess.run(["qemu-img", "commit", "-q", "-d", "-f", "qcow2", disks[0].overlay], check=True)
    return disks


def test_a_lost_overlay_is_named_and_nothing_is_guessed(tmp_path: Path) -> None:
    disks = prepared(tmp_path, DiskFormat.QCOW2)
    disks[1].overlay.unlink()
    adaptation = Adaptation(disks, committing.silent, Stop())
    record = adaptation.begun()
    assert record is not None
    with pytest.raises(StepError, match="disk-1 cannot be used") as failure:
        adaptation.resume(record)
    assert failure.value.code is Exit.CORRUPT
    assert OVERLAY in failure.value.what


def test_export_takes_a_disk_within_the_commit_for_landed(tmp_path: Path) -> None:
    disks = prepared(tmp_path, DiskFormat.QCOW2)
    assert disks[0].path.stat().st_size != disks[0].landed().size
    for disk in disks:
        assert disk.files.recover("source") is not None
        assert disk.files.recover("another source") is None


def test_one_disk_that_was_copied_again_does_not_fit_the_others(tmp_path: Path) -> None:
    prepared(tmp_path, DiskFormat.RAW)
    LandingFiles(scratch.landing(tmp_path / "disk-1", DiskFormat.RAW)).remove_records()
    landed(tmp_path, "disk-1", DiskFormat.RAW, key="second run")
    adaptation = Adaptation(committing.disks(tmp_path), committing.silent, Stop())
    with pytest.raises(StepError, match="do not belong together: the guest on disk-0 was adapted") as failure:
        adaptation.begun()
    assert failure.value.code is Exit.CORRUPT


def test_disks_that_were_all_copied_again_begin_anew(tmp_path: Path) -> None:
    prepared(tmp_path, DiskFormat.RAW)
    for disk in ("disk-0", "disk-1"):
        LandingFiles(scratch.landing(tmp_path / disk, DiskFormat.RAW)).remove_records()
        landed(tmp_path, disk, DiskFormat.RAW, key="second run")
    assert Adaptation(committing.disks(tmp_path), committing.silent, Stop()).begun() is None
    assert not (tmp_path / "disk-0" / ADAPTED).exists()
    finished(tmp_path)


def test_a_raw_disk_that_would_be_taken_for_another_format_is_not_committed(tmp_path: Path) -> None:
    """The guest's own programs run in the appliance, and may write a qcow2 header into its first sector."""
    disks = two(tmp_path, DiskFormat.RAW)
    before = digests(disks)
    adaptation = Adaptation(disks, committing.silent, Stop())
    overlay = adaptation.create()[0]
    evil = tmp_path / "evil"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", evil, "64M"], check=True)
    with evil.open("rb") as file:
        head = file.read(512)
    (tmp_path / "head").write_bytes(head)
    argv = ["qemu-io", "-f", "qcow2", "-c", f"write -s {tmp_path / 'head'} 0 512", str(overlay)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(StepError, match="look like a disk in the format qcow2"):
        adaptation.commit(Adapted(phase=Phase.COMMITTING), adaptation.landed_digests(committing.silent))
    assert digests(disks) == before
    assert not any(disk.overlay.exists() for disk in disks)
    assert not (tmp_path / "disk-0" / ADAPTED).exists()


def test_without_room_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = two(tmp_path, DiskFormat.QCOW2)
    monkeypatch.setattr("steps.guest.overlays.ROOM", 1 << 60)
    with pytest.raises(StepError, match="no room for the changes of the guest") as failure:
        Adaptation(disks, committing.silent, Stop()).create()
    assert failure.value.code is Exit.NO_SPACE
    assert json.loads(scratch.ready(disks[0].folder).read_text())["format"] == "qcow2"

"""A full filesystem in the stages after export: exit code 13, and success when there is room."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steps.disk import qemu
from steps.model import scratch
from steps.model.contract import Exit, StepError
from steps.model.mapping import shape
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready
from steps.runtime.stop import Stop
from steps.targets.directory import DirectoryTarget
from tests.real.disk.filesystem import filesystem, full
from tests.unit.builders import a_disk, a_machine, a_plan
from tests.unit.steps.disk.streamvmdk import stream_vmdk

DISK = random.Random(5).randbytes(3 << 20)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with filesystem("tmpfs", tmp_path, 16 << 20) as at:
        yield at


def convert(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = [sys.executable, "-m", "steps.convert", "--in", source, "--in-format", "vmdk"]
    argv += ["--format", "raw", "--out", out]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.programs
def test_convert_on_a_full_filesystem_succeeds_after_a_retry(small: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.vmdk", small / "out"
    source.write_bytes(stream_vmdk(DISK).data)
    (tmp_path / "expected").write_bytes(DISK)
    with full(small, 1 << 20):
        done = convert(source, out)
        assert done.returncode == Exit.NO_SPACE, done.stderr
        last = json.loads(done.stderr.splitlines()[-1])["event"]
        assert f"no room for {out}" in last
        assert "free some space" in last
        assert [path.name for path in small.iterdir()] == ["ballast"]
    assert convert(source, out).returncode == Exit.DONE
    assert qemu.compare(out, "raw", tmp_path / "expected", "raw")


def refused(act: Callable[[], object], at: Path) -> None:
    with pytest.raises(StepError) as caught:
        act()
    assert caught.value.code is Exit.NO_SPACE
    assert f"no room for {at}" in str(caught.value)


def test_image_and_build_in_a_full_folder_succeed_after_a_retry(small: Path) -> None:
    folder = small / "scratch"
    folder.mkdir()
    (folder / "disk.raw").write_bytes(DISK)
    made = Ready(file="disk.raw", format=DiskFormat.RAW, virtual_size=len(DISK), size=len(DISK))
    made.save(scratch.ready(folder))
    target = DirectoryTarget(small, Stop())
    machine = a_machine(disks=(a_disk(),))
    wanted = shape(a_plan(), machine)

    def publish() -> None:
        target.publish("disk-0", folder, lambda done, total: None)

    with full(small):
        refused(publish, small)
    publish()
    assert (small / "disk-0.raw").read_bytes() == DISK
    publish()
    with full(small):
        refused(lambda: target.build(machine, wanted), small)
        assert not (small / "virtualmachine.yaml").exists()
    target.build(machine, wanted)
    assert (small / "virtualmachine.yaml").exists()
    assert not list(small.rglob("*.partial"))

"""A VM that runs again at its source makes every copy stale: what it has then written reaches the target."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from steps.model.contract import Exit
from tests.real.e2e import harness
from tests.real.e2e.harness import MIB, QUICK, Ended
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

VM = "web"
SIZE = 2 * MIB


@dataclass(frozen=True)
class Site:
    """A running VM with two disks; a disk that is away lets every export of it fail."""

    simulator: Simulator
    folder: Path

    @property
    def into(self) -> Path:
        return self.folder / "out"

    def original(self, disk: int) -> Path:
        return self.folder / f"disk-{disk}.img"

    def vmdk(self, disk: int) -> Path:
        return self.folder / f"disk-{disk}.vmdk"

    def write(self, disk: int) -> bytes:
        """What the guest writes: other bytes on the whole disk. Returns the first of them."""
        write(self.original(disk), self.vmdk(disk))
        return self.original(disk).read_bytes()[:4096]

    def run(self, *argv: str | Path, **spec: object) -> Ended:
        manifests = harness.manifests(self.simulator, self.folder / "manifests.yaml", VM, **spec)
        return harness.vmferry("run", "-f", manifests, "--into", self.into, *QUICK, *argv)

    def retry(self) -> Ended:
        return harness.vmferry("retry", self.into, *QUICK)

    def undo(self, *argv: str | Path) -> Ended:
        return harness.vmferry("undo", self.into, *argv)

    @property
    def power(self) -> str:
        return str(self.simulator.vm(VM)["power"])

    @contextmanager
    def disk_away(self, disk: int) -> Iterator[None]:
        away = self.vmdk(disk).with_suffix(".away")
        self.vmdk(disk).rename(away)
        try:
            yield
        finally:
            away.rename(self.vmdk(disk))


def write(original: Path, vmdk: Path) -> None:
    original.write_bytes(os.urandom(SIZE))
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run([*argv, original, vmdk], check=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    for disk in (0, 1):
        write(tmp_path / f"disk-{disk}.img", tmp_path / f"disk-{disk}.vmdk")
    disks = [{"vmdk": str(tmp_path / f"disk-{disk}.vmdk"), "capacity": SIZE} for disk in (0, 1)]
    with harness.vcenter(tmp_path, harness.machine(VM, *disks, power="on")) as simulator:
        yield Site(simulator, tmp_path)


def holds(site: Site, needle: bytes) -> bool:
    """Whether any file of the folder has these bytes, also inside of a compressed image."""
    for path in site.into.rglob("*"):
        if not path.is_file():
            continue
        raw = site.folder / "raw"
        if path.suffix == ".qcow2":
            subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
        content = raw.read_bytes() if path.suffix == ".qcow2" else path.read_bytes()
        if needle in content:
            return True
    return False


def test_what_is_written_between_restore_and_retry_is_at_the_target_and_nothing_older(site: Site) -> None:
    old = [site.original(disk).read_bytes()[:4096] for disk in (0, 1)]
    with site.disk_away(1):
        failed = site.run(onFailure="restorePower")
    assert failed.code != Exit.DONE
    assert "started again at its source" in failed.err
    assert site.power == "on"
    assert (site.into / "disk-0.qcow2").exists() or holds(site, old[0]), "the first disk had landed"
    for disk in (0, 1):
        site.write(disk)
    done = site.retry()
    assert done.code == Exit.DONE, done.err
    assert harness.imported(site.into, site.original(0), site.original(1))
    assert not any(holds(site, bytes_) for bytes_ in old)
    assert site.power == "off"
    assert harness.left(site.simulator) == []


@pytest.mark.parametrize("is_off_again", [True, False])
def test_a_start_by_somebody_else_is_found_before_the_vm_is_built(site: Site, is_off_again: bool) -> None:
    with site.disk_away(1):
        assert site.run().code != Exit.DONE
    assert site.power == "off"
    site.simulator.set_power(VM, "on")
    site.write(0)
    if is_off_again:
        site.simulator.set_power(VM, "off")
    resumed = site.retry()
    if is_off_again:
        assert resumed.code == Exit.STALE, resumed.err
        assert "started it at 20" in resumed.err
        assert not (site.into / "virtualmachine.yaml").exists()
        again = site.retry()  # this one begins a new run
        assert again.code == Exit.DONE, again.err
        assert harness.imported(site.into, site.original(0), site.original(1))
    else:
        assert resumed.code == Exit.POWER, resumed.err


def test_a_success_leaves_the_vm_off(site: Site) -> None:
    done = site.run(onFailure="restorePower")
    assert done.code == Exit.DONE, done.err
    assert site.power == "off"


def test_a_vm_that_was_off_before_is_not_started(site: Site) -> None:
    site.simulator.set_power(VM, "off")
    with site.disk_away(1):
        assert site.run(onFailure="restorePower").code != Exit.DONE
    assert site.power == "off"


class TestUndo:
    def test_the_vm_runs_again_at_its_source(self, site: Site) -> None:
        assert site.run().code == Exit.DONE
        refused = site.undo("--yes")
        assert refused.code == Exit.INVALID
        assert "credentials" in refused.error
        done = site.undo("--yes", "-f", site.folder / "manifests.yaml", "-o", "json")
        assert done.code == Exit.DONE, done.err
        (document,) = json.loads(done.out)
        assert document["source"]["state"] == "started"
        assert [Path(name).name for name in document["remaining"]] == ["disk-0.qcow2", "disk-1.qcow2"]
        assert document["delete"] == [f"vmferry discard {site.into}"]
        assert site.power == "on"
        assert not (site.into / ".vmferry" / "credentials").exists()
        assert harness.left(site.simulator) == []

    def test_the_mark_is_set_after_a_success_and_removed(self, site: Site) -> None:
        done = site.run(markSource={"nameSuffix": "-imported", "disconnectNics": True})
        assert done.code == Exit.DONE, done.err
        changes = [task["descriptionId"] for task in site.simulator.tasks()]
        assert changes[-2:] == ["VirtualMachine.reconfigVm", "VirtualMachine.rename"]
        assert site.power == "off"
        again = site.undo("--yes", "-f", site.folder / "manifests.yaml", "-o", "json")
        assert again.code == Exit.DONE, again.err
        changes = [task["descriptionId"] for task in site.simulator.tasks()]
        assert changes[-4:-2] == ["VirtualMachine.reconfigVm", "VirtualMachine.rename"]
        assert site.power == "on", "it was started after that"

    def test_a_mark_that_cannot_be_set_is_a_warning(self, site: Site) -> None:
        done = site.run(markSource={"tag": "no-such-tag"})
        assert done.code == Exit.DONE, done.err
        assert "is not marked at its source: the tag: there is no tag no-such-tag" in " ".join(
            done.err.split()
        )
        assert harness.imported(site.into, site.original(0), site.original(1))

    def test_a_retry_after_it_copies_the_vm_again(self, site: Site) -> None:
        assert site.run().code == Exit.DONE
        manifests = site.folder / "manifests.yaml"
        assert site.undo("--yes", "-f", manifests).code == Exit.DONE
        site.write(0)
        done = harness.vmferry("retry", site.into, "-f", manifests, *QUICK)
        assert done.code == Exit.DONE, done.err
        assert harness.imported(site.into, site.original(0), site.original(1))

    def test_it_needs_a_confirmation(self, site: Site) -> None:
        assert site.run().code == Exit.DONE
        asked = site.undo("-f", site.folder / "manifests.yaml")
        assert asked.code == Exit.INVALID
        assert "--yes" in asked.error
        assert site.power == "off"

    def test_it_may_be_repeated(self, site: Site) -> None:
        with site.disk_away(1):
            assert site.run().code != Exit.DONE
        for _ in range(2):
            done = site.undo("--yes")
            assert done.code == Exit.DONE, done.err
        assert site.power == "on"
        assert len(site.simulator.calls("PowerOnMultiVM_Task")) == 1

    def test_what_remains_can_be_discarded(self, site: Site) -> None:
        assert site.run().code == Exit.DONE
        assert site.undo("--yes", "-f", site.folder / "manifests.yaml").code == Exit.DONE
        assert harness.vmferry("discard", site.into).code == Exit.DONE
        assert not site.into.exists() or not list(site.into.glob("*.qcow2"))

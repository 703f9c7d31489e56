"""Disks through the real ovirt-imageio: only their data, over lost tickets, other ways, killed attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.disk.land import Landed
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import connect
from tests.real.ovirt.conftest import MIB, Images
from tests.real.ovirt.lab import Lab
from tests.real.providers.ovirt.conftest import MakeAccess, ignore


def land(access: MakeAccess, machine: Machine, out: Path, number: int = 0) -> Landed:
    with connect(access(f"export-disk-{number}")) as source:
        return source.export(machine, machine.disks[number], out, DiskFormat.RAW, ignore)


def sent(lab: Lab) -> int:
    """The bytes of disks that were sent."""
    reads = [call for call in lab.calls("image", "GET") if "/extents" not in call["path"]]
    return sum(int(call["bytes"]) for call in reads)


@pytest.mark.parametrize("number", [0, 1], ids=["raw", "chain"])
def test_only_the_data_of_a_disk_is_transferred(
    lab: Lab, images: Images, access: MakeAccess, stopped: Machine, tmp_path: Path, number: int
) -> None:
    land(access, stopped, tmp_path / "out", number)
    assert (tmp_path / "out").read_bytes() == images.raw.read_bytes()
    used = images.raw.stat().st_blocks * 512
    print(f"{sent(lab)} bytes of {images.size} were sent, {used} are in use")  # noqa: T201 - a figure
    assert sent(lab) < 5 * MIB
    assert lab.transfers(live=True) == []


def test_the_proxy_is_used_if_the_host_cannot_be_reached(
    lab: Lab, images: Images, access: MakeAccess, stopped: Machine, tmp_path: Path
) -> None:
    lab.settings(host_refuses=True)
    land(access, stopped, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images.raw.read_bytes()


def test_a_lost_ticket_costs_a_new_transfer_but_no_data(
    lab: Lab,
    images: Images,
    access: MakeAccess,
    stopped: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", (0.0,))
    monkeypatch.setattr("steps.disk.pump.CHUNK", MIB)
    # Of several readers, that of the beginning of the disk could be the third to ask.
    monkeypatch.setattr("steps.providers.ovirt.export.MOST_READERS", 1)
    lab.fault(kind="image", method="GET", path="/images/[^/]*$", nth=3, status=403, times=0)
    with pytest.raises(StepError) as caught:
        land(access, stopped, tmp_path / "out")
    assert caught.value.code is Exit.BROKEN_STREAM
    lab.clear()
    landed = land(access, stopped, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == images.raw.read_bytes()
    assert landed.resumed_at > 0
    assert lab.transfers(live=True) == []


def test_a_vm_that_was_started_in_between_is_read_again(
    lab: Lab, access: MakeAccess, stopped: Machine, tmp_path: Path
) -> None:
    land(access, stopped, tmp_path / "out")
    transfers = len(lab.transfers())
    lab.set_vm("web", extra={"stop_time": "2026-01-02T03:04:05.678+00:00"})
    land(access, stopped, tmp_path / "out")
    assert len(lab.transfers()) == transfers + 1


def test_an_illegal_disk_is_noticed_before_the_vm_is_stopped(
    lab: Lab, access: MakeAccess, described: Machine
) -> None:
    lab.set_disk(described.disks[0].key, "illegal")
    with connect(access("poweroff")) as source, pytest.raises(StepError) as caught:
        source.power_off(described, PowerPlan())
    assert caught.value.code is Exit.UNSUPPORTED
    assert lab.vm("web")["status"] == "up"

"""The imported guest boots: its disks have the content of the originals."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.e2e import harness

pytestmark = [pytest.mark.vcenter, pytest.mark.vm]

BOOT_SECONDS = 600


@pytest.fixture(scope="module", autouse=True)
def _guest() -> None:
    scenario.guest_image()


@pytest.fixture
def imported(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, scenario.Scenario]]:
    """The guest, imported with the test's firmware."""
    with scenario.running(tmp_path / "vcenter", vm=request.param) as running:
        into = tmp_path / "machine"
        ended = harness.vmferry("run", "-f", running.manifests, "--into", into)
        assert ended.code == Exit.DONE, ended.err
        assert harness.left(running.simulator) == []
        yield into, running


def boot(folder: Path) -> str:
    ended = harness.vmferry("boot", folder, "--timeout", str(BOOT_SECONDS))
    assert ended.code == Exit.DONE, ended.err
    return ended.out


@pytest.mark.parametrize(
    ("imported", "firmware"),
    [
        ({}, ("bios", "unsupported", "none")),
        ({"firmware": "efi", "secureBoot": True, "tpm": True}, ("uefi", "on", "2.0")),
    ],
    indirect=["imported"],
    ids=["bios", "uefi-secure-boot-tpm"],
)
def test_the_imported_vm_boots_with_its_data(
    imported: tuple[Path, scenario.Scenario], firmware: tuple[str, str, str]
) -> None:
    folder, running = imported
    report = scenario.proven(boot(folder), running.data)
    assert (report.firmware, report.secureboot, report.tpm) == firmware
    assert [nic.mac for nic in report.nics] == list(scenario.MACS)
    assert [nic.driver for nic in report.nics] == ["virtio_net", "e1000e"]
    assert (report.cpus, report.cores) == (2, 2)
    assert report.root.bus == "sata"  # PVSCSI, which KubeVirt does not know
    assert {disk.bus for disk in report.disks} == {"sata", "virtio"}


@pytest.mark.parametrize("imported", [{}], indirect=True, ids=["bios"])
def test_a_flipped_byte_is_detected(imported: tuple[Path, scenario.Scenario]) -> None:
    folder, running = imported
    disk = folder / "disk-1.qcow2"
    last = running.data.size - 512  # the payload ends with the disk
    before = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", f"read -v {last} 1", disk],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    value = int(before.split(":", 1)[1].split()[0], 16) ^ 0xFF
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", f"write -P {value} {last} 1", disk], capture_output=True, check=True
    )
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, check=False)
    assert sums.returncode != 0
    with pytest.raises(AssertionError, match="SHA-256"):
        scenario.proven(boot(folder), running.data)

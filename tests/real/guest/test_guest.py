"""Tests of the guest: its data disk, its report, and that it boots by itself."""

from __future__ import annotations

import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from . import boot_qemu, datadisk, report

HERE = Path(__file__).resolve().parent
SIZE = 16 * datadisk.MIB
PAYLOAD = 4 * datadisk.MIB

CONSOLE = "\r\n".join(
    [
        "\x1b[2J  Booting `Debian'",
        "[    0.000000] Linux version 6.1.0-56-amd64",
        "",
        "VMFERRY-GUEST hello release=12.15 kernel=6.1.0-56-amd64",
        "VMFERRY-GUEST firmware=uefi secureboot=on tpm=2.0",
        "VMFERRY-GUEST cpus=4 sockets=2 cores=2 memory_kib=468144",
        "VMFERRY-GUEST root=/dev/sda bus=sata size=2147483648",
        "VMFERRY-GUEST disk=0 dev=/dev/sda bus=sata size=2147483648",
        "VMFERRY-GUEST disk=1 dev=/dev/sdb bus=sata size=268435456",
        "VMFERRY-GUEST nic=0 mac=00:50:56:00:00:01 driver=e1000e",
        f"VMFERRY-GUEST data nonce={'a' * 64} sha256={'b' * 64}",
        f"VMFERRY-GUEST root_sha256={'c' * 64}",
        "VMFERRY-GUEST done",
        "[   14.595835] reboot: Power down",
    ]
)


# --- data disk ------------------------------------------------------------------


def small(path: Path, seed: bytes | None = None, flip_byte: int | None = None) -> datadisk.DataDisk:
    return datadisk.make(path, size=SIZE, payload_mib=4, seed=seed, flip_byte=flip_byte)


def test_the_data_disk_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = small(tmp_path / "data.img")
    assert datadisk.expected(made.path) == made
    assert made.path.stat().st_size == made.size == SIZE


def test_the_payload_ends_with_the_disk_and_has_holes_between(tmp_path: Path) -> None:
    extents = datadisk.layout(SIZE, PAYLOAD)
    assert len(extents) == 4
    assert extents[-1].offset + extents[-1].length == SIZE
    assert all(extent.offset % 512 == 0 for extent in extents)
    assert extents[0].offset % 4096 != 0
    for first, second in pairwise(extents):
        assert first.offset + first.length + datadisk.MIN_GAP <= second.offset
    made = small(tmp_path / "data.img")
    # 4 MiB of payload, which includes a hole of 256 KiB, and the header.
    assert made.path.stat().st_blocks * 512 < PAYLOAD


def test_the_seed_determines_the_disk(tmp_path: Path) -> None:
    first = small(tmp_path / "1.img", seed=b"s")
    again = small(tmp_path / "2.img", seed=b"s")
    other = small(tmp_path / "3.img")
    assert (first.nonce, first.sha256) == (again.nonce, again.sha256)
    assert other.nonce != first.nonce
    assert other.sha256 != first.sha256


@pytest.mark.parametrize("offset", [0, PAYLOAD // 2, PAYLOAD - 1])
def test_a_flipped_byte_changes_what_is_read(tmp_path: Path, offset: int) -> None:
    made = small(tmp_path / "data.img", flip_byte=offset)
    read = datadisk.expected(made.path)
    assert read.nonce == made.nonce
    assert read.sha256 != made.sha256


def test_impossible_data_disks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too small"):
        datadisk.make(tmp_path / "data.img", size=8 * datadisk.MIB, payload_mib=8)
    with pytest.raises(ValueError, match="no byte"):
        small(tmp_path / "data.img", flip_byte=PAYLOAD)
    (tmp_path / "empty.img").write_bytes(bytes(8192))
    with pytest.raises(ValueError, match="no data disk"):
        datadisk.expected(tmp_path / "empty.img")


def test_the_command_prints_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "data.img"
    command: list[str | Path] = [HERE / "datadisk.py", path, "--size", "16M", "--payload-mib", "4", "--stay"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    read = datadisk.expected(path)
    assert json.loads(done.stdout) == {
        "nonce": read.nonce,
        "sha256": read.sha256,
        "path": str(path),
        "size": read.size,
    }
    assert b"\nstay 1\n" in path.read_bytes()[:4096]


# --- report ---------------------------------------------------------------------


def test_all_fields_of_a_report_are_read() -> None:
    root = report.Disk("/dev/sda", "sata", 2 << 30)
    assert report.parse(CONSOLE) == report.GuestReport(
        release="12.15",
        kernel="6.1.0-56-amd64",
        firmware="uefi",
        secureboot="on",
        tpm="2.0",
        cpus=4,
        sockets=2,
        cores=2,
        memory_kib=468144,
        root=root,
        disks=(root, report.Disk("/dev/sdb", "sata", 256 << 20)),
        nics=(report.Nic("00:50:56:00:00:01", "e1000e"),),
        data=report.GuestData("a" * 64, "b" * 64),
        root_sha256="c" * 64,
    )


def test_a_guest_without_data_disk_reports_none() -> None:
    console = CONSOLE.replace(f"nonce={'a' * 64} sha256={'b' * 64}", "missing")
    assert report.parse(console).data is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("VMFERRY-GUEST done", "", "missing: done"),
        ("VMFERRY-GUEST firmware=uefi secureboot=on tpm=2.0", "", "missing: firmware"),
        ("disk=0", "disk=2", "missing: disk=0"),
        ("secureboot=on", "secureboot=yes", "not a line"),
        ("sockets=2 ", "", "not a line"),
        ("VMFERRY-GUEST done", "VMFERRY-GUEST done\nVMFERRY-GUEST done", "twice: done"),
        ("VMFERRY-GUEST done", "VMFERRY-GUEST error no root", "failed: no root"),
    ],
)
def test_a_bad_report_is_refused(old: str, new: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        report.parse(CONSOLE.replace(old, new))


# --- boots ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The built image; it is built now if it is missing or out of date."""
    default = HERE.parents[2] / ".cache" / "guest" / "guest.img"
    path = Path(os.environ.get("VMFERRY_GUEST", default))
    if "VMFERRY_GUEST" not in os.environ or not path.exists():
        subprocess.run([HERE / "build.sh", path.parent], check=True)
    return path


@pytest.mark.vm
@pytest.mark.parametrize(
    ("firmware", "bus", "seen"),
    [
        ("bios", "virtio", ("bios", "unsupported", "virtio")),
        ("uefi", "sata", ("uefi", "off", "sata")),
        ("secure", "virtio", ("uefi", "on", "virtio")),
        ("uefi", "nvme", ("uefi", "off", "nvme")),
    ],
)
def test_the_guest_boots_and_reads_its_data(
    guest_image: Path, tmp_path: Path, firmware: str, bus: str, seen: tuple[str, str, str]
) -> None:
    data = datadisk.make(tmp_path / "data.img")
    nics = (("virtio-net-pci", "00:50:56:00:00:02"), ("e1000e", "00:50:56:00:00:01"))
    vm = boot_qemu.Vm((guest_image, data.path), bus=bus, firmware=firmware, nics=nics)
    found = report.parse(boot_qemu.boot(vm, tmp_path))
    built = json.loads(guest_image.with_suffix(".json").read_text())
    assert (found.firmware, found.secureboot, found.root.bus) == seen
    assert found.data == report.GuestData(data.nonce, data.sha256)
    assert found.root_sha256 == built["root_sha256"]
    assert (found.release, found.kernel) == (built["release"], built["kernel"])
    assert [disk.size for disk in found.disks] == [built["size"], data.size]
    assert (found.cpus, found.sockets, found.cores) == (2, 1, 2)
    assert [(nic.mac, nic.driver) for nic in found.nics] == [
        ("00:50:56:00:00:02", "virtio_net"),
        ("00:50:56:00:00:01", "e1000e"),
    ]


@pytest.mark.vm
def test_the_guest_detects_one_wrong_byte(guest_image: Path, tmp_path: Path) -> None:
    data = datadisk.make(tmp_path / "data.img", flip_byte=40 * datadisk.MIB + 1)
    found = report.parse(boot_qemu.boot(boot_qemu.Vm((guest_image, data.path)), tmp_path))
    assert found.data is not None
    assert found.data.nonce == data.nonce
    assert found.data.sha256 != data.sha256

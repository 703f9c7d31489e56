"""Disks in formats other than stream-optimized VMDK: the descriptor decides how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.disk.land import Landed
from steps.model.contract import Exit
from steps.model.plan import DiskFormat
from steps.providers import connect
from tests.provider_contract import ignore
from tests.unit.steps.providers.ova.conftest import MakeAccess, Refused
from tests.unit.steps.providers.ova.make import build_files

STREAM = b"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


def export(access: MakeAccess, folder: Path, out: Path) -> Landed:
    with connect(access(folder)) as source:
        machine = source.describe("web", None)
        return source.export(machine, machine.disks[0], out, DiskFormat.QCOW2, ignore)


def package(tmp_path: Path, raws: list[Path], image: bytes, uri: bytes, suffix: str = ".vmdk") -> Path:
    """A folder with one disk whose content is `image`, whatever the descriptor declares."""
    files = build_files(raws[:1], manifest=None)
    text = files.contents["web.ovf"].replace(STREAM, uri).replace(b"disk1.vmdk", b"disk1" + suffix.encode())
    files.contents = {"web.ovf": text, f"web-disk1{suffix}": image}
    files.write(tmp_path / "package")
    return tmp_path / "package"


@pytest.mark.parametrize(
    ("image", "uri", "code"),
    [
        (b"QFI\xfb" + bytes(1 << 20), STREAM, Exit.CORRUPT),
        (b'# Disk DescriptorFile\nRW 12288 FLAT "/etc/passwd" 0\n'.ljust(4096), STREAM, Exit.UNSUPPORTED),
        (b"KDMV" + bytes(1 << 20), b"http://www.gnome.org/~markmc/qcow-image-format.html", Exit.CORRUPT),
        (bytes(1 << 20), b"http://example.com/vhdx", Exit.CORRUPT),
        (bytes(1 << 20), b"http://en.wikipedia.org/wiki/Byte", Exit.CORRUPT),
    ],
)
def test_a_disk_in_an_undeclared_format_is_refused(
    tmp_path: Path,
    raws: list[Path],
    access: MakeAccess,
    refused: Refused,
    image: bytes,
    uri: bytes,
    code: Exit,
) -> None:
    folder = package(tmp_path, raws, image, uri)
    assert refused(lambda: export(access, folder, tmp_path / "disk.qcow2")).code is code
    assert not (tmp_path / "disk.qcow2").exists()

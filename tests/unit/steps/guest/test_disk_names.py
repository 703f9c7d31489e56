"""The names of disks that a Linux needs, from its fstab, its crypttab and the menu of its boot loader."""

from __future__ import annotations

from typing import Any

import pytest

from steps.guest.ask import Guest
from steps.guest.collect_linux import _disk_names


class Handle:
    """Files of a guest, as libguestfs gives them."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def is_file(self, path: str, *, followsymlinks: bool) -> bool:
        assert followsymlinks
        return path in self.files

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self.files[path].encode(errors="surrogateescape")[offset : offset + count]


def names(**files: str) -> list[str]:
    paths = {"fstab": "/etc/fstab", "crypttab": "/etc/crypttab", "grub": "/boot/grub/grub.cfg"}
    handle: Any = Handle({paths[name]: text for name, text in files.items()})
    return _disk_names(Guest(handle))


@pytest.mark.parametrize(
    ("fstab", "wanted"),
    [
        ("/dev/sda1 / ext4 defaults 0 1\n", ["/dev/sda1"]),
        ("UUID=1-2 / ext4 defaults 0 1\n/dev/vg0/root /x ext4\n/dev/disk/by-id/x /y xfs", []),
        ("# /dev/sda1 / ext4 defaults\n/dev/sdb1 none swap sw 0 0\n", []),
        ("/dev/sdb1 /data xfs defaults,nofail 0 2\n/dev/sdc1 /x xfs noauto", []),
        ("/dev/vdb /data xfs defaults 0 2 # the second disk\n", ["/dev/vdb"]),
        ("/dev/sda1\n/dev/sda2 /\n\x00\udcff /dev/sda3\n", []),
        ("/dev/sda1;reboot / ext4 defaults", []),
        ("/dev/sdaaaaaaa1 / ext4 defaults", []),
    ],
)
def test_a_table_of_file_systems(fstab: str, wanted: list[str]) -> None:
    assert names(fstab=fstab) == wanted


def test_encrypted_devices_and_the_root_of_the_first_entry() -> None:
    grub = (
        "menuentry 'a' {\n  linux /vmlinuz root=/dev/sda2 ro quiet\n}\n"
        "menuentry 'b' {\n  linux /old root=/dev/sdz9 ro\n}\n"
    )
    assert names(crypttab="data /dev/sdb1 none luks\n", grub=grub) == ["/dev/sda2", "/dev/sdb1"]
    assert names(grub="linux /vmlinuz root=UUID=1 ro\n") == []
    assert names(grub="linux /vmlinuz root=/dev/sda2x\n") == []


def test_a_table_without_an_end_is_bounded() -> None:
    lines = "".join(
        f"/dev/sd{chr(97 + a)}{chr(97 + b)}1 /m xfs defaults\n" for a in range(26) for b in range(26)
    )
    assert len(names(fstab=lines)) == 64

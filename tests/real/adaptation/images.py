"""Builds a phony Windows that the tests adapt: `/usr/bin/python3 -m tests.real.adaptation.images FOLDER`.

It needs the binding of libguestfs, and otherwise only the standard library.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from tests.real.inspection.images import (
    MIB,
    SOFTWARE,
    SYSTEM,
    Keys,
    dword,
    fill_hive,
    make_windows_files,
)

# --- a phony Windows without drivers for virtio

_SET: Final = "ControlSet001"
NO_DRIVERS: Final[Keys] = {
    **{names: values for names, values in SYSTEM.items() if names[-1] not in ("viostor", "netkvm", "Power")},
    (_SET, "Services"): (),
    (_SET, "Control", "CrashControl"): (("AutoReboot", 4, dword(1)),),
    (_SET, "Control", "CriticalDeviceDatabase"): (),
    (_SET, "Enum"): (),
}
MORE_SOFTWARE: Final[Keys] = {
    **SOFTWARE,
    ("Microsoft", "Windows", "CurrentVersion"): (
        ("ProgramFilesDir", 1, "C:\\Program Files\0".encode("utf-16-le")),
    ),
    ("Microsoft", "Windows", "CurrentVersion", "RunOnce"): (),
}


def windows(image: Path) -> None:
    import guestfs  # noqa: PLC0415 - only this part needs it

    g = guestfs.GuestFS(python_return_dict=True)
    g.disk_create(str(image), "raw", 400 * MIB)
    g.add_drive_opts(str(image), format="raw")
    g.launch()
    g.part_init("/dev/sda", "mbr")
    g.part_add("/dev/sda", "p", 2048, -2048)
    g.part_set_mbr_id("/dev/sda", 1, 7)
    g.part_set_bootable("/dev/sda", 1, True)
    g.mkfs("ntfs", "/dev/sda1")
    g.mount("/dev/sda1", "/")
    make_windows_files(g)
    fill_hive(g, "/Windows/System32/Config/SOFTWARE", MORE_SOFTWARE)
    fill_hive(g, "/Windows/System32/Config/SYSTEM", NO_DRIVERS)
    g.umount_all()
    g.shutdown()
    g.close()


def virtio_win(folder: Path) -> None:
    """Files with the names of virtio-win: virt-v2v copies them by their names."""
    for driver in ("viostor", "vioscsi", "NetKVM", "Balloon", "vioserial"):
        place = folder / driver / "2k22" / "amd64"
        place.mkdir(parents=True)
        for suffix in ("inf", "sys", "cat"):
            (place / f"{driver.lower()}.{suffix}").write_bytes(f"phony {driver}".encode())
    (folder / "guest-agent").mkdir()
    (folder / "guest-agent/qemu-ga-x86_64.msi").write_bytes(b"phony")
    tools = folder.parent / "virt-tools"
    tools.mkdir()
    for name in ("rhsrvany.exe", "pnp_wait.exe"):
        (tools / name).write_bytes(b"MZ phony")


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    windows(folder / "windows.img")
    virtio_win(folder / "virtio-win")


if __name__ == "__main__":
    main()

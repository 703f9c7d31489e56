"""Builds the guests that the tests adapt: `/usr/bin/python3 -m tests.real.adaptation.images FOLDER SYSTEM`.

It needs root, mmdebstrap and the binding of libguestfs, and otherwise only the standard library.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.real.inspection.images import (
    MIB,
    SOFTWARE,
    SYSTEM,
    Keys,
    dword,
    ext4,
    fill_hive,
    make_windows_files,
    partition,
)

SUITE: Final = "bookworm"
ESP_START: Final = MIB
ESP_SIZE: Final = 40 * MIB
ROOT_START: Final = ESP_START + ESP_SIZE
ROOT_SIZE: Final = 1400 * MIB
PACKAGES: Final = (
    "grub2-common",
    "ifupdown",
    "initramfs-tools",
    "linux-image-amd64",
    "open-vm-tools",
    "systemd-sysv",
    "zstd",
)
LEFT_OUT: Final = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"),
    *("/usr/share/i18n/*", "/usr/lib/x86_64-linux-gnu/gconv/*", "/lib/modules/*/kernel/*"),
)
MODULES: Final = (
    *("drivers/ata/ahci", "drivers/ata/libahci", "drivers/ata/libata", "drivers/scsi/sd_mod"),
    *(
        "drivers/scsi/scsi_mod",
        "drivers/scsi/scsi_common",
        "drivers/scsi/vmw_pvscsi",
        "drivers/scsi/virtio_scsi",
    ),
    *("drivers/block/virtio_blk", "drivers/net/virtio_net", "drivers/net/net_failover", "net/core/failover"),
    *("drivers/virtio/*", "drivers/net/vmxnet3/*", "drivers/net/ethernet/intel/e1000e/*"),
    *("fs/ext4/*", "fs/jbd2/*", "fs/mbcache", "lib/crc16", "crypto/*", "arch/x86/crypto/*"),
)
"""The kernel's modules that the guest keeps: all of them have 300 MB."""
INTERFACES: Final = """\
auto lo
iface lo inet loopback
auto ens192
iface ens192 inet static
 address 192.0.2.10/24
 gateway 192.0.2.1
iface ens192 inet6 static
 address 2001:db8::10/64
"""
GRUB: Final = """\
set timeout=0
menuentry 'Debian' {{
    linux /boot/vmlinuz-{0} root=LABEL=guest-root ro
    initrd /boot/initrd.img-{0}
}}
"""


def debian_tree(root: Path) -> None:
    """A small Debian whose initramfs has only drivers for SATA and PVSCSI."""
    argv = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)}"]
    argv += ["--dpkgopt=force-unsafe-io"]
    argv += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    argv += [f"--dpkgopt=path-include=/lib/modules/*/kernel/{name}.ko" for name in MODULES]
    subprocess.run([*argv, SUITE, str(root), *sources()], check=True, env=environment())
    kernel = next((root / "lib/modules").iterdir()).name
    (root / "etc/network/interfaces").write_text(INTERFACES)
    (root / "etc/fstab").write_text(
        "LABEL=guest-root / ext4 errors=remount-ro 0 1\nLABEL=ESP /boot/efi vfat umask=0077 0 1\n"
    )
    (root / "boot/efi").mkdir()
    (root / "etc/hostname").write_text("guest\n")
    (root / "boot/grub").mkdir(parents=True, exist_ok=True)
    (root / "boot/grub/grub.cfg").write_text(GRUB.format(kernel))
    (root / "etc/default").mkdir(exist_ok=True)
    (root / "etc/default/grub").write_text("GRUB_TIMEOUT=0\n")
    conf = root / "etc/initramfs-tools"
    (conf / "conf.d").mkdir(exist_ok=True)
    (conf / "conf.d/modules").write_text("MODULES=list\n")
    (conf / "modules").write_text("ahci\nsd_mod\nvmw_pvscsi\next4\n")
    subprocess.run(["chroot", root, "update-initramfs", "-c", "-k", kernel], check=True, capture_output=True)
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)


def environment() -> dict[str, str]:
    # Debian's kernel package then does not make an initramfs, which is made once, later.
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "INITRD": "No", "HOME": "/root"}


def sources() -> list[str]:
    """The computer's own mirror, if it is a Debian of this suite; else mmdebstrap's default."""
    layout = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    argv = ["apt-get", "indextargets", "--format", layout, "Created-By: Packages"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    wanted = {f"{SUITE}", f"{SUITE}-updates", f"{SUITE}-security"}
    return sorted({line for line in found if line.endswith(" main") and line.split()[2] in wanted})


def debian(image: Path) -> None:
    """GPT with an EFI system partition, whose loaders are phony, and the root file system."""
    with tempfile.TemporaryDirectory(dir=image.parent) as name:
        root = Path(name) / "root"
        debian_tree(root)
        partition(
            image,
            ROOT_START + ROOT_SIZE + MIB,
            f"start={ESP_START // 512}, size={ESP_SIZE // 512}, type=U",
            f"start={ROOT_START // 512}, size={ROOT_SIZE // 512}, type=L",
            label="gpt",
        )
        ext4(image, root, ROOT_START, ROOT_SIZE, "-L", "guest-root")
        esp = f"{image}@@{ESP_START}"
        subprocess.run(
            [
                "mformat",
                "-i",
                esp,
                "-F",
                "-T",
                str(ESP_SIZE // 512),
                "-h",
                "64",
                "-s",
                "32",
                "-v",
                "ESP",
                "::",
            ],
            check=True,
        )
        subprocess.run(["mmd", "-i", esp, "::/EFI", "::/EFI/debian"], check=True)
        for file in ("shimx64.efi", "grubx64.efi", "mmx64.efi"):
            (Path(name) / file).write_bytes(b"MZ phony " + file.encode())
            subprocess.run(["mcopy", "-i", esp, Path(name) / file, f"::/EFI/debian/{file}"], check=True)
        (Path(name) / "grub.cfg").write_text("configfile (hd0,gpt2)/boot/grub/grub.cfg\n")
        subprocess.run(["mcopy", "-i", esp, Path(name) / "grub.cfg", "::/EFI/debian/grub.cfg"], check=True)


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
    folder, system = Path(sys.argv[1]), sys.argv[2]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if system == "debian":
        debian(folder / "debian.img")
    else:
        windows(folder / "windows.img")
        virtio_win(folder / "virtio-win")


if __name__ == "__main__":
    main()

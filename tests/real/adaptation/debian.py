"""Builds two Debians that boot: `/usr/bin/python3 -m tests.real.adaptation.debian FOLDER old|new`.

    old   Debian 12, initramfs-tools, ifupdown, one disk, BIOS and EFI; no virtio in its initramfs
    new   Debian 13, dracut, NetworkManager, LVM over two disks, EFI only

Neither has a boot loader where a firmware without boot entries looks. It needs root, mmdebstrap, mtools, GRUB
for BIOS and the binding of libguestfs, and otherwise only the standard library.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.real.guest.grub_bios import install as install_grub
from tests.real.inspection.images import MIB, SECTOR, ext4, partition

ESP_SIZE: Final = 40 * MIB
ROOT_SIZE: Final = 1400 * MIB
EXT4: Final = "has_journal,^metadata_csum_seed,^orphan_file"
"""Features that GRUB 2.06 reads, and a journal as in every real guest."""
LOADERS: Final = ("shim-signed", "shim-helpers-amd64-signed", "grub-efi-amd64-signed")
BIOS_BOOT: Final = "21686148-6449-6E6F-744E-656564454649"
LEFT_OUT: Final = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"),
    *("/usr/share/i18n/*", "/usr/lib/x86_64-linux-gnu/gconv/*"),
    *("/lib/modules/*/kernel/*", "/usr/lib/modules/*/kernel/*"),
)
MODULES: Final = (
    *("drivers/ata/ahci", "drivers/ata/libahci", "drivers/ata/libata", "drivers/scsi/sd_mod"),
    *("drivers/scsi/scsi_mod", "drivers/scsi/scsi_common", "drivers/scsi/vmw_pvscsi"),
    *("drivers/scsi/virtio_scsi", "drivers/block/virtio_blk", "drivers/char/virtio_console"),
    *("drivers/net/virtio_net", "drivers/net/net_failover", "net/core/failover", "drivers/virtio/*"),
    *("drivers/net/vmxnet3/*", "drivers/net/ethernet/intel/e1000e/*", "drivers/md/dm-*", "fs/autofs/*"),
    *("fs/ext4/*", "fs/jbd2/*", "fs/mbcache", "fs/fat/*", "fs/nls/*", "fs/efivarfs/*", "lib/*"),
    *("crypto/*", "arch/x86/crypto/*"),
)
"""The kernel's modules that a guest keeps: all of them have 300 MB."""
LINE: Final = "console=tty0 console=ttyS0,115200"
GRUB: Final = """\
set timeout=0
insmod part_gpt
insmod ext2
search --no-floppy --label {label} --set=root
menuentry 'Debian' {{
    linux {folder}/vmlinuz-{kernel} root={root} ro {line}
    initrd {folder}/initrd.img-{kernel}
}}
"""
ESP_GRUB: Final = """\
search --no-floppy --label {label} --set=root
set prefix=($root){folder}/grub
configfile $prefix/grub.cfg
"""
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
KEYFILE: Final = """\
[connection]
id=lan
uuid=7a6d6665-7272-4779-8775-657374000013
type=ethernet
interface-name=ens192

[ipv4]
method=manual
address1=192.0.2.20/24,192.0.2.1

[ipv6]
method=manual
address1=2001:db8::20/64
"""


@dataclass(frozen=True)
class Tree:
    """An installed Debian in a folder, and the packages that were only downloaded."""

    root: Path
    debs: Path
    loader: Path

    @property
    def kernel(self) -> str:
        return next((self.root / "lib/modules").iterdir()).name

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def run(self, *argv: str) -> None:
        """Run a program in the tree, with the kernel's file systems in a mount namespace of its own."""
        script = 'for one in proc sys dev; do mount --rbind "/$one" "$0/$one"; done; exec chroot "$0" "$@"'
        shell = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, str(self.root)]
        subprocess.run([*shell, *argv], check=True, capture_output=True)


def installed(folder: Path, suite: str, packages: Iterable[str], downloads: Iterable[str]) -> Tree:
    """A Debian with its kernel, without an initramfs; the boot loaders are only unpacked."""
    tree = Tree(folder / "root", folder / "debs", folder / "loader")
    tree.debs.mkdir()
    names = " ".join((*LOADERS, *downloads))
    argv = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", f"--include={','.join(packages)}"]
    argv += ["--dpkgopt=force-unsafe-io"]
    argv += [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    for name in MODULES:
        argv += [f"--dpkgopt=path-include=/{usr}lib/modules/*/kernel/{name}.ko*" for usr in ("", "usr/")]
    argv += [
        f'--essential-hook=cd {tree.debs} && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq download {names}'
    ]
    subprocess.run([*argv, suite, str(tree.root), *sources(suite)], check=True, env=environment())
    for deb in tree.debs.glob("*.deb"):
        if not deb.name.startswith(tuple(downloads)):
            subprocess.run(["dpkg-deb", "-x", deb, tree.loader], check=True)
    for name in ("var/cache/apt", "var/lib/apt/lists", "etc/apt/sources.list.d"):
        shutil.rmtree(tree.root / name, ignore_errors=True)
    tree.write("etc/apt/sources.list", "")
    tree.write("etc/machine-id", "7a6d6665727247798775657374000001\n")
    tree.write("etc/hostname", "guest\n")
    tree.write("etc/default/grub", f'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="{LINE}"\n')
    (tree.root / "boot/efi").mkdir()
    return tree


def environment() -> dict[str, str]:
    # Debian's kernel package then does not make an initramfs, which is made once, later.
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "INITRD": "No", "HOME": "/root"}


def sources(suite: str) -> list[str]:
    """The mirror that the computer itself uses, if it is a Debian; else mmdebstrap's default."""
    layout = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    argv = ["apt-get", "indextargets", "--format", layout, "Created-By: Packages"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    main = [line for line in found if line.endswith(" main")]
    rows = {re.sub(r" [a-z]+(-updates|-security)? main$", rf" {suite}\1 main", line) for line in main}
    return sorted(row for row in rows if f" {suite}" in row)


def esp(image: Path, start: int, tree: Tree, config: str) -> None:
    """An EFI system partition with the signed loaders, all in the folder of Debian."""
    at = f"{image}@@{start}"
    shape = ["-F", "-T", str(ESP_SIZE // SECTOR), "-h", "64", "-s", "32", "-c", "1", "-v", "ESP"]
    subprocess.run(["mformat", "-i", at, *shape, "::"], check=True)
    subprocess.run(["mmd", "-i", at, "::/EFI", "::/EFI/debian"], check=True)
    (tree.loader / "grub.cfg").write_text(config)
    files = {
        "shimx64.efi": "usr/lib/shim/shimx64.efi.signed",
        "mmx64.efi": "usr/lib/shim/mmx64.efi.signed",
        "grubx64.efi": "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        "grub.cfg": "grub.cfg",
    }
    for name, source in files.items():
        subprocess.run(["mcopy", "-i", at, tree.loader / source, f"::/EFI/debian/{name}"], check=True)


# --- old


OLD: Final = (
    *("grub2-common", "ifupdown", "initramfs-tools", "linux-image-amd64", "open-vm-tools"),
    *("systemd-sysv", "zstd", "liburing2", "libnuma1"),
)
"""The last two are what Debian's agent needs: its own package is brought along by a script."""
AGENT: Final = "qemu-guest-agent"


def old(folder: Path) -> None:
    """`debian.img`, and `agent.deb`, which is not installed."""
    image = folder / "debian.img"
    with tempfile.TemporaryDirectory(dir=folder) as name:
        tree = installed(Path(name), "bookworm", OLD, (AGENT,))
        _configure_old(tree)
        bios, at_esp, at_root = MIB, 2 * MIB, 2 * MIB + ESP_SIZE
        partition(
            image,
            at_root + ROOT_SIZE + MIB,
            *_rows((1, at_esp, ESP_SIZE, "U"), (2, at_root, ROOT_SIZE, "L"), (3, bios, MIB, BIOS_BOOT)),
            label="gpt",
        )
        ext4(image, tree.root, at_root, ROOT_SIZE, "-L", "guest-root", "-O", EXT4)
        esp(image, at_esp, tree, ESP_GRUB.format(label="guest-root", folder="/boot"))
        core = Path(name) / "core.img"
        parts = ["biosdisk", "part_gpt", "ext2", "search", "normal", "configfile", "linux", "serial", "test"]
        argv = ["grub-mkimage", "-O", "i386-pc", "-o", str(core), "-p", "(,gpt2)/boot/grub", *parts]
        subprocess.run(argv, check=True)
        code = Path("/usr/lib/grub/i386-pc/boot.img")
        install_grub(image, code, core, bios // SECTOR, MIB // SECTOR)
        shutil.copy(next(tree.debs.glob(f"{AGENT}_*.deb")), folder / "agent.deb")


def _configure_old(tree: Tree) -> None:
    """Drivers for SATA and PVSCSI only, as a Debian that was installed in vSphere with MODULES=list."""
    tree.write("etc/network/interfaces", INTERFACES)
    tree.write(
        "etc/fstab",
        "LABEL=guest-root / ext4 errors=remount-ro 0 1\nLABEL=ESP /boot/efi vfat umask=0077 0 1\n",
    )
    config = GRUB.format(
        label="guest-root", folder="/boot", kernel=tree.kernel, root="LABEL=guest-root", line=LINE
    )
    tree.write("boot/grub/grub.cfg", config)
    tree.write("etc/initramfs-tools/conf.d/modules", "MODULES=list\n")
    tree.write("etc/initramfs-tools/modules", "ahci\nsd_mod\nvmw_pvscsi\next4\n")
    tree.run("update-initramfs", "-c", "-k", tree.kernel)


def _rows(*rows: tuple[int, int, int, str]) -> list[str]:
    """Lines of sfdisk for partitions: number, first byte, bytes, type."""
    return [f"{row[0]} : start={row[1] // SECTOR}, size={row[2] // SECTOR}, type={row[3]}" for row in rows]


# --- new


NEW: Final = (
    *("dracut", "e2fsprogs", "grub2-common", "linux-image-amd64", "lvm2", "network-manager"),
    *("open-vm-tools", "systemd-sysv", "zstd", AGENT),
)
OMITTED: Final = "virtio virtio_ring virtio_pci virtio_blk virtio_scsi virtio_net"
BOOT_SIZE: Final = 200 * MIB
GROUP: Final = "vg0"
FIRST_VOLUME: Final = 400 * MIB
SECOND_DISK: Final = 1400 * MIB
LOGICAL_MIB: Final = 1600


def new(folder: Path) -> None:
    """`disk-0.img` with EFI system partition, /boot and a physical volume; `disk-1.img` is one as a whole."""
    first, second = folder / "disk-0.img", folder / "disk-1.img"
    with tempfile.TemporaryDirectory(dir=folder) as name:
        tree = installed(Path(name), "trixie", NEW, ())
        _configure_new(tree)
        at_esp, at_boot = MIB, MIB + ESP_SIZE
        at_volume = at_boot + BOOT_SIZE
        partition(
            first,
            at_volume + FIRST_VOLUME + MIB,
            *_rows(
                (1, at_esp, ESP_SIZE, "U"), (2, at_boot, BOOT_SIZE, "L"), (3, at_volume, FIRST_VOLUME, "V")
            ),
            label="gpt",
        )
        with second.open("wb") as file:
            file.truncate(SECOND_DISK)
        boot = Path(name) / "boot"
        (tree.root / "boot").rename(boot)
        (tree.root / "boot").mkdir()
        (boot / "efi").mkdir(exist_ok=True)
        ext4(first, boot, at_boot, BOOT_SIZE, "-L", "guest-boot", "-O", EXT4)
        esp(first, at_esp, tree, ESP_GRUB.format(label="guest-boot", folder=""))
        packed = Path(name) / "root.tar"
        subprocess.run(
            ["tar", "--xattrs", "--numeric-owner", "-C", tree.root, "-cf", packed, "."], check=True
        )
        _fill(first, second, packed)


def _configure_new(tree: Tree) -> None:
    tree.write("etc/NetworkManager/system-connections/lan.nmconnection", KEYFILE, 0o600)
    device = f"/dev/mapper/{GROUP}-root"
    tree.write(
        "etc/fstab",
        f"{device} / ext4 errors=remount-ro 0 1\nLABEL=guest-boot /boot ext4 defaults 0 2\n"
        "LABEL=ESP /boot/efi vfat umask=0077 0 1\n",
    )
    line = f"rd.lvm.lv={GROUP}/root {LINE}"
    config = GRUB.format(label="guest-boot", folder="", kernel=tree.kernel, root=device, line=line)
    tree.write("boot/grub/grub.cfg", config)
    # The guest was installed in vSphere: what its hardware did not have is not in its initramfs.
    tree.write("etc/dracut.conf.d/10-guest.conf", 'hostonly="no"\nhostonly_cmdline="no"\ncompress="zstd"\n')
    options = ["--force", "--omit-drivers", OMITTED, "--omit", "plymouth network"]
    options += ["--add-drivers", "vmw_pvscsi ahci sd_mod"]
    tree.run("dracut", *options, f"/boot/initrd.img-{tree.kernel}", tree.kernel)


def _fill(first: Path, second: Path, packed: Path) -> None:
    """Make the logical volume over both disks and unpack the root into it, in the appliance."""
    import guestfs  # noqa: PLC0415 - only this part needs it

    g = guestfs.GuestFS(python_return_dict=True)
    for disk in (first, second):
        g.add_drive_opts(str(disk), format="raw", cachemode="unsafe")
    g.launch()
    for device in ("/dev/sda3", "/dev/sdb"):
        g.pvcreate(device)
    g.vgcreate(GROUP, ["/dev/sda3", "/dev/sdb"])
    g.lvcreate("root", GROUP, LOGICAL_MIB)
    root = f"/dev/{GROUP}/root"
    g.mkfs("ext4", root, features=EXT4, label="guest-root")
    g.mount(root, "/")
    g.tar_in(str(packed), "/", xattrs=True)
    g.umount_all()
    g.shutdown()
    g.close()


def main() -> None:
    folder, system = Path(sys.argv[1]), sys.argv[2]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    {"old": old, "new": new}[system](folder)


if __name__ == "__main__":
    main()

"""The child that asks libguestfs. It runs nothing of the guest, and decides nothing.

It only reads, unless its order has changes (`steps.guest.edit`), which it makes first.

It runs in the Python that has the binding of libguestfs, so it uses only the standard library. Input: a line
of JSON on standard input, which stays open while the parent lives. Output: JSON lines on standard output,
`{"progress": …}`, `{"started": true}` when the appliance runs, and at the end `{"facts": …}` or
`{"failed": …}`. The facts are those of `steps.model.guest_facts`.

A question that fails is a line in `trouble`, not the end: a damaged file system must not hide the others. All
that the guest can choose is bounded: numbers of entries, sizes of files, lengths of texts.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from steps.guest import collect_linux, collect_windows, edit, luks
from steps.guest.ask import FAILURES, Guest
from steps.guest.ntfs import is_bitlocker, is_dirty

MOST_MEMORY: Final = 1 << 30
"""Bytes of address space for this process. QEMU has started before the limit and keeps its own."""
LONGEST_ORDER: Final = 1 << 20
STOPPED: Final = 143
PATIENCE: Final = 10.0
"""Seconds to close the handle after SIGTERM."""
MOST_SYSTEMS: Final = 8
MOST_FILE_SYSTEMS: Final = 256
MOST_VENDORS: Final = 64
ESP: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
"""The type of an EFI system partition in a GPT (UEFI specification 2.10, 5.3.3)."""
STEPS: Final = 4
"""What every inspection does: start, look for systems, read each, read the boot partitions."""


def main() -> None:
    order = json.loads(_first_line())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        import guestfs  # noqa: PLC0415 - its absence is an answer
    except ImportError as error:
        _say({"failed": {"kind": "missing", "text": str(error)}})
        return
    handle = guestfs.GuestFS(python_return_dict=True)
    try:
        answer = _collected(handle, order)
    finally:
        handle.close()  # deletes its temporary files; as root, libguestfs has some outside of TMPDIR
    _say(answer)


def _first_line() -> bytes:
    """The order. Nothing behind it is read, so that the end of the input can be noticed."""
    found = bytearray()
    while not found.endswith(b"\n") and len(found) < LONGEST_ORDER and (more := os.read(0, 64 << 10)):
        found += more
    return bytes(found)


def _end_with_parent() -> None:
    """End the whole session when the parent has closed the other end of standard input, or was killed.

    QEMU ends first, so the question that the main thread waits for fails, and the handle is closed.
    """
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


def _say(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _progress(done: int, total: int, text: str) -> None:
    _say({"progress": {"done": done, "total": total, "text": text}})


def _collected(handle: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    _progress(0, STEPS, "starting the appliance of libguestfs")
    try:
        for disk in order["disks"]:
            is_read = "edits" not in order
            handle.add_drive_opts(disk["path"], readonly=int(is_read), format=disk["format"])
        handle.set_memsize(order["memory_mib"])
        handle.launch()
    except RuntimeError as error:
        return {"failed": {"kind": "launch", "text": str(error)[:2000]}}
    _say({"started": True})
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    guest = Guest(handle)
    opened, refused = luks.unlock(guest, order.get("keys", {}), readonly="edits" not in order)
    if "edits" in order:
        _progress(1, STEPS, "changing files of the guest")
        try:
            edit.apply(guest, order["edits"])
        except FAILURES as error:
            return {"failed": {"kind": "edit", "text": str(error)[:2000]}}
    facts = {**_facts(guest, Path(order["folder"])), "unlocked": opened, "refused": refused}
    if "edits" in order:
        handle.shutdown()  # raises if what was written did not reach the disks
    return {"facts": facts}


def _facts(guest: Guest, folder: Path) -> dict[str, Any]:
    _progress(1, STEPS, "looking for operating systems")
    roots: list[str] = guest.quiet([], "inspect_get_roots")  # known already if files were changed
    roots = roots or guest.ask("looking for operating systems", [], "inspect_os")
    read = roots[:MOST_SYSTEMS]
    file_systems, partitions = list(_file_systems(guest)), list(_partitions(guest))
    systems = []
    for number, root in enumerate(read):
        _progress(2 + number, STEPS + len(read) - 1, f"reading the system on {root}")
        systems.append(_system(guest, root, folder))
    _progress(STEPS - 1, STEPS, "reading the boot partitions")
    raid: list[str] = guest.ask("looking for RAID", [], "list_md_devices")
    return {
        "libguestfs": _version(guest.handle),
        "devices": guest.devices()[:MOST_FILE_SYSTEMS],
        "file_systems": file_systems,
        "partitions": partitions,
        "boot_code": [one for one in guest.devices() if b"GRUB" in guest.device_bytes(one, 0, 446)],
        "esps": [_esp(guest, row["device"]) for row in partitions if row["type"] == ESP][:MOST_SYSTEMS],
        "incomplete_groups": list(_incomplete_groups(guest)),
        "raid": raid[:MOST_FILE_SYSTEMS],
        "systems": systems,
        "roots": len(roots),
        "trouble": guest.trouble,
    }


def _version(g: Any) -> str:
    version = g.version()
    return ".".join(str(version[part]) for part in ("major", "minor", "release"))


def _file_systems(guest: Guest) -> Iterator[dict[str, Any]]:
    """Every disk without partitions, partition and logical volume, with what is on it."""
    partitions: list[str] = guest.ask("listing the partitions", [], "list_partitions")
    volumes: list[str] = guest.ask("listing the logical volumes", [], "lvs")
    parents = {guest.quiet("", "part_to_dev", name) for name in partitions}
    whole = [device for device in guest.devices() if device not in parents]
    for device in [*whole, *partitions, *volumes][:MOST_FILE_SYSTEMS]:
        read = functools.partial(guest.device_bytes, device)
        kind = "BitLocker" if is_bitlocker(read) else guest.quiet("", "vfs_type", device)[:64]
        yield {
            "device": device,
            "kind": kind,
            "size": guest.quiet(0, "blockdev_getsize64", device),
            "dirty": kind == "ntfs" and bool(is_dirty(read)),
        }


def _partitions(guest: Guest) -> Iterator[dict[str, Any]]:
    for disk in guest.devices():
        table = guest.quiet("", "part_get_parttype", disk)
        if not table:
            continue
        rows: list[dict[str, int]] = guest.ask(f"reading the partitions of {disk}", [], "part_list", disk)
        for row in rows[:MOST_FILE_SYSTEMS]:
            number = row["part_num"]
            if table == "gpt":
                kind = guest.quiet("", "part_get_gpt_type", disk, number)
            else:
                kind = f"{guest.quiet(0, 'part_get_mbr_id', disk, number):02x}"
            yield {
                "device": f"{disk}{number}",
                "disk": disk,
                "table": table[:16],
                "type": kind[:64],
                "bootable": guest.quiet(False, "part_get_bootable", disk, number),
                "size": row["part_size"],
            }


def _incomplete_groups(guest: Guest) -> Iterator[str]:
    """Volume groups of which a disk is missing: `p` in the fourth place of the attributes (vgs(8))."""
    groups: list[dict[str, Any]] = guest.ask("listing the volume groups", [], "vgs_full")
    for group in groups[:MOST_FILE_SYSTEMS]:
        if str(group.get("vg_attr", ""))[3:4] == "p":
            yield str(group.get("vg_name", ""))[:128]


def _esp(guest: Guest, device: str) -> dict[str, Any]:
    """The boot loaders on an EFI system partition."""
    guest.unmount()
    guest.ask(f"mounting {device}", None, "mount_ro", device, "/")
    efi = guest.any_case("/EFI")
    vendors = [name for name in guest.names(efi) if guest.is_folder(f"{efi}/{name}")] if efi else []
    loaders = [
        f"{vendor}/{name}"
        for vendor in vendors[:MOST_VENDORS]
        for name in (*guest.names(f"{efi}/{vendor}"), *_deeper(guest, efi, vendor))
        if name.lower().endswith(".efi")
    ]
    guest.unmount()
    return {"device": device, "loaders": loaders[:MOST_VENDORS]}


def _deeper(guest: Guest, efi: str, vendor: str) -> list[str]:
    """Windows keeps its loader one folder below: EFI/Microsoft/Boot/bootmgfw.efi."""
    folder = guest.any_case(f"{efi}/{vendor}/Boot")
    return [f"Boot/{name}" for name in guest.names(folder)] if folder else []


def _system(guest: Guest, root: str, folder: Path) -> dict[str, Any]:
    """One installed system: what libguestfs says of it, then what its files say."""

    def text(name: str) -> str:
        return guest.quiet("", f"inspect_get_{name}", root)[:256]

    mounts: dict[str, str] = guest.quiet({}, "inspect_get_mountpoints", root)
    kind = text("type")
    guest.unmount()
    system: dict[str, Any] = {
        "root": root,
        "type": kind,
        "distro": text("distro"),
        "product": text("product_name"),
        "variant": text("product_variant"),
        "major": guest.quiet(0, "inspect_get_major_version", root),
        "minor": guest.quiet(0, "inspect_get_minor_version", root),
        "arch": text("arch"),
        "osinfo": text("osinfo"),
        "package_format": text("package_format"),
        "build": text("build_id"),
        # What is mounted below another file system comes after it.
        "mounts": [_mount(guest, *row) for row in sorted(mounts.items(), key=lambda row: len(row[0]))[:64]],
    }
    try:
        if kind == "linux":
            system["linux"] = collect_linux.read(guest, folder)
        elif kind == "windows":
            system["windows"] = collect_windows.read(guest, root)
    except FAILURES as error:
        guest.note(f"reading the system on {root}", error)
    guest.unmount()
    return system


def _mount(guest: Guest, mount: str, device: str) -> dict[str, Any]:
    """Mount a file system of the system, and measure its room."""
    before = len(guest.trouble)
    guest.ask(f"mounting {device} on {mount}", None, "mount_ro", device, mount)
    room: dict[str, int] = guest.quiet({}, "statvfs", mount) if len(guest.trouble) == before else {}
    return {
        "mount": mount[:256],
        "device": device[:256],
        "size": room.get("blocks", 0) * room.get("frsize", 0),
        "free": room.get("bavail", 0) * room.get("frsize", 0),
        "inodes": room.get("files", 0),
        "free_inodes": room.get("favail", 0),
        "mounted": bool(room),
    }


if __name__ == "__main__":
    main()

"""Changes files of a guest, in the child of `run.py`. Its disks are overlays.

Paths are resolved inside the appliance, so a symbolic link of a hostile guest leads to the guest's own files.
A change that fails raises what the binding raises; then the overlays are thrown away.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from steps.guest.ask import Guest

LABEL: Final = "security.selinux"
LARGEST_FILE: Final = 1 << 20
"""Bytes of a file that gets a line."""


def apply(guest: Guest, edits: Mapping[str, Any]) -> None:
    """Make all changes, and unmount. The keys of `edits` are those of `steps.guest.run.Edits`."""
    if edits["files"] or edits["lines"] or edits["links"]:
        _mount(guest, edits["root"])
        for row in edits["files"]:
            _write(guest, row["path"], base64.b64decode(row["content"]), row["mode"])
        for path, line in edits["lines"]:
            _add_line(guest, path, line)
        for path, target in edits["links"]:
            _make_folder(guest, path.rpartition("/")[0])
            guest.handle.ln_sf(target, path)
        guest.handle.umount_all()
    if edits["copies"]:
        _copy_loaders(guest, edits["esp"], edits["copies"])
    guest.handle.sync()


def _mount(guest: Guest, root: str) -> None:
    guest.handle.inspect_os()
    mounts: dict[str, str] = guest.handle.inspect_get_mountpoints(root)
    guest.handle.umount_all()
    for place, device in sorted(mounts.items(), key=lambda row: len(row[0])):
        if place == "/":
            guest.handle.mount(device, place)
        else:
            guest.quiet(None, "mount", device, place)  # a missing data file system prevents no change of /etc


def _write(guest: Guest, path: str, content: bytes, mode: int) -> None:
    existing = guest.any_case(path) or path
    _make_folder(guest, existing.rpartition("/")[0])
    guest.handle.write(existing, content)
    guest.quiet(None, "chmod", mode, existing)  # NTFS has none
    _label(guest, existing)


def _add_line(guest: Guest, path: str, line: str) -> None:
    before = guest.text(path, LARGEST_FILE)
    if line in before.splitlines():
        return
    separator = "" if not before or before.endswith("\n") else "\n"
    if guest.is_file(path):
        guest.handle.write_append(path, f"{separator}{line}\n".encode())
        return
    _write(guest, path, f"{line}\n".encode(), 0o644)


def _make_folder(guest: Guest, path: str) -> None:
    if not path or guest.is_folder(path):
        return
    _make_folder(guest, path.rpartition("/")[0])
    guest.handle.mkdir(path)
    guest.quiet(None, "chmod", 0o755, path)
    _label(guest, path)


def _label(guest: Guest, path: str) -> None:
    """Give it the label of its folder, as SELinux does for a new file; without SELinux there is none."""
    label = guest.quiet(b"", "lgetxattr", path.rpartition("/")[0] or "/", LABEL)
    if label:
        text = label.decode(errors="replace") if isinstance(label, bytes) else label
        guest.quiet(None, "lsetxattr", LABEL, text, len(text), path)


def _copy_loaders(guest: Guest, esp: str, copies: list[tuple[str, str]]) -> None:
    guest.unmount()
    guest.handle.mount(esp, "/")
    efi = guest.handle.case_sensitive_path("/EFI")
    for source, target in copies:
        folder, _, name = target.rpartition("/")
        place = guest.any_case(f"{efi}/{folder}") or f"{efi}/{folder}"
        _make_folder(guest, place)
        guest.handle.cp(guest.handle.case_sensitive_path(f"{efi}/{source}"), f"{place}/{name}")
    guest.handle.umount_all()

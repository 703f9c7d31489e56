"""Opens encrypted devices with given passphrases. Runs in the child of `run.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from steps.guest.ask import FAILURES, Guest

EVERY: Final = "all"
"""The name of a key that is tried for each device without a key of its own."""
MOST_DEVICES: Final = 64


def unlock(guest: Guest, keys: Mapping[str, str], *, readonly: bool) -> tuple[list[str], list[str]]:
    """Open what the keys are for; returns the devices that are open now, and those that refused their key.

    The opened devices have the names that virt-v2v gives them, so a root is named alike in both.
    """
    opened: list[str] = []
    refused: list[str] = []
    if not keys:
        return opened, refused
    for device in _encrypted(guest):
        key = key_of(device, keys)
        if not key:
            continue
        try:
            name = f"luks-{guest.handle.luks_uuid(device)}"
            guest.handle.cryptsetup_open(device, key, name, readonly=readonly)
        except FAILURES:  # its text is not kept: nothing says that it does not quote the key
            refused.append(device)
        else:
            opened.append(device)
    if opened:
        guest.ask("looking for volume groups on opened devices", None, "lvm_scan", True)
    return opened, refused


def key_of(device: str, keys: Mapping[str, str]) -> str:
    """The key for a device: its own, else that for every device; empty without one."""
    return keys.get(device.removeprefix("/dev/").replace("/", ".")) or keys.get(EVERY) or ""


def _encrypted(guest: Guest) -> Iterator[str]:
    partitions: list[str] = guest.quiet([], "list_partitions")
    volumes: list[str] = guest.quiet([], "lvs")
    for device in [*guest.devices(), *partitions, *volumes][:MOST_DEVICES]:
        if guest.quiet("", "vfs_type", device) == "crypto_LUKS":
            yield device

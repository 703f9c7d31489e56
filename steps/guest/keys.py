"""The passphrases of encrypted devices, and the scripts of an import: files in a folder of the pod."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from steps.guest.luks import key_of
from steps.model.contract import Exit, StepError
from steps.model.guest import Guest

MOST_KEYS: Final = 64
LONGEST_KEY: Final = 8 << 10
"""Bytes of a key (cryptsetup's default limit for passphrases is 512)."""


def read_keys(folder: Path | None) -> dict[str, str]:
    """The keys by their names in the Secret: a device without /dev/, with a dot for each slash, or `all`.

    A newline at the end of a key does not belong to it.

    Raises:
        StepError: INVALID, for too many, too long or unreadable ones.
    """
    found: dict[str, str] = {}
    for path in files_of(folder):
        content = path.read_bytes()
        try:
            found[path.name] = content.decode().removesuffix("\n")
        except UnicodeError:
            raise StepError(Exit.INVALID, f"the key {path.name} of spec.guest.keys is not text") from None
        if len(content) > LONGEST_KEY or "\0" in found[path.name]:
            raise StepError(Exit.INVALID, f"the key {path.name} of spec.guest.keys is no passphrase")
    if len(found) > MOST_KEYS:
        raise StepError(Exit.INVALID, f"spec.guest.keys has {len(found)} keys; give at most {MOST_KEYS}")
    return found


def files_of(folder: Path | None) -> list[Path]:
    """The files of a mounted Secret or ConfigMap, in order; without the folders behind its links."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".."))


def key_files(guest: Guest, keys: dict[str, str], folder: Path) -> dict[str, Path]:
    """A file with the passphrase for each encrypted device of the guest that has one, for virt-v2v."""
    found: dict[str, Path] = {}
    for number, device in enumerate(guest.unlocked):
        if key := key_of(device, keys):
            path = folder / f"key-{number}"
            path.touch(mode=0o600)
            path.write_text(key)
            found[device] = path
    return found

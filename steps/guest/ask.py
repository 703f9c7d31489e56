"""Questions to libguestfs that cannot end the inspection, with bounds for what a guest chooses."""

from __future__ import annotations

from typing import Any, Final, TypeVar

T = TypeVar("T")
MOST_NAMES: Final = 1000
"""Entries of a folder that are looked at."""
MOST_TROUBLE: Final = 50
LONGEST: Final = 300
"""Characters of an error."""
LONGEST_NAME: Final = 255
FAILURES: Final = (
    RuntimeError,
    AttributeError,
    UnicodeError,
    MemoryError,
    ValueError,
    KeyError,
    TypeError,
    OSError,
)
"""What the binding raises: its own errors, and those of texts that are not UTF-8.

An older version lacks some questions (`AttributeError`).
"""


class Guest:
    """A started handle of libguestfs, and what went wrong so far."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.trouble: list[str] = []

    def ask(self, what: str, default: T, question: str, *arguments: Any, **options: Any) -> T:
        """The answer of a method of libguestfs; if there is none, `default` and a line in `trouble`."""
        try:
            found: T = getattr(self.handle, question)(*arguments, **options)
        except FAILURES as error:
            self.note(what, error)
            return default
        return found

    def quiet(self, default: T, question: str, *arguments: Any, **options: Any) -> T:
        """The same for a question that may have no answer."""
        try:
            found: T = getattr(self.handle, question)(*arguments, **options)
        except FAILURES:
            return default
        return found

    def note(self, what: str, error: Exception) -> None:
        """Keep a line about something that could not be read."""
        if len(self.trouble) < MOST_TROUBLE:
            self.trouble.append(f"{what}: {str(error)[:LONGEST]}")

    def devices(self) -> list[str]:
        return self.quiet([], "list_devices")

    def device_bytes(self, device: str, offset: int, count: int) -> bytes:
        """Bytes of a disk or partition; fewer at its end, none if it cannot be read."""
        return self.quiet(b"", "pread_device", device, count, offset)

    def unmount(self) -> None:
        self.quiet(None, "umount_all")

    def names(self, folder: str) -> list[str]:
        """The entries of a folder in order; none if it is no folder."""
        if not self.is_folder(folder):
            return []
        found: list[str] = self.ask(f"listing {folder}", [], "ls", folder)
        return [name for name in found[:MOST_NAMES] if len(name) <= LONGEST_NAME]

    def is_folder(self, path: str) -> bool:
        return self.quiet(False, "is_dir", path, followsymlinks=True)

    def is_file(self, path: str) -> bool:
        """Whether it is a plain file, possibly behind a symbolic link: a pipe would never end."""
        return self.quiet(False, "is_file", path, followsymlinks=True)

    def size(self, path: str) -> int:
        return self.quiet(0, "filesize", path)

    def head(self, path: str, most: int) -> bytes:
        """The first bytes of a plain file. Most messages of libguestfs have less than 4 MB."""
        return self.quiet(b"", "pread", path, most, 0) if self.is_file(path) else b""

    def text(self, path: str, most: int) -> str:
        """The beginning of a plain file as text."""
        return self.head(path, most).decode(errors="replace")

    def any_case(self, path: str) -> str:
        """The path as the file system writes it, whatever its case; "" if it does not exist."""
        return self.quiet("", "case_sensitive_path", path)

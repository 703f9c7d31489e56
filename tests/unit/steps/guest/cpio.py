"""Archives in cpio's "newc" format, for tests."""

from __future__ import annotations

from collections.abc import Iterable


def entry(name: str, content: bytes = b"") -> bytes:
    """One file of an archive."""
    raw = name.encode() + b"\0"
    numbers = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + raw
    return _padded(header) + _padded(content)


def archive(names: Iterable[str], content: bytes = b"") -> bytes:
    """A whole archive with its trailer, padded to blocks of 512 bytes as cpio does."""
    data = b"".join(entry(name, content) for name in names) + entry("TRAILER!!!")
    return data + b"\0" * (-len(data) % 512)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)

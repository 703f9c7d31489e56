"""The programs that run on this computer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def command_lines() -> Iterator[tuple[int, bytes]]:
    """Each process: its ID and its arguments, each with a NUL byte after it (proc(5))."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        yield int(entry.name), line

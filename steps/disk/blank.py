"""A disk without content: nothing is read, the file is complete at once."""

from __future__ import annotations

import os
from pathlib import Path

from steps.disk.behind import Behind
from steps.disk.faults import storage_fault
from steps.disk.landed import Files, Landed
from steps.disk.plain import Plain
from steps.disk.qcow2 import Qcow2
from steps.disk.raw import Raw
from steps.disk.source import DiskFormat, Source
from steps.disk.state import State


def land_blank(out: Path, *, format: DiskFormat, capacity: int, identity: str) -> Landed:  # noqa: A002
    """Create at `out` a disk of `capacity` zero bytes.

    Raises:
        StepError: NO_SPACE, BUSY, INVALID for the scratch.
    """
    files, key = Files(out), Source("", identity=identity).key(format, capacity)
    landed = files.recover(key)
    if landed is not None:
        return landed
    try:
        with files.open() as file:
            files.forget()
            with Behind(file) as behind:
                sink = Qcow2(behind) if format == "qcow2" else Raw(behind)
                sink.finish(capacity)
                behind.drain()
            return _complete(files, file, format, capacity, key)
    except OSError as error:
        raise storage_fault(error, files.partial) from error


def _complete(files: Files, file: int, format: DiskFormat, capacity: int, key: str) -> Landed:  # noqa: A002
    os.fsync(file)
    landed = Landed(
        path=files.out,
        format=format,
        virtual_size=capacity,
        source_bytes=0,
        resumed_at=0,
        source_digest="crc32:00000000",
        size=os.fstat(file).st_size,
        key=key,
    )
    return files.complete(State(key, Plain.kind), landed)

"""A disk without content: nothing is read, the file is complete at once."""

from __future__ import annotations

import os
from pathlib import Path

from steps.disk.faults import storage_fault
from steps.disk.landed import Landed, LandingFiles
from steps.disk.plain_decoder import PlainDecoder
from steps.disk.qcow2 import Qcow2Sink
from steps.disk.raw import RawSink
from steps.disk.source import DiskFormat, Source
from steps.disk.state import LandingState
from steps.disk.writer import BackgroundWriter


def land_blank(out: Path, *, format: DiskFormat, capacity: int, identity: str) -> Landed:  # noqa: A002
    """Create at `out` a disk of `capacity` zero bytes.

    Raises:
        StepError: NO_SPACE, BUSY, INVALID for the scratch.
    """
    files, key = LandingFiles(out), Source("", identity=identity).key(format, capacity)
    landed = files.recover(key)
    if landed is not None:
        return landed
    try:
        with files.open() as file:
            files.remove_records()
            with BackgroundWriter(file) as writer:
                sink = Qcow2Sink(writer) if format == "qcow2" else RawSink(writer)
                sink.finish(capacity)
                writer.drain()
            return _complete(files, file, format, capacity, key)
    except OSError as error:
        raise storage_fault(error, files.partial) from error


def _complete(files: LandingFiles, file: int, format: DiskFormat, capacity: int, key: str) -> Landed:  # noqa: A002
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
    return files.complete(LandingState(key, PlainDecoder.kind), landed)

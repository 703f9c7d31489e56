"""A disk without content: nothing is read, the file is complete at once."""

from __future__ import annotations

import os

from steps.disk.landed import Landed, LandingFiles
from steps.disk.plain_decoder import PlainDecoder
from steps.disk.source import DiskFormat, Source
from steps.disk.state import LandingState
from steps.disk.volume import Place, files_at
from steps.disk.writer import BackgroundWriter


def land_blank(out: Place, *, format: DiskFormat, capacity: int, identity: str) -> Landed:  # noqa: A002
    """Create at `out` a disk of `capacity` zero bytes.

    Raises:
        StepError: NO_SPACE, BUSY, INVALID for the scratch.
    """
    files, key = files_at(out), Source("", identity=identity).key(format, capacity)
    landed = files.recover(key)
    if landed is not None:
        return landed
    try:
        with files.open() as file:
            files.remove_records()
            files.check_room(file, "raw", capacity)
            with BackgroundWriter(file) as writer:
                sink = files.sink(writer, None, qcow2=format == "qcow2", capacity=capacity)
                sink.finish(capacity)
                writer.run_after_writes(sink.sync)
                writer.drain()
            return _complete(files, file, format, capacity, key)
    except OSError as error:
        raise files.fault(error) from error


def _complete(files: LandingFiles, file: int, format: DiskFormat, capacity: int, key: str) -> Landed:  # noqa: A002
    os.fsync(file)
    landed = Landed(
        path=files.out,
        format=format,
        virtual_size=capacity,
        source_bytes=0,
        resumed_at=0,
        source_digest="crc32:00000000",
        size=files.landed_size(file, capacity),
        key=key,
    )
    return files.complete(LandingState(key, PlainDecoder.kind), landed)

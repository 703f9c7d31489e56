"""A stream-optimized VMDK decoded while it arrives."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from steps.disk.checkpoint import Checkpoints
from steps.disk.codec import DamagedError, inflate
from steps.disk.faults import broken_stream_fault, corruption_fault
from steps.disk.grains import grain_writer
from steps.disk.sink import ZEROS, Block, Sink
from steps.disk.stream import Stream
from steps.disk.tables import GrainTableCheck
from steps.disk.vmdk import MARKER_TYPE, RECORD, SECTOR, Header, Marker, check_descriptor

_PADDING: Final = 1 << 16
"""Bytes checked together after the end-of-stream marker."""


class VmdkDecoder:
    """Writes the grains of `stream` to a sink, without zero grains.

    `checkpoint_state` is for a later attempt; it describes the stream's last mark.
    """

    kind: Final = "vmdk"
    format: Final = "raw"
    """The format of the output."""

    def __init__(self, stream: Stream, saved: dict[str, Any] | None = None) -> None:
        self._stream = stream
        self._raw_header = bytes.fromhex(saved["header"]) if saved else bytes(stream.take(SECTOR))
        self.header = Header.parse(self._raw_header)
        self._tables = GrainTableCheck(self.header.entries, saved["tables"] if saved else None)
        self._last_grain = int(saved["last"]) if saved else -1
        self._directory = int(saved["directory"]) if saved else 0
        self._footer: bool = bool(saved and saved["footer"])
        self._ended: bool = bool(saved and saved["ended"])
        self._resumed = saved is not None

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.header.size

    def checkpoint_state(self) -> dict[str, Any]:
        """Plain JSON for `__init__`."""
        return {
            "header": self._raw_header.hex(),
            "tables": self._tables.checkpoint_state(),
            "last": self._last_grain,
            "directory": self._directory,
            "footer": self._footer,
            "ended": self._ended,
        }

    def run(self, sink: Sink, checkpoints: Checkpoints) -> None:
        """Decode to the end of the stream and prove that nothing is missing.

        Raises:
            StepError: BROKEN_STREAM for an early end or damage, CORRUPT and UNSUPPORTED for
                faults that another attempt would find again.
            TablesMismatchError: grain tables and grains contradict each other.
        """
        if not self._resumed:
            self._read_front()
        grains = grain_writer(self.header.grain * SECTOR, sink)
        if not grains.resumable:
            checkpoints.disable()
        self._read_grains(grains.write_grain, checkpoints)
        grains.flush()
        self._read_end()

    def _read_grains(self, write_grain: Callable[[int, Block], None], checkpoints: Checkpoints) -> None:
        """The hot loop: one turn per grain, and now and then a marker.

        A complete record is read before anything is changed: at any failure the decoder's state is
        that of the last mark.
        """
        stream, seen, grain = self._stream, self._tables.seen, self.header.grain
        zeros = ZEROS if grain * SECTOR == len(ZEROS) else bytes(grain * SECTOR)
        while not self._ended and not stream.at_end():
            sector = stream.position // SECTOR
            number, size = RECORD.unpack(stream.take(RECORD.size))
            if size:
                self._check_grain(number, size)
                record = stream.take(size + -(RECORD.size + size) % SECTOR)
                block = self._inflate(number, record[:size])
                if number <= self._last_grain:
                    checkpoints.disable()
                self._last_grain = number
                seen.add(number // grain, sector)
                if block != zeros:
                    write_grain(number * SECTOR, block)
            else:
                self._read_marker(number)
            stream.mark()
            checkpoints.tick(stream.position)

    def _check_grain(self, sector: int, size: int) -> None:
        """Refuse an impossible grain."""
        header = self.header
        # Deflate adds 5 bytes per 16 KiB at worst (RFC 1951, 3.2.4): twice the grain is far beyond it.
        if sector >= header.capacity or sector % header.grain or size > 2 * header.grain * SECTOR:
            raise broken_stream_fault(
                f"the record before byte {self._stream.position} is damaged",
                f"{size} bytes for sector {sector} of {header.capacity}",
            )

    def _inflate(self, sector: int, data: memoryview) -> Block:
        """The grain's content: a complete grain, or at the disk's end just the rest of the disk."""
        header = self.header
        try:
            block = inflate(data, header.grain * SECTOR)
        except DamagedError as error:
            raise broken_stream_fault(f"the grain at sector {sector} is damaged", str(error)) from None
        if len(block) != header.grain * SECTOR and len(block) != (header.capacity - sector) * SECTOR:
            raise broken_stream_fault(
                f"the grain at sector {sector} is damaged", f"it holds {len(block)} bytes"
            )
        return block

    def _read_front(self) -> None:
        """Everything before the first grain."""
        header, stream = self.header, self._stream
        check_descriptor(bytes(stream.take(header.descriptor_area * SECTOR)))
        if not header.directory_last:
            self._skip_to(header.directory)
            table_sectors = self._read_directory()
            for sector in sorted(filter(None, table_sectors)):
                self._skip_to(sector)
                self._read_table()
            self._tables.record_directory(table_sectors)
        self._skip_to(header.overhead)
        stream.mark()

    def _skip_to(self, sector: int) -> None:
        distance = sector * SECTOR - self._stream.position
        if distance < 0:
            raise corruption_fault(
                "the VMDK's header is damaged", f"sector {sector} overlaps the data before it"
            )
        self._stream.skip(distance)

    def _read_marker(self, sectors: int) -> None:
        """A marker, of which `sectors` is read already, and the data that it announces."""
        stream = self._stream
        (kind,) = MARKER_TYPE.unpack(stream.take(MARKER_TYPE.size))
        stream.skip(SECTOR - RECORD.size - MARKER_TYPE.size)
        if sectors != self._marker_sizes().get(kind):
            raise broken_stream_fault(
                f"the marker before byte {stream.position} is damaged", f"kind {kind}, {sectors} sectors"
            )
        if kind == Marker.END_OF_STREAM:
            self._ended = True
        elif not self.header.directory_last:
            stream.skip(sectors * SECTOR)  # the data in front is read already
        elif kind == Marker.GRAIN_TABLE:
            self._read_table()
        elif kind == Marker.GRAIN_DIRECTORY:
            if self._directory:  # the disk's content would depend on which one the footer means
                raise broken_stream_fault(
                    f"the marker before byte {stream.position} is damaged", "it is a second grain directory"
                )
            sector, table_sectors = stream.position // SECTOR, self._read_directory()
            self._tables.record_directory(table_sectors)
            self._directory = sector
        else:
            self._read_footer()

    def _marker_sizes(self) -> dict[int, int]:
        """Sectors of the data that each kind of marker announces."""
        header = self.header
        return {
            Marker.END_OF_STREAM: 0,
            Marker.GRAIN_TABLE: -(-header.entries * 4 // SECTOR),
            Marker.GRAIN_DIRECTORY: -(-header.tables * 4 // SECTOR),
            Marker.FOOTER: 1,
        }

    def _read_table(self) -> None:
        sector = self._stream.position // SECTOR
        self._tables.record_table(sector, self._take_padded(self.header.entries * 4))

    def _read_directory(self) -> tuple[int, ...]:
        """The grain directory: the sector of each grain table."""
        count = self.header.tables
        return struct.unpack(f"<{count}I", self._take_padded(count * 4))

    def _take_padded(self, size: int) -> memoryview:
        """`size` bytes; skips the rest of their last sector. Fails if bytes are missing."""
        return self._stream.take(size + -size % SECTOR)[:size]

    def _read_footer(self) -> None:
        """The header again, now with the place of the grain directory."""
        header, footer = self.header, Header.parse(self._stream.take(SECTOR))
        if footer.layout != header.layout or footer.directory != self._directory:
            raise broken_stream_fault(
                "the VMDK's footer is damaged", "it does not match its header and its grain directory"
            )
        self._footer = True

    def _read_end(self) -> None:
        """Prove that the stream is complete, and that nothing but padding follows it."""
        if self.header.directory_last and not (self._ended and self._footer):
            raise broken_stream_fault(
                "the stream ended early", "its footer and end-of-stream marker are missing"
            )
        while padding := self._stream.take_up_to(_PADDING):
            if any(padding):
                raise broken_stream_fault(
                    "the stream continues after its end", f"before byte {self._stream.position}"
                )
        self._tables.verify()

"""One attempt to land a disk: where it resumes, and what is kept if it fails."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from steps.disk.body import Body
from steps.disk.checkpoint import Checkpoints
from steps.disk.detect import Decoder, decoder_for, resume_decoder
from steps.disk.faults import SpaceNeed, broken_stream_fault, corruption_fault, is_no_space
from steps.disk.landed import Landed, LandingFiles
from steps.disk.plain_decoder import PlainDecoder
from steps.disk.pump import CHUNK, Chunk, Pump
from steps.disk.qcow2 import max_file_size
from steps.disk.sink import Sink
from steps.disk.source import DiskFormat, Source
from steps.disk.state import LandingState
from steps.disk.stream import Stream
from steps.disk.tables import TablesMismatchError
from steps.disk.writer import BackgroundWriter
from steps.model.contract import Exit, StepError, Stopped
from steps.model.sectors import SECTOR, whole_sectors
from steps.runtime.stop import Stop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LandRequest:
    """The arguments of `land`."""

    source: Source
    files: LandingFiles
    format: DiskFormat
    capacity: int | None
    report: Callable[[int, int], None]
    stop: Stop
    expected: int | None

    @property
    def key(self) -> str:
        return self.source.key(self.format, self.capacity)


class CannotResumeError(Exception):
    """The source has changed since the last checkpoint: start over."""


class LandAttempt:
    """Reads `body`, opened where `state` ends or else at 0, into the partial file `file`."""

    def __init__(self, request: LandRequest, body: Body, file: int, state: LandingState | None) -> None:
        self._request = request
        self._body = body
        self._file = file
        self._state = state
        self._start = body.position
        self._accepted_bytes: Callable[[], int] = lambda: 0

    def run(self) -> Landed:
        """Land the disk.

        Raises:
            CannotResumeError: before anything is written.
            StepError, Stopped: the state is kept if it is useful.
        """
        with Pump(self._body, self._request.stop) as pump:
            stream = self._stream(pump)
            with self._prefer_digest_mismatch(stream):
                return self._land(stream)

    def _land(self, stream: Stream) -> Landed:
        if self._state is None:
            decoder = decoder_for(stream, self._request.source.format)
        else:
            with _restart_on_bad_state():
                decoder = resume_decoder(stream, self._state)
        self._check_early(decoder)
        with self._storage_faults(decoder):
            state = self._write(stream, decoder)
            self._check_end(stream, decoder)
            self._check_size(decoder)
            return self._request.files.complete(state, self._landed_record(stream, decoder))

    @contextlib.contextmanager
    def _prefer_digest_mismatch(self, stream: Stream) -> Iterator[None]:
        """If the bytes cannot be decoded but have a known digest, read on: it shows where they broke.

        A file that does not match its manifest will be no better the next time.
        """
        try:
            yield
        except StepError as error:
            if not self._request.source.has_digest or error.code is not Exit.BROKEN_STREAM:
                raise
            try:
                while not stream.interrupted and stream.take_up_to(CHUNK):
                    pass
            except StepError as digest_error:
                if digest_error.code is Exit.CORRUPT:
                    raise digest_error from error
            raise

    def _stream(self, pump: Pump) -> Stream:
        """The stream from the last checkpoint on: by Range, or after comparing its beginning."""

        def next_chunk() -> Chunk:
            chunk = pump.next()
            self._report(chunk.end)
            return chunk

        state = self._state
        if state is None or self._start == state.position:
            return Stream(next_chunk, self._start, state.crc if state else 0)
        stream = Stream(next_chunk)
        stream.skip(state.position)
        stream.mark()
        if stream.marked() != (state.position, state.crc):
            raise CannotResumeError
        return stream

    def _report(self, position: int) -> None:
        """Report the progress: in bytes of the source, or, if its length is unknown, of the disk in use.

        A compressed stream of unknown length compared with what the disk uses would end at some 40 %.
        """
        request, total = self._request, self._body.total
        if total is None and request.expected:
            request.report(self._accepted_bytes(), request.expected)
        else:
            request.report(position, total or position)

    def _write(self, stream: Stream, decoder: Decoder) -> LandingState:
        """Decode everything into the partial file and sync it; returns the last state."""
        with BackgroundWriter(self._file) as writer:
            earlier_bytes = os.fstat(self._file).st_blocks * 512
            self._accepted_bytes = lambda: earlier_bytes + writer.accepted_bytes
            with _restart_on_bad_state():
                sink = self._sink(writer, decoder)

            def snapshot() -> LandingState:
                position, crc = stream.marked()
                return LandingState(
                    key=self._request.key,
                    kind=decoder.kind,
                    position=position,
                    crc=crc,
                    validators=self._body.validators,
                    decoder=decoder.checkpoint_state(),
                    sink=sink.checkpoint_state(),
                )

            checkpoints = Checkpoints(self._request.files.state, writer, snapshot, sync_sink=sink.sync)
            with _save_note_if_full(checkpoints):
                self._decode(stream, decoder, sink, checkpoints, writer)
                state = snapshot()
                size = decoder.size if decoder.format == "raw" else stream.position
                sink.finish(size or 0)
                writer.run_after_writes(checkpoints.sync)
                writer.drain()
                return state

    def _decode(
        self, stream: Stream, decoder: Decoder, sink: Sink, checkpoints: Checkpoints, writer: BackgroundWriter
    ) -> None:
        """Decode; if that ends early, keep the progress."""
        try:
            decoder.run(sink, checkpoints)
        except TablesMismatchError:
            checkpoints.disable()  # a grain is at a wrong place: start over
            writer.drain()
            raise broken_stream_fault(
                "the stream is damaged", "its grain tables do not match its grains"
            ) from None
        except (StepError, Stopped):
            # The first failure is reported, not one of the following.
            with contextlib.suppress(OSError), _save_note_if_full(checkpoints):
                if self._is_useless(stream):
                    checkpoints.disable()
                checkpoints.save()
                writer.drain()
            raise

    def _is_useless(self, stream: Stream) -> bool:
        """Whether nothing has landed yet, or the next bytes arrived and could not be decoded.

        In the first case the decoder may be in the middle of the data before the disk's content. In the
        second the state itself may be damaged, by a wrong byte of the header or of a table in
        an earlier attempt: with it no later attempt would progress.
        """
        state, position = self._state, stream.marked()[0]
        return not position or (state is not None and not stream.interrupted and position == state.position)

    def _sink(self, writer: BackgroundWriter, decoder: Decoder) -> Sink:
        saved = self._state.sink if self._state else None
        is_qcow2 = self._request.format == "qcow2" and decoder.format == "raw"
        files = self._request.files
        return files.sink(writer, saved, qcow2=is_qcow2, capacity=self._request.capacity)

    def _check_early(self, decoder: Decoder) -> None:
        """Refuse early what would otherwise be noticed at the end, or not at all."""
        is_end_proved = self._body.end_is_proved or (decoder.format == "raw" and self._request.capacity)
        if isinstance(decoder, PlainDecoder) and not is_end_proved:
            raise StepError(
                Exit.INVALID,
                "the server does not report the length of the disk",
                "a truncated stream would look like a complete one",
                "set the length of the disk",
            )
        self._check_size(decoder)
        request = self._request
        request.files.check_room(self._file, decoder.format, decoder.size or request.capacity)

    def _check_end(self, stream: Stream, decoder: Decoder) -> None:
        """Refuse a raw disk that ends within a sector, if its stream may have been cut there."""
        ends_within_sector = stream.position % SECTOR and not self._body.end_is_proved
        if isinstance(decoder, PlainDecoder) and decoder.format == "raw" and ends_within_sector:
            raise broken_stream_fault("the stream ended within a sector", f"at byte {stream.position}")

    def _check_size(self, decoder: Decoder) -> None:
        """Compare the disk's size, once it is known, with the expected one."""
        size, capacity = decoder.size, self._request.capacity
        if size is None and decoder.format == "raw":
            size = None if self._body.total is None else whole_sectors(self._body.total)
        if None in (size, capacity) or size == capacity:
            return
        what = f"the disk has {size} bytes, not {capacity}"
        if isinstance(decoder, PlainDecoder) and self._body.total is None:
            raise broken_stream_fault(what, "the stream ended early")
        raise corruption_fault(
            what,
            "the source is not the disk that was planned",
            "check the disk at the source, then start a new import",
        )

    def _landed_record(self, stream: Stream, decoder: Decoder) -> Landed:
        files, wanted_format = self._request.files, self._request.format
        is_unchanged = decoder.format not in ("raw", wanted_format)
        return Landed(
            path=files.source if is_unchanged else files.out,
            format=decoder.format if is_unchanged else wanted_format,
            virtual_size=decoder.size,
            source_bytes=stream.position - self._start,
            resumed_at=self._start,
            source_digest=f"crc32:{stream.marked()[1]:08x}",
            size=files.landed_size(self._file, decoder.size),
            key=self._request.key,
        )

    @contextlib.contextmanager
    def _storage_faults(self, decoder: Decoder) -> Iterator[None]:
        """The body's errors are StepErrors: an OSError is from the storage."""
        try:
            yield
        except OSError as error:
            raise self._request.files.fault(error, self._need(decoder)) from error

    def _need(self, decoder: Decoder) -> SpaceNeed:
        """The bytes that the partial file uses and may need."""
        maximum = self._body.total if decoder.format != "raw" else decoder.size or self._request.capacity
        if maximum is not None and (decoder.format, self._request.format) == ("raw", "qcow2"):
            maximum = max_file_size(maximum)
        return SpaceNeed(os.fstat(self._file).st_blocks * 512, self._request.expected, maximum)


@contextlib.contextmanager
def _restart_on_bad_state() -> Iterator[None]:
    """Start over if a state has a correct checksum but content that vmferry cannot have written."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        log.warning("the state of an earlier attempt cannot be used (%s): starting over", error)
        raise CannotResumeError from None


@contextlib.contextmanager
def _save_note_if_full(checkpoints: Checkpoints) -> Iterator[None]:
    """Keep the progress if the filesystem is full."""
    try:
        yield
    except OSError as error:
        if is_no_space(error):
            checkpoints.save_note()
        raise

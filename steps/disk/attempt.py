"""One attempt to land a disk: where it resumes, and what is kept if it fails."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from steps.disk.behind import Behind
from steps.disk.body import Body
from steps.disk.checkpoint import Checkpoints
from steps.disk.detect import Decoder, decoder_of, resumed
from steps.disk.faults import Need, broken, corrupt, no_room, storage_fault
from steps.disk.landed import Files, Landed
from steps.disk.plain import Plain
from steps.disk.pump import CHUNK, Chunk, Pump
from steps.disk.qcow2 import Qcow2, largest
from steps.disk.raw import Raw
from steps.disk.sink import Sink
from steps.disk.source import DiskFormat, Source
from steps.disk.state import State
from steps.disk.stream import Stream
from steps.disk.tables import Disagree
from steps.model.contract import Exit, StepError, Stopped
from steps.runtime.stop import Stop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """The arguments of `land`."""

    source: Source
    files: Files
    format: DiskFormat
    capacity: int | None
    report: Callable[[int, int], None]
    stop: Stop
    expected: int | None

    @property
    def key(self) -> str:
        return self.source.key(self.format, self.capacity)


class Changed(Exception):  # noqa: N818 - says what the source did
    """The source has changed since the last checkpoint: start over."""


class Attempt:
    """Reads `body`, opened where `state` ends or else at 0, into the partial file `file`."""

    def __init__(self, order: Order, body: Body, file: int, state: State | None) -> None:
        self._order = order
        self._body = body
        self._file = file
        self._state = state
        self._start = body.position
        self._placed: Callable[[], int] = lambda: 0

    def run(self) -> Landed:
        """Land the disk.

        Raises:
            Changed: before anything is written.
            StepError, Stopped: the state is kept if it is useful.
        """
        with Pump(self._body, self._order.stop) as pump:
            stream = self._stream(pump)
            with self._digest_first(stream):
                return self._land(stream)

    def _land(self, stream: Stream) -> Landed:
        if self._state is None:
            decoder = decoder_of(stream, self._order.source.format)
        else:
            with _own_memory():
                decoder = resumed(stream, self._state)
        self._check_before(decoder)
        with self._storage_faults(decoder):
            state = self._write(stream, decoder)
            self._check_size(decoder)
            return self._order.files.complete(state, self._landed(stream, decoder))

    @contextlib.contextmanager
    def _digest_first(self, stream: Stream) -> Iterator[None]:
        """If the bytes cannot be decoded but have a known digest, read on: it shows where they broke.

        A file that does not match its manifest will be no better the next time.
        """
        try:
            yield
        except StepError as error:
            if not self._order.source.digested or error.code is not Exit.BROKEN_STREAM:
                raise
            try:
                while not stream.interrupted and stream.upto(CHUNK):
                    pass
            except StepError as other:
                if other.code is Exit.CORRUPT:
                    raise other from error
            raise

    def _stream(self, pump: Pump) -> Stream:
        """The stream from the last checkpoint on: by Range, or after comparing its beginning."""

        def source() -> Chunk:
            chunk = pump.next()
            self._report(chunk.end)
            return chunk

        state = self._state
        if state is None or self._start == state.position:
            return Stream(source, self._start, state.crc if state else 0)
        stream = Stream(source)
        stream.skip(state.position)
        stream.mark()
        if stream.marked() != (state.position, state.crc):
            raise Changed
        return stream

    def _report(self, position: int) -> None:
        """Report the progress: in bytes of the source, or, if its length is unknown, of the disk in use.

        A compressed stream of unknown length compared with what the disk uses would end at some 40 %.
        """
        order, total = self._order, self._body.total
        if total is None and order.expected:
            order.report(self._placed(), order.expected)
        else:
            order.report(position, total or position)

    def _write(self, stream: Stream, decoder: Decoder) -> State:
        """Decode everything into the partial file and sync it; returns the last state."""
        with Behind(self._file) as behind:
            earlier = os.fstat(self._file).st_blocks * 512
            self._placed = lambda: earlier + behind.placed
            with _own_memory():
                sink = self._sink(behind, decoder)

            def snapshot() -> State:
                position, crc = stream.marked()
                memory = (decoder.memory(), sink.memory())
                return State(self._order.key, decoder.kind, position, crc, self._body.validators, *memory)

            checkpoints = Checkpoints(self._order.files.state, behind, snapshot)
            with _rescued(checkpoints):
                self._decode(stream, decoder, sink, checkpoints, behind)
                state = snapshot()
                size = decoder.size if decoder.format == "raw" else stream.position
                sink.finish(size or 0)
                behind.then(checkpoints.sync)
                behind.drain()
                return state

    def _decode(
        self, stream: Stream, decoder: Decoder, sink: Sink, checkpoints: Checkpoints, behind: Behind
    ) -> None:
        """Decode; if that ends early, keep the progress."""
        try:
            decoder.run(sink, checkpoints)
        except Disagree:
            checkpoints.forbid()  # a grain is at a wrong place: start over
            behind.drain()
            raise broken("the stream is damaged", "its grain tables do not match its grains") from None
        except (StepError, Stopped):
            # The first failure is reported, not one of the following.
            with contextlib.suppress(OSError), _rescued(checkpoints):
                if self._useless(stream):
                    checkpoints.forbid()
                checkpoints.save()
                behind.drain()
            raise

    def _useless(self, stream: Stream) -> bool:
        """Whether nothing has landed yet, or the next bytes arrived and could not be decoded.

        In the first case the decoder may be in the middle of the data before the disk's content. In the
        second the state itself may be damaged, by a wrong byte of the header or of a table in
        an earlier attempt: with it no later attempt would progress.
        """
        state, position = self._state, stream.marked()[0]
        return not position or (state is not None and not stream.interrupted and position == state.position)

    def _sink(self, behind: Behind, decoder: Decoder) -> Sink:
        memory = self._state.sink if self._state else None
        qcow2 = self._order.format == "qcow2" and decoder.format == "raw"
        return Qcow2(behind, memory) if qcow2 else Raw(behind, memory)

    def _check_before(self, decoder: Decoder) -> None:
        """Refuse early what would otherwise be noticed at the end, or not at all."""
        proved = self._body.end_is_proved or (decoder.format == "raw" and self._order.capacity)
        if isinstance(decoder, Plain) and not proved:
            raise StepError(
                Exit.INVALID,
                "the server does not report the length of the disk",
                "a truncated stream would look like a complete one",
                "set the length of the disk",
            )
        self._check_size(decoder)

    def _check_size(self, decoder: Decoder) -> None:
        """Compare the disk's size, once it is known, with the expected one."""
        size, capacity = decoder.size, self._order.capacity
        if size is None and decoder.format == "raw":
            size = self._body.total
        if None in (size, capacity) or size == capacity:
            return
        what = f"the disk has {size} bytes, not {capacity}"
        if isinstance(decoder, Plain) and self._body.total is None:
            raise broken(what, "the stream ended early")
        raise corrupt(
            what,
            "the source is not the disk that was planned",
            "check the disk at the source, then start a new import",
        )

    def _landed(self, stream: Stream, decoder: Decoder) -> Landed:
        files, wanted = self._order.files, self._order.format
        as_it_is = decoder.format not in ("raw", wanted)
        return Landed(
            path=files.source if as_it_is else files.out,
            format=decoder.format if as_it_is else wanted,
            virtual_size=decoder.size,
            source_bytes=stream.position - self._start,
            resumed_at=self._start,
            source_digest=f"crc32:{stream.marked()[1]:08x}",
            size=os.fstat(self._file).st_size,
            key=self._order.key,
        )

    @contextlib.contextmanager
    def _storage_faults(self, decoder: Decoder) -> Iterator[None]:
        """The body's errors are StepErrors: an OSError is from the storage."""
        try:
            yield
        except OSError as error:
            raise storage_fault(error, self._order.files.partial, self._need(decoder)) from error

    def _need(self, decoder: Decoder) -> Need:
        """The bytes that the partial file uses and may need."""
        most = self._body.total if decoder.format != "raw" else decoder.size or self._order.capacity
        if most is not None and (decoder.format, self._order.format) == ("raw", "qcow2"):
            most = largest(most)
        return Need(os.fstat(self._file).st_blocks * 512, self._order.expected, most)


@contextlib.contextmanager
def _own_memory() -> Iterator[None]:
    """Start over if a state has a correct checksum but content that vmferry cannot have written."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        log.warning("the state of an earlier attempt cannot be used (%s): starting over", error)
        raise Changed from None


@contextlib.contextmanager
def _rescued(checkpoints: Checkpoints) -> Iterator[None]:
    """Keep the progress if the filesystem is full."""
    try:
        yield
    except OSError as error:
        if no_room(error):
            checkpoints.rescue()
        raise

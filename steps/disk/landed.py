"""The record of a landed disk, and the files around it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from steps.disk.detect import FORMATS
from steps.disk.faults import SpaceNeed, storage_fault
from steps.disk.qcow2 import Qcow2Sink
from steps.disk.raw import RawSink
from steps.disk.sink import CheckpointState, Sink
from steps.disk.state import JSON_ERRORS, LandingState, partial_path, replace_file, sync_folder
from steps.disk.writer import BackgroundWriter
from steps.model.contract import Exit, StepError


@dataclass(frozen=True)
class Landed:
    """A disk that landed. Sizes and positions in bytes.

    `format` is the wanted one, or the source's if it could only land unchanged; `path` is
    then `OUT.source`. `virtual_size` is None if only qemu-img can read it. `source_bytes` were read
    in this attempt, which resumed at `resumed_at`; `source_digest` is over all bytes of the source.
    `size` is the file's length; `key` identifies the source (see `Source.key`). `taken_for` is the format for
    which receivers would take a raw disk: if it is not empty, the disk is in a qcow2 image (see `wrap`).
    """

    path: Path
    format: str
    virtual_size: int | None
    source_bytes: int
    resumed_at: int
    source_digest: str
    size: int
    key: str
    taken_for: str = ""

    def to_json(self) -> str:
        return json.dumps(self.to_fields(), indent=2) + "\n"

    def to_fields(self) -> dict[str, Any]:
        """Plain JSON; the path is only a file name, so that the folder can be mounted elsewhere."""
        return {**asdict(self), "path": self.path.name}

    @classmethod
    def from_fields(cls, fields: dict[str, Any], out: Path) -> Self:
        """Raises ValueError, TypeError or KeyError unless `fields` is a result of `to_fields` for `out`."""
        files = LandingFiles(out)
        paths = {path.name: path for path in (out, files.source, files.wrapped)}
        landed = cls(**{**fields, "path": paths[fields["path"]]})
        landed.validate()
        return landed

    def validate(self) -> None:
        """Raises ValueError where a field is of another type or kind."""
        numbers = (self.source_bytes, self.resumed_at, self.size, self.virtual_size or 0)
        if (
            self.format not in FORMATS
            or not all(type(number) is int for number in numbers)
            or not isinstance(self.taken_for, str)
            or (self.taken_for and not self.virtual_size)
        ):
            raise ValueError("not the record of a landing")

    @property
    def identity(self) -> str:
        """Which landing it is, as a word: that of the same disk later is another one."""
        return hashlib.sha256(f"{self.key}\0{self.source_digest}".encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, out: Path) -> Self:
        """Raises as `from_fields`, and RecursionError."""
        return cls.from_fields(json.loads(text), out)

    @classmethod
    def load(cls, out: Path) -> Self:
        """The record of the disk that landed at `out`.

        Raises:
            StepError: INVALID, if none has landed.
        """
        record = LandingFiles(out).landed
        try:
            return cls.from_json(record.read_text(), out)
        except (OSError, *JSON_ERRORS) as error:
            raise StepError(
                Exit.INVALID, f"{record.name} is missing or damaged", str(error), "run export first"
            ) from None


class LandingFiles:
    """The files next to `out`, and the order in which they change.

    OUT.partial     being written
    OUT.state.json  where to resume; at the very end: that OUT.partial is complete
    OUT.state.json.partial  the next such state; before that, space reserved for it
    OUT             (or OUT.source) complete
    OUT.qcow2       complete, a qcow2 image around OUT, which receivers would take for another format
    OUT.landed.json what it is
    OUT.adapted     the guest on it is being adapted, or was: its bytes are no longer those that landed
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        self.state = out.with_name(out.name + ".state.json")
        self.source = out.with_name(out.name + ".source")
        self.wrapped = out.with_name(out.name + ".qcow2")
        self.landed = out.with_name(out.name + ".landed.json")
        self.adapted = out.with_name(out.name + ".adapted")

    @contextlib.contextmanager
    def open(self) -> Iterator[int]:
        """The partial file, locked against a second landing.

        Raises:
            StepError: BUSY, if there is one.
            OSError: it cannot be created.
        """
        file = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(file)
            yield file
        finally:
            os.close(file)

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepError(Exit.BUSY, f"another process is landing {self.out.name}") from None

    def recover(self, key: str) -> Landed | None:
        """The finished disk of an earlier attempt, after completing its last steps; else None."""
        state = LandingState.load(self.state, key)
        landed = self._completed(state) if state else None
        if landed is not None and self._is_whole(landed):
            return replace(self.finish(landed), source_bytes=0)
        with contextlib.suppress(StepError):
            landed = Landed.load(self.out)
            if landed.key == key and (self._is_whole(landed) or self.is_adapted(landed)):
                return replace(landed, source_bytes=0)
        return None

    def mark_adapted(self, landed: Landed) -> None:
        """Say that the disk is about to change: from now on, its size does not prove that it is whole."""
        replace_file(self.adapted, landed.identity)
        sync_folder(self.out.parent)

    def is_adapted(self, landed: Landed) -> bool:
        """Whether this landing was marked so, and its file exists."""
        with contextlib.suppress(OSError, UnicodeError):
            return self.adapted.read_text() == landed.identity and landed.path.is_file()
        return False

    def sink(
        self, writer: BackgroundWriter, saved: CheckpointState | None, *, qcow2: bool, capacity: int | None
    ) -> Sink:
        """The sink that writes the open file of `writer`. Raises any error for a state that no sink saved."""
        return Qcow2Sink(writer, saved) if qcow2 else RawSink(writer, saved)

    def landed_size(self, file: int, capacity: int | None) -> int:
        """Bytes of the finished disk, whose capacity may be known."""
        return os.fstat(file).st_size

    def check_room(self, file: int, disk_format: str, capacity: int | None) -> None:
        """Refuse a disk that cannot land here, before anything is written. Scratch takes every disk."""

    def fault(self, error: OSError, need: SpaceNeed | None = None) -> StepError:
        """The StepError for a failed write."""
        return storage_fault(error, self.partial, need)

    def _is_whole(self, landed: Landed) -> bool:
        """Whether the file has the size of the landed disk, before or after its last rename."""
        return _has_full_size(self.partial, landed) or _has_full_size(landed.path, landed)

    def _settle(self, landed: Landed) -> None:
        """Give the finished file its name."""
        if _has_full_size(self.partial, landed):
            self.partial.replace(landed.path)

    def _completed(self, state: LandingState) -> Landed | None:
        """The declaration of `complete` in a state."""
        with contextlib.suppress(*JSON_ERRORS):
            return Landed.from_fields(state.landed, self.out) if state.landed else None
        return None

    def remove_records(self) -> None:
        """Start over: no document may describe a file whose content is about to change."""
        self.state.unlink(missing_ok=True)
        self.landed.unlink(missing_ok=True)
        self.adapted.unlink(missing_ok=True)
        self.wrapped.unlink(missing_ok=True)  # nothing else would remove it, unlike OUT, which is replaced

    def complete(self, state: LandingState, landed: Landed) -> Landed:
        """Declare the partial file complete; all of it is on the disk already."""
        replace(state, landed=landed.to_fields()).save(self.state)
        sync_folder(self.out.parent)
        return self.finish(landed)

    def finish(self, landed: Landed) -> Landed:
        """The steps after `complete`; any of them may have happened before a crash."""
        self._settle(landed)
        sync_folder(self.out.parent)
        replace_file(self.landed, landed.to_json())
        partial_path(self.state).unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        return landed


def _has_full_size(path: Path, landed: Landed) -> bool:
    return path.is_file() and path.stat().st_size == landed.size

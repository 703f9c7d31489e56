"""The overlays of an adaptation, and the protocol by which they become part of the disks.

Everything that changes a guest works on an overlay next to each disk. `steps.model.adapted` has the phases.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steps.disk import qemu
from steps.disk.direct import read_chunks
from steps.disk.faults import storage_fault
from steps.disk.guesses import HEAD_BYTES, guess
from steps.disk.landed import Landed, LandingFiles
from steps.disk.state import sync_folder
from steps.model import scratch
from steps.model.adapted import ADAPTED, Adapted, AdaptedDisk, Phase
from steps.model.contract import Exit, StepError
from steps.model.plan import DiskFormat
from steps.model.scratch import Ready
from steps.runtime.stop import Stop

OVERLAY: Final = "adapt.qcow2"
ROOM: Final = 256 << 20
"""Bytes that must be free for the overlays of a disk. A conversion writes up to 80 MB into them."""
Report = Callable[[float, str], None]
"""Gets which part is done, from 0 to 1, and what is being done."""


@dataclass(frozen=True)
class GuestDisk:
    """A disk in its scratch folder, as `convert` has checked it, or as an adaptation has left it."""

    id: str
    folder: Path
    ready: Ready

    @classmethod
    def load(cls, disk_id: str, folder: Path) -> GuestDisk:
        """Raises StepError (INVALID) if `convert` has not checked it."""
        return cls(disk_id, folder, Ready.load(scratch.ready(folder)))

    @property
    def path(self) -> Path:
        return self.folder / self.ready.file

    @property
    def overlay(self) -> Path:
        return self.folder / OVERLAY

    @property
    def files(self) -> LandingFiles:
        """The record of its landing. A raw disk that landed may have become qcow2 (`steps.disk.wrap`)."""
        raw = self.ready.format is DiskFormat.QCOW2 and self.ready.file.startswith("disk.raw")
        return LandingFiles(scratch.landing(self.folder, DiskFormat.RAW if raw else self.ready.format))

    def landed(self) -> Landed:
        """Raises StepError (INVALID) if there is no record."""
        return Landed.load(self.files.out)


class Adaptation:
    """The disks of a VM while the guest on them is adapted."""

    def __init__(self, disks: Sequence[GuestDisk], report: Report, stop: Stop) -> None:
        self.disks = tuple(disks)
        self._report = report
        self._stop = stop
        self._record = disks[0].folder / ADAPTED if disks else None

    def begun(self) -> Adapted | None:
        """The record of an earlier attempt that changed the disks; None if they are as they landed.

        Raises:
            StepError: CORRUPT, if only some of the disks have landed again since then.
        """
        if self._record is None or not self._record.exists():
            return None
        record = Adapted.load(self._record)
        landings = {one.id: one.landing for one in record.disks}
        same = [
            disk.files.is_adapted(disk.landed()) and landings.get(disk.id) == disk.landed().identity
            for disk in self.disks
        ]
        if all(same) and len(landings) == len(same):
            return record
        if any(same):
            adapted = ", ".join(disk.id for disk, is_same in zip(self.disks, same, strict=True) if is_same)
            raise StepError(
                Exit.CORRUPT,
                f"the disks of the VM do not belong together: the guest on {adapted} was adapted, and "
                "other disks were copied again since then",
                remedy=f"remove the scratch folders of {adapted}, then retry: they are copied again",
            )
        self._record.unlink()
        sync_folder(self._record.parent)
        return None

    # --- before the commit

    def create(self) -> list[Path]:
        """New overlays, instead of those that an earlier attempt may have left.

        Raises:
            StepError: NO_SPACE, INVALID or CORRUPT.
        """
        self.discard()
        for disk in self.disks:
            self._stop.check()
            _require_room(disk.folder, ROOM, "the changes of the guest")
            qemu.create_overlay(disk.overlay, disk.path, disk.ready.format)
        return [disk.overlay for disk in self.disks]

    def discard(self) -> None:
        """Remove the overlays: the disks stay as they landed."""
        for disk in self.disks:
            disk.overlay.unlink(missing_ok=True)

    def landed_digests(self, report: Report) -> dict[str, str]:
        """SHA-256 of the file of each disk."""
        return {disk.id: self._digest(disk, report) for disk in self.disks}

    # --- the commit

    def commit(self, result: Adapted, digests: dict[str, str]) -> Adapted:
        """Write the overlays into the disks. `result` says what was done, `digests` are `landed_digests`.

        Raises:
            StepError: before anything is changed, UNSUPPORTED if a raw disk would be taken for another
                format, and NO_SPACE; else as `resume`.
            Stopped: likewise.
        """
        try:
            record = self._prepared(result, digests)
            self._stop.check()
            for disk in self.disks:
                _sync(disk.overlay)
                disk.files.mark_adapted(disk.landed())
        except BaseException:
            self.discard()
            raise
        self._save(record)
        return self.resume(record)

    def _prepared(self, result: Adapted, digests: dict[str, str]) -> Adapted:
        """The record of what will be committed."""
        rows = []
        for disk in self.disks:
            found = guess(qemu.read_head(disk.overlay, "qcow2", HEAD_BYTES))
            if found is not None and disk.ready.format is DiskFormat.RAW:
                raise StepError(
                    Exit.UNSUPPORTED,
                    f"the adaptation made {disk.id} look like a disk in the format {found.format}",
                    "programs that guess formats would read another disk from it",
                    "the disk is as it landed; import it with spec.guest.adapt: never",
                )
            changed = qemu.changed_bytes(disk.overlay)
            _require_room(disk.folder, changed, f"the changes of {disk.id}")
            rows.append(
                AdaptedDisk(
                    id=disk.id,
                    file=disk.ready.file,
                    format=disk.ready.format,
                    landing=disk.landed().identity,
                    landed=digests[disk.id],
                    changed=changed,
                    taken_for=found.format if found is not None and found.by_qemu else "",
                )
            )
        return result.model_copy(update={"phase": Phase.COMMITTING, "changed": True, "disks": tuple(rows)})

    def resume(self, record: Adapted) -> Adapted:
        """Go on from a record of an earlier attempt, whatever that one had done.

        Raises:
            StepError: CORRUPT, if an overlay is missing; NO_SPACE, INTERNAL: a retry goes on.
            Stopped: likewise.
        """
        if record.phase is Phase.DONE:
            self.discard()
            return record
        for number, disk in enumerate(self.disks):
            self._commit_one(disk, number)
        rows = {one.id: one for one in record.disks}
        finished = tuple(self._finished(disk, rows[disk.id]) for disk in self.disks)
        done = record.model_copy(update={"phase": Phase.DONE, "disks": finished})
        self._save(done)
        self.discard()
        return done

    def _commit_one(self, disk: GuestDisk, number: int) -> None:
        if not disk.overlay.exists():
            raise StepError(
                Exit.CORRUPT,
                f"{disk.id} cannot be used: its guest was partly adapted, and {OVERLAY} with the rest is "
                "missing",
                remedy="remove the scratch folders of all disks of the VM, then retry: they are copied again",
            )

        def report(part: float) -> None:
            text = f"writing the changes of the guest into {disk.id}"
            self._report((number + part) / len(self.disks), text)

        qemu.commit(disk.overlay, disk.path, disk.ready.format, report=report, stop=self._stop)

    def _finished(self, disk: GuestDisk, row: AdaptedDisk) -> AdaptedDisk:
        """The row with the digest as handed over; the disk's own document gets its new size."""
        digest = self._digest(disk, self._report)
        update = {"size": disk.path.stat().st_size, "taken_for": row.taken_for}
        disk.ready.model_copy(update=update).save(scratch.ready(disk.folder))
        sync_folder(disk.folder)
        return row.model_copy(update={"handed_over": digest})

    def _save(self, record: Adapted) -> None:
        assert self._record is not None  # noqa: S101 - there is a disk, or there is nothing to adapt
        try:
            record.save(self._record)
            sync_folder(self._record.parent)
        except OSError as error:
            raise storage_fault(error, self._record) from error

    def _digest(self, disk: GuestDisk, report: Report) -> str:
        digest, size, done = hashlib.sha256(), max(1, disk.path.stat().st_size), 0
        for chunk in read_chunks(disk.path):
            self._stop.check()
            digest.update(chunk)
            done += len(chunk)
            report(done / size, f"computing the digest of {disk.id}")
        return digest.hexdigest()


def _require_room(folder: Path, needed: int, what: str) -> None:
    free = os.statvfs(folder)
    available = free.f_bavail * free.f_frsize
    if available < needed:
        raise StepError(
            Exit.NO_SPACE,
            f"no room for {what} in {folder}",
            f"{available} bytes are free, {needed} are needed",
            "make room there, then retry",
        )


def _sync(path: Path) -> None:
    with contextlib.closing(path.open("rb")) as file:
        os.fsync(file.fileno())

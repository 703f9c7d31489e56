"""A disk that lands directly on the volume it will live on: a file of a filesystem, or a block device.

The records of the landing are in a folder of their own, on another volume. So the volume holds the disk and
nothing else, and a later attempt finds the records even after the volume was handed over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steps.disk.faults import SpaceNeed, storage_fault
from steps.disk.landed import Landed, LandingFiles
from steps.disk.sink import CheckpointState, Sink
from steps.disk.volume_sink import BlockSums, VolumeSink, sums_size
from steps.disk.writer import BackgroundWriter
from steps.model.contract import Exit, StepError

IMAGE: Final = "disk.img"
"""The file that KubeVirt reads on a volume with a filesystem (kubevirt pkg/host-disk)."""
RAW: Final = "raw"
_MODE: Final = 0o660
"""Readable and writable for the group, too: drivers without fsGroup change no owner."""


@dataclass(frozen=True)
class Volume:
    """The volume of one disk.

    `place` is where it is mounted: a folder, or the block device itself. `notes` has the records.
    """

    notes: Path
    place: Path
    is_device: bool

    @classmethod
    def at(cls, place: Path, notes: Path) -> Volume:
        """The volume at `place`.

        Raises:
            StepError: INVALID, if nothing is there.
        """
        try:
            mode = place.stat().st_mode
        except OSError as error:
            raise StepError(
                Exit.INVALID, f"there is no volume at {place}", error.strerror or "", "mount the disk's claim"
            ) from None
        return cls(notes, place, stat.S_ISBLK(mode))

    @property
    def disk(self) -> Path:
        """The disk itself."""
        return self.place if self.is_device else self.place / IMAGE


class VolumeFiles(LandingFiles):
    """The files of a landing on a volume. Nothing is renamed: the disk is written where it stays.

    disk.raw.state.json   where to resume; at the very end: that the disk is complete
    disk.raw.sums         the checksums of its blocks
    disk.raw.landed.json  what landed
    disk.raw.followed.json  how far it was read back while it arrived
    disk.raw.rewritten    blocks did not arrive in order: what was read back does not count
    disk.raw.proved.json  that it was read back and found equal
    """

    def __init__(self, volume: Volume) -> None:
        super().__init__(volume.notes / "disk.raw")
        self.volume = volume
        self.partial = volume.disk
        self.sums = self.out.with_name(self.out.name + ".sums")
        self.followed = self.out.with_name(self.out.name + ".followed.json")
        self.rewritten = self.out.with_name(self.out.name + ".rewritten")
        self.proved = self.out.with_name(self.out.name + ".proved.json")
        self._lock_file = self.out.with_name(self.out.name + ".lock")

    @contextlib.contextmanager
    def open(self) -> Iterator[int]:
        """The disk. The lock is a file among the records: each pod has its own node of a device."""
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock(lock)
            flags = os.O_RDWR if self.volume.is_device else os.O_RDWR | os.O_CREAT
            file = os.open(self.partial, flags, _MODE)
            try:
                if not self.volume.is_device and os.fstat(file).st_uid == os.geteuid():
                    os.fchmod(file, _MODE)  # whatever the umask is
                yield file
            finally:
                os.close(file)
        finally:
            os.close(lock)

    def remove_records(self) -> None:
        super().remove_records()
        for record in (self.proved, self.followed, self.rewritten):
            record.unlink(missing_ok=True)
        self.sums.unlink(missing_ok=True)

    def sink(
        self,
        writer: BackgroundWriter,
        saved: CheckpointState | None,
        *,
        qcow2: bool,
        capacity: int | None,
    ) -> Sink:
        if qcow2 or capacity is None:
            raise AssertionError("a volume takes a raw disk of a known size")
        kept = int(saved["high"]) if saved else 0
        sums = BlockSums(self.sums, capacity, kept)
        return VolumeSink(
            writer,
            sums,
            capacity,
            is_device=self.volume.is_device,
            saved=saved,
            rewritten=self.rewritten.touch,
        )

    def landed_size(self, file: int, capacity: int | None) -> int:
        return capacity or 0

    def check_room(self, file: int, disk_format: str, capacity: int | None) -> None:
        """Refuse, before anything is written, a disk that does not fit or that cannot be decoded in order.

        As CDI does, a filesystem must have room for the whole disk, not only for its data
        (containerized-data-importer pkg/importer/data-processor.go).

        Raises:
            StepError: UNSUPPORTED, NO_SPACE.
        """
        if disk_format != RAW:
            raise StepError(
                Exit.UNSUPPORTED,
                f"the disk is a {disk_format} image that cannot be decoded while it arrives",
                "so it cannot be written directly to its volume",
                "let the target download it: set kubevirt.disks to pull (or auto, which does so for such "
                "sources), or on Harvester remove `as: volume`; then start the import again",
            )
        room = self._room(file)
        if capacity is not None and capacity > room:
            what = "the block device" if self.volume.is_device else "the filesystem of the volume"
            raise StepError(
                Exit.NO_SPACE,
                "the volume is too small for the disk",
                f"the disk has {capacity} bytes, and {what} has room for {room}",
                "enlarge the claim if its class can grow, or use another storage class, then retry",
            )

    def _room(self, file: int) -> int:
        if self.volume.is_device:
            return os.lseek(file, 0, os.SEEK_END)
        found = os.fstatvfs(file)
        return found.f_bavail * found.f_frsize + os.fstat(file).st_blocks * 512

    def fault(self, error: OSError, need: SpaceNeed | None = None) -> StepError:
        if error.errno in (errno.EACCES, errno.EPERM) and self.volume.is_device:
            return StepError(
                Exit.INVALID,
                f"the block device {self.volume.place} cannot be opened",
                error.strerror or "",
                "let the container runtime of the nodes give devices to the user of a pod "
                "(device_ownership_from_security_context = true), which CDI needs as well",
            )
        known = storage_fault(error, self.partial, need)
        if known.code is not Exit.NO_SPACE:
            return known
        remedy = "enlarge the claim if its class can grow, then retry: the transfer resumes"
        return StepError(known.code, known.what, known.why, remedy)

    def _is_whole(self, landed: Landed) -> bool:
        try:
            with self.volume.disk.open("rb") as disk:
                size = disk.seek(0, os.SEEK_END)
            is_full = size >= landed.size if self.volume.is_device else size == landed.size
            return is_full and self.sums.stat().st_size == sums_size(landed.size)
        except OSError:
            return False

    def _settle(self, landed: Landed) -> None:
        """Nothing: the disk is at its place."""

    def _lock(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepError(Exit.BUSY, "another process is landing this disk") from None


Place = Path | Volume
"""Where a disk lands: a file on scratch, or the volume it will live on."""


def files_at(place: Place) -> LandingFiles:
    """The files of a landing at `place`."""
    return VolumeFiles(place) if isinstance(place, Volume) else LandingFiles(place)

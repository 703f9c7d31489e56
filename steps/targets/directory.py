"""A folder as target: disks, checksums, description and manifest. For a first try, air gaps, tests."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from steps.disk.direct import read_chunks
from steps.disk.faults import explain_no_space
from steps.model.admission import Admission
from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.model.machine import DiskId, Machine
from steps.model.manifest import MANIFEST_FILE, Manifest, virtual_machine
from steps.model.mapping import Shape
from steps.model.scratch import Ready, ready
from steps.model.volumes import Volumes, volume_name
from steps.model.yaml import to_yaml
from steps.runtime.stop import Stop
from steps.targets.target import ProgressCallback, Published

CHECKSUMS: Final = "SHA256SUMS"
DOCUMENTS: Final = ("machine.json", CHECKSUMS, MANIFEST_FILE)
"""What is written next to the disks."""
STATE_FOLDER: Final = ".vmferry"
"""The folder for everything that is not a result of the import."""


class DirectoryTarget:
    """Disks `disk-N.FORMAT`, `machine.json`, `SHA256SUMS` and `virtualmachine.yaml` in one folder."""

    def __init__(self, into: Path, stop: Stop) -> None:
        self._into = into
        self._stop = stop
        self._records = into / STATE_FOLDER / "published"

    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        """A folder has only files, named after their disks."""
        return Volumes()

    def admit(self, shape: Shape, volumes: Volumes) -> Admission:
        """A folder accepts every VM."""
        return Admission()

    def publish(self, disk: DiskId, scratch: Path, report: ProgressCallback) -> Published:
        """Move the disk into the folder.

        The record is written first: a kill after it leaves a record whose file is still in scratch,
        and a later one a file that the record's size and digest prove.
        """
        record = self._records / f"{disk}.json"
        if record.exists() and self._is_published(Published.load(record), report):
            return Published.load(record)
        ready_disk = Ready.load(ready(scratch))
        source = scratch / ready_disk.file
        published = Published(
            id=disk,
            name=f"{disk}.{ready_disk.format}",
            format=ready_disk.format,
            size=ready_disk.size,
            sha256=self._digest(source, report),
        )
        with explain_no_space(record):
            self._records.mkdir(parents=True, exist_ok=True)
            published.save(record)
            self._move(source, self._into / published.name)
        return published

    def build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        """Write the VM's documents next to its disks."""
        with explain_no_space(self._into / MANIFEST_FILE):
            return self._build(machine, shape)

    def _build(self, machine: Machine, shape: Shape) -> Sequence[str]:
        disks = [Published.load(self._records / f"{disk.id}.json") for disk in machine.disks]
        machine.save(self._into / DOCUMENTS[0])
        checksums = "".join(f"{disk.sha256}  {disk.name}\n" for disk in disks)
        write_atomically(self._into / CHECKSUMS, checksums)
        claims = {disk.id: disk.name or volume_name(shape.name, disk.id) for disk in shape.disks}
        manifest = virtual_machine(shape, claims)
        write_atomically(self._into / MANIFEST_FILE, _with_heading(manifest, disks, claims, shape))
        return [f"{disk.name} {disk.size} bytes sha256 {disk.sha256}" for disk in disks]

    def start(self, shape: Shape) -> None:
        """Nothing to do: a folder runs no VM; `vmferry boot` does."""

    def leave_off(self, shape: Shape) -> None:
        """Nothing to do."""

    def wait(self, shape: Shape) -> None:
        """Nothing to do."""

    def halt(self) -> Sequence[str]:
        """Nothing to stop: a folder runs no VM. Its files remain."""
        records = sorted(self._records.glob("*.json"))
        return [str(self._into / Published.load(record).name) for record in records]

    def _is_published(self, published: Published, report: ProgressCallback) -> bool:
        path = self._into / published.name
        return (
            path.exists()
            and path.stat().st_size == published.size
            and self._digest(path, report) == published.sha256
        )

    def _digest(self, path: Path, report: ProgressCallback) -> str:
        size = path.stat().st_size
        digest = hashlib.sha256()
        done = 0
        for chunk in read_chunks(path):
            self._stop.check()
            digest.update(chunk)
            done += len(chunk)
            report(done, size)
        return digest.hexdigest()

    def _move(self, source: Path, destination: Path) -> None:
        try:
            source.replace(destination)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise StepError(
                Exit.INVALID,
                f"{source} and {destination} are on different filesystems",
                remedy="put scratch inside the target folder, without a mount between them",
            ) from error
        descriptor = os.open(destination.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _with_heading(
    manifest: Manifest, disks: Sequence[Published], claims: dict[DiskId, str], shape: Shape
) -> str:
    capacities = {disk.id: disk.capacity for disk in shape.disks}
    uploads = "".join(
        f"#   virtctl image-upload pvc {claims[disk.id]} -n {shape.namespace} "
        f"--image-path={disk.name} --size={-(-capacities[disk.id] // (1 << 20))}Mi\n"
        for disk in disks
    )
    heading = (
        f"# Made by vmferry. Its disks become claims, for example by\n{uploads}"
        f"# and then: kubectl apply -f {MANIFEST_FILE}\n"
    )
    return heading + to_yaml(manifest)

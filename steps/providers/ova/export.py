"""Export of one disk of a package to a file: nothing else of the package is ever stored."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Literal

import structlog

from steps.disk.blank import land_blank
from steps.disk.land import Landed, Source, land
from steps.disk.source import Digest
from steps.disk.volume import Place
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import Access, ProgressCallback
from steps.providers.ova import describe, formats, hardware, stored
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.envelope import MAX_PIECES, File, VirtualDisk, piece_name
from steps.providers.ova.items import items
from steps.runtime.stop import Stop

log = structlog.get_logger()

_NEW_IMPORT = "start a new import, so that it reads the package again"


class DeadlineStop(Stop):
    """Another stop flag, and a limit to the time of a download."""

    def __init__(self, stop: Stop, seconds: int) -> None:
        super().__init__()
        self._stop = stop
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise Stopped, or StepError: UNREACHABLE after the time limit; what landed is kept."""
        self._stop.check()
        if time.monotonic() > self._end:
            raise StepError(
                Exit.UNREACHABLE,
                f"the download took longer than {self._seconds} s",
                "that is the limit set in spec.httpTimeoutSeconds",
                "set a higher limit, or remove it",
            )


def export(
    appliance: Appliance,
    access: Access,
    machine: Machine,
    disk: Disk,
    out: Place,
    disk_format: DiskFormat,
    report: ProgressCallback,
) -> Landed:
    """Land the disk at `out`.

    Raises:
        StepError: INVALID or NOT_FOUND if it is not the one that was described; UNSUPPORTED; CORRUPT if
            it does not match the manifest; the errors of landing.
        Stopped: a stop was requested.
    """
    what = f"cannot export {disk.id} of {machine.name}"
    virtual = _current_disk(appliance, machine, disk, what)
    if virtual.file is None:
        identity = f"{appliance.package.display_url} {disk.key}"
        return land_blank(out, format=disk_format.value, capacity=disk.capacity, identity=identity)
    source = _found_source(appliance, virtual, what)
    limit = access.plan.download_seconds
    return land(
        source,
        out,
        format=disk_format.value,
        capacity=disk.capacity,
        report=report,
        stop=DeadlineStop(access.stop, limit) if limit else access.stop,
        expected_bytes=disk.allocated or disk.capacity,
    )


def _found_source(appliance: Appliance, virtual: VirtualDisk, what: str) -> Source:
    """The source of the disk's bytes. Without Range, the file's own name may show only now."""
    assert virtual.file is not None  # noqa: S101 - the caller has checked it
    try:
        return _source(appliance, virtual, virtual.file, what)
    except StepError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        other = stored.disk(appliance.package, virtual, full_scan=True)
        if other.file is None or other.file == virtual.file:
            raise
        log.warning("the package has the file by another name", file=other.file.name)
        return _source(appliance, other, other.file, what)


def _current_disk(appliance: Appliance, machine: Machine, disk: Disk, what: str) -> VirtualDisk:
    """The current disk, if it is still the one that was described and can be landed."""
    system = appliance.by_id(machine.source_id) or appliance.system(machine.source_id)
    drives = hardware.drives(appliance.envelope, system, items(appliance.envelope, system))
    found = next((candidate for candidate in drives if candidate.key == disk.key), None)
    drive = found and stored.drive(appliance, found)
    if drive is None or drive.disk is None:
        raise StepError(Exit.NOT_FOUND, what, f"the package no longer has the disk {disk.key}", _NEW_IMPORT)
    virtual_disk, size = drive.disk, describe.capacity(appliance, drive)
    if size != disk.capacity:
        raise StepError(Exit.INVALID, what, f"it now has {size} bytes, not {disk.capacity}", _NEW_IMPORT)
    if virtual_disk.parent or virtual_disk.missing_reference:
        why = (
            "it holds only the difference to another"
            if virtual_disk.parent
            else f"{virtual_disk.missing_reference} is missing"
        )
        raise StepError(Exit.UNSUPPORTED, what, why, "export it as one complete disk")
    return virtual_disk


def _source(appliance: Appliance, disk: VirtualDisk, file: File, what: str) -> Source:
    """The source of the disk's bytes, with their digest."""
    file_format, compression = formats.declared_format(disk), _compression(file, what)
    if file_format is None:
        raise StepError(Exit.UNSUPPORTED, what, f"its format is unknown: {disk.format or file.name}")
    if appliance.manifest(full_scan=True) is None:
        log.warning("there is no manifest: what arrives cannot be checked", disk=disk.id)
    if appliance.check_descriptor(full_scan=True):  # the manifest may stand behind the disks
        log.warning("the manifest has no digest of it: it is read unchecked", file=appliance.name)
    file_names = [file.name]
    if file.chunk:
        pieces = _pieces(appliance, file, what)
        file_names = list(pieces)
        parts = tuple(_with(appliance.digest(name, full_scan=True), piece) for name, piece in pieces.items())
        # The manifest may have a digest of the whole, or one of each piece.
        whole = Source("", identity=file.name, parts=parts)
        source = _with(appliance.file_digest(file, full_scan=True), whole)
    else:
        source = appliance.package.source(file.name)
        source = _with(appliance.file_digest(file, full_scan=True), source)
    digests = [source.digest] if source.digest or not source.parts else [part.digest for part in source.parts]
    if None in digests and appliance.manifest(full_scan=True):
        unchecked = file_names[digests.index(None)]
        log.warning("the manifest has no digest of it: what arrives cannot be checked", file=unchecked)
    return replace(source, format=file_format, compression=compression)


def _compression(file: File, what: str) -> Literal["", "gzip"]:
    if file.compression == "gzip":
        return "gzip"
    if file.compression:
        raise StepError(
            Exit.UNSUPPORTED, what, f"it is compressed by {file.compression}", "use gzip, or none"
        )
    return ""


def _with(digest: Digest | None, source: Source) -> Source:
    """A file of the package, with its digest if there is one."""
    if digest is None:
        return source
    # Part of the name too: what landed unchecked, or under another digest, is not taken for it.
    return replace(source, digest=digest, identity=f"{source.identity} {digest.value}")


def _pieces(appliance: Appliance, file: File, what: str) -> dict[str, Source]:
    """The files that a file is split into, by their names, up to the first missing one.

    The descriptor's size must match; the standard does not specify which size it is for a compressed file.
    """
    pieces: dict[str, Source] = {}
    for name in map(partial(piece_name, file), range(MAX_PIECES)):
        piece = _source_or_none(appliance, name)
        if piece is None:
            break
        pieces[name] = piece
    expected = -(-file.size // file.chunk) if file.size and not file.compression else len(pieces)
    if len(pieces) != max(expected, 1):
        there = len(pieces)
        why = f"it is split into files, of which {there} are there without a gap, not {max(expected, 1)}"
        raise StepError(Exit.NOT_FOUND, what, why, "get the complete package")
    return pieces


def _source_or_none(appliance: Appliance, name: str) -> Source | None:
    """The source of a file; None if it is missing. The search may take long."""
    try:
        return appliance.package.source(name)
    except StepError as error:
        if error.code is Exit.NOT_FOUND:
            return None
        raise

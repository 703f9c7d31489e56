"""Export of one disk of a package to a file: nothing else of the package is ever stored."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from steps.disk.blank import land_blank
from steps.disk.land import Landed, Source, land
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import Access, ProgressCallback
from steps.providers.ova import describe, formats, hardware
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.envelope import MOST_PIECES, File, VirtualDisk, piece
from steps.providers.ova.items import items
from steps.runtime.stop import Stop

log = structlog.get_logger()

_ANEW = "start the import anew, so that it reads the package again"


class Deadline(Stop):
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
    out: Path,
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
    virtual = _present(appliance, machine, disk, what)
    if virtual.file is None:
        identity = f"{appliance.package.shown} {disk.key}"
        return land_blank(out, format=disk_format.value, capacity=disk.capacity, identity=identity)
    source = _source(appliance, virtual, virtual.file, what)
    limit = access.plan.download_seconds
    return land(
        source,
        out,
        format=disk_format.value,
        capacity=disk.capacity,
        report=report,
        stop=Deadline(access.stop, limit) if limit else access.stop,
        expected_bytes=disk.allocated or disk.capacity,
    )


def _present(appliance: Appliance, machine: Machine, disk: Disk, what: str) -> VirtualDisk:
    """The current disk, if it is still the one that was described and can be landed."""
    system = appliance.by_id(machine.source_id) or appliance.system(machine.source_id)
    drives = hardware.drives(appliance.envelope, system, items(appliance.envelope, system))
    now = next((drive for drive in drives if drive.key == disk.key), None)
    if now is None or now.disk is None:
        raise StepError(Exit.NOT_FOUND, what, f"the package no longer has the disk {disk.key}", _ANEW)
    virtual, size = now.disk, describe.capacity(appliance, now)
    if size != disk.capacity:
        raise StepError(Exit.INVALID, what, f"it now has {size} bytes, not {disk.capacity}", _ANEW)
    if virtual.parent or virtual.lost:
        why = "it holds only the difference to another" if virtual.parent else f"{virtual.lost} is missing"
        raise StepError(Exit.UNSUPPORTED, what, why, "export it as one complete disk")
    return virtual


def _source(appliance: Appliance, disk: VirtualDisk, file: File, what: str) -> Source:
    """The source of the disk's bytes, with their digest."""
    found, compression = formats.named(disk), _compression(file, what)
    if found is None:
        raise StepError(Exit.UNSUPPORTED, what, f"its format is unknown: {disk.format or file.name}")
    if appliance.manifest(far=True) is None:
        log.warning("there is no manifest: what arrives cannot be checked", disk=disk.id)
    if appliance.prove_descriptor(far=True):  # the manifest may stand behind the disks
        log.warning("the manifest has no digest of it: it is read unchecked", file=appliance.name)
    pieces = [file.name]
    if file.chunk:
        pieces = _pieces(appliance, file, what)
        parts = tuple(_checked(appliance, one, appliance.package.source(one)) for one in pieces)
        # The manifest may have a digest of the whole, or one of each piece.
        source = _checked(appliance, file.name, Source("", identity=file.name, parts=parts))
    else:
        source = _checked(appliance, file.name, appliance.package.source(file.name))
    proved = [source.digest] if source.digest or not source.parts else [one.digest for one in source.parts]
    if None in proved and appliance.manifest(far=True):
        unproved = pieces[proved.index(None)]
        log.warning("the manifest has no digest of it: what arrives cannot be checked", file=unproved)
    return replace(source, format=found, compression=compression)


def _compression(file: File, what: str) -> Literal["", "gzip"]:
    if file.compression == "gzip":
        return "gzip"
    if file.compression:
        raise StepError(
            Exit.UNSUPPORTED, what, f"it is compressed by {file.compression}", "use gzip, or none"
        )
    return ""


def _checked(appliance: Appliance, name: str, source: Source) -> Source:
    """A file of the package, with its digest if there is one."""
    digest = appliance.digest(name, far=True)
    if digest is None:
        return source
    # Part of the name too: what landed unchecked, or under another digest, is not taken for it.
    return replace(source, digest=digest, identity=f"{source.identity} {digest.value}")


def _pieces(appliance: Appliance, file: File, what: str) -> list[str]:
    """The names of the files that a file is split into, up to the first missing one.

    The descriptor's size must match; the standard does not specify which size it is for a compressed file.
    """
    names: list[str] = []
    for name in map(partial(piece, file), range(MOST_PIECES)):
        if not _is_there(appliance, name):
            break
        names.append(name)
    wanted = -(-file.size // file.chunk) if file.size and not file.compression else len(names)
    if len(names) != max(wanted, 1):
        why = f"it is split into files, of which {len(names)} are there without a gap, not {max(wanted, 1)}"
        raise StepError(Exit.NOT_FOUND, what, why, "get the complete package")
    return names


def _is_there(appliance: Appliance, name: str) -> bool:
    """Whether there is such a file; the search may take long."""
    try:
        appliance.package.source(name)
    except StepError as error:
        if error.code is Exit.NOT_FOUND:
            return False
        raise
    return True

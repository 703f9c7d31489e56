"""Export of one disk of a VM that is off, over a VirtualMachineExport of its claim."""

from __future__ import annotations

from typing import Final

import structlog

from steps.disk.faults import corruption_fault
from steps.disk.land import Landed, Source, land
from steps.disk.volume import Place, files_at
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import Access, ProgressCallback
from steps.providers.keep_alive import retry_if_refused
from steps.providers.kubevirt import describe, exports, find, history
from steps.providers.kubevirt.api import Api
from steps.providers.kubevirt.links import TOKEN_HEADER, Address

log = structlog.get_logger()

MOST_READERS: Final = 4
"""Connections that read at a time."""
_NEW_IMPORT: Final = "start a new import, which reads the VM again"


def export(
    source: Api,
    access: Access,
    machine: Machine,
    disk: Disk,
    out: Place,
    disk_format: DiskFormat,
    report: ProgressCallback,
) -> Landed:
    """Land the disk at `out`, over an export of its own.

    Raises:
        StepError: POWER if the VM is not off; INVALID or NOT_FOUND if it is not the one that was described;
            the errors of `exports.acquire`; the errors of landing.
        Stopped: a stop was requested; the export is deleted.
    """
    what = f"cannot export {disk.id} of {machine.path}"
    identity = _current_identity(source, machine, disk, what)
    landed = _landed_before(out, disk, disk_format, identity)
    if landed is not None:  # by an attempt that was killed after that: no export is needed
        exports.delete(source, exports.name_of(access.run, disk.id))
        log.info("the disk landed before", disk=disk.id)
        return landed
    address = Address(access.plan.export_address, access.plan.thumbprint)
    with (
        exports.acquire(
            source, disk.backing, what, run=access.run, disk_id=disk.id, address=address
        ) as opened,
        retry_if_refused(what),
    ):
        return land(
            _source(opened, disk, identity, what),
            out,
            format=disk_format.value,
            capacity=disk.capacity,
            report=report,
            stop=opened.keep_alive.stop,
            expected_bytes=disk.allocated or disk.capacity,
        )


def _landed_before(out: Place, disk: Disk, disk_format: DiskFormat, identity: str) -> Landed | None:
    """What an earlier attempt has landed, in ranges or as one stream."""
    for key in (
        Source(url="", format="raw", length=disk.capacity, identity=identity),
        Source(url="", format="raw", identity=identity),
        Source(url="", format="raw", identity=identity, compression="gzip"),
    ):
        landed = files_at(out).recover(key.key(disk_format.value, disk.capacity))
        if landed is not None:
            return landed
    return None


def _current_identity(source: Api, machine: Machine, disk: Disk, what: str) -> str:
    """What identifies the bytes: the same only while the VM has not run and the claim is the same one.

    Raises:
        StepError: POWER, NOT_FOUND, INVALID.
    """
    now = history.state(source, machine)
    if now.is_on:
        raise StepError(
            Exit.POWER,
            what,
            f"the VM is {now.vm.text('status', 'printableStatus') or now.phase or 'about to start'}, not off",
            "leave it off until it is imported",
        )
    namespace, _ = find.place_of(machine)
    claim = find.claim_of(source, namespace, disk.backing)
    known = describe.volumes(now.vm)
    if claim is None or disk.key not in known or find.claim_name(known[disk.key]) != disk.backing:
        raise StepError(Exit.INVALID, what, "the VM no longer has this disk", _NEW_IMPORT)
    if claim.uid != disk.uuid:
        raise StepError(Exit.INVALID, what, f"the claim {disk.backing} is another one now", _NEW_IMPORT)
    if describe.capacity(claim) != disk.capacity:
        raise StepError(Exit.INVALID, what, "the claim was resized since it was described", _NEW_IMPORT)
    return "/".join((machine.source_id, claim.uid, claim.text("spec", "volumeName"), now.position))


def _source(opened: exports.Opened, disk: Disk, identity: str, what: str) -> Source:
    """The source of the disk's bytes. The key of what lands is the same for every way to them."""
    link = opened.link
    headers = {TOKEN_HEADER: opened.token}
    if link.size is not None:
        return Source(
            url=link.url,
            headers=headers,
            tls=link.tls,
            length=disk.capacity,
            format="raw",
            identity=identity,
            # The bytes of a claim whose VM is off do not change from one export to the next.
            validator=identity,
            data=_data(link.size, disk, what),
            readers=MOST_READERS,
            interrupted=opened.keep_alive.check_now,
        )
    log.info("the exporter answers no ranges: an interrupted transfer begins again", disk=disk.id)
    return Source(
        url=link.url,
        headers=headers,
        tls=link.tls,
        format="raw",
        identity=identity,
        compression="gzip" if link.is_gzip else "",
        most=disk.capacity,
        interrupted=opened.keep_alive.check_now,
    )


def _data(size: int, disk: Disk, what: str) -> tuple[tuple[int, int], ...]:
    """Where the disk has data. A file on a filesystem is smaller than its claim: the rest is zeros.

    Raises:
        StepError: CORRUPT, if it is larger.
    """
    if size > disk.capacity:
        raise corruption_fault(
            what,
            f"it has {size} bytes, more than the {disk.capacity} of its claim",
            "wait until the claim is resized, then start a new import",
        )
    if size < disk.capacity:
        log.info("the disk is smaller than its claim", disk=disk.id, bytes=size, of=disk.capacity)
    return ((0, size),)

"""Export of one disk of a stopped server: copy in OpenStack, download from Glance, delete the copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import structlog

from steps.disk.land import Landed, Source, land
from steps.disk.landed import LandingFiles
from steps.disk.source import DIGEST_DIGITS, Digest, SourceFormat
from steps.disk.volume import Place, files_at
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import ProgressCallback
from steps.providers.openstack import facts
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.copies import Copies
from steps.providers.openstack.describe import ROOT
from steps.providers.openstack.facts import GIB
from steps.providers.openstack.power import OFF

log = structlog.get_logger()

_NEW_IMPORT: Final = "start a new import, which reads the server again"
_FORMATS: Final[dict[str, SourceFormat]] = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk"}
"""Glance's disk_format by our names."""


def export(
    cloud: Cloud,
    run: str,
    machine: Machine,
    disk: Disk,
    out: Place,
    disk_format: DiskFormat,
    report: ProgressCallback,
) -> Landed:
    """Land the disk at `out`.

    Raises:
        StepError: POWER if the server is not off; INVALID or NOT_FOUND if it is not the one that was
            described; the errors of copying and landing.
        Stopped: a stop was requested; the copies stay for the next attempt, or for `release-source`.
    """
    what = f"cannot export {disk.id} of {machine.name}"
    server = _current_server(cloud, machine, disk, what)
    copies = Copies(cloud=cloud, run=run)
    identity = f"{server.id}/{disk.key}/{facts.read_generation(cloud, server)}"
    # Raw bytes are the same in every copy, as long as the server is not started.
    raw = Source(url="", format="raw", identity=identity)
    files = files_at(out)
    landed = _recover_landed(files, raw, disk, disk_format)
    if landed is not None:
        log.info("the disk landed before", disk=disk.id)
    else:
        image = _image_of_disk(copies, server, disk, files)
        source = _source(cloud, image, identity, what)
        if not files.state.exists():
            source = replace(source, digest=_digest(image))
        elif _digest(image):  # it is over all bytes, and those of the first part are not read again
            log.info("resuming: Glance's digest of the whole image is not checked")
        with _retry_if_expired(what):
            landed = land(
                source,
                out,
                format=disk_format.value,
                capacity=disk.capacity,
                report=report,
                stop=cloud.stop,
                expected_bytes=disk.capacity,
            )
    for leftover in copies.release(disk.id):
        log.warning(f"left at the source: {leftover}")
    return landed


def _recover_landed(
    files: LandingFiles, source: Source, disk: Disk, disk_format: DiskFormat
) -> Landed | None:
    """The disk that an earlier attempt landed, in any format of its image."""
    formats: Iterable[SourceFormat] = _FORMATS.values() if disk.key == ROOT else ("raw",)
    keys = (
        replace(source, format=source_format).key(disk_format.value, disk.capacity)
        for source_format in formats
    )
    return next((landed for key in keys if (landed := files.recover(key)) is not None), None)


def _image_of_disk(copies: Copies, server: Any, disk: Disk, files: LandingFiles) -> Any:
    """An active image of the disk.

    A host may make a different file of the same root disk each time (qcow2): data from a deleted image
    cannot be continued with a new one. Raw bytes are the same in each.
    """
    if disk.key != ROOT:
        return copies.image_of_volume(disk)
    if not copies.has_image(disk.id):
        files.remove_records()
    return copies.image_of_server(server, disk)


@contextmanager
def _retry_if_expired(what: str) -> Iterator[None]:
    """401, 403 and 404 mean that the token ended or the image was deleted: the next attempt gets new ones."""
    try:
        yield
    except StepError as error:
        if error.code in (Exit.DENIED, Exit.NOT_FOUND):
            raise StepError(Exit.BROKEN_STREAM, what, error.what, "it is tried again") from error
        raise


def _current_server(cloud: Cloud, machine: Machine, disk: Disk, what: str) -> Any:
    """The current server, if the disk is still the one that was described."""
    server = cloud.find(f"read server {machine.name}", lambda: cloud.compute.get_server(machine.source_id))
    if server is None:
        raise StepError(Exit.NOT_FOUND, what, f"server {machine.source_id} was deleted", _NEW_IMPORT)
    if server.status != OFF:
        raise StepError(Exit.POWER, what, f"it is {server.status}", "leave it off until it is imported")
    if disk.key == ROOT:
        return server
    if disk.key not in facts.attached_volume_ids(server):
        raise StepError(Exit.INVALID, what, "the server no longer has this volume", _NEW_IMPORT)
    volume = cloud.read(f"read the volume of {disk.id}", lambda: cloud.volumes.get_volume(disk.key))
    if volume.size * GIB != disk.capacity:
        raise StepError(Exit.INVALID, what, "the volume was resized since it was described", _NEW_IMPORT)
    return server


def _digest(image: Any) -> Digest | None:
    """Glance's digest of the image: os_hash_algo and os_hash_value, else the MD5 in `checksum`; or None."""
    name = f"image {image.name}"
    if image.hash_algo in DIGEST_DIGITS and image.hash_value:
        return Digest(image.hash_algo, str(image.hash_value).lower(), name)
    return Digest("md5", str(image.checksum).lower(), name) if image.checksum else None


def _source(cloud: Cloud, image: Any, identity: str, what: str) -> Source:
    """The source of the image's bytes."""
    source_format = _FORMATS.get(image.disk_format)
    if source_format is None:
        why = f"its format in Glance is {image.disk_format}, which is not one of {', '.join(_FORMATS)}"
        raise StepError(Exit.UNSUPPORTED, what, why, "make a volume from it and boot from that")
    digest = _digest(image)
    return Source(
        url=cloud.image_url(image.id),
        headers=cloud.auth_headers(),
        tls=cloud.tls,
        format=source_format,
        identity=identity,
        # Glance sends no ETag; its digest shows whether another image has the same bytes.
        validator=f"{digest.algorithm}:{digest.value}" if digest else "",
    )

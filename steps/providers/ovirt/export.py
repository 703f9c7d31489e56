"""Export of one disk of a VM that is off, over an image transfer."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from steps.disk.faults import connection_fault, corruption_fault
from steps.disk.http_client import HttpClient
from steps.disk.land import Landed, Source, land
from steps.disk.volume import Place, files_at
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat
from steps.providers import Access, ProgressCallback
from steps.providers.keep_alive import lost_fault, retry_if_refused
from steps.providers.ovirt import describe, find, power, routes, transfers
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.engine import Engine

log = structlog.get_logger()

_NEW_IMPORT: Final = "start a new import, which reads the VM again"
MOST_READERS: Final = 4
"""Connections that read at a time: more gained nothing at a host, whose storage is the limit."""
SMALLEST_HOLE: Final = 256 << 10
"""Bytes: smaller holes are read along, which costs less than another request."""
MOST_MAP_BYTES: Final = 32 << 20
"""Bytes of a map of extents, some 500,000 of them. A disk with a larger one is read as a whole."""
MAP_SECONDS: Final = 300.0
"""A daemon reads the tables of the whole chain for it."""
_READ_BYTES: Final = 1 << 16


def export(
    engine: Engine,
    access: Access,
    machine: Machine,
    disk: Disk,
    out: Place,
    disk_format: DiskFormat,
    report: ProgressCallback,
) -> Landed:
    """Land the disk at `out`, over its own transfer.

    Raises:
        StepError: POWER if the VM is not off; INVALID or NOT_FOUND if it is not the one that was described;
            BUSY;
            BROKEN_STREAM; the errors of landing.
        Stopped: a stop was requested; the transfer is cancelled.
    """
    what = f"cannot export {disk.id} of {machine.path or machine.name}"
    identity = _current_identity(engine, machine, disk, what)
    transfers.cancel_left(
        engine, access.run, {disk.key}
    )  # also one that read everything before it was killed
    landed = files_at(out).recover(
        Source(url="", format="raw", length=disk.capacity, identity=identity).key(
            disk_format.value, disk.capacity
        )
    )
    if landed is not None:  # by an attempt that was killed after that: no transfer is needed
        log.info("the disk landed before", disk=disk.id)
        return landed
    host_id = routes.check(engine, power.read(engine, machine).text("cluster", "id"))
    with (
        transfers.acquire(engine, disk.key, what, run=access.run, host_id=host_id) as ticket,
        retry_if_refused(what),
    ):
        return land(
            _source(engine, ticket, disk, identity, what),
            out,
            format=disk_format.value,
            capacity=disk.capacity,
            report=report,
            stop=ticket.keep_alive.stop,
            expected_bytes=disk.allocated or disk.capacity,
        )


def _current_identity(engine: Engine, machine: Machine, disk: Disk, what: str) -> str:
    """What identifies the bytes: the same only while the VM has not run and the disk has not changed.

    Raises:
        StepError: POWER, NOT_FOUND, INVALID.
    """
    vm = find.read(engine, machine.source_id)
    if vm is None:
        raise StepError(Exit.NOT_FOUND, what, f"the VM {machine.source_id} no longer exists", _NEW_IMPORT)
    status = power.status(engine, machine)
    if status != power.OFF:
        raise StepError(
            Exit.POWER, what, f"the VM is {status}, not down", "leave it off until it is imported"
        )
    attachment = _attachment(vm, disk, what)
    current = attachment.child("disk")
    parts = (
        machine.source_id,
        disk.key,
        current.text("image_id"),
        current.text("snapshot", "id"),
        current.text("actual_size"),
        vm.text("start_time"),
        vm.text("stop_time"),
    )
    return "/".join(parts)


def _attachment(vm: Answer, disk: Disk, what: str) -> Answer:
    """The attachment of the disk, if it is the one that was described."""
    attachments = {
        describe.disk_id(attachment): attachment for attachment in describe.attachments_in_order(vm)
    }
    attachment = attachments.get(disk.key)
    if attachment is None:
        raise StepError(Exit.INVALID, what, "the VM no longer has this disk", _NEW_IMPORT)
    if describe.capacity(attachment) != disk.capacity:
        raise StepError(Exit.INVALID, what, "the disk was resized since it was described", _NEW_IMPORT)
    return attachment


def _source(engine: Engine, ticket: transfers.Ticket, disk: Disk, identity: str, what: str) -> Source:
    """The source of the disk's bytes, with the places that have data."""
    data: tuple[tuple[int, int], ...] = ((0, disk.capacity),)
    if "extents" in ticket.options.features:
        found = read_data_map(engine, ticket.url, disk.capacity, what)
        data = data if found is None else found
    used = sum(end - start for start, end in data)
    log.info("reading the places with data", disk=disk.id, bytes=used, of=disk.capacity, ranges=len(data))
    return Source(
        url=ticket.url,
        tls=engine.tls,
        length=disk.capacity,
        format="raw",
        identity=identity,
        # The bytes of a disk whose VM is off do not change from one transfer to the next.
        validator=identity,
        data=data,
        readers=max(1, min(MOST_READERS, ticket.options.readers - 1)),  # one is for the signs of life
        interrupted=ticket.keep_alive.check_now,
    )


def read_data_map(engine: Engine, url: str, capacity: int, what: str) -> tuple[tuple[int, int], ...] | None:
    """The places of the disk with data, as (start, end); None if the map is too long.

    Raises:
        StepError: BROKEN_STREAM, if the map is none; CORRUPT, if it is of a disk of another size; DENIED.
    """
    body = _read_map(engine, url, what)
    return None if body is None else data_map(body, capacity, what)


def _read_map(engine: Engine, url: str, what: str) -> bytes | None:
    client = HttpClient(f"{url}/extents", engine.tls)
    name = f"ovirt-imageio at {urlsplit(url).hostname}"
    try:
        answer = client.get({"Accept-Encoding": "identity"})
        if answer.status in (403, 404):
            raise lost_fault(what, f"{name} answers {answer.status}")
        if answer.status != 200:
            raise StepError(Exit.UNREACHABLE, what, f"{name} answers {answer.status}", "it is tried again")
        body = bytearray()
        deadline = time.monotonic() + MAP_SECONDS
        while part := answer.read1(_READ_BYTES):
            engine.stop.check()
            body += part
            if len(body) > MOST_MAP_BYTES:
                log.info("the map of the disk's data is too long: reading the whole disk")
                return None
            if time.monotonic() > deadline:
                raise StepError(Exit.UNREACHABLE, what, f"{name} is too slow with the map of the disk's data")
        if answer.length:
            raise ConnectionError(f"the answer ended {answer.length} bytes early")
    except (OSError, http.client.HTTPException) as error:
        raise connection_fault(error, name) from error
    finally:
        client.close()
    return bytes(body)


def data_map(body: bytes, capacity: int, what: str) -> tuple[tuple[int, int], ...]:
    """The places with data of a map: [{"start": 0, "length": 65536, "zero": false, "hole": false}, …].

    The extents must cover the disk without a gap: an extent that is missing would be taken for zeros.

    Raises:
        StepError: BROKEN_STREAM, CORRUPT.
    """
    try:
        data, end = _merged(json.loads(body))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise lost_fault(what, "the map of the disk's data cannot be used") from None
    if end != capacity:
        raise corruption_fault(
            f"the disk has {end} bytes, not {capacity}",
            "the image transfer reads another disk than the one that was described",
            "check the disk at the source, then start a new import",
        )
    return data


def _merged(extents: Iterable[dict[str, Any]]) -> tuple[tuple[tuple[int, int], ...], int]:
    """Places with data, small holes included, and the end of the last extent."""
    data: list[tuple[int, int]] = []
    position = 0
    for extent in extents:
        start, length, is_zero = extent["start"], extent["length"], extent["zero"]
        if type(start) is not int or type(length) is not int or type(is_zero) is not bool:
            raise TypeError("not an extent")
        if start != position or length <= 0:
            raise ValueError("extents are not in order")
        position = start + length
        if is_zero:
            continue
        if data and start - data[-1][1] < SMALLEST_HOLE:
            data[-1] = (data[-1][0], position)
        else:
            data.append((start, position))
    return tuple(data), position

"""Export of one disk of a VM that is off, from its export lease to a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import structlog

from steps.disk.land import Landed, Source, land
from steps.disk.volume import Place, files_at
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine, Power
from steps.model.plan import DiskFormat
from steps.providers import ProgressCallback
from steps.providers.keep_alive import retry_if_refused
from steps.providers.vmware import collector, describe, devices, history, lease
from steps.providers.vmware.devices import Hardware, Slot
from steps.providers.vmware.session import Session

log = structlog.get_logger()

_PROPERTIES: Final = ("config.hardware", "config.instanceUuid", "config.changeVersion", "runtime.powerState")
_NEW_IMPORT: Final = "start a new import, which reads the VM again"


@dataclass(frozen=True, kw_only=True)
class _CurrentDisk:
    """The current state of a disk."""

    slot: Slot
    is_only_disk: bool
    """Whether it is the VM's only disk."""
    identity: str
    """Identifies the bytes: the same only while the VM has not changed."""


def export(
    session: Session,
    machine: Machine,
    disk: Disk,
    out: Place,
    disk_format: DiskFormat,
    report: ProgressCallback,
) -> Landed:
    """Land the disk at `out`, over its own lease.

    Raises:
        StepError: POWER if the VM is not off; INVALID or NOT_FOUND if it is not the one that was
            described; BUSY; BROKEN_STREAM; the errors of landing.
        Stopped: a stop was requested; the lease is aborted.
    """
    what = f"cannot export {disk.id} of {machine.path or machine.name}"
    current = _current_disk(session, machine, disk, what)
    source = Source(url="", format="vmdk", identity=current.identity)
    landed = files_at(out).recover(source.key(disk_format.value, disk.capacity))
    if landed is not None:  # by an attempt that was killed after that: no lease is needed
        log.info("the disk landed before", disk=disk.id)
        return landed
    with lease.acquire(session, session.vm(machine), what) as ready_lease:

        def report_both(done: int, total: int) -> None:
            ready_lease.keep_alive.report(done, total)
            report(done, total)

        with retry_if_refused(what):
            return land(
                replace(
                    _with_url(session, _device_url(ready_lease.urls, current, what), source),
                    interrupted=ready_lease.keep_alive.check_now,
                ),
                out,
                format=disk_format.value,
                capacity=disk.capacity,
                report=report_both,
                stop=ready_lease.keep_alive.stop,
                expected_bytes=disk.allocated or disk.capacity,
            )


def _current_disk(session: Session, machine: Machine, disk: Disk, what: str) -> _CurrentDisk:
    """The current disk, if it is still the one that was described."""
    row = collector.read_one(session, session.vm(machine), *_PROPERTIES)
    if row.get("config.instanceUuid", "") != machine.instance_uuid:
        raise StepError(Exit.NOT_FOUND, what, f"{machine.source_id} is another VM now", _NEW_IMPORT)
    if describe.power(row) is not Power.OFF:
        raise StepError(Exit.POWER, what, "the VM is not off", "leave it off until it is imported")
    hardware = Hardware(getattr(row.get("config.hardware"), "device", ()))
    slot = _slot(hardware, disk, what)
    version = row.get("config.changeVersion", "")
    # A power-off may change it too: the relevant properties were compared above.
    if version != machine.change_version:
        log.info("the VM's configuration was changed since it was described", disk=disk.id)
    last_start = history.last_start(session, machine)
    return _CurrentDisk(
        slot=slot,
        is_only_disk=len(hardware.virtual_disks()) == 1,
        # The last start counts too: a guest that writes need not change the VM's configuration.
        identity=f"{machine.instance_uuid}/{disk.uuid or disk.key}/{version}/{last_start}",
    )


def _slot(hardware: Hardware, disk: Disk, what: str) -> Slot:
    """The slot of the disk. Its key proves nothing: vSphere reuses the key of a removed disk."""
    slot = hardware.slot(disk.key)
    described = next(
        (candidate for candidate in devices.disks(hardware, {}, {}) if candidate.key == disk.key), None
    )
    if slot is None or described is None:
        raise StepError(Exit.INVALID, what, "the VM no longer has this disk", _NEW_IMPORT)
    if (described.capacity, described.uuid) != (disk.capacity, disk.uuid):
        raise StepError(
            Exit.INVALID, what, "the disk is not the one that was described, or was resized", _NEW_IMPORT
        )
    return slot


def _device_url(urls: Sequence[Any], current: _CurrentDisk, what: str) -> Any:
    """The device URL of that disk (HttpNfcLeaseDeviceUrl.key, .importKey, .disk).

    The key ends in controller class, bus and unit. Bus numbers are unique only within a kind of controller:
    all three are compared. ISO images and the nvram are in the list too.
    """
    disk_urls = [url for url in urls if _is_disk(url)]
    for names in ([url.key for url in disk_urls], [url.importKey for url in disk_urls]):
        matches = [
            url for url, name in zip(disk_urls, names, strict=True) if Slot.parse(name or "") == current.slot
        ]
        if len(matches) == 1:
            return matches[0]
    if current.is_only_disk and len(disk_urls) == 1:
        log.warning(
            "the lease uses another name for its only disk", expected=str(current.slot), key=disk_urls[0].key
        )
        return disk_urls[0]
    raise StepError(
        Exit.UNSUPPORTED,
        what,
        f"the lease has no entry for {current.slot}, only {', '.join(url.key for url in disk_urls)}",
        "the host may leave out independent disks and raw devices: change its mode, then start a new import",
    )


def _is_disk(url: Any) -> bool:
    """`disk` is optional (HttpNfcLeaseDeviceUrl): if a host leaves it out, the file's name decides."""
    if url.disk is None:
        return str(url.targetId or url.url).lower().endswith(".vmdk")
    return bool(url.disk)


def _with_url(session: Session, url: Any, source: Source) -> Source:
    """The download: the completed URL, the session's cookie, and the TLS trust."""
    parts = urlsplit(url.url)
    if parts.hostname == "*":
        # With the endpoint's port, as govmomi does (vim25/soap, Client.ParseURL): it may be forwarded.
        parts = parts._replace(netloc=str(session.endpoint))
    host = parts.hostname or ""
    # The cookie opens the whole session: it is sent only to its origin. An ESXi host other than the
    # endpoint needs only the ticket in the URL.
    headers = {"Cookie": session.cookie} if _is_origin(session, parts) else {}
    tls = session.tls_for(host, parts.port or 443, url.sslThumbprint or "")
    return replace(source, url=parts.geturl(), headers=headers, tls=tls)


def _is_origin(session: Session, url: SplitResult) -> bool:
    """Whether scheme, host and port of a URL are those of the session's API, which is always https."""
    endpoint = session.endpoint
    own = ("https", endpoint.host.lower(), endpoint.port)
    return (url.scheme.lower(), (url.hostname or "").lower(), url.port or 443) == own

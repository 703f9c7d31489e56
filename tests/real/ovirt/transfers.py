"""Image transfers: downloads, by the state machine of the engine (TransferDiskImageCommand in ovirt-engine).

    initializing -> transferring -> finalizing_success -> finished_success
    cancelled_user -> finalizing_cleanup -> finished_cleanup -> finished_failure
    cancelled_system -> finalizing_failure -> finished_failure
    paused_system -> resuming -> transferring

A disk is locked until its transfer has ended.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

from tests.real.ovirt import machines
from tests.real.ovirt.host import Host, HostError
from tests.real.ovirt.state import Disk, RefusedError, State, Transfer, image_argument, seconds

FINISHED: Final = {"finished_success", "finished_failure"}
_PAUSED: Final = {"paused_system", "paused_user"}
_ENDED: Final = FINISHED | {"finished_cleanup"}


@dataclass(frozen=True)
class Wanted:
    """What a client asks for when it creates a transfer."""

    disk: str
    direction: str = "upload"
    format: str = ""
    inactivity_timeout: int | None = None
    timeout_policy: str = "legacy"
    shallow: bool = False


class Transfers:
    """The transfers of a state, with the host that carries them out."""

    def __init__(self, state: State, host: Host) -> None:
        self.state, self.host = state, host

    def create(self, wanted: Wanted) -> Transfer:
        """A new transfer; its disk is locked.

        Raises:
            RefusedError: as a real engine refuses it, in the same order.
        """
        machines.permit_transfer(self.state)
        disk = self.state.disks.get(wanted.disk)
        if disk is None:
            raise RefusedError(400, "[Cannot transfer Virtual Disk. The specified disk does not exist.]")
        if wanted.direction != "download":
            raise RefusedError(400, "[this stand-in has downloads only]")
        self._refuse(disk)
        backend = "nbd" if wanted.format == "raw" else "file"
        timeout = wanted.inactivity_timeout
        transfer = Transfer(
            id=str(uuid.uuid4()),
            disk=disk,
            phase="initializing",
            format=wanted.format or disk.format,
            backend=backend,
            inactivity_timeout=self.state.settings.inactivity_timeout if timeout is None else timeout,
            timeout_policy=wanted.timeout_policy,
            size=disk.size if backend == "nbd" or disk.format == "raw" else _length(disk),
            since=seconds(),
            shallow=wanted.shallow,
            refuses=self.state.settings.host_refuses,
            phases=["initializing"],
        )
        self.state.transfers[transfer.id] = transfer
        disk.status = "locked"
        who = f"{self.state.described.username}-authz"
        self.state.tell(1031, f"Image Download with disk {disk.alias} was initiated by {who}.")
        self.state.job(f"Transferring Virtual Disk {disk.alias}")
        return transfer

    def _refuse(self, disk: Disk) -> None:
        machines.refuse_illegal("transfer Virtual Disk", [disk.alias] if disk.status == "illegal" else [])
        if disk.described.storage_type != "image":
            raise RefusedError(
                400, "[Cannot transfer Virtual Disk. The storage type of the disk is not supported.]"
            )
        running = [vm.described.name for vm in self.state.vms_of(disk) if not machines.is_down(vm)]
        if running and disk.described.active:
            text = f"The disk {disk.alias} is plugged to non-Down VMs: {', '.join(running)}"
            raise RefusedError(409, f"[Cannot transfer Virtual Disk. {text}]")
        machines.refuse_locked("transfer Virtual Disk", [disk.alias] if disk.status == "locked" else [])

    def act(self, transfer: Transfer | None, action: str) -> None:
        """`extend`, `finalize`, `cancel`, `pause` or `resume`.

        An action on an unknown or finished transfer is accepted and has no effect, as in a real engine.
        `extend` does not keep an idle transfer alive: the engine asks the daemon how long the ticket is idle.

        Raises:
            RefusedError: as a real engine refuses it.
        """
        if transfer is None:
            return
        if action == "resume" and transfer.phase not in _PAUSED:
            raise RefusedError(409, "[Cannot resume image transfer as it's not in a paused state.]")
        if action == "pause":
            text = "it's handled by the client. Note that it can be canceled if you wish to stop it."
            raise RefusedError(400, f"[Cannot pause image download as {text}]")
        after = {"finalize": "finalizing_success", "cancel": "cancelled_user", "resume": "resuming"}.get(
            action
        )
        if after is not None and transfer.phase not in FINISHED:
            self._enter(transfer, after)

    def tick(self) -> None:
        """One look at each transfer; each goes one phase further at most."""
        for transfer in list(self.state.transfers.values()):
            try:
                self._look(transfer)
            except HostError as error:
                self.state.tell(1034, f"Transfer of disk {transfer.disk.alias}: {error}", "error")
                if transfer.phase not in _ENDED:
                    self._enter(transfer, "finalizing_failure")
            if transfer.phase in FINISHED and not self.state.settings.keep_finished:
                del self.state.transfers[transfer.id]

    def _look(self, transfer: Transfer) -> None:
        match transfer.phase:
            case "initializing":
                if self._since(transfer) >= self.state.settings.initializing_seconds:
                    self._begin(transfer)
            case "transferring":
                self._watch(transfer)
            case "resuming":
                self._extend(transfer, always=True)
                self._enter(transfer, "transferring")
            case "cancelled_user":
                self._enter(transfer, "finalizing_cleanup")
            case "cancelled_system":
                self._enter(transfer, "finalizing_failure")
            case "finalizing_success" | "finalizing_failure" | "finalizing_cleanup":
                if self._since(transfer) >= self.state.settings.finalizing_seconds:
                    self._finish(transfer)
            case "finished_cleanup":
                self._enter(transfer, "finished_failure")
            case _:  # paused or finished
                pass

    def _begin(self, transfer: Transfer) -> None:
        image = image_argument(transfer.disk)
        if transfer.backend == "nbd":
            file_format = "qcow2" if transfer.disk.format == "cow" else "raw"
            url = self.host.serve(transfer.id, image, file_format)
        else:
            url = f"file://{image}"
        transfer.ticket = str(uuid.uuid4())
        self.host.allow(
            {
                "uuid": transfer.ticket,
                "transfer_id": transfer.id,
                "size": transfer.size,
                "url": url,
                "timeout": self.state.settings.ticket_seconds,
                "inactivity_timeout": transfer.inactivity_timeout,
                "sparse": transfer.disk.described.sparse,
                "dirty": False,
                "ops": ["read"],
            }
        )
        transfer.expires = seconds() + self.state.settings.ticket_seconds
        self._enter(transfer, "transferring")

    def _watch(self, transfer: Transfer) -> None:
        self._extend(transfer)
        ticket = self.host.daemon.get(transfer.ticket)
        if ticket is None:
            self.state.tell(1065, "Transfer was stopped by system. Reason: missing ticket.", "error")
            self._enter(transfer, "cancelled_system")
            return
        transfer.was_active, transfer.active = transfer.active, bool(ticket["active"])
        transfer.transferred = int(ticket.get("transferred") or 0)
        idle = not transfer.active and not transfer.was_active
        if self.state.settings.auto_finalize and idle and transfer.transferred == transfer.size:
            self._enter(transfer, "finalizing_success")
        elif 0 < transfer.inactivity_timeout < int(ticket["idle_time"]) and not transfer.active:
            text = "according to the timeout policy. Reason: client inactivity timeout."
            self.state.tell(1076, f"The transfer was canceled by the system {text}", "error")
            self._enter(
                transfer, "paused_system" if transfer.timeout_policy == "pause" else "cancelled_system"
            )

    def _extend(self, transfer: Transfer, *, always: bool = False) -> None:
        settings = self.state.settings
        due = settings.ticket_refresh_seconds >= 0 and seconds() >= (
            transfer.expires - settings.ticket_refresh_seconds
        )
        if due or always:
            self.host.extend(transfer.ticket, settings.ticket_seconds)
            transfer.expires = seconds() + settings.ticket_seconds

    def _finish(self, transfer: Transfer) -> None:
        if transfer.ticket:
            self.host.forbid(transfer.ticket)
        self.host.end(transfer.id)
        transfer.ticket, transfer.active = "", False
        transfer.disk.status = "ok"
        alias = transfer.disk.alias
        match transfer.phase:
            case "finalizing_success":
                self.state.tell(1032, f"Image Download with disk {alias} succeeded.")
                self._enter(transfer, "finished_success")
            case "finalizing_cleanup":
                self.state.tell(1033, f"Image Download with disk {alias} was cancelled.")
                self._enter(transfer, "finished_cleanup")
            case _:
                self.state.tell(1034, f"Image Download with disk {alias} failed.", "error")
                self._enter(transfer, "finished_failure")

    def _enter(self, transfer: Transfer, phase: str) -> None:
        transfer.phase, transfer.since = phase, seconds()
        transfer.phases.append(phase)

    @staticmethod
    def _since(transfer: Transfer) -> float:
        return seconds() - transfer.since


def _length(disk: Disk) -> int:
    assert disk.described.file is not None
    return disk.described.file.stat().st_size

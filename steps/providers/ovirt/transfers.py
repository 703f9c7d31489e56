"""Image transfers: begin, keep alive, finalise or cancel. While one exists its disk is locked.

    initializing ─> transferring ─finalize─> finalizing_success ─> finished_success
                         │ any error, any signal ─cancel─> cancelled_user ─> … ─> finished_failure

The engine forgets a transfer some time after its end; versions before 4.4.7 at once. It cancels one that
nobody reads from for its inactivity time-out, so even a killed import leaves no lock for longer than that.

A transfer has no name. Its inactivity time-out is chosen by the run: with the id of the disk it shows whose
it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from steps.model.contract import Exit, StepError, Stopped
from steps.providers.keep_alive import KeepAlive, lost_fault
from steps.providers.ovirt import faults, routes
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.engine import Engine
from steps.providers.ovirt.waiting import until

log = structlog.get_logger()

SHORTEST_IDLE_SECONDS: Final = 300
"""Inactivity time-out of a transfer, at least: a slow target may take no data for some minutes."""
_IDLE_CHOICES: Final = 600
READY_SECONDS: Final = 300.0
"""Seconds that a transfer may initialise: hosts usually need a few; a busy storage may need more."""
END_SECONDS: Final = 60.0
"""Seconds to wait for the end of a transfer that was finalised or cancelled."""
POLL_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 20.0
"""Seconds between two signs of life."""
WAITS: Final = ("initializing", "resuming")
COMPLETE: Final = ("finalizing_success", "finished_success")
"""The engine finalises a download whose bytes were all read by itself."""
OVER: Final = ("finished_success", "finished_failure", "finished_cleanup")
ENDING: Final = ("finalizing_success", "finalizing_failure", "finalizing_cleanup", *OVER)
"""Phases in which nothing need be done to end it."""


def idle_seconds(run: str) -> int:
    """The inactivity time-out of the transfers of a run, which marks them."""
    digest = hashlib.sha256(run.encode()).digest()
    return SHORTEST_IDLE_SECONDS + int.from_bytes(digest[:4]) % _IDLE_CHOICES


@dataclass(frozen=True)
class Ticket:
    """A transfer in which the disk can be read."""

    id: str
    url: str
    """The URL of the disk's bytes at the daemon that can be reached; it is a secret."""
    options: routes.Options
    keep_alive: TransferKeepAlive


def request(engine: Engine, disk_id: str, what: str, *, run: str, host_id: str = "") -> str:
    """Ask for a transfer of a disk; returns its id.

    With format raw the daemon presents the flattened chain of the disk, and shows where it has data.

    Raises:
        StepError: BUSY, while the disk is locked; POWER, UNSUPPORTED, DENIED, NOT_FOUND.
    """
    document: dict[str, Any] = {
        "disk": {"id": disk_id},
        "direction": "download",  # the default is upload
        "format": "raw",
        "inactivity_timeout": str(idle_seconds(run)),
        "timeout_policy": "cancel",
    }
    if host_id:
        document["host"] = {"id": host_id}
    with _explained(what):
        return engine.change("begin the image transfer", "/imagetransfers", document).required("id")


def request_refused(engine: Engine, disk_id: str, what: str) -> None:
    """Ask for a transfer that the engine refuses, because the disk's VM runs; see `power`.

    If the VM was shut down by somebody in the same moment, the transfer is cancelled.

    Raises:
        StepError: the refusal.
    """
    transfer_id = request(engine, disk_id, what, run="")
    end(engine, transfer_id, cancel=True)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except StepError as error:
        if error.code is Exit.INVALID and "does not exist" in error.why:
            raise StepError(Exit.NOT_FOUND, what, error.why, "start a new import") from error
        raise type(error)(error.code, what, error.why, error.remedy) from error


@contextmanager
def acquire(engine: Engine, disk_id: str, what: str, *, run: str, host_id: str = "") -> Iterator[Ticket]:
    """A transfer of the disk for as long as the body runs. It is ended in every case.

    Raises:
        StepError: as `request`; UNREACHABLE, if no daemon can be reached; BROKEN_STREAM, if the transfer ends
            while
            the body runs.
        Stopped: a stop was requested.
    """
    transfer_id = request(engine, disk_id, what, run=run, host_id=host_id)
    try:
        transfer = _await_ready(engine, transfer_id, what)
        url, options = _choose_url(engine, transfer, what)
        with TransferKeepAlive(engine, transfer_id, url, what) as keep_alive:
            yield Ticket(transfer_id, url, options, keep_alive)
    except BaseException as error:
        log.info(
            "cancelling the image transfer", why="asked to stop" if isinstance(error, Stopped) else str(error)
        )
        _end_quietly(engine, transfer_id, cancel=True)
        raise
    _end_quietly(engine, transfer_id, cancel=False)


def _await_ready(engine: Engine, transfer_id: str, what: str) -> Answer:
    """The transfer in the phase `transferring`."""
    found: list[Answer] = []

    def is_ready() -> bool:
        transfer = read(engine, transfer_id)
        phase = transfer.text("phase") if transfer is not None else "gone"
        if transfer is not None and phase == "transferring":
            found.append(transfer)
            return True
        if phase not in WAITS:
            why = f"the image transfer is {phase}, before it could be used"
            raise StepError(Exit.BROKEN_STREAM, what, why, "it is tried again; see the events of the engine")
        return False

    if not until(is_ready, READY_SECONDS, engine.stop, pause=POLL_SECONDS):
        raise StepError(
            Exit.UNREACHABLE,
            what,
            f"the image transfer is not ready after {READY_SECONDS:g} s",
            "check the events of the engine, and the hosts",
        )
    return found[0]


def read(engine: Engine, transfer_id: str) -> Answer | None:
    """A transfer; None if the engine has forgotten it."""
    return engine.find("read the image transfer", f"/imagetransfers/{transfer_id}") or None


def _choose_url(engine: Engine, transfer: Answer, what: str) -> tuple[str, routes.Options]:
    """The URL of the host's daemon if it can be reached, else that of the proxy."""
    urls = list(dict.fromkeys(filter(None, (transfer.text("transfer_url"), transfer.text("proxy_url")))))
    if not urls:
        raise lost_fault(what, "the image transfer has no URL")
    failures: list[StepError] = []
    for url in urls:
        _check_url(url, what)
        name = f"ovirt-imageio at {urlsplit(url).hostname}"
        try:
            return url, routes.probe(engine, url, name)
        except StepError as error:
            if error.code is Exit.DENIED:
                raise lost_fault(what, error.what) from error
            log.info("a way to the disk cannot be used", why=str(error))
            failures.append(error)
    worst = next((error for error in failures if error.code is Exit.UNTRUSTED), failures[0])
    why = " | ".join(f"{error.what}: {error.why}" if error.why else error.what for error in failures)
    raise type(worst)(worst.code, what, why, worst.remedy)


def _check_url(url: str, what: str) -> None:
    """Refuse a URL that is not one of ovirt-imageio; nothing of it appears in a message."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme == "https" and bool(parts.hostname) and (parts.port or 443) > 0
    except ValueError:
        is_usable = False
    if not is_usable or any(ord(char) <= 32 or char in "\\\x7f" for char in url):
        raise StepError(
            Exit.INVALID,
            what,
            "the engine names no https URL for the disk",
            "check the engine's configuration",
        )


class TransferKeepAlive(KeepAlive):
    """Looks after a transfer.

    The engine extends the ticket of a transfer as long as the daemon is used. While a slow target takes no
    data nothing is read: a question about the ticket counts as use (IMG handlers/images.py, options).
    """

    def __init__(self, engine: Engine, transfer_id: str, url: str, what: str) -> None:
        super().__init__(engine.stop, what, thread="image-transfer")
        self._engine = engine
        self._transfer_id = transfer_id
        self._url = url

    def _run(self) -> None:
        while self._wait(BEAT_SECONDS):
            with suppress(Stopped):
                self._beat()

    def _beat(self) -> None:
        try:
            transfer = read(self._engine, self._transfer_id)
            phase = transfer.text("phase") if transfer is not None else "gone"
            if phase == "transferring":
                routes.probe(self._engine, self._url, "ovirt-imageio")
            elif phase not in (*COMPLETE, "gone"):
                self._set_lost(f"the image transfer is {phase}")
        except StepError as error:  # the reading notices what matters
            log.warning("a sign of life of the image transfer failed", why=str(error))


def end(engine: Engine, transfer_id: str, *, cancel: bool) -> bool:
    """End a transfer and wait for its end; True if it is over.

    Raises:
        StepError: the engine does not answer, or refuses it.
    """
    deadline = time.monotonic() + END_SECONDS
    is_requested = False
    while True:
        transfer = read(engine, transfer_id)
        phase = transfer.text("phase") if transfer is not None else "gone"
        if phase in (*OVER, "gone"):
            return True
        if phase not in (*ENDING, "cancelled_user", "cancelled_system") and not is_requested:
            action = "cancel" if cancel or phase != "transferring" else "finalize"
            is_requested = _request_end(engine, transfer_id, action)
        if time.monotonic() >= deadline:
            return False
        engine.stop.sleep(POLL_SECONDS)


def _request_end(engine: Engine, transfer_id: str, action: str) -> bool:
    """Ask for the end; False if it must be asked for again. The transfer may have ended a moment ago."""
    try:
        engine.change(f"{action} the image transfer", f"/imagetransfers/{transfer_id}/{action}", {})
    except StepError as error:
        if error.code not in (Exit.BUSY, Exit.NOT_FOUND, Exit.INVALID, Exit.UNREACHABLE):
            raise
        log.info(f"cannot {action} the image transfer now", why=error.why)
        return faults.is_not_found(error)
    return True


def _end_quietly(engine: Engine, transfer_id: str, *, cancel: bool) -> None:
    """As `end`, also after a stop. The bytes are proved complete by now, or another error is on its way."""
    try:
        if not end(engine.unstoppable(), transfer_id, cancel=cancel):
            log.warning("the image transfer has not ended yet; the engine ends it by itself")
    except Exception as error:
        log.warning("the image transfer could not be ended; the engine ends it by itself", why=str(error))


def cancel_left(engine: Engine, run: str, disk_ids: Collection[str]) -> list[str]:
    """Cancel all transfers that earlier attempts of the run left; returns messages about those that stay.

    The list is for administrators (ENG QueryType, GetAllImageTransfers). Another account waits for the
    engine, which cancels them by itself.
    """
    try:
        transfers = engine.read("list the image transfers", "/imagetransfers").elements("image_transfer")
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        log.info(
            "the account may not list image transfers: the engine cancels one that was left by itself",
            within_seconds=idle_seconds(run),
        )
        return []
    messages = [
        _cancel_one(engine, transfer.required("id"), _disk_id(transfer))
        for transfer in transfers
        if _is_ours(transfer, run, disk_ids)
    ]
    return [message for message in messages if message]


def _disk_id(transfer: Answer) -> str:
    return transfer.text("image", "id") or transfer.text("disk", "id")


def _is_ours(transfer: Answer, run: str, disk_ids: Collection[str]) -> bool:
    return (
        _disk_id(transfer) in disk_ids
        and transfer.text("direction") == "download"
        and transfer.number("inactivity_timeout") == idle_seconds(run)
        and transfer.text("phase") not in OVER
    )


def _cancel_one(engine: Engine, transfer_id: str, disk_id: str) -> str:
    """Cancel one transfer; returns why that failed, or ""."""
    try:
        if end(engine, transfer_id, cancel=True):
            log.info("cancelled the image transfer that an earlier attempt left", disk=disk_id)
            return ""
        why = f"it has not ended after {END_SECONDS:g} s"
    except StepError as error:
        why = str(error)
    log.warning("could not cancel an image transfer of an earlier attempt", why=why)
    return f"image transfer {transfer_id} of disk {disk_id}: {why}"

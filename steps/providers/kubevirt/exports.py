"""Exports of claims: create, wait, keep an eye on, and always delete.

    created ─> Pending ─> Ready ─ the exporter pod serves the claim ─> deleted
                  │ the claim is in use: the pod is deleted, Pending again
                  └ after its time to live KubeVirt deletes it

One export for each disk, of its claim. An export of the whole VM would mount all its claims into one pod: two
disks that are read at the same time would need two such pods for volumes that only one node may attach, and a
claim that is no disk, such as that of a TPM, would have to be ready, too.

Its name is made from the run and the disk, so that a later attempt finds what a killed one left. The Secret
with the token belongs to the export: Kubernetes deletes it with it, also at the end of the time to live.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from steps.model.contract import Exit, StepError, Stopped
from steps.model.kinds import GROUP
from steps.providers.keep_alive import KeepAlive
from steps.providers.kubevirt import api, checks, faults, links, power
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.api import Api, path_of

log = structlog.get_logger()

LABEL: Final = f"{GROUP}/export-of"
"""Label of our exports and their Secrets: the run. KubeVirt copies it to the pod and Service of the exporter,
so it is none of those by which vmferry finds its own objects: both may be in one cluster."""
TTL: Final = "24h0m0s"
"""Time to live of an export: one that nobody could delete is gone after that. A transfer that takes longer
resumes with another export."""
READY_SECONDS: Final = 600.0
"""Seconds until the exporter must be ready: its image may be pulled, and its volume must be attached."""
GONE_SECONDS: Final = 120.0
"""Seconds to wait until an export that was deleted is gone."""
BEAT_SECONDS: Final = 20.0
"""Seconds between two looks at an export in use."""
_TOKEN: Final = 32
"""Characters; KubeVirt's own tokens have 20."""
_LETTERS: Final = string.ascii_letters + string.digits
_TRY_AGAIN: Final = "it is tried again; see the events of the VirtualMachineExport at the source"


def name_of(run: str, disk_id: str) -> str:
    """The name of the export of a disk, and of its Secret."""
    return f"vmferry-{hashlib.sha256(f'{run}/{disk_id}'.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class Opened:
    """An export that is ready."""

    link: links.Link
    token: str = field(repr=False)
    keep_alive: ExportKeepAlive


@contextmanager
def acquire(
    source: Api, claim: str, what: str, *, run: str, disk_id: str, address: links.Address
) -> Iterator[Opened]:
    """An export of a claim for as long as the body runs. It is deleted in every case.

    Raises:
        StepError: BUSY, while the claim is in use; UNSUPPORTED, UNREACHABLE, UNTRUSTED; BROKEN_STREAM, if the
            export ends while the body runs; the errors of creating it.
        Stopped: a stop was requested.
    """
    name = name_of(run, disk_id)
    delete_and_wait(source, name, what)
    try:
        token = _create(source, name, claim, run)
        ready = _await_ready(source, name, claim, what)
        link = links.choose(source, ready, claim, token, what, address)
        with ExportKeepAlive(source, name, ready.uid, what) as keep_alive:
            yield Opened(link, token, keep_alive)
    except BaseException as error:
        log.info("deleting the export", why="asked to stop" if isinstance(error, Stopped) else str(error))
        raise
    finally:
        _delete_quietly(source, name)


def _create(source: Api, name: str, claim: str, run: str) -> str:
    """Create the export and the Secret with its token; returns the token."""
    labels = {LABEL: run}
    document = checks.export_document(source, name, claim, name, TTL, labels)
    created = source.create(
        f"create the export of the claim {claim}", path_of(api.EXPORTS, source.namespace), document
    )
    token = "".join(secrets.choice(_LETTERS) for _ in range(_TOKEN))
    owner = {
        "apiVersion": api.EXPORTS[0],
        "kind": "VirtualMachineExport",
        "name": name,
        "uid": created.required("metadata", "uid"),
    }
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": source.namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "stringData": {"token": token},
    }
    source.create("create the Secret of an export", path_of(api.SECRETS, source.namespace), secret)
    return token


def _await_ready(source: Api, name: str, claim: str, what: str) -> Answer:
    """The export in the phase Ready, with links."""
    end = power.CLOCK() + READY_SECONDS
    while True:
        export = read(source, name)
        if export is None:
            raise StepError(Exit.BROKEN_STREAM, what, "its export was deleted by somebody else", _TRY_AGAIN)
        phase = export.text("status", "phase")
        if phase == "Ready" and links.has_any(export):
            return export
        if phase == "Skipped":
            raise StepError(Exit.UNSUPPORTED, what, f"KubeVirt skips the export of the claim {claim}")
        if power.CLOCK() >= end:
            raise _not_ready(export, claim, what)
        source.stop.sleep(power.POLL_SECONDS)


def _not_ready(export: Answer, claim: str, what: str) -> StepError:
    """The error for an export that does not become ready, with KubeVirt's reason."""
    ready = export.condition("Ready")
    reason = ready.text("reason")
    why = (
        f"the export of the claim {claim} is {export.text('status', 'phase') or 'not begun'} after "
        f"{READY_SECONDS:g} s"
    )
    shown = ": ".join(filter(None, (reason, ready.text("message")[: faults.LONGEST_TEXT])))
    code = Exit.BUSY if reason == "InUse" else Exit.UNREACHABLE
    remedy = "leave the VM off, and end the pods that use the claim" if code is Exit.BUSY else _TRY_AGAIN
    return StepError(code, what, f"{why} ({shown})" if shown else why, remedy)


def read(source: Api, name: str) -> Answer | None:
    """An export; None if there is none."""
    return source.find("read the export", path_of(api.EXPORTS, source.namespace, name))


def delete(source: Api, name: str) -> bool:
    """Delete an export of ours and its Secret; whether there was an export."""
    found = source.delete("delete the export", path_of(api.EXPORTS, source.namespace, name))
    source.delete("delete the Secret of an export", path_of(api.SECRETS, source.namespace, name))
    return found


def delete_and_wait(source: Api, name: str, what: str) -> None:
    """Delete an export that an earlier attempt left, and wait until its name is free.

    Raises:
        StepError: BUSY, if it is not gone in time.
    """
    if not delete(source, name):
        return
    log.info("deleted the export that an earlier attempt left", name=name)
    end = power.CLOCK() + GONE_SECONDS
    while read(source, name) is not None:
        if power.CLOCK() >= end:
            raise StepError(
                Exit.BUSY, what, f"the export {name} of an earlier attempt is not gone", _TRY_AGAIN
            )
        source.stop.sleep(power.POLL_SECONDS)


def delete_left(source: Api, run: str, disk_ids: Iterable[str]) -> list[str]:
    """Delete all exports that earlier attempts of the run left; returns messages about those that stay."""
    messages = []
    for disk_id in disk_ids:
        name = name_of(run, disk_id)
        try:
            if delete(source, name):
                log.info("deleted the export that an earlier attempt left", name=name, disk=disk_id)
        except StepError as error:
            log.warning("could not delete an export of an earlier attempt", name=name, why=str(error))
            messages.append(f"VirtualMachineExport {source.namespace}/{name} of {disk_id}: {error}")
    return messages


def _delete_quietly(source: Api, name: str) -> None:
    """As `delete`, also after a stop. The bytes are proved complete by now, or an error is on its way."""
    try:
        delete(source.unstoppable(), name)
    except Exception as error:
        log.warning("the export could not be deleted; KubeVirt deletes it later", name=name, why=str(error))


class ExportKeepAlive(KeepAlive):
    """Watches an export in use: KubeVirt ends it when the VM is started, and at the end of its time."""

    def __init__(self, source: Api, name: str, uid: str, what: str) -> None:
        super().__init__(source.stop, what, thread="export")
        self._source = source
        self._name = name
        self._uid = uid

    def _run(self) -> None:
        while self._wait(BEAT_SECONDS):
            with suppress(Stopped):
                self._beat()

    def _beat(self) -> None:
        try:
            export = read(self._source, self._name)
        except StepError as error:  # the reading notices what matters
            log.info("cannot look at the export", why=str(error))
            return
        if export is None or export.uid != self._uid:
            self._set_lost("its export is gone")
        elif export.condition("Ready").text("reason") == "InUse":
            self._set_lost(f"the claim is in use: {export.condition('Ready').text('message')[:300]}")

"""A disk becomes a DataVolume: create, wait while CDI downloads, and mark as done."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE, Object
from steps.model.machine import Disk
from steps.model.plan import Plan
from steps.model.volumes import Volumes, volume_name
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.completion import (
    NO_WORKFLOW,
    WorkflowRef,
    completion_annotations,
    find_completed,
)
from steps.targets.cluster.ownership import annotations_of, owner_references
from steps.targets.cluster.published import Integrity
from steps.targets.cluster.serving import POLL, ServedDisk, ServeStep, Serving
from steps.targets.cluster.sibling import StepNode, refuse_without_serve
from steps.targets.cluster.vm_objects import attached_claims, is_handed_over
from steps.targets.kubevirt import objects
from steps.targets.kubevirt.volume_check import refuse_other_run, refuse_taken
from steps.targets.kubevirt.volume_state import (
    DATA_VOLUMES,
    INVALID_CLAIM,
    NO_VOLUME,
    QUOTA,
    SCRATCH,
    TOO_SMALL,
    VolumeState,
    volume_state,
)
from steps.targets.landing.storage import VolumeStorage, refuse_filesystem, storage_of
from steps.targets.target import ProgressCallback

log = structlog.get_logger()

STALLED_SECONDS: Final = 60 * 60.0
"""Seconds without any change after which a DataVolume counts as stalled. CDI itself ends an attempt after ten
minutes without a byte, and reports a hundredth of a per cent."""
QUOTA_SECONDS: Final = 10 * 60.0
"""Seconds that a claim may not fit into a quota: the scratch of another disk may leave room soon."""
VOLUME_SECONDS: Final = 15 * 60.0
"""Seconds that a claim may have no volume."""
DELETION_SECONDS: Final = 5 * 60.0
"""Seconds that the deletion of a DataVolume and its claim may take."""


class VolumePublication:
    """Publishes one disk as a DataVolume. An earlier attempt may have done any part of it."""

    def __init__(
        self,
        plan: Plan,
        disk: Disk,
        cluster: Cluster,
        serving: Serving,
        stop: Stop,
        *,
        volumes: Volumes,
        workflow: WorkflowRef = NO_WORKFLOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._cluster = cluster
        self._stop = stop
        self._workflow = workflow
        self._clock = clock
        self._namespace = plan.target.namespace
        self._name = volumes.names.get(disk.id) or volume_name(volumes.vm or plan.run, disk.id)
        self._last_failure = ""
        node = StepNode(cluster, "serve", disk.id, workflow)
        check = partial(refuse_without_serve, node, disk.id)
        self._serve = ServeStep(serving, disk.id, stop, check=check, clock=clock)

    def run(self, report: ProgressCallback) -> Object:
        """The DataVolume, imported and marked.

        Raises:
            StepError: CONFLICT, if its name is taken; BROKEN_STREAM with CDI's words, if CDI gives up;
                NO_SPACE or INVALID, if CDI cannot create its claim; UNREACHABLE, if it stalls.
        """
        completed = find_completed(self._cluster, DATA_VOLUMES, self._plan, self._disk.id, self._workflow)
        if completed is not None:
            log.info("an earlier attempt has published it", data_volume=completed["metadata"]["name"])
            return completed
        imported: Object | None = None
        while imported is None:
            served_disk = self._serve.served_disk()
            if not self._is_begun(served_disk):
                self._create(served_disk)
            imported = self._await_imported(served_disk, report)
        return self._mark_published(imported)

    # --- which DataVolume

    def _is_begun(self, served_disk: ServedDisk) -> bool:
        """Whether an earlier attempt of this run began one that can go on. One that cannot is deleted."""
        existing = self._get()
        if existing is None:
            return False
        refuse_other_run(existing, self._plan)
        if "deletionTimestamp" not in existing["metadata"]:
            why = self._fault(existing, served_disk)
            if not why:
                return True
            self._delete(existing, why)
        self._await_deleted()
        return False

    def _fault(self, existing: Object, served_disk: ServedDisk) -> str:
        """Why an earlier attempt's DataVolume is of no use; empty if it is."""
        state = volume_state(existing)
        if state.failed:
            return self._serve.redact(state.failed)
        if annotations_of(existing).get(markers.LANDED) != served_disk.landed:
            return "it was made from another file"
        if not state.imported and objects.url_of(existing) != self._serve.url(served_disk):
            return "the serve step has started again with a new URL"
        return ""

    def _delete(self, existing: Object, why: str) -> None:
        """Delete a DataVolume that no VM uses.

        Raises:
            StepError: CONFLICT, if a VM uses its claim.
        """
        users = [
            vm["metadata"]["name"]
            for vm in self._cluster.find(MACHINE, self._namespace)
            if self._name in attached_claims(vm).values() and is_handed_over(vm)
        ]
        if users:
            raise StepError(
                Exit.CONFLICT,
                f"DataVolume {self._namespace}/{self._name} cannot be replaced",
                f"VM {users[0]} runs on it, but {why}",
                "delete that VM if nobody needs it, then retry",
            )
        log.info(f"deleting DataVolume {self._name} of an earlier attempt and creating it again: {why}")
        self._cluster.delete(DATA_VOLUME, self._name, self._namespace, uid=existing["metadata"]["uid"])

    def _await_deleted(self) -> None:
        """Return when neither the DataVolume nor its claim exists."""
        end = self._clock() + DELETION_SECONDS
        while any(
            self._cluster.get(kind, self._name, self._namespace) is not None for kind in (DATA_VOLUME, CLAIM)
        ):
            if self._clock() > end:
                raise StepError(
                    Exit.BUSY,
                    f"DataVolume {self._namespace}/{self._name} of an earlier attempt is still being deleted",
                    "its claim may be in use by a pod",
                )
            self._stop.sleep(POLL)

    # --- create

    def _create(self, served_disk: ServedDisk) -> None:
        refuse_taken(self._cluster, self._namespace, self._name)
        storage = storage_of(self._cluster, self._plan, self._disk)
        refuse_filesystem(storage, self._disk.id, served_disk.taken_for)
        if self._checks_digests(storage, served_disk):
            served_disk = self._serve.served_disk(digest=True)
        manifest = self._manifest(storage, served_disk)
        try:
            self._cluster.create(manifest)
        except ExistsError:  # created by our request with a lost answer, or meanwhile by others
            refuse_other_run(self._require(), self._plan)
        log.info("DataVolume created", data_volume=self._name, storage_class=storage.storage_class)

    def _manifest(self, storage: VolumeStorage, served_disk: ServedDisk) -> Object:
        return objects.data_volume_manifest(
            self._plan,
            self._disk.id,
            name=self._name,
            url=self._serve.url(served_disk),
            landed=served_disk.landed,
            capacity=max(self._disk.capacity, served_disk.virtual_size),
            storage=storage,
            owners=owner_references(self._cluster, self._plan),
            sha512=served_disk.sha512,
        )

    def _checks_digests(self, storage: VolumeStorage, served_disk: ServedDisk) -> bool:
        """Whether this CDI compares digests: the API of a version that does not drops the field."""
        trial = served_disk.model_copy(update={"sha512": "0" * 128})
        try:
            answer = self._cluster.create(self._manifest(storage, trial), dry_run=True)
        except ExistsError:
            return False  # `_create` looks at it
        if objects.checksum_of(answer):
            return True
        log.warning("this version of CDI compares no digests: only a complete transfer is checked")
        return False

    # --- wait

    def _await_imported(self, served_disk: ServedDisk, report: ProgressCallback) -> Object | None:
        """Return when CDI has the disk; None if it never will, as its URL leads nowhere any more."""
        last_state, last_change = None, self._clock()
        while True:
            data_volume = self._require()
            state = volume_state(data_volume)
            report(int(served_disk.size * state.percent / 100), served_disk.size)
            if state.imported:
                return data_volume
            if self._serve.is_elsewhere(objects.url_of(data_volume)):
                log.warning("the serve step has started again with a new URL", data_volume=self._name)
                return None
            if state != last_state:
                self._log_problems(state, last_state)
                last_state, last_change = state, self._clock()
            self._refuse_waiting(state, self._clock() - last_change)
            self._stop.sleep(POLL)

    def _log_problems(self, state: VolumeState, last_state: VolumeState | None) -> None:
        """Log what went wrong; raise if CDI gave up, or always will."""
        self._last_failure = state.last_failure or self._last_failure
        if TOO_SMALL in state.last_failure and state.restarts:
            raise self._too_small_error()
        if state.failed:
            # With the fifth restart the next importer runs already: its predecessor's words are gone.
            raise StepError(
                Exit.BROKEN_STREAM,
                f"CDI could not import DataVolume {self._name}",
                self._serve.redact(self._last_failure or state.failed),
                "the next attempt deletes it and creates it again",
            )
        if state.blocked == INVALID_CLAIM:
            raise StepError(
                Exit.INVALID,
                f"CDI cannot create the claim of DataVolume {self._name}",
                state.blocked_message,
                "set spec.storageClass to a class whose StorageProfile has claimPropertySets",
            )
        if state.last_failure and (last_state is None or state.last_failure != last_state.last_failure):
            log.warning(f"CDI retries DataVolume {self._name}: {self._serve.redact(state.last_failure)}")
        if state.blocked and (last_state is None or state.blocked_message != last_state.blocked_message):
            log.info(f"CDI waits: {state.blocked_message}", data_volume=self._name)

    def _too_small_error(self) -> StepError:
        return StepError(
            Exit.NO_SPACE,
            f"the disk does not fit into the volume of DataVolume {self._name}, or into CDI's scratch space",
            f"CDI says: {TOO_SMALL}; a filesystem takes more than the share that CDI adds to the disk's size",
            "raise filesystemOverhead of the class in CDI's configuration (kubectl edit cdi), then retry",
        )

    def _refuse_waiting(self, state: VolumeState, seconds: float) -> None:
        """Raise StepError when nothing has changed for too long."""
        namespaced = f"{self._name} -n {self._namespace}"
        if state.blocked == QUOTA and seconds > QUOTA_SECONDS:
            raise StepError(
                Exit.NO_SPACE,
                f"the quota of namespace {self._namespace} has no room for DataVolume {self._name}",
                state.blocked_message,
                "raise it or free some of it, then retry",
            )
        if state.blocked == NO_VOLUME and seconds > VOLUME_SECONDS:
            raise StepError(
                Exit.NO_SPACE,
                f"the claim of DataVolume {self._name} has got no volume for {VOLUME_SECONDS / 60:g} minutes",
                state.blocked_message,
                f"see its events: kubectl describe pvc {namespaced}; then retry",
            )
        if state.blocked == SCRATCH and seconds > STALLED_SECONDS:
            raise StepError(
                Exit.NO_SPACE,
                f"CDI has got no scratch space for DataVolume {self._name}",
                state.blocked_message,
                f"see its events: kubectl describe pvc {namespaced}; raise the quota or free space; retry",
            )
        if seconds > STALLED_SECONDS:
            raise StepError(
                Exit.UNREACHABLE,
                f"DataVolume {self._name} makes no progress",
                f"it has been {state.phase or 'unknown to CDI'} at {state.percent:g} % for "
                f"{STALLED_SECONDS / 60:g} minutes",
                f"see its events: kubectl describe dv {namespaced}",
            )

    # --- mark

    def _mark_published(self, data_volume: Object) -> Object:
        """Mark the DataVolume as that of the disk, for `serve` and `build`."""
        digest = self._serve.served_disk(digest=True).sha512  # before the mark: the mark ends serve
        checked = objects.checksum_of(data_volume) == f"{objects.CHECKSUM}:{digest}"
        integrity = Integrity.SHA512 if checked else self._transport(data_volume)
        annotations = {
            **completion_annotations(self._plan, self._disk.id, self._workflow),
            markers.DIGEST: digest,
            markers.INTEGRITY: str(integrity),
        }
        change: Object = {"metadata": {"annotations": annotations}}
        return self._cluster.patch(DATA_VOLUME, self._name, change, self._namespace) or self._require()

    def _transport(self, data_volume: Object) -> Integrity:
        return Integrity.TLS if objects.url_of(data_volume).startswith("https:") else Integrity.TRANSFER_ONLY

    def _get(self) -> Object | None:
        return self._cluster.get(DATA_VOLUME, self._name, self._namespace)

    def _require(self) -> Object:
        data_volume = self._get()
        if data_volume is None or "deletionTimestamp" in data_volume["metadata"]:
            raise StepError(
                Exit.UNREACHABLE, f"DataVolume {self._name} was deleted", remedy="vmferry creates it again"
            )
        return data_volume

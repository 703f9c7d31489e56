"""The claims on which the disks of a VM land, created by `admit` before the VM is shut down.

    the disk     final class, modes and size; in the release namespace, or where that is also the namespace of
                 the import, under its final name
    the notes    a small claim with the records of the landing

A claim of a disk is marked unfinished until `hand-over`: no VM is created over one with that mark. `admit`
waits until all claims are bound, so that storage that cannot provide them is known while the VM still runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from steps.disk.volume_sink import sums_size
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, EVENT, PERSISTENT_VOLUME, STORAGE_CLASS, Object
from steps.model.landing import LandingDisk
from steps.model.machine import Disk, DiskId, Machine
from steps.model.mapping import Shape, disk_way
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import annotations_of, is_of_run, refuse_deleting
from steps.targets.cluster.run_objects import RunObjects
from steps.targets.cluster.serving import POLL
from steps.targets.landing.finished import is_finished
from steps.targets.landing.manifest import claim_manifest
from steps.targets.landing.placement import Placement
from steps.targets.landing.storage import StorageOf, VolumeStorage

log = structlog.get_logger()

BIND_SECONDS: Final = 5 * 60.0
"""Seconds that the claims may take to be bound: a cloud needs up to a minute for each."""
NOTES_BYTES: Final = 64 << 20
"""Bytes of the notes in addition to the checksums; a filesystem cannot be much smaller."""
FIRST_CONSUMER: Final = "WaitForFirstConsumer"


class LandingClaims:
    """The claims of one VM: of those of its disks that land on their volumes."""

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        cluster: Cluster,
        stop: Stop,
        *,
        volumes: Volumes,
        release: str,
        storage_of: StorageOf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._cluster = cluster
        self._stop = stop
        self._volumes = volumes
        self._release = release
        self._storage_of = storage_of
        self._clock = clock
        self._run_objects = RunObjects(plan, cluster, release)

    def ensure(self, shape: Shape, scratch: Sequence[Object] = ()) -> list[LandingDisk]:
        """Create what is missing and wait until all of it is bound; returns where each disk lands.

        `scratch` are the claims of the other disks of the VM, which nothing waits for, unless the import asks
        for a stage with all disks.

        Raises:
            StepError: NO_SPACE, for a quota or a class that cannot enlarge a claim; BUSY, while a claim of
                an earlier attempt is being deleted; UNREACHABLE, with the provisioner's words, if a claim is
                not bound in time; CONFLICT, for a foreign claim.
        """
        owner = self._run_objects.owner_reference()
        open_disks, found = [], []
        for disk in self._machine.disks:
            if disk_way(disk, self._plan.target) is not DiskWay.LAND:
                self._discard_landed(disk.id)
                continue
            storage = self._storage_of(self._cluster, self._plan, disk)
            is_done = self._is_handed_over(disk.id)
            found.append(self._landing_disk(disk, storage, is_done=is_done))
            if not is_done:
                open_disks.append((disk, storage))
        claims = [claim for disk, storage in open_disks for claim in self._manifests(disk, storage, owner)]
        for disk, storage in open_disks:
            self._discard_other(disk, storage)
        self._run_objects.ensure_claims([*claims, *scratch])
        self._await_bound(claims, shape, scratch)
        return found

    # --- the state of a disk

    def _landing_disk(self, disk: Disk, storage: VolumeStorage, *, is_done: bool) -> LandingDisk:
        mode = storage.volume_mode
        existing = self._cluster.get(CLAIM, self._claim_name(disk.id), self._release)
        if existing is not None and is_done:
            mode = str(existing["spec"].get("volumeMode") or mode)
        return LandingDisk.of(disk.id, self._claim_name(disk.id), mode, landed=is_done)

    def _claim_name(self, disk: DiskId) -> str:
        return landing_claim_name(self._plan, self._volumes, disk, self._release)

    def _is_handed_over(self, disk: DiskId) -> bool:
        """Whether the volume belongs to the claim in the import's namespace already.

        Its claim in the release namespace is lost then, and no pod can mount it.
        """
        name, namespace = self._volumes.names[disk], self._plan.target.namespace
        claim = self._cluster.get(CLAIM, name, namespace)
        if claim is None or not is_of_run(claim, self._plan):
            return False
        if is_finished(claim, self._plan, disk):
            return True
        volume = claim["spec"].get("volumeName")
        if namespace == self._release or not volume:
            return False
        found = self._cluster.get(PERSISTENT_VOLUME, volume)
        bound_to = ((found or {}).get("spec") or {}).get("claimRef") or {}
        return bool(bound_to.get("uid") == claim["metadata"]["uid"])

    def _discard_other(self, disk: Disk, storage: VolumeStorage) -> None:
        """Delete what an earlier attempt left for another class, and notes about a volume that is gone."""
        name, notes = self._claim_name(disk.id), names.notes(self._plan.run, disk.id)
        claim = self._cluster.get(CLAIM, name, self._release)
        if claim is not None and is_of_run(claim, self._plan):
            spec = claim["spec"]
            wanted = (storage.storage_class, storage.volume_mode, [storage.access_mode])
            given = (
                spec.get("storageClassName"),
                spec.get("volumeMode") or "Filesystem",
                spec.get("accessModes"),
            )
            if given != wanted or self._is_scratch(claim):
                log.info(f"claim {name} is of another class or mode, or scratch: deleting it", claim=name)
                claim = self._deleted(claim)
        if claim is not None:
            refuse_deleting(claim)
            return
        records = self._cluster.get(CLAIM, notes, self._release)
        if records is not None and is_of_run(records, self._plan):
            left = self._deleted(records)
            if left is not None:
                refuse_deleting(left)

    def _is_scratch(self, claim: Object) -> bool:
        """Whether an earlier attempt of the run copied the disk to this claim, to serve it from there."""
        return markers.UNFINISHED not in annotations_of(claim) and self._run_objects.is_of_request(claim)

    def _discard_landed(self, disk: DiskId) -> None:
        """Delete a claim on which the disk landed in an earlier attempt: scratch gets the same name.

        The disk has another way if its name at the source has changed since, so that another row fits.
        """
        claim = self._cluster.get(CLAIM, names.claim(self._plan.run, disk), self._release)
        if (
            claim is None
            or not is_of_run(claim, self._plan)
            or markers.UNFINISHED not in annotations_of(claim)
        ):
            return
        log.info(
            "the disk no longer lands on its volume: deleting its claim", claim=claim["metadata"]["name"]
        )
        left = self._deleted(claim)
        if left is not None:
            refuse_deleting(left)

    def _deleted(self, claim: Object) -> Object | None:
        """Delete the claim; returns it if it still exists, because a pod uses it."""
        metadata = claim["metadata"]
        self._cluster.delete(CLAIM, metadata["name"], self._release, uid=metadata["uid"])
        return self._cluster.get(CLAIM, metadata["name"], self._release)

    # --- the claims

    def _manifests(self, disk: Disk, storage: VolumeStorage, owner: Object) -> list[Object]:
        volume = claim_manifest(
            self._plan,
            disk.id,
            name=self._claim_name(disk.id),
            size=storage.claim_size(disk.capacity),
            storage=storage,
        )
        metadata = volume["metadata"]
        metadata["namespace"] = self._release
        metadata["annotations"] = {markers.UNFINISHED: f"{self._plan.run}/{disk.id}"}
        metadata["ownerReferences"] = [owner]
        return [volume, self._notes_manifest(disk, owner)]

    def _notes_manifest(self, disk: Disk, owner: Object) -> Object:
        scratch = self._plan.scratch
        size = int((NOTES_BYTES + 2 * sums_size(disk.capacity)) * scratch.filesystem_factor)
        storage_class = {"storageClassName": scratch.storage_class} if scratch.storage_class else {}
        return {
            "apiVersion": CLAIM.api_version,
            "kind": CLAIM.kind,
            "metadata": {
                "name": names.notes(self._plan.run, disk.id),
                "namespace": self._release,
                "labels": {**names.run_labels(self._plan), names.LABEL_NOTES: disk.id},
                "ownerReferences": [owner],
            },
            "spec": {
                **storage_class,
                "accessModes": [scratch.access_mode],
                "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": str(size)}},
            },
        }

    # --- waiting

    def _await_bound(self, manifests: Sequence[Object], shape: Shape, scratch: Sequence[Object]) -> None:
        """Return when every claim is bound; with a pod that uses all of them, where they wait for one.

        Also where a later stage mounts all disks: then the pod must have a node, and uses `scratch`, too.
        """
        wanted = [str(manifest["metadata"]["name"]) for manifest in manifests]
        others = [str(manifest["metadata"]["name"]) for manifest in scratch]
        is_together = bool(self._plan.guest.stages) and len(self._machine.disks) > 1 and bool(wanted)
        used = [*wanted, *others] if is_together else wanted
        placement = Placement(self._plan, self._cluster, self._release)
        end = self._clock() + BIND_SECONDS
        placed = False
        while waiting := self._unbound(wanted):
            if not placed and (is_together or self._waits_for_consumer(waiting)):
                placement.ensure(self._mounted(used), shape, self._run_objects.owner_reference())
                placed = True
            if self._clock() > end:
                raise self._binding_error(waiting, placement.problem() if placed else "")
            self._stop.sleep(POLL)
        if is_together:
            placement.ensure(self._mounted(used), shape, self._run_objects.owner_reference())
            placement.await_node(self._stop, self._clock, BIND_SECONDS)
        placement.remove()

    def _unbound(self, wanted: Sequence[str]) -> dict[str, Object]:
        claims = {name: self._cluster.get(CLAIM, name, self._release) for name in wanted}
        return {
            name: claim or {}
            for name, claim in claims.items()
            if ((claim or {}).get("status") or {}).get("phase") != "Bound"
        }

    def _mounted(self, wanted: Sequence[str]) -> Mapping[str, str]:
        """Volume modes of the claims by name."""
        claims = ((name, self._cluster.get(CLAIM, name, self._release)) for name in wanted)
        return {
            name: str(((claim or {}).get("spec") or {}).get("volumeMode") or "Filesystem")
            for name, claim in claims
        }

    def _waits_for_consumer(self, claims: Mapping[str, Object]) -> bool:
        classes = {str((claim.get("spec") or {}).get("storageClassName") or "") for claim in claims.values()}
        found = (self._cluster.get(STORAGE_CLASS, name) for name in sorted(classes - {""}))
        return any(one is not None and one.get("volumeBindingMode") == FIRST_CONSUMER for one in found)

    def _binding_error(self, waiting: Mapping[str, Object], placement: str) -> StepError:
        name = min(waiting)
        events = [event for event in self._events(name) if event.get("type") == "Warning"]
        newest = max(events, key=_event_time, default=None)
        said = str(newest.get("message") or "") if newest is not None else ""
        why = placement or said or "its provisioner reports nothing"
        others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        return StepError(
            Exit.UNREACHABLE,
            f"claim {self._release}/{name}{others} is not bound after {BIND_SECONDS / 60:g} minutes",
            why,
            "correct the storage class or free room on the nodes; the VM was not shut down",
        )

    def _events(self, name: str) -> list[Object]:
        try:
            found = self._cluster.find(EVENT, self._release)
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            return []
        about = (CLAIM.kind, name)
        return [one for one in found if _subject(one) == about]


def landing_claim_name(plan: Plan, volumes: Volumes, disk: DiskId, release: str) -> str:
    """The claim on which a disk lands: under its final name where both namespaces are one."""
    return volumes.names[disk] if plan.target.namespace == release else names.claim(plan.run, disk)


def _subject(event: Object) -> tuple[str, str]:
    subject = event.get("involvedObject") or {}
    return str(subject.get("kind") or ""), str(subject.get("name") or "")


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp") or "")

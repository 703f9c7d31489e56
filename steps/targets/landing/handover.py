"""Hands the volume of a landed disk over to the namespace of the import.

    RUN-disk-N ──bound──▶ volume                       1  the disk landed
    RUN-disk-N ──bound──▶ volume ◀─wants─ VM-disk-N     2  a claim that names the volume; the quota counts it
    RUN-disk-N   (lost)   volume ◀─bound─ VM-disk-N     3  the volume's claimRef is changed
                          volume ◀─bound─ VM-disk-N     4  marked as finished; the first claim is deleted

CDI moves volumes in the same way (containerized-data-importer pkg/controller/common/util.go, Rebind). In this
order the volume is never released, whatever its reclaim policy is. Each step looks at what is there first, so
it may be repeated after a kill at any point.

Where both namespaces are one, the claim has its final name from the start: it gets its owner and the mark.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, CONFIG_MAP, PERSISTENT_VOLUME, Object
from steps.model.machine import DiskId
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import ChangedError, Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.completion import NO_WORKFLOW, WorkflowRef, completion_annotations
from steps.targets.cluster.ownership import (
    MAX_TRIES,
    annotations_of,
    foreign_volume_error,
    is_of_run,
    labels_of,
    owner_references,
    refuse_deleting,
)
from steps.targets.cluster.permission import check_permission
from steps.targets.landing.finished import is_finished

log = structlog.get_logger()

BIND_SECONDS: Final = 120.0
"""Seconds that Kubernetes may take to bind the claim; it takes less than one."""
_LOOK_SECONDS: Final = 0.25
"""Seconds between two looks whether it is bound: the VM is off meanwhile."""


class HandOver:
    """The hand-over of one disk. An earlier attempt may have done any part of it."""

    def __init__(
        self,
        plan: Plan,
        disk: DiskId,
        cluster: Cluster,
        stop: Stop,
        *,
        volumes: Volumes,
        release: str,
        workflow: WorkflowRef = NO_WORKFLOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._cluster = cluster
        self._stop = stop
        self._release = release
        self._workflow = workflow
        self._clock = clock
        self._namespace = plan.target.namespace
        self._name = volumes.names[disk]
        self._source = names.claim(plan.run, disk)

    def run(self) -> str:
        """Hand the volume over; returns the name of its claim.

        Raises:
            StepError: NO_SPACE, for a quota of the namespace; CONFLICT, if the name, or the volume, belongs
                to others; INVALID, if the volume is gone; UNREACHABLE, if Kubernetes does not bind it.
        """
        if self._namespace == self._release:
            self._finish_in_place()
            return self._name
        check_permission(self._cluster, self._plan)
        claim = self._claim() or self._create()
        self._rebind(claim)
        self._await_bound()
        self._mark()
        self._delete_source()
        return self._name

    # --- in one namespace

    def _finish_in_place(self) -> None:
        """The claim gets the import as its owner, instead of the request, and loses its mark."""
        request = CONFIG_MAP.kind, names.request(self._plan.run)
        for _ in range(MAX_TRIES):
            claim = self._claim()
            if claim is None:
                raise self._lost_error(f"claim {self._release}/{self._name} does not exist")
            if is_finished(claim, self._plan, self._disk):
                return
            owners = [
                owner
                for owner in claim["metadata"].get("ownerReferences") or []
                if (owner["kind"], owner["name"]) != request
            ]
            new = owner_references(self._cluster, self._plan)
            owners += [owner for owner in new if owner["uid"] not in {one["uid"] for one in owners}]
            metadata = {
                "resourceVersion": claim["metadata"]["resourceVersion"],
                "ownerReferences": owners or None,
                "annotations": self._finished_annotations(),
            }
            with contextlib.suppress(ChangedError):
                self._cluster.patch(CLAIM, self._name, {"metadata": metadata}, self._namespace)
        raise StepError(Exit.BUSY, f"claim {self._namespace}/{self._name} keeps changing")

    # --- into another namespace

    def _claim(self) -> Object | None:
        """The claim in the namespace of the import, if it is that of this disk; None if there is none."""
        claim = self._cluster.get(CLAIM, self._name, self._namespace)
        if claim is None:
            return None
        refuse_deleting(claim)
        if not is_of_run(claim, self._plan) or labels_of(claim).get(names.LABEL_DISK) != self._disk:
            raise foreign_volume_error(claim, f"it is not the volume of {self._disk} of this import")
        return claim

    def _create(self) -> Object:
        """The claim that names the volume. Nothing is provided for it, because it names one."""
        landed = self._landed_claim()
        volume = self._volume(str(landed["spec"]["volumeName"]))
        self._refuse_taken(volume, landed["metadata"]["uid"])
        try:
            created = self._cluster.create(self._manifest(landed))
        except ExistsError:  # by our request with a lost answer, or meanwhile by others
            return self._claim() or self._create()
        log.info("the claim of the disk is created", claim=self._name, volume=volume["metadata"]["name"])
        return created

    def _landed_claim(self) -> Object:
        """The claim on which the disk landed."""
        claim = self._cluster.get(CLAIM, self._source, self._release)
        if claim is None or not is_of_run(claim, self._plan):
            raise self._lost_error(f"claim {self._release}/{self._source} does not exist")
        refuse_deleting(claim)
        if markers.UNFINISHED not in annotations_of(claim):
            raise foreign_volume_error(claim, f"{self._disk} did not land on it")
        if not claim["spec"].get("volumeName"):
            raise StepError(Exit.UNREACHABLE, f"claim {self._release}/{self._source} is not bound")
        return claim

    def _manifest(self, landed: Object) -> Object:
        spec = landed["spec"]
        owners = owner_references(self._cluster, self._plan)
        return {
            "apiVersion": CLAIM.api_version,
            "kind": CLAIM.kind,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {
                    names.LABEL_IMPORTED: "true",
                    **names.volume_labels(self._plan, self._disk),
                },
                "annotations": {markers.UNFINISHED: f"{self._plan.run}/{self._disk}"},
                **({"ownerReferences": owners} if owners else {}),
            },
            "spec": {
                "accessModes": spec["accessModes"],
                "volumeMode": spec.get("volumeMode") or "Filesystem",
                "storageClassName": spec.get("storageClassName") or "",
                "resources": {"requests": spec["resources"]["requests"]},
                "volumeName": spec["volumeName"],
            },
        }

    def _volume(self, name: str) -> Object:
        volume = self._cluster.get(PERSISTENT_VOLUME, name)
        if volume is None:
            raise self._lost_error(f"volume {name} does not exist")
        return volume

    def _refuse_taken(self, volume: Object, *allowed: str) -> None:
        """Raise StepError (CONFLICT) unless the volume is bound to one of the claims with these uids."""
        bound_to = volume["spec"].get("claimRef") or {}
        if bound_to.get("uid") not in allowed:
            raise StepError(
                Exit.CONFLICT,
                f"volume {volume['metadata']['name']} of {self._disk} is not handed over",
                "it is not bound to the claim on which the disk landed",
                "start the import again: the disk lands on a new volume",
            )

    def _refuse_other_volume(self, claim: Object) -> None:
        """Refuse a claim that names another volume: anybody in its namespace may have created it."""
        landed = self._cluster.get(CLAIM, self._source, self._release)
        if landed is None or not is_of_run(landed, self._plan):
            return
        if landed["spec"].get("volumeName") != claim["spec"].get("volumeName"):
            raise foreign_volume_error(claim, f"it names another volume than the one with {self._disk}")

    def _rebind(self, claim: Object) -> None:
        """Let the volume point to the new claim."""
        uid = claim["metadata"]["uid"]
        for _ in range(MAX_TRIES):
            volume = self._volume(str(claim["spec"].get("volumeName") or ""))
            self._refuse_other_volume(claim)
            bound_to = volume["spec"].get("claimRef") or {}
            if bound_to.get("uid") == uid:
                return
            self._refuse_taken(volume, self._landed_claim()["metadata"]["uid"])
            metadata = {"resourceVersion": volume["metadata"]["resourceVersion"]}
            reference = {
                "apiVersion": CLAIM.api_version,
                "kind": CLAIM.kind,
                "namespace": self._namespace,
                "name": self._name,
                "uid": uid,
                "resourceVersion": None,
            }
            change: Object = {"metadata": metadata, "spec": {"claimRef": reference}}
            with contextlib.suppress(ChangedError):
                self._cluster.patch(PERSISTENT_VOLUME, volume["metadata"]["name"], change)
        raise StepError(Exit.BUSY, f"volume {claim['spec']['volumeName']} keeps changing")

    def _await_bound(self) -> None:
        end = self._clock() + BIND_SECONDS
        while True:
            claim = self._claim()
            if claim is None:
                raise StepError(
                    Exit.UNREACHABLE,
                    f"claim {self._namespace}/{self._name} was deleted",
                    "vmferry tries again",
                )
            phase = (claim.get("status") or {}).get("phase")
            if phase == "Bound":
                return
            if phase == "Lost":
                raise self._lost_error(f"volume {claim['spec']['volumeName']} does not exist")
            if self._clock() > end:
                raise StepError(
                    Exit.UNREACHABLE,
                    f"claim {self._namespace}/{self._name} is not bound",
                    f"Kubernetes has not bound it to its volume for {BIND_SECONDS:g} s",
                    f"see its events: kubectl describe pvc {self._name} -n {self._namespace}",
                )
            self._stop.sleep(_LOOK_SECONDS)

    def _mark(self) -> None:
        change: Object = {"metadata": {"annotations": self._finished_annotations()}}
        self._cluster.patch(CLAIM, self._name, change, self._namespace)

    def _finished_annotations(self) -> dict[str, str | None]:
        marks = completion_annotations(self._plan, self._disk, self._workflow)
        return {**marks, markers.UNFINISHED: None}

    def _delete_source(self) -> None:
        """Delete the claim that has lost its volume. It stays until the pods that used it are deleted."""
        claim = self._cluster.get(CLAIM, self._source, self._release)
        if claim is not None and is_of_run(claim, self._plan):
            self._cluster.delete(CLAIM, self._source, self._release, uid=claim["metadata"]["uid"])

    def _lost_error(self, why: str) -> StepError:
        return StepError(
            Exit.INVALID,
            f"the volume of {self._disk} is gone",
            why,
            "annotate the import with migration.harvesterhci.io/retry=true: vmferry copies the disk again",
        )

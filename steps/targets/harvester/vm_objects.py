"""The VM: its claims, its VirtualMachine, its start, and the release of all of them on success."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape, TargetDisk
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.harvester import markers, objects
from steps.targets.harvester.claim_check import verified_claim
from steps.targets.harvester.completion import published_for
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.mac_conflict import explain_mac_conflict
from steps.targets.harvester.ownership import (
    annotations_of,
    labels_of,
    owner_references,
    refuse_deleting,
    refuse_foreign,
    release_ownership,
)
from steps.targets.harvester.serving import POLL
from steps.targets.harvester.storage import Backend

log = structlog.get_logger()

RUNNING: Final = "RerunOnFailure"
REBUILD_REMEDY: Final = (
    "annotate the import with migration.harvesterhci.io/retry=true: vmferry builds it again"
)
"""RETRY in Argo repeats only the failed step, not `build`, which has succeeded."""
STALE_REASON: Final = "its disks are older than those at the source, where the VM was started again"
READY_SECONDS: Final = 15 * 60.0
"""Seconds that a started VM may take to be ready: its volumes are attached, its image pulled, QEMU starts."""


class VmObjects:
    """The objects of `build` and `start` in the import's namespace."""

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        stop: Stop,
        *,
        volumes: Volumes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._volumes = volumes
        self._cluster = cluster
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace

    def build(self, shape: Shape) -> list[str]:
        """Create the claims and the stopped VM; a VM that is already handed over is not touched.

        Raises:
            StepError: CONFLICT, for a foreign VM, or one of an earlier run that somebody used and that is
                stale; as `_images` and `verified_claim`.
        """
        existing = self._find_vm(shape.name)
        if existing is not None:
            _refuse_used_and_stale(existing)
        if existing is not None and is_handed_over(existing):
            return [f"VM {shape.name} already exists and belongs to its owner: nothing was changed"]
        images = self._images(shape)
        owners = owner_references(self._cluster, self._plan)
        claims = {disk.id: self._claim(images[disk.id], disk, owners) for disk in shape.disks}
        self._create_or_update(shape, objects.vm_manifest(self._plan, shape, claims, owners), existing)
        if not shape.start:
            self.release(shape)
            self._patch_vm(shape.name, {"metadata": {"annotations": {markers.HANDED_OVER: "left off"}}})
        return [f"{disk}: claim {claim}" for disk, claim in claims.items()]

    def start(self, shape: Shape) -> None:
        """Start the VM; only once, as its owner starts and stops it from then on.

        Raises:
            StepError: CONFLICT, if a claim of a disk does not belong to this import; STALE, if the VM was
                stopped because the VM at its source is used again.
        """
        vm = self._require_vm(shape.name)
        if markers.STALE in annotations_of(vm):
            raise StepError(Exit.STALE, f"VM {shape.name} is stale", STALE_REASON, REBUILD_REMEDY)
        if not is_handed_over(vm):
            self._check_volumes(vm, shape)
            metadata = {"annotations": {markers.HANDED_OVER: "started"}}
            with explain_mac_conflict(shape):
                self._patch_vm(shape.name, {"metadata": metadata, "spec": {"runStrategy": RUNNING}})

    def wait(self, shape: Shape) -> None:
        """Return when the VM is ready and all its objects are released.

        Raises:
            StepError: UNREACHABLE, with KubeVirt's reasons, if it is not ready in time.
        """
        end, logged = self._clock() + READY_SECONDS, ""
        while not (status := self._require_vm(shape.name).get("status") or {}).get("ready"):
            vm_state = describe_vm_status(status)
            if vm_state != logged:
                log.info(f"machine {shape.name}: {vm_state}")
                logged = vm_state
            if self._clock() > end:
                remedy = f"see kubectl describe vm {shape.name}; retry to wait for it again"
                why = f"after {READY_SECONDS / 60:g} minutes KubeVirt reports: {vm_state}"
                raise StepError(Exit.UNREACHABLE, f"VM {shape.name} is not ready", why, remedy)
            self._stop.sleep(POLL)
        self.release(shape)

    def release(self, shape: Shape) -> None:
        """Remove the import from its objects' owners; the VM last, so that it never loses its volumes."""
        owned: list[tuple[Kind, Object]] = [
            (IMAGE, owned_object) for owned_object in self._images(shape).values()
        ]
        owned += [(CLAIM, owned_object) for owned_object in self._claims()]
        for kind, resource in [*owned, (MACHINE, self._require_vm(shape.name))]:
            release_ownership(self._cluster, kind, resource, self._plan)

    def _claims(self) -> list[Object]:
        """The claims of this run, and those without a run label, which earlier versions did not write."""
        labels = {names.LABEL_UID: names.labels(self._plan)[names.LABEL_UID]}
        claims = self._cluster.find(CLAIM, self._namespace, labels)
        return [claim for claim in claims if labels_of(claim).get(names.LABEL_RUN) in (None, self._plan.run)]

    def _images(self, shape: Shape) -> dict[DiskId, Object]:
        """The image of each disk that `image` finished.

        Raises:
            StepError: INVALID, if one does not exist.
        """
        run_images = self._cluster.find(IMAGE, self._namespace, {names.LABEL_RUN: self._plan.run})
        by_mark = {annotations_of(image).get(markers.PUBLISHED): image for image in run_images}
        images = {disk.id: by_mark.get(published_for(self._plan, disk.id)) for disk in shape.disks}
        missing = sorted(disk for disk, image in images.items() if image is None)
        if missing:
            raise StepError(
                Exit.INVALID,
                f"there is no image of {', '.join(missing)}",
                "it was deleted",
                "start a new import",
            )
        return {disk: image for disk, image in images.items() if image is not None}

    def _claim(self, image: Object, disk: TargetDisk, owners: list[Object]) -> str:
        """The name of the disk's claim, which exists and is ours."""
        if image["spec"].get("backend") == Backend.CDI:
            claim = self._cdi_claim(image["metadata"]["name"])
        else:
            claim = self._backing_image_claim(image, disk, owners)
        verified_claim(self._cluster, self._plan, disk.id, claim, image)
        return str(claim["metadata"]["name"])

    def _backing_image_claim(self, image: Object, disk: TargetDisk, owners: list[Object]) -> Object:
        """The claim over a backing image, created now or by an earlier attempt."""
        name = self._volumes.names.get(disk.id, image["metadata"]["name"])
        manifest = objects.claim_manifest(
            self._plan, disk, name=name, image=image, image_state=image_state(image), owners=owners
        )
        with contextlib.suppress(ExistsError):
            return self._cluster.create(manifest)
        claim = self._cluster.get(CLAIM, name, self._namespace)
        if claim is None:
            raise StepError(Exit.BUSY, f"claim {name} was deleted just now")
        return claim

    def _cdi_claim(self, name: str) -> Object:
        """CDI's claim with the image's name, which is the VM's volume directly."""
        claim = self._cluster.get(CLAIM, name, self._namespace)
        if claim is None:
            raise StepError(
                Exit.UNREACHABLE, f"CDI has not created claim {self._namespace}/{name} from the image"
            )
        return claim

    def _check_volumes(self, vm: Object, shape: Shape) -> None:
        """Raise StepError unless every disk of the import uses a claim of the import."""
        claim_names = attached_claims(vm)
        for disk, image in self._images(shape).items():
            name = claim_names.get(disk)
            claim = self._cluster.get(CLAIM, name, self._namespace) if name else None
            if claim is None:
                why = f"claim {self._namespace}/{name} was deleted" if name else "it was detached from the VM"
                raise StepError(Exit.INVALID, f"VM {shape.name} has no volume for {disk}", why, "retry build")
            verified_claim(self._cluster, self._plan, disk, claim, image)

    def _create_or_update(self, shape: Shape, manifest: Object, existing: Object | None) -> None:
        """Create the VM, or update our own one to the current request."""
        with explain_mac_conflict(shape):
            if existing is None:
                try:
                    self._cluster.create(manifest)
                except ExistsError:  # created meanwhile: by us, with a lost answer, or by others
                    existing = self._require_vm(manifest["metadata"]["name"])
            if existing is not None:
                self._cluster.apply(manifest)
                if markers.STALE in annotations_of(existing):
                    self._patch_vm(shape.name, {"metadata": {"annotations": {markers.STALE: None}}})

    def _find_vm(self, name: str) -> Object | None:
        """Our VM or None. Raises StepError (CONFLICT) for a foreign VM."""
        vm = self._cluster.get(MACHINE, name, self._namespace)
        if vm is not None:
            refuse_foreign(vm, self._plan)
            refuse_deleting(vm)
        return vm

    def _require_vm(self, name: str) -> Object:
        vm = self._find_vm(name)
        if vm is None:
            raise StepError(Exit.INVALID, f"VM {name} does not exist", "it was deleted", REBUILD_REMEDY)
        return vm

    def _patch_vm(self, name: str, change: Object) -> None:
        self._cluster.patch(MACHINE, name, change, self._namespace)


def attached_claims(vm: Object) -> dict[str, str]:
    """Names of a VM's claims, by the names of its volumes. `build` names a volume after its disk."""
    volumes = vm["spec"].get("template", {}).get("spec", {}).get("volumes") or []
    return {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if volume.get("persistentVolumeClaim")
    }


def is_handed_over(machine: Object) -> bool:
    """Whether it was handed over: by `start` or `build`, or by a person who started it meanwhile."""
    started = machine["spec"].get("runStrategy") != objects.HALTED
    return started or markers.HANDED_OVER in annotations_of(machine)


def _refuse_used_and_stale(machine: Object) -> None:
    """Refuse a stale VM that ran here: it may have written something that somebody needs."""
    if markers.STALE in annotations_of(machine) and markers.HANDED_OVER in annotations_of(machine):
        metadata = machine["metadata"]
        where = f"{metadata['name']} -n {metadata['namespace']}"
        raise StepError(
            Exit.CONFLICT,
            f"VM {metadata['namespace']}/{metadata['name']} of an earlier run already exists",
            f"it is stale: {STALE_REASON}",
            f"if nobody needs it, delete it (kubectl delete vm {where}), then retry",
        )


def describe_vm_status(status: dict[str, Any]) -> str:
    """KubeVirt's state of a VM, and all its reasons for not being ready."""
    reasons = [
        f"{condition['type']} {condition['status']}: {condition['message']}"
        for condition in status.get("conditions") or []
        if condition.get("message")
    ]
    return "; ".join([status.get("printableStatus") or "no state yet", *reasons])

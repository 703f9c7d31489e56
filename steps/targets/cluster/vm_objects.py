"""The VM: its VirtualMachine over its volumes, its start, and the release of all of them on success.

How a target makes the volumes is in its `DiskVolumes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, MACHINE, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape, TargetDisk
from steps.model.plan import DiskWay, Plan
from steps.model.vm_fields import HALTED, check_request, run_strategy
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.boot.fallback import devices_digest
from steps.targets.cluster.mac_conflict import explain_mac_conflict
from steps.targets.cluster.ownership import (
    annotations_of,
    owner_references,
    refuse_deleting,
    refuse_foreign,
    release_ownership,
)
from steps.targets.cluster.serving import POLL

log = structlog.get_logger()

REBUILD_REMEDY: Final = (
    "annotate the import with migration.harvesterhci.io/retry=true: vmferry builds it again"
)
"""RETRY in Argo repeats only the failed step, not `build`, which has succeeded."""
STALE_REASON: Final = "its disks are older than those at the source, where the VM was started again"
READY_SECONDS: Final = 15 * 60.0
"""Seconds that a started VM may take to be ready: its volumes are attached, its image pulled, QEMU starts."""


class DiskVolumes(Protocol):
    """The volumes of a VM's disks at one target."""

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        """The name of each disk's claim.

        A claim over an image exists and belongs to this import; that of a disk that lands may not exist yet.

        Raises:
            StepError: INVALID, if a disk was not imported; CONFLICT, for a claim of others.
        """

    def is_landing(self, shape: Shape) -> bool:
        """Whether a disk is still landing on a claim that the VM would use: somebody could start the VM."""

    def verify(self, disk: TargetDisk, claim: Object) -> None:
        """Raise StepError (CONFLICT) unless the claim holds the disk and belongs to this import."""

    def vm_manifest(self, shape: Shape, claims: Mapping[DiskId, str], owners: list[Object]) -> Object:
        """The stopped VM over its claims."""

    def release(self, shape: Shape, vm: Object) -> None:
        """Give the volumes to their next owner: nobody, or `vm`. The import owns them no longer."""


class VmObjects:
    """The objects of `build` and `start` in the import's namespace."""

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        stop: Stop,
        volumes: DiskVolumes,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._volumes = volumes
        self._cluster = cluster
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace

    def build(self, shape: Shape) -> list[str]:
        """Create the stopped VM over its claims; a VM that is already handed over is not touched.

        Raises:
            StepError: CONFLICT, for a foreign VM, or one of an earlier run that somebody used and that is
                stale; INVALID, for a request that asks for more than an import may; the errors of
                `DiskVolumes.claims`.
        """
        existing = self._find_vm(shape.name)
        if existing is not None:
            _refuse_used_and_stale(existing)
        if existing is not None and is_handed_over(existing):
            return [f"VM {shape.name} already exists and belongs to its owner: nothing was changed"]
        owners = owner_references(self._cluster, self._plan)
        claims = self._volumes.claims(shape, owners)
        if self._volumes.is_landing(shape):
            return [f"VM {shape.name} is created after its disks have landed: they land in its own namespace"]
        self._create_or_update(shape, self._volumes.vm_manifest(shape, claims, owners), existing)
        return [f"{disk}: claim {claim}" for disk, claim in claims.items()]

    def start(self, shape: Shape) -> None:
        """Start the VM; only once, as its owner starts and stops it from then on.

        Raises:
            StepError: CONFLICT, if a claim of a disk does not belong to this import; STALE, if the VM was
                stopped because the VM at its source is used again.
        """
        self._hand_over(shape, "started", {"runStrategy": run_strategy(shape)})

    def leave_off(self, shape: Shape) -> None:
        """Give the VM to its owner without a start. Raises StepError, as `start` does."""
        strategy = run_strategy(shape)
        self._hand_over(shape, "left off", {} if strategy == HALTED else {"runStrategy": strategy})
        self.release(shape)

    def _hand_over(self, shape: Shape, mark: str, change: Object) -> None:
        vm = self._built_vm(shape)
        if markers.STALE in annotations_of(vm):
            raise StepError(Exit.STALE, f"VM {shape.name} is stale", STALE_REASON, REBUILD_REMEDY)
        if not is_handed_over(vm):
            self._check_volumes(vm, shape)
            notes = {markers.HANDED_OVER: mark}
            if self._plan.boot_check is not None and shape.start:
                notes[markers.BOOT_CHECK] = f"{markers.BUILT}{devices_digest(vm)}"
            metadata = {"annotations": notes}
            with explain_mac_conflict(shape):
                self._patch_vm(shape.name, {"metadata": metadata, "spec": change})

    def wait(self, shape: Shape) -> None:
        """Return when the VM is ready and all its objects are released.

        With a boot check they are not: `check` releases them once the guest has booted.

        Raises:
            StepError: as `wait_ready`.
        """
        self.wait_ready(shape)
        if self._plan.boot_check is None:
            self.release(shape)

    def wait_ready(self, shape: Shape) -> None:
        """Return when the VM is ready.

        Raises:
            StepError: UNREACHABLE, with KubeVirt's reasons, if it is not ready in time.
        """
        end, logged = self._clock() + READY_SECONDS, ""
        while not (status := self.require_vm(shape.name).get("status") or {}).get("ready"):
            vm_state = describe_vm_status(status)
            if vm_state != logged:
                log.info(f"machine {shape.name}: {vm_state}")
                logged = vm_state
            if self._clock() > end:
                remedy = f"see kubectl describe vm {shape.name}; retry to wait for it again"
                why = f"after {READY_SECONDS / 60:g} minutes KubeVirt reports: {vm_state}"
                raise StepError(Exit.UNREACHABLE, f"VM {shape.name} is not ready", why, remedy)
            self._stop.sleep(POLL)

    def release(self, shape: Shape) -> None:
        """Remove the import from its objects' owners; the VM last, so that it never loses its volumes."""
        vm = self.require_vm(shape.name)
        self._volumes.release(shape, vm)
        release_ownership(self._cluster, MACHINE, vm, self._plan)

    def _built_vm(self, shape: Shape) -> Object:
        """The VM of `build`, which is made now if `build` could not make it before its disks had landed."""
        if self._find_vm(shape.name) is None and self._plan.target.way is DiskWay.LAND:
            for line in self.build(shape):
                log.info(line)
            if self._volumes.is_landing(shape):
                why = "the hand-over of a disk is not complete"
                raise StepError(Exit.INVALID, f"VM {shape.name} cannot be created", why, "retry hand-over")
        return self.require_vm(shape.name)

    def _check_volumes(self, vm: Object, shape: Shape) -> None:
        """Raise StepError unless every disk of the import uses a claim of the import."""
        claim_names = attached_claims(vm)
        for disk in shape.disks:
            name = claim_names.get(disk.id)
            claim = self._cluster.get(CLAIM, name, self._namespace) if name else None
            if claim is None:
                why = (
                    f"claim {self._namespace}/{name} does not exist"
                    if name
                    else "it was detached from the VM"
                )
                raise StepError(
                    Exit.INVALID, f"VM {shape.name} has no volume for {disk.id}", why, "retry build"
                )
            self._volumes.verify(disk, claim)

    def _create_or_update(self, shape: Shape, manifest: Object, existing: Object | None) -> None:
        """Create the VM, or update our own one to the current request."""
        check_request(self._plan)
        with explain_mac_conflict(shape):
            if existing is None:
                try:
                    self._cluster.create(manifest)
                except ExistsError:  # created meanwhile: by us, with a lost answer, or by others
                    existing = self.require_vm(manifest["metadata"]["name"])
            if existing is not None:
                self._cluster.apply(manifest)
                # The VM is as the request says again: what an earlier start has shown counts no more.
                marks = {markers.STALE, markers.BOOT_CHECK, markers.HANDED_OVER}
                old = marks & annotations_of(existing).keys()
                if old:
                    self._patch_vm(shape.name, {"metadata": {"annotations": dict.fromkeys(sorted(old))}})

    def _find_vm(self, name: str) -> Object | None:
        """Our VM or None. Raises StepError (CONFLICT) for a foreign VM."""
        vm = self._cluster.get(MACHINE, name, self._namespace)
        if vm is not None:
            refuse_foreign(vm, self._plan)
            refuse_deleting(vm)
        return vm

    def require_vm(self, name: str) -> Object:
        """Our VM. Raises StepError: INVALID, if it was deleted; the errors for a foreign VM."""
        vm = self._find_vm(name)
        if vm is None:
            raise StepError(Exit.INVALID, f"VM {name} does not exist", "it was deleted", REBUILD_REMEDY)
        return vm

    def _patch_vm(self, name: str, change: Object) -> None:
        self._cluster.patch(MACHINE, name, change, self._namespace)


def stopped_vm(plan: Plan, manifest: Object, owners: list[Object]) -> Object:
    """The VM of a target as `build` creates it: it belongs to the import, and does not run."""
    metadata = manifest["metadata"]
    metadata["labels"] = {**metadata["labels"], **names.labels(plan)}
    # Never none at all: Harvester writes into them when the UI deletes a VM (pkg/api/vm/store.go).
    metadata["annotations"] = {**metadata.get("annotations", {}), markers.BUILT_BY: plan.run}
    if owners:
        metadata["ownerReferences"] = owners
    manifest["spec"]["runStrategy"] = HALTED
    return manifest


def attached_claims(vm: Object) -> dict[str, str]:
    """Names of a VM's claims, by the names of its volumes. `build` names a volume after its disk."""
    volumes = vm["spec"].get("template", {}).get("spec", {}).get("volumes") or []
    return {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if volume.get("persistentVolumeClaim")
    }


def is_handed_over(machine: Object) -> bool:
    """Whether it was handed over: by `start` or `build`, or by a person who started it meanwhile.

    One that the boot check has stopped, and not started again, is not.
    """
    if machine["spec"].get("runStrategy") != HALTED:
        return True
    annotations = annotations_of(machine)
    is_stopped_by_us = annotations.get(markers.BOOT_CHECK) == markers.FALLING_BACK
    return markers.HANDED_OVER in annotations and not is_stopped_by_us


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

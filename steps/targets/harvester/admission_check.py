"""Whether the cluster would accept the objects of an import: server-side dry runs, and sums of quotas.

The objects are those that `image` and `build` create later. The API server, its webhooks and its quotas check
them and store none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from steps.model.admission import Admission, Finding, not_checked, passed, warned
from steps.model.contract import Exit, StepError, is_retryable
from steps.model.kinds import CLAIM, IMAGE, MACHINE, RESOURCE_QUOTA, Object
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape, TargetDisk
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster, ExistsError
from steps.targets.harvester import markers, objects, quota
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.mac_conflict import explain_mac_conflict
from steps.targets.harvester.ownership import owner_references, refuse_deleting, refuse_foreign
from steps.targets.harvester.storage import Backend, ImageStorage, storage_class_name, storage_for
from steps.targets.harvester.vm_objects import is_handed_over

_NO_DRY_RUN: Final = "does not support dry run"
"""k8s.io/apiserver, pkg/admission/plugin/webhook/errors/statuserror.go: a webhook that has side effects."""
_MIB: Final = 1 << 20
T = TypeVar("T")


class AdmissionCheck:
    """The checks of one import at its target."""

    def __init__(self, plan: Plan, machine: Machine, cluster: Cluster, volumes: Volumes) -> None:
        self._plan = plan
        self._volumes = volumes
        self._machine = machine
        self._cluster = cluster
        self._namespace = plan.target.namespace
        self._reasons: list[StepError] = []
        self._findings: list[Finding] = []

    def run(self, shape: Shape) -> Admission:
        """Make every check.

        Raises:
            StepError: all reasons why the cluster refuses, with the code of the first; or the first
                transient error.
        """
        owners = owner_references(self._cluster, self._plan)
        storages = self._storages()
        for disk, storage in storages.items():
            self._dry_run(f"image of {disk}", self._image_manifest(disk, storage, owners))
        claims = {
            disk.id: self._claim_manifest(disk, storages[disk.id], owners)
            for disk in shape.disks
            if disk.id in storages
        }
        for disk, claim in claims.items():
            self._dry_run(f"claim of {disk}", claim)
        if len(storages) == len(self._machine.disks):
            vm = self._record_refusal("vm", lambda: self._check_vm(shape, claims, owners))
            self._record_refusal("quota", lambda: self._check_quota(shape, storages, claims, vm))
        self._raise_refusals()
        return Admission(findings=tuple(self._findings))

    # --- the frame of a check

    def _record_refusal(self, check: str, call: Callable[[], T]) -> T | None:
        """The result of `call`; None if the cluster refuses or cannot tell, which is recorded."""
        try:
            return call()
        except StepError as error:
            if is_retryable(error.code):
                raise
            if _NO_DRY_RUN in error.why:
                self._findings.append(not_checked(check, error.why))
            else:
                self._reasons.append(error)
        return None

    def _dry_run(self, check: str, manifest: Object) -> None:
        """Let the cluster check an object that does not exist yet."""

        def dry_run() -> None:
            try:
                self._cluster.create(manifest, dry_run=True)
            except ExistsError:
                return  # from an earlier attempt; the step that creates it checks the owner
            self._findings.append(passed(check))

        self._record_refusal(check, dry_run)

    def _raise_refusals(self) -> None:
        if not self._reasons:
            return
        first = self._reasons[0]
        if len(self._reasons) == 1:
            raise first
        texts = dict.fromkeys(str(reason) for reason in self._reasons)
        raise StepError(first.code, f"the cluster refuses {self._machine.name}", " | ".join(texts))

    # --- the checks

    def _storages(self) -> dict[DiskId, ImageStorage]:
        """The storage of each disk, if the cluster has it."""
        storages = {}
        for disk in self._machine.disks:
            class_name = storage_class_name(self._plan.target, disk)
            storage = self._record_refusal(
                f"storage of {disk.id}", partial(storage_for, self._cluster, class_name)
            )
            if storage is not None:
                storages[disk.id] = storage
        return storages

    def _image_manifest(self, disk: DiskId, storage: ImageStorage, owners: list[Object]) -> Object:
        return objects.image_manifest(
            self._plan,
            disk,
            name=self._image_name(disk, storage),
            display_name=self._display_name(disk),
            url=f"http://not-served-yet/{disk}.{self._plan.target.format}",
            landed="",
            storage=storage,
            owners=owners,
        )

    def _display_name(self, disk: DiskId) -> str:
        """The image's display name; with a suffix if an image of an earlier import has it.

        `image` reuses that one, or creates another: Harvester allows a display name only once.
        """
        display_name = markers.display_name(self._plan.import_, disk)
        label = {markers.IMAGE_DISPLAY_NAME: markers.display_label(display_name)}
        if not self._cluster.find(IMAGE, self._namespace, label):
            return display_name
        suffix = markers.image_name(self._plan.import_, disk, "another").removeprefix("image-")[:8]
        return markers.display_name(self._plan.import_, disk, suffix)

    def _image_name(self, disk: DiskId, storage: ImageStorage) -> str:
        volume = self._volumes.names.get(disk, "") if storage.backend is Backend.CDI else ""
        return markers.volume_image_name(self._plan.import_, disk, volume)

    def _claim_manifest(self, disk: TargetDisk, storage: ImageStorage, owners: list[Object]) -> Object:
        """The claim of the disk, with the requested class: the image's own class does not exist yet."""
        image = self._image_name(disk.id, storage)
        return objects.claim_manifest(
            self._plan,
            disk,
            name=self._volumes.names.get(disk.id, image),
            image={"metadata": {"name": image, "namespace": self._namespace}},
            image_state=image_state({"status": {"storageClassName": storage.storage_class}}),
            owners=owners,
        )

    def _check_vm(
        self,
        shape: Shape,
        claims: Mapping[DiskId, Object],
        owners: list[Object],
    ) -> Object | None:
        """The VM as the cluster would store it; None if the VM already belongs to its owner."""
        existing = self._cluster.get(MACHINE, shape.name, self._namespace)
        if existing is not None:
            refuse_foreign(existing, self._plan)
            refuse_deleting(existing)
            if is_handed_over(existing):
                return None
        claim_names = {disk: claim["metadata"]["name"] for disk, claim in claims.items()}
        manifest = objects.vm_manifest(self._plan, shape, claim_names, owners)
        with explain_mac_conflict(shape):
            dry_run = self._cluster.create if existing is None else self._cluster.apply
            stored = dry_run(manifest, dry_run=True)
        self._findings += [passed("vm"), *_changes(manifest, stored)]
        return stored

    def _check_quota(
        self,
        shape: Shape,
        storages: Mapping[DiskId, ImageStorage],
        claims: Mapping[DiskId, Object],
        vm: Object | None,
    ) -> None:
        """Sums over all objects of the import: a dry run shows the quota for each object alone."""
        try:
            quotas = self._cluster.find(RESOURCE_QUOTA, self._namespace)
        except StepError as error:
            if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
                raise
            self._findings.append(not_checked("quota", str(error)))
            return
        needs = self._needs(shape, storages, claims, vm)
        shortages = list(quota.shortages(quotas, needs))
        if shortages and not any(reason.code is Exit.NO_SPACE for reason in self._reasons):
            what = f"the quota of namespace {self._namespace} is too small for the import"
            raise StepError(
                Exit.NO_SPACE, what, " | ".join(shortages), "raise it or free some of it, then retry"
            )
        self._findings += [not_checked("quota", text) for text in quota.unknown_limits(quotas, needs)]
        self._findings.append(passed("quota"))

    def _needs(
        self,
        shape: Shape,
        storages: Mapping[DiskId, ImageStorage],
        claims: Mapping[DiskId, Object],
        vm: Object | None,
    ) -> quota.Needs:
        """What the import adds to the namespace: existing objects already count as used."""
        new_claims = {disk: claim for disk, claim in claims.items() if not self._exists(CLAIM, claim)}
        images = [self._image_name(disk, storage) for disk, storage in storages.items()]
        new_images = [name for name in images if self._cluster.get(IMAGE, name, self._namespace) is None]
        new_vm = vm is not None and not self._exists(MACHINE, vm)
        starts = vm is not None and shape.start
        return quota.add_needs(
            quota.claim_needs(
                [(storages[disk].storage_class, claim) for disk, claim in new_claims.items()], CLAIM
            ),
            quota.count_needs(IMAGE, len(new_images)),
            quota.count_needs(MACHINE, int(new_vm)),
            quota.pod_needs(vm["spec"]["template"]["spec"]["domain"]["resources"]) if vm and starts else {},
        )

    def _exists(self, kind: Any, manifest: Object) -> bool:
        return self._cluster.get(kind, manifest["metadata"]["name"], self._namespace) is not None


def _changes(sent: Object, stored: Object) -> Iterator[Finding]:
    """Changes by the cluster's webhooks that the guest notices."""
    requested, granted = _guest_memory(sent), _guest_memory(stored)
    if granted < requested:
        lost = (requested - granted) // _MIB
        message = (
            f"the guest gets {lost} MiB of memory less than requested ({granted // _MIB} of "
            f"{requested // _MIB} MiB), because this Harvester takes the VM's overhead from the guest; set "
            "Harvester's setting additional-guest-memory-overhead-ratio, or raise spec.memory"
        )
        yield warned("memory", message)


def _guest_memory(vm: Object) -> int:
    """Bytes."""
    return int(quota.amount(vm["spec"]["template"]["spec"]["domain"]["memory"]["guest"]))

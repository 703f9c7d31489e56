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
from steps.targets.harvester.machines import is_handed_over
from steps.targets.harvester.ownership import owner, refuse_foreign, refuse_leaving
from steps.targets.harvester.refused import explained
from steps.targets.harvester.state import state
from steps.targets.harvester.storage import Backend, Place, place, wanted_class

_NO_DRY_RUN: Final = "does not support dry run"
"""k8s.io/apiserver, pkg/admission/plugin/webhook/errors/statuserror.go: a webhook that has side effects."""
_MIB: Final = 1 << 20
T = TypeVar("T")


class Admitting:
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
        owners = owner(self._cluster, self._plan)
        places = self._places()
        for disk, where in places.items():
            self._judge(f"image of {disk}", self._image(disk, where, owners))
        claims = {
            disk.id: self._claim(disk, places[disk.id], owners) for disk in shape.disks if disk.id in places
        }
        for disk, claim in claims.items():
            self._judge(f"claim of {disk}", claim)
        if len(places) == len(self._machine.disks):
            vm = self._try("vm", lambda: self._vm(shape, claims, owners))
            self._try("quota", lambda: self._quota(shape, places, claims, vm))
        self._end()
        return Admission(findings=tuple(self._findings))

    # --- the frame of a check

    def _try(self, check: str, call: Callable[[], T]) -> T | None:
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

    def _judge(self, check: str, manifest: Object) -> None:
        """Let the cluster check an object that does not exist yet."""

        def dry_run() -> None:
            try:
                self._cluster.create(manifest, dry_run=True)
            except ExistsError:
                return  # from an earlier attempt; the step that creates it checks the owner
            self._findings.append(passed(check))

        self._try(check, dry_run)

    def _end(self) -> None:
        if not self._reasons:
            return
        first = self._reasons[0]
        if len(self._reasons) == 1:
            raise first
        texts = dict.fromkeys(str(reason) for reason in self._reasons)
        raise StepError(first.code, f"the cluster refuses {self._machine.name}", " | ".join(texts))

    # --- the checks

    def _places(self) -> dict[DiskId, Place]:
        """The storage of each disk, if the cluster has it."""
        found = {}
        for disk in self._machine.disks:
            wanted = wanted_class(self._plan.target, disk)
            where = self._try(f"storage of {disk.id}", partial(place, self._cluster, wanted))
            if where is not None:
                found[disk.id] = where
        return found

    def _image(self, disk: DiskId, where: Place, owners: list[Object]) -> Object:
        return objects.image(
            self._plan,
            disk,
            name=self._image_name(disk, where),
            display_name=self._display_name(disk),
            url=f"http://not-served-yet/{disk}.{self._plan.target.format}",
            landed="",
            place=where,
            owners=owners,
        )

    def _display_name(self, disk: DiskId) -> str:
        """The image's display name; with a suffix if an image of an earlier import has it.

        `image` reuses that one, or creates another: Harvester allows a display name only once.
        """
        plain = markers.display_name(self._plan.import_, disk)
        label = {markers.IMAGE_DISPLAY_NAME: markers.display_label(plain)}
        if not self._cluster.find(IMAGE, self._namespace, label):
            return plain
        suffix = markers.image(self._plan.import_, disk, "another").removeprefix("image-")[:8]
        return markers.display_name(self._plan.import_, disk, suffix)

    def _image_name(self, disk: DiskId, where: Place) -> str:
        volume = self._volumes.names.get(disk, "") if where.backend is Backend.CDI else ""
        return markers.image_of_volume(self._plan.import_, disk, volume)

    def _claim(self, disk: TargetDisk, where: Place, owners: list[Object]) -> Object:
        """The claim of the disk, with the requested class: the image's own class does not exist yet."""
        image = self._image_name(disk.id, where)
        return objects.claim(
            self._plan,
            disk,
            name=self._volumes.names.get(disk.id, image),
            image={"metadata": {"name": image, "namespace": self._namespace}},
            state=state({"status": {"storageClassName": where.storage_class}}),
            owners=owners,
        )

    def _vm(
        self,
        shape: Shape,
        claims: Mapping[DiskId, Object],
        owners: list[Object],
    ) -> Object | None:
        """The VM as the cluster would store it; None if the VM already belongs to its owner."""
        there = self._cluster.get(MACHINE, shape.name, self._namespace)
        if there is not None:
            refuse_foreign(there, self._plan)
            refuse_leaving(there)
            if is_handed_over(there):
                return None
        named = {disk: claim["metadata"]["name"] for disk, claim in claims.items()}
        manifest = objects.machine(self._plan, shape, named, owners)
        with explained(shape):
            judge = self._cluster.create if there is None else self._cluster.apply
            made = judge(manifest, dry_run=True)
        self._findings += [passed("vm"), *_changes(manifest, made)]
        return made

    def _quota(
        self,
        shape: Shape,
        places: Mapping[DiskId, Place],
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
        needs = self._needs(shape, places, claims, vm)
        short = list(quota.shortages(quotas, needs))
        if short and not any(reason.code is Exit.NO_SPACE for reason in self._reasons):
            what = f"the quota of namespace {self._namespace} is too small for the import"
            raise StepError(Exit.NO_SPACE, what, " | ".join(short), "raise it or free some of it, then retry")
        self._findings += [not_checked("quota", text) for text in quota.unseen(quotas, needs)]
        self._findings.append(passed("quota"))

    def _needs(
        self,
        shape: Shape,
        places: Mapping[DiskId, Place],
        claims: Mapping[DiskId, Object],
        vm: Object | None,
    ) -> quota.Needs:
        """What the import adds to the namespace: existing objects already count as used."""
        new_claims = {disk: one for disk, one in claims.items() if not self._is_there(CLAIM, one)}
        images = [self._image_name(disk, where) for disk, where in places.items()]
        new_images = [name for name in images if self._cluster.get(IMAGE, name, self._namespace) is None]
        new_vm = vm is not None and not self._is_there(MACHINE, vm)
        starts = vm is not None and shape.start
        return quota.total(
            quota.of_claims([(places[disk].storage_class, one) for disk, one in new_claims.items()], CLAIM),
            quota.of_count(IMAGE, len(new_images)),
            quota.of_count(MACHINE, int(new_vm)),
            quota.of_pod(vm["spec"]["template"]["spec"]["domain"]["resources"]) if vm and starts else {},
        )

    def _is_there(self, kind: Any, manifest: Object) -> bool:
        return self._cluster.get(kind, manifest["metadata"]["name"], self._namespace) is not None


def _changes(sent: Object, made: Object) -> Iterator[Finding]:
    """Changes by the cluster's webhooks that the guest notices."""
    asked, given = _guest_memory(sent), _guest_memory(made)
    if given < asked:
        lost = (asked - given) // _MIB
        message = (
            f"the guest gets {lost} MiB of memory less than requested ({given // _MIB} of {asked // _MIB} "
            "MiB), because this Harvester takes the VM's overhead from the guest; set Harvester's setting "
            "additional-guest-memory-overhead-ratio, or raise spec.memory"
        )
        yield warned("memory", message)


def _guest_memory(vm: Object) -> int:
    """Bytes."""
    return int(quota.amount(vm["spec"]["template"]["spec"]["domain"]["memory"]["guest"]))

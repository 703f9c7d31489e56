"""A run's objects in the release namespace: a scratch claim and a Service per disk, and documents for pods.

`admit` creates them, `delete-scratch` deletes the claims and Services after a success. The request's
ConfigMap owns all of them. After a failure everything stays: a retry resumes from the claims, and serves
behind the same Services.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from pydantic import ValidationError

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.document import first_error
from steps.model.kinds import CLAIM, CONFIG_MAP, POD, SERVICE, Kind, Object, kind_of
from steps.model.machine import Disk, Machine
from steps.model.mapping import Shape
from steps.model.plan import Plan, ScratchPlan
from steps.model.volumes import VOLUMES, Volumes
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.program import MACHINE
from steps.targets.checks.facts import ClaimNeed
from steps.targets.cluster.ownership import refuse_deleting
from steps.targets.cluster.rival_name import refuse_rival_name, vm_labels
from steps.targets.cluster.scratch_limit import ScratchLimit, requested_bytes
from steps.targets.cluster.storage_classes import DEFAULT_CLASS, default_class

log = structlog.get_logger()

TABLES_RATIO: Final = 1.02
"""Ratio for a disk's tables and digests beyond its capacity."""
EXTRA_BYTES: Final = 256 << 20
"""Bytes for the files next to the disk."""


class RunObjects:
    """A run's own objects."""

    def __init__(self, plan: Plan, cluster: Cluster, namespace: str) -> None:
        self._plan = plan
        self._cluster = cluster
        self._namespace = namespace

    def prepare(self, machine: Machine, shape: Shape) -> None:
        """Create all objects that later stages mount; `machine.json` last, as pods wait for it.

        Raises:
            StepError: CONFLICT, if another import in progress creates a VM of the same name; others as
                `ensure_claims`.
        """
        self.ensure_claims(self.scratch_claims(machine.disks))
        self.ensure_services(machine.disks)
        self.publish_machine(machine, shape)

    def scratch_needs(self, disks: Iterable[Disk]) -> list[ClaimNeed]:
        """What the scratch of these disks needs, as far as it does not exist yet.

        None in a cluster without a default class: then the claims bind to volumes that a person made.
        """
        found = {names.claim(self._plan.run, disk.id): disk for disk in disks}
        new = {name: disk for name, disk in found.items() if self._is_new(name)}
        storage_class = self._scratch_class() if new else ""
        if not storage_class:
            return []
        return [
            ClaimNeed(
                title=f"scratch of {disk.id}",
                storage_class=storage_class,
                size=scratch_size(0 if disk.blank else disk.capacity, self._plan.scratch),
                content=disk.allocated or 0,
            )
            for disk in new.values()
        ]

    def _scratch_class(self) -> str:
        """The class of scratch claims; empty if nothing names one."""
        if self._plan.scratch.storage_class:
            return self._plan.scratch.storage_class
        try:
            return str(default_class(self._cluster, DEFAULT_CLASS)["metadata"]["name"])
        except StepError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            return ""

    def _is_new(self, claim: str) -> bool:
        return self._cluster.get(CLAIM, claim, self._namespace) is None

    def check_limit(self, disks: Iterable[Disk]) -> None:
        """Raise StepError (NO_SPACE) unless the limit on scratch allows the claims of these disks."""
        ScratchLimit(self._plan, self._cluster, self._namespace).check(self.scratch_claims(disks))

    def would_exceed(self, disks: Iterable[Disk]) -> None:
        """The same for a run that has no request yet. Raises StepError (NO_SPACE)."""
        claims = [scratch_claim_manifest(self._plan, disk, self._namespace, []) for disk in disks]
        ScratchLimit(self._plan, self._cluster, self._namespace).check(claims)

    def scratch_claims(self, disks: Iterable[Disk]) -> list[Object]:
        """The manifests of the scratch of these disks."""
        owners = [self.owner_reference()]
        return [scratch_claim_manifest(self._plan, disk, self._namespace, owners) for disk in disks]

    def ensure_claims(self, claims: Sequence[Object]) -> None:
        """Create claims of this namespace, or enlarge them; all together within the limit on scratch.

        Raises:
            StepError: NO_SPACE or BUSY, for that limit or a quota; CONFLICT, for foreign claims.
        """
        limit = ScratchLimit(self._plan, self._cluster, self._namespace)
        new = limit.check(claims)
        for claim in claims:
            self._ensure_claim(claim)
        limit.check_created(new, claims)

    def ensure_services(self, disks: Iterable[Disk]) -> None:
        """Create the Services behind which these disks are served."""
        owners = [self.owner_reference()]
        for disk in disks:
            self._ensure(service_manifest(self._plan, disk.id, self._namespace, owners))

    def publish_machine(self, machine: Machine, shape: Shape) -> None:
        """Store `machine.json`, which later stages mount. Its labels tell others the name of the new VM.

        Raises:
            StepError: CONFLICT, if another import in progress creates a VM of the same name.
        """
        owners, data = [self.owner_reference()], {MACHINE: machine.to_json()}
        name = names.machine(self._plan.run)
        manifest = config_map_manifest(self._plan, data, name, self._namespace, owners)
        manifest["metadata"]["labels"] |= vm_labels(shape)
        self._publish(manifest)
        refuse_rival_name(self._cluster, self._plan, shape, self._namespace)

    def latest_volumes(self) -> Volumes | None:
        """The latest names that an attempt of this run chose, or None."""
        labels = {names.LABEL_RUN: self._plan.run}
        config_maps = self._cluster.find(CONFIG_MAP, self._namespace, labels)
        chosen = [config_map for config_map in config_maps if VOLUMES in (config_map.get("data") or {})]
        return _parse_volumes(max(chosen, key=_creation_order)) if chosen else None

    def attempt_volumes(self, workflow: str) -> Volumes | None:
        """The names that `admit` of this Workflow chose, as its pods see them; None before that."""
        config_map = self._cluster.get(CONFIG_MAP, names.volumes(workflow), self._namespace)
        return _parse_volumes(config_map) if config_map is not None else None

    def store_volumes(self, volumes: Volumes, workflow: str) -> None:
        """Store the names for later stages, immutable: nobody may change them while volumes are created."""
        owners = [self.owner_reference()]
        data = {VOLUMES: volumes.to_json()}
        name = names.volumes(workflow)
        manifest = config_map_manifest(self._plan, data, name, self._namespace, owners)
        self._ensure(manifest | {"immutable": True})

    def delete_all(self) -> list[str]:
        """Delete the scratch claims and Services; returns what could not be deleted, and why.

        Also the pods that mounted them: a claim stays while any pod, even a finished one, uses it; after
        a retry Argo's podGC skips those that finished before.
        """
        scratch = {names.LABEL_SCRATCH: "true"}
        return [*self._delete_kind(POD, scratch), *self._delete_kind(CLAIM), *self._delete_kind(SERVICE)]

    def _delete_kind(self, kind: Kind, labels: dict[str, str] | None = None) -> list[str]:
        selector = {names.LABEL_RUN: self._plan.run, **(labels or {})}
        try:
            for resource in self._cluster.find(kind, self._namespace, selector):
                metadata = resource["metadata"]
                finished = kind is POD and resource["status"]["phase"] in ("Succeeded", "Failed")
                if finished or (kind is not POD and self.is_of_request(resource)):
                    self._cluster.delete(kind, metadata["name"], self._namespace, uid=metadata["uid"])
        except StepError as error:
            return [str(error)]
        return []

    def is_of_request(self, resource: Object) -> bool:
        """Whether the request owns it. With one namespace for all, the volumes of the VM are there, too."""
        owners = resource["metadata"].get("ownerReferences") or []
        request = CONFIG_MAP.kind, names.request(self._plan.run)
        return any((owner["kind"], owner["name"]) == request for owner in owners)

    def owner_reference(self) -> Object:
        """The owner of everything: the request.

        Raises:
            StepError: NOT_FOUND, if it does not exist, as for an import that is being deleted.
        """
        name = names.request(self._plan.run)
        request = self._cluster.get(CONFIG_MAP, name, self._namespace)
        if request is None:
            raise StepError(
                Exit.NOT_FOUND,
                f"request {self._namespace}/{name} does not exist",
                "check whether the import was deleted",
            )
        return CONFIG_MAP.owner_reference(name, request["metadata"]["uid"])

    def _ensure(self, manifest: Object) -> Object:
        """The object, created now or by an earlier attempt."""
        with contextlib.suppress(ExistsError):
            return self._cluster.create(manifest)
        kind, name = kind_of(manifest), manifest["metadata"]["name"]
        existing = self._cluster.get(kind, name, self._namespace)
        if existing is None:
            raise StepError(Exit.BUSY, f"{kind.kind} {name} was deleted just now")
        refuse_deleting(existing)
        self._refuse_unowned(existing, manifest)
        return existing

    def _refuse_unowned(self, existing: Object, manifest: Object) -> None:
        """An object of a deleted request is deleted soon; a foreign object stays."""
        (owner,) = manifest["metadata"]["ownerReferences"]
        owners = existing["metadata"].get("ownerReferences") or []
        if owner["uid"] in {reference["uid"] for reference in owners}:
            return
        what = f"{manifest['kind']} {self._namespace}/{manifest['metadata']['name']}"
        if any(reference["name"] == owner["name"] for reference in owners):
            raise StepError(
                Exit.BUSY,
                f"{what} is left from a deleted request",
                "it is still being deleted; vmferry retries",
            )
        raise StepError(
            Exit.CONFLICT, f"{what} does not belong to this import", remedy="delete or rename it, and retry"
        )

    def _ensure_claim(self, manifest: Object) -> None:
        """Also enlarges the claim: a disk may have grown since an earlier attempt."""
        existing = self._ensure(manifest)
        requested = manifest["spec"]["resources"]["requests"]["storage"]
        if requested_bytes(existing) >= int(requested):
            return
        name = manifest["metadata"]["name"]
        change = {"spec": {"resources": {"requests": {"storage": requested}}}}
        try:
            self._cluster.patch(CLAIM, name, change, self._namespace)
        except StepError as error:
            if error.code not in (Exit.INVALID, Exit.DENIED, Exit.NO_SPACE):
                raise
            remedy = (
                "choose a class that can grow (setting scratch.storageClass), or delete the claim and retry"
            )
            raise StepError(Exit.NO_SPACE, f"claim {name} is too small", str(error), remedy) from None

    def _publish(self, manifest: Object) -> None:
        self._ensure(manifest)
        self._cluster.apply(manifest)


def scratch_size(capacity: int, scratch: ScratchPlan) -> int:
    """Bytes to request so that a disk of this capacity fits in any format; 0 for one without content."""
    return math.ceil((capacity * TABLES_RATIO + EXTRA_BYTES) * scratch.filesystem_factor)


def scratch_claim_manifest(plan: Plan, disk: Disk, namespace: str, owners: list[Object]) -> Object:
    scratch, content = plan.scratch, 0 if disk.blank else disk.capacity
    storage_class = {"storageClassName": scratch.storage_class} if scratch.storage_class else {}
    spec = {
        **storage_class,
        "accessModes": [scratch.access_mode],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": str(scratch_size(content, scratch))}},
    }
    return _manifest(CLAIM, names.claim(plan.run, disk.id), plan, disk.id, namespace, owners) | {"spec": spec}


def service_manifest(plan: Plan, disk: str, namespace: str, owners: list[Object]) -> Object:
    """The Service of a disk. Selects by stage too: pods of other stages have the same run and disk."""
    selector = {names.LABEL_RUN: plan.run, names.LABEL_DISK: disk, names.LABEL_STAGE: "serve"}
    spec = {"selector": selector, "ports": [{"name": "http", "port": names.PORT, "targetPort": names.PORT}]}
    return _manifest(SERVICE, names.service(plan.run, disk), plan, disk, namespace, owners) | {"spec": spec}


def config_map_manifest(
    plan: Plan, data: dict[str, str], name: str, namespace: str, owners: list[Object]
) -> Object:
    """The ConfigMap with a document: `data` maps its file name to its text."""
    return _manifest(CONFIG_MAP, name, plan, "", namespace, owners) | {"data": data}


def _creation_order(resource: Object) -> tuple[str, str]:
    metadata = resource["metadata"]
    return str(metadata.get("creationTimestamp") or ""), metadata["name"]


def _parse_volumes(config_map: Object) -> Volumes:
    """Raises StepError (INVALID) for a document that cannot be read."""
    try:
        return Volumes.model_validate_json((config_map.get("data") or {}).get(VOLUMES, ""))
    except ValidationError as error:
        what = f"{VOLUMES} in ConfigMap {config_map['metadata']['name']} is not valid"
        raise StepError(Exit.INVALID, what, first_error(error)) from None


def _manifest(kind: Kind, name: str, plan: Plan, disk: str, namespace: str, owners: list[Object]) -> Object:
    labels = {names.LABEL_RUN: plan.run, **({names.LABEL_DISK: disk} if disk else {}), **names.labels(plan)}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": owners}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}

"""Who owns an object: marks, owner references, and what happens if a name is taken.

The import owns image, claim and VM until it has succeeded, so that deleting an import that has
not leaves nothing; then they are released, and deleting the import keeps them. Nothing foreign is adopted.

Kubernetes forbids owners of another namespace. If the VM goes to another namespace than the import's, an
empty Lease there owns the objects in its place, and the controller deletes it with the run.
"""

from __future__ import annotations

import contextlib
from typing import Final

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMPORTS, LEASE, Kind, Object
from steps.model.names import LABEL_NAME, LABEL_NAMESPACE, LABEL_RUN, LABEL_UID, labels
from steps.model.plan import Plan
from steps.runtime.cluster import ChangedError, Cluster, ExistsError

MAX_TRIES: Final = 10
"""How often a read-change-write is repeated because others write to the same object."""


def owner_references(cluster: Cluster, plan: Plan, *, dry_run: bool = False) -> list[Object]:
    """The owner references of an import's objects: the import, without flags, as in vm-import-controller.

    None for an import that is not an object, as with `vmferry run`: an object whose owner does not
    exist is garbage-collected at once. In another namespace it is the Lease there, which is created if
    it is missing; with `dry_run` it is not, and there is no owner.

    Raises:
        StepError: CONFLICT, if a Lease of others has the name.
    """
    import_ref = plan.import_
    kind = IMPORTS.get(import_ref.api_version)
    if kind is None:
        return []
    import_object = cluster.get(kind, import_ref.name, import_ref.namespace)
    if import_object is None or import_object["metadata"]["uid"] != import_ref.uid:
        return []
    if import_ref.namespace == plan.target.namespace:
        return [kind.owner_reference(import_ref.name, import_ref.uid)]
    owner = _owner_there(cluster, plan, create=not dry_run)
    return [] if owner is None else [_reference(owner)]


def _owner_there(cluster: Cluster, plan: Plan, *, create: bool) -> Object | None:
    """The Lease that owns the objects of the run in the namespace of its VM.

    A Lease says nothing that others must not read, so a right on Leases is a small one.
    """
    name, namespace = names.owner(plan.run), plan.target.namespace
    found = cluster.get(LEASE, name, namespace)
    if found is None and create:
        metadata: Object = {"name": name, "namespace": namespace, "labels": names.run_labels(plan)}
        with contextlib.suppress(ExistsError):  # the step of another disk was faster
            return cluster.create({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata})
        found = cluster.get(LEASE, name, namespace)
    if found is not None and not is_of_run(found, plan):
        refuse_foreign(found, plan)
    return found


def _reference(owner: Object) -> Object:
    return LEASE.owner_reference(owner["metadata"]["name"], owner["metadata"]["uid"])


def is_of_import(resource: Object, plan: Plan) -> bool:
    return labels_of(resource).get(LABEL_UID) == labels(plan)[LABEL_UID]


def made_by_import(cluster: Cluster, plan: Plan, kind: Kind) -> list[Object]:
    """The objects with the import's own uid: a foreign VM with the same name is not one of them."""
    return cluster.find(kind, plan.target.namespace, {LABEL_UID: labels(plan)[LABEL_UID]})


def is_of_run(resource: Object, plan: Plan) -> bool:
    """Whether this run made the object, and not an earlier run of the same import."""
    return is_of_import(resource, plan) and labels_of(resource).get(LABEL_RUN) == plan.run


def refuse_foreign(resource: Object, plan: Plan) -> None:
    """Raise StepError (CONFLICT), naming the owner, unless the object belongs to this import."""
    if is_of_import(resource, plan):
        return
    labels, metadata = labels_of(resource), resource["metadata"]
    why = "it was not created by an import"
    if LABEL_NAME in labels:
        owner_name = f"{labels.get(LABEL_NAMESPACE)}/{labels[LABEL_NAME]}"
        why = f"it belongs to import {owner_name} (uid {labels.get(LABEL_UID)})"
    raise StepError(
        Exit.CONFLICT,
        f"{resource['kind']} {metadata.get('namespace')}/{metadata['name']} already exists",
        why,
        "rename or delete it, or set spec.targetVirtualMachineName, then retry",
    )


def foreign_volume_error(volume: Object, why: str) -> StepError:
    """The error (CONFLICT) for a volume that is not this disk of this run."""
    metadata = volume["metadata"]
    return StepError(
        Exit.CONFLICT,
        f"{volume['kind']} {metadata['namespace']}/{metadata['name']} already exists and is not attached",
        why,
        "delete or rename it if nobody needs it, then retry",
    )


def refuse_deleting(resource: Object) -> None:
    """Raise StepError (BUSY) for an object that is being deleted: its name is free soon."""
    metadata = resource["metadata"]
    if metadata.get("deletionTimestamp"):
        raise StepError(
            Exit.BUSY,
            f"{resource['kind']} {metadata.get('namespace')}/{metadata['name']} is still being deleted",
            f"finalizers: {', '.join(metadata.get('finalizers') or ['none'])}",
        )


def release_ownership(
    cluster: Cluster, kind: Kind, resource: Object, plan: Plan, to: Object | None = None
) -> None:
    """Remove the import from the object's owners, even if the object changes meanwhile.

    `to` is the owner reference of its next owner, if it gets one.

    Raises:
        StepError: BUSY, if others change it all the time.
    """
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    for _ in range(MAX_TRIES):
        current = cluster.get(kind, name, namespace)
        if current is None or not (_owns(current, plan) or (to is not None and not owned_by(current, to))):
            return
        remaining = [
            reference
            for reference in current["metadata"].get("ownerReferences") or []
            if not _is_import(reference, plan) and reference["uid"] != (to["uid"] if to else "")
        ]
        remaining += [to] if to is not None else []
        version = current["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version, "ownerReferences": remaining or None}}
        with contextlib.suppress(ChangedError):
            cluster.patch(kind, name, change, namespace)
            return
    raise StepError(Exit.BUSY, f"{kind.kind} {namespace}/{name} keeps changing")


def _owns(resource: Object, plan: Plan) -> bool:
    owners = resource["metadata"].get("ownerReferences") or []
    return any(_is_import(reference, plan) for reference in owners)


def _is_import(reference: Object, plan: Plan) -> bool:
    """Whether an owner reference is the import, or the Lease in its place."""
    stands_for = (LEASE.kind, names.owner(plan.run))
    return bool(reference["uid"] == plan.import_.uid) or (reference["kind"], reference["name"]) == stands_for


def owned_by(resource: Object, owner: Object) -> bool:
    """Whether the object has this owner reference, by its uid."""
    references = resource["metadata"].get("ownerReferences") or []
    return any(reference["uid"] == owner["uid"] for reference in references)


def creation_time(resource: Object) -> str:
    """RFC 3339 in UTC, so that texts compare like times."""
    return str(resource["metadata"].get("creationTimestamp") or "")


def labels_of(resource: Object) -> dict[str, str]:
    return resource["metadata"].get("labels") or {}


def annotations_of(resource: Object) -> dict[str, str]:
    return resource["metadata"].get("annotations") or {}

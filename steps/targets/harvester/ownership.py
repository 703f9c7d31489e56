"""Who owns an object: marks, owner references, and what happens if a name is taken.

The import owns image, claim and VM until it has succeeded, so that deleting an import that has
not leaves nothing; then they are released, and deleting the import keeps them. Nothing foreign is adopted.
"""

from __future__ import annotations

import contextlib
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import IMPORT, Kind, Object
from steps.model.names import LABEL_NAME, LABEL_NAMESPACE, LABEL_RUN, LABEL_UID, labels
from steps.model.plan import Plan
from steps.runtime.cluster import ChangedError, Cluster

TRIES: Final = 10
"""How often a read-change-write is repeated because others write to the same object."""


def owner(cluster: Cluster, plan: Plan) -> list[Object]:
    """The owner references of an import's objects: the import, without flags, as in vm-import-controller.

    None for an import that is not an object, as with `vmferry run`: an object whose owner does not
    exist is garbage-collected at once. None across namespaces, which Kubernetes forbids.
    """
    of = plan.import_
    if of.namespace != plan.target.namespace:
        return []
    found = cluster.get(IMPORT, of.name, of.namespace)
    if found is None or found["metadata"]["uid"] != of.uid:
        return []
    return [{"apiVersion": IMPORT.api_version, "kind": IMPORT.kind, "name": of.name, "uid": of.uid}]


def is_ours(thing: Object, plan: Plan) -> bool:
    return labels_of(thing).get(LABEL_UID) == labels(plan)[LABEL_UID]


def is_of_run(thing: Object, plan: Plan) -> bool:
    """Whether this run made the object, and not an earlier run of the same import."""
    return is_ours(thing, plan) and labels_of(thing).get(LABEL_RUN) == plan.run


def refuse_foreign(thing: Object, plan: Plan) -> None:
    """Raise StepError (CONFLICT), naming the owner, unless the object belongs to this import."""
    if is_ours(thing, plan):
        return
    labels, metadata = labels_of(thing), thing["metadata"]
    why = "it was not created by an import"
    if LABEL_NAME in labels:
        owner = f"{labels.get(LABEL_NAMESPACE)}/{labels[LABEL_NAME]}"
        why = f"it belongs to import {owner} (uid {labels.get(LABEL_UID)})"
    raise StepError(
        Exit.CONFLICT,
        f"{thing['kind']} {metadata.get('namespace')}/{metadata['name']} already exists",
        why,
        "rename or delete it, or set spec.targetVirtualMachineName, then retry",
    )


def refuse_leaving(thing: Object) -> None:
    """Raise StepError (BUSY) for an object that is being deleted: its name is free soon."""
    metadata = thing["metadata"]
    if metadata.get("deletionTimestamp"):
        raise StepError(
            Exit.BUSY,
            f"{thing['kind']} {metadata.get('namespace')}/{metadata['name']} is still being deleted",
            f"finalizers: {', '.join(metadata.get('finalizers') or ['none'])}",
        )


def let_go(cluster: Cluster, kind: Kind, thing: Object, plan: Plan) -> None:
    """Remove the import from the object's owners, even if the object changes meanwhile.

    Raises:
        StepError: BUSY, if others change it all the time.
    """
    name, namespace = thing["metadata"]["name"], thing["metadata"]["namespace"]
    for _ in range(TRIES):
        found = cluster.get(kind, name, namespace)
        if found is None or not _owns(found, plan):
            return
        left = [one for one in found["metadata"]["ownerReferences"] if one["uid"] != plan.import_.uid]
        version = found["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version, "ownerReferences": left or None}}
        with contextlib.suppress(ChangedError):
            cluster.patch(kind, name, change, namespace)
            return
    raise StepError(Exit.BUSY, f"{kind.kind} {namespace}/{name} keeps changing")


def _owns(thing: Object, plan: Plan) -> bool:
    owners = thing["metadata"].get("ownerReferences") or []
    return any(one["uid"] == plan.import_.uid for one in owners)


def labels_of(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("labels") or {}


def annotations_of(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}

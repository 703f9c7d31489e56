"""Whether a claim may be attached to the VM: only if this import made its content.

A claim over a backing image is ours by its labels, and of the right image by its class, which Harvester makes
for that image only. CDI creates the claim of its image itself, without our labels. Its owners prove it:

    claim ─ owner ─▶ DataVolume ─ owner ─▶ VirtualMachineImage      (harvester pkg/image/cdi/cdi.go)
    claim ─ owner ─▶ VirtualMachineImage     where CDI deletes a DataVolume that is done

Then it gets our labels. After that the labels decide.
"""

from __future__ import annotations

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, Kind, Object
from steps.model.names import LABEL_RUN, LABEL_UID, volume_labels
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import (
    creation_time,
    foreign_volume_error,
    labels_of,
    refuse_deleting,
    refuse_foreign,
)
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.storage import Backend


def verified_claim(cluster: Cluster, plan: Plan, disk: str, claim: Object, image: Object) -> Object:
    """The claim of `disk`, with this import's labels and the content of `image`.

    Raises:
        StepError: CONFLICT, for any other claim; BUSY, for one that is being deleted.
    """
    refuse_deleting(claim)
    if image["spec"].get("backend") != Backend.CDI:
        refuse_foreign(claim, plan)
        _refuse_outdated(claim, plan, image)
        return claim
    if not is_of_image(cluster, claim, image):
        raise foreign_volume_error(claim, f"it is not the volume of image {image['metadata']['name']}")
    if LABEL_UID not in labels_of(claim):
        metadata = claim["metadata"]
        change: Object = {"metadata": {"labels": volume_labels(plan, disk)}}
        claim = cluster.patch(CLAIM, metadata["name"], change, metadata["namespace"]) or claim
    refuse_foreign(claim, plan)
    return claim


def is_of_image(cluster: Cluster, volume: Object, image: Object) -> bool:
    """Whether CDI created the volume, a claim or DataVolume, for exactly this image.

    One that is older than the image was not: CDI can adopt an existing claim, and then owns it
    (containerized-data-importer doc/datavolumes.md, claim adoption).
    """
    if creation_time(volume) < creation_time(image):
        return False
    if _owns(IMAGE, image, volume):
        return True
    metadata = volume["metadata"]
    data_volume = cluster.get(DATA_VOLUME, metadata["name"], metadata["namespace"])
    return (
        data_volume is not None
        and _owns(DATA_VOLUME, data_volume, volume)
        and _owns(IMAGE, image, data_volume)
    )


def refuse_taken(cluster: Cluster, namespace: str, name: str, image: Object | None = None) -> None:
    """Make sure that the volume `name` belongs to `image`, or does not exist.

    Harvester treats a DataVolume with an image's name as its own: it would call the image imported and delete
    the DataVolume with the image (pkg/image/cdi/cdi.go, isDataVolumeCreated, Delete).

    Raises:
        StepError: CONFLICT, for a foreign volume; BUSY, for one that is being deleted.
    """
    for kind in (DATA_VOLUME, CLAIM):
        volume = cluster.get(kind, name, namespace)
        if volume is None or (image is not None and is_of_image(cluster, volume, image)):
            continue
        refuse_deleting(volume)
        if _is_orphan(cluster, volume):
            raise StepError(
                Exit.BUSY, f"{kind.kind} {namespace}/{name} of a deleted image is still being deleted"
            )
        raise foreign_volume_error(volume, "Harvester would use it as the volume of the image of that name")


def _is_orphan(cluster: Cluster, volume: Object) -> bool:
    """Whether its owner was deleted: the garbage collector then removes it."""
    kinds = {kind.kind: kind for kind in (DATA_VOLUME, IMAGE)}
    owners = volume["metadata"].get("ownerReferences") or []
    if not owners or any(reference["kind"] not in kinds for reference in owners):
        return False
    namespace = volume["metadata"]["namespace"]
    owner_objects = [
        cluster.get(kinds[reference["kind"]], reference["name"], namespace) for reference in owners
    ]
    alive = {owner["metadata"]["uid"] for owner in owner_objects if owner is not None}
    return not any(reference["uid"] in alive for reference in owners)


def _refuse_outdated(claim: Object, plan: Plan, image: Object) -> None:
    """Refuse a claim of an earlier run, or of an image with other bytes."""
    run = labels_of(claim).get(LABEL_RUN)
    if run not in (None, plan.run):
        raise foreign_volume_error(claim, f"it belongs to an earlier run, {run}")
    if claim["spec"].get("storageClassName") != image_state(image).storage_class:
        raise foreign_volume_error(claim, f"it was not made from image {image['metadata']['name']}")


def _owns(kind: Kind, owner: Object, owned: Object) -> bool:
    references = owned["metadata"].get("ownerReferences") or []
    return any(
        (reference["kind"], reference["uid"]) == (kind.kind, owner["metadata"]["uid"])
        for reference in references
    )

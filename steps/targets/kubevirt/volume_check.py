"""Whether a volume may be attached to the VM: only if this run made its content.

CDI creates the claim of a DataVolume, and makes the DataVolume its owner. A claim that is older was adopted:
its content is not that of the disk (containerized-data-importer doc/datavolume-claim-adoption.md).
"""

from __future__ import annotations

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, Object
from steps.model.names import LABEL_UID, volume_labels
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import (
    creation_time,
    foreign_volume_error,
    is_of_run,
    labels_of,
    owned_by,
    refuse_deleting,
    refuse_foreign,
)


def verified_claim(cluster: Cluster, plan: Plan, disk: str, claim: Object, data_volume: Object) -> Object:
    """The claim of `disk`, with this import's labels and the content of `data_volume`.

    Raises:
        StepError: CONFLICT, for any other claim; BUSY, for one that is being deleted.
    """
    refuse_deleting(claim)
    if not is_of(claim, data_volume):
        raise foreign_volume_error(claim, f"it is not the volume of DataVolume {_name(data_volume)}")
    if labels_of(claim).items() >= volume_labels(plan, disk).items():
        return claim
    if LABEL_UID in labels_of(claim):
        refuse_foreign(claim, plan)
    metadata = claim["metadata"]
    change: Object = {"metadata": {"labels": volume_labels(plan, disk)}}
    return cluster.patch(CLAIM, metadata["name"], change, metadata["namespace"]) or claim


def is_of(claim: Object, data_volume: Object) -> bool:
    """Whether CDI created the claim for exactly this DataVolume."""
    owner = DATA_VOLUME.owner_reference(_name(data_volume), data_volume["metadata"]["uid"])
    return owned_by(claim, owner) and creation_time(claim) >= creation_time(data_volume)


def refuse_taken(cluster: Cluster, namespace: str, name: str) -> None:
    """Make sure that no claim has the name of a DataVolume that is about to be created.

    CDI would not download into it, or would adopt it.

    Raises:
        StepError: CONFLICT, for a foreign claim; BUSY, for the claim of a DataVolume that was deleted.
    """
    claim = cluster.get(CLAIM, name, namespace)
    if claim is None:
        return
    refuse_deleting(claim)
    owners = claim["metadata"].get("ownerReferences") or []
    if any(owner["kind"] == DATA_VOLUME.kind for owner in owners):
        raise StepError(Exit.BUSY, f"claim {namespace}/{name} of a deleted DataVolume is still being deleted")
    raise foreign_volume_error(claim, "CDI would not download the disk into it")


def refuse_other_run(data_volume: Object, plan: Plan) -> None:
    """Raise StepError (CONFLICT) unless this run made the DataVolume."""
    refuse_foreign(data_volume, plan)
    if not is_of_run(data_volume, plan):
        raise foreign_volume_error(data_volume, "it belongs to an earlier run of this import")


def _name(resource: Object) -> str:
    return str(resource["metadata"]["name"])

"""The claim of a disk that is a plain volume. Pure."""

from __future__ import annotations

from steps.model.kinds import CLAIM, Object
from steps.model.names import LABEL_IMPORTED, volume_labels
from steps.model.plan import Plan
from steps.targets.landing.storage import VolumeStorage


def claim_manifest(plan: Plan, disk: str, *, name: str, size: int, storage: VolumeStorage) -> Object:
    """The claim of a disk, with `size` bytes: the one on which it lands. For CDI's own, only for dry runs."""
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "metadata": {
            "name": name,
            "namespace": plan.target.namespace,
            "labels": {LABEL_IMPORTED: "true", **volume_labels(plan, disk)},
        },
        "spec": {
            "accessModes": [storage.access_mode],
            "volumeMode": storage.volume_mode,
            "storageClassName": storage.storage_class,
            "resources": {"requests": {"storage": str(size)}},
        },
    }

"""The objects for KubeVirt and CDI as plain dicts.

Pure; their golden files are in tests/unit/steps/targets/kubevirt/golden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from steps.model.kinds import DATA_VOLUME, Object
from steps.model.manifest import kubevirt_machine
from steps.model.mapping import Shape
from steps.model.names import LABEL_IMPORTED, volume_labels
from steps.model.plan import Plan
from steps.targets.cluster.markers import LANDED
from steps.targets.cluster.vm_objects import stopped_vm
from steps.targets.landing.storage import VolumeStorage

BIND: Final = "cdi.kubevirt.io/storage.bind.immediate.requested"
"""Without it CDI waits for the VM's start where the class binds to its first consumer
(containerized-data-importer doc/waitforfirstconsumer-storage-handling.md)."""
CHECKSUM: Final = "sha512"


def data_volume_manifest(
    plan: Plan,
    disk: str,
    *,
    name: str,
    url: str,
    landed: str,
    capacity: int,
    storage: VolumeStorage,
    owners: list[Object],
    sha512: str = "",
) -> Object:
    """The DataVolume of a disk with `capacity` bytes: CDI downloads the disk into a claim of the same name.

    With `sha512` CDI compares the bytes itself, from v1.65 (doc/datavolumes.md, checksum); the API of an
    earlier one drops that field.
    """
    checksum = {"checksum": f"{CHECKSUM}:{sha512}"} if sha512 else {}
    return {
        "apiVersion": DATA_VOLUME.api_version,
        "kind": DATA_VOLUME.kind,
        "metadata": {
            "name": name,
            "namespace": plan.target.namespace,
            "labels": {LABEL_IMPORTED: "true", **volume_labels(plan, disk)},
            "annotations": {BIND: "true", LANDED: landed},
            **({"ownerReferences": owners} if owners else {}),
        },
        "spec": {
            "contentType": "kubevirt",
            "source": {"http": {"url": url, **checksum}},
            "storage": {
                "storageClassName": storage.storage_class,
                "accessModes": [storage.access_mode],
                "volumeMode": storage.volume_mode,
                "resources": {"requests": {"storage": str(capacity)}},
            },
        },
    }


def url_of(data_volume: Object) -> str:
    """Where CDI fetches the disk."""
    return str(data_volume["spec"]["source"]["http"]["url"])


def checksum_of(data_volume: Object) -> str:
    """The checksum that CDI compares; empty if it compares none."""
    return str((data_volume["spec"].get("source") or {}).get("http", {}).get("checksum") or "")


def vm_manifest(plan: Plan, shape: Shape, claims: Mapping[str, str], owners: list[Object]) -> Object:
    """The stopped VirtualMachine over its claims (names by disk id); `start` starts it."""
    return stopped_vm(plan, kubevirt_machine(shape, claims), owners)

"""The objects for Harvester as plain dicts.

Pure; their golden files are in tests/unit/steps/targets/harvester/golden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from steps.model.kinds import CLAIM, IMAGE, Object
from steps.model.manifest import virtual_machine
from steps.model.mapping import Shape, TargetDisk
from steps.model.names import LABEL_IMPORTED, label_value, volume_labels
from steps.model.plan import Plan
from steps.targets.cluster.markers import LANDED
from steps.targets.cluster.vm_objects import stopped_vm
from steps.targets.harvester.image_names import IMAGE_DISPLAY_NAME, IMAGE_ID, STORAGE_CLASS_NAME
from steps.targets.harvester.image_state import ImageState
from steps.targets.harvester.storage import Backend, ImageStorage


def image_manifest(
    plan: Plan,
    disk: str,
    *,
    name: str,
    display_name: str,
    url: str,
    landed: str,
    storage: ImageStorage,
    owners: list[Object],
    checksum: str = "",
) -> Object:
    """The VirtualMachineImage of a disk: the fields of vm-import-controller, and our marks.

    vm-import-controller, pkg/controllers/migration/virtualmachine.go, checkAndCreateVirtualMachineImage.

    `checksum` is the SHA-512 of the served file, if it is known already: Longhorn then refuses other bytes
    itself (backing-image-manager pkg/sync/sync_file.go). With CDI it would have no effect: Harvester does not
    pass it on (pkg/image/cdi/common.go, generateDVSourceHTTP).
    """
    expected = {"checksum": checksum} if checksum and storage.backend is Backend.BACKING_IMAGE else {}
    return {
        "apiVersion": IMAGE.api_version,
        "kind": IMAGE.kind,
        "metadata": {
            "name": name,
            "namespace": plan.target.namespace,
            "labels": {
                LABEL_IMPORTED: "true",
                IMAGE_DISPLAY_NAME: label_value(display_name),
                **volume_labels(plan, disk),
            },
            "annotations": {STORAGE_CLASS_NAME: storage.storage_class, LANDED: landed},
            **({"ownerReferences": owners} if owners else {}),
        },
        "spec": {
            "displayName": display_name,
            "sourceType": "download",
            "url": url,
            "backend": str(storage.backend),
            "targetStorageClassName": storage.storage_class,
            **expected,
        },
    }


def claim_manifest(
    plan: Plan, disk: TargetDisk, *, name: str, image: Object, image_state: ImageState, owners: list[Object]
) -> Object:
    """The claim over a backing image, with the disk's size; any node may mount it, for live migration.

    vm-import-controller uses the file's size, which is too small for a compressed format.
    """
    metadata = image["metadata"]
    size = max(image_state.virtual_size, image_state.size, disk.capacity)
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": volume_labels(plan, disk.id),
            "annotations": {IMAGE_ID: f"{metadata['namespace']}/{metadata['name']}"},
            **({"ownerReferences": owners} if owners else {}),
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "volumeMode": "Block",
            "storageClassName": image_state.storage_class,
            "resources": {"requests": {"storage": str(size)}},
        },
    }


def vm_manifest(plan: Plan, shape: Shape, claims: Mapping[str, str], owners: list[Object]) -> Object:
    """The stopped VirtualMachine over its claims (names by disk id); `start` starts it.

    It has no annotation `harvesterhci.io/volumeClaimTemplates`. Harvester adds the sizes in there to what the
    claims' use of a storage quota (pkg/util/resourcequota/calculator.go), so each disk would count twice.
    """
    return stopped_vm(plan, virtual_machine(shape, claims), owners)


def names_of(things: Iterable[Object]) -> str:
    """Names for a message."""
    return ", ".join(sorted(resource["metadata"]["name"] for resource in things))

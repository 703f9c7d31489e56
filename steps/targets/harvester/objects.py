"""The objects that Harvester sees, as plain dicts. Pure; their golden files are in tests/targets/golden."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from steps.cluster import CLAIM, IMAGE, Object
from steps.manifest import virtual_machine
from steps.mapping import Shape
from steps.plan import Plan
from steps.targets.harvester.names import (
    IMAGE_DISPLAY_NAME,
    IMAGE_ID,
    LABEL_DISK,
    LABEL_IMPORTED,
    LABEL_RUN,
    LANDED,
    STORAGE_CLASS_NAME,
    VOLUME_CLAIM_TEMPLATES,
    label_value,
    marks,
)
from steps.targets.harvester.state import State
from steps.targets.harvester.storage import Backend, Place

HALTED: Final = "Halted"


def image(
    plan: Plan,
    disk: str,
    *,
    name: str,
    display_name: str,
    url: str,
    landed: str,
    place: Place,
    owners: list[Object],
) -> Object:
    """The VirtualMachineImage of a disk: today's, field by field, and our marks.

    vm-import-controller, pkg/controllers/migration/virtualmachine.go, checkAndCreateVirtualMachineImage.
    """
    return {
        "apiVersion": IMAGE.api_version,
        "kind": IMAGE.kind,
        "metadata": {
            "name": name,
            "namespace": plan.target.namespace,
            "labels": {
                LABEL_IMPORTED: "true",
                IMAGE_DISPLAY_NAME: label_value(display_name),
                LABEL_RUN: plan.run,
                LABEL_DISK: disk,
                **marks(plan),
            },
            "annotations": {STORAGE_CLASS_NAME: place.storage_class, LANDED: landed},
            **({"ownerReferences": owners} if owners else {}),
        },
        "spec": {
            "displayName": display_name,
            "sourceType": "download",
            "url": url,
            "backend": str(place.backend),
            "targetStorageClassName": place.storage_class,
        },
    }


def claim(plan: Plan, image: Object, state: State, capacity: int, owners: list[Object]) -> Object:
    """The claim over a backing image, of the disk's size; any node may have it, as live migration needs.

    Today's takes the file's size, which is too small for a compressed format.
    """
    metadata = image["metadata"]
    size = max(state.virtual_size, state.size, capacity)
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": marks(plan),
            "annotations": {IMAGE_ID: f"{metadata['namespace']}/{metadata['name']}"},
            **({"ownerReferences": owners} if owners else {}),
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "volumeMode": "Block",
            "storageClassName": state.storage_class,
            "resources": {"requests": {"storage": str(size)}},
        },
    }


def machine(
    plan: Plan, shape: Shape, volumes: Mapping[str, Object], backends: Mapping[str, str], owners: list[Object]
) -> Object:
    """The VirtualMachine over its volumes (claims by disk id), left off: to start it is `start`'s."""
    made = virtual_machine(shape, {disk: volume["metadata"]["name"] for disk, volume in volumes.items()})
    metadata = made["metadata"]
    metadata["labels"] = {**metadata["labels"], **marks(plan)}
    templates = [_template(volume, backends[disk]) for disk, volume in volumes.items()]
    metadata["annotations"] = {
        **metadata.get("annotations", {}),
        VOLUME_CLAIM_TEMPLATES: json.dumps(templates, separators=(",", ":")),
    }
    if owners:
        metadata["ownerReferences"] = owners
    made["spec"]["runStrategy"] = HALTED
    return made


def _template(volume: Object, backend: str) -> Object:
    """A volume in the annotation `harvesterhci.io/volumeClaimTemplates`.

    That is a JSON array of claims without namespace or status (harvester pkg/util/volume.go,
    VolumeClaimTemplateEntry; the UI writes it in harvester-ui-extension
    pkg/harvester/mixins/harvester-vm/index.js, parseVolumeClaimTemplate).

    Harvester's VM controller makes claims that it misses from it, and a new DataVolume where the image named
    there is CDI's (pkg/controller/master/virtualmachine/vm_controller.go, createPVCsFromAnnotation). The
    golden claim is no copy of an image but the image itself, so its entry names none.
    """
    metadata, spec = volume["metadata"], volume["spec"]
    image_id = (metadata.get("annotations") or {}).get(IMAGE_ID)
    named = {"annotations": {IMAGE_ID: image_id}} if image_id and backend != Backend.CDI else {}
    kept = ("accessModes", "resources", "volumeMode", "storageClassName")
    return {
        "metadata": {"name": metadata["name"], **named},
        "spec": {key: _only_requests(key, spec[key]) for key in kept if key in spec},
    }


def _only_requests(key: str, value: Object) -> Object:
    return {"requests": value["requests"]} if key == "resources" else value


def names(things: Iterable[Object]) -> str:
    """Names for a message."""
    return ", ".join(sorted(thing["metadata"]["name"] for thing in things))

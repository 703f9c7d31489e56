"""The storage class of a disk, and how Harvester stores an image there."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.kinds import STORAGE_PROFILE
from steps.runtime.cluster import Cluster
from steps.targets.cluster.storage_classes import DEFAULT_CLASS, default_class, named_class

log = structlog.get_logger()

LONGHORN: Final = "driver.longhorn.io"


class Backend(enum.StrEnum):
    """`spec.backend` of a VirtualMachineImage."""

    BACKING_IMAGE = "backingimage"
    """Longhorn keeps the file; each claim is a copy-on-write child of it."""
    CDI = "cdi"
    """CDI writes the content to a claim, the golden one, which the VM uses directly."""


@dataclass(frozen=True)
class ImageStorage:
    """The storage of an image."""

    storage_class: str
    backend: Backend


def storage_for(cluster: Cluster, class_name: str) -> ImageStorage:
    """The storage of an image for the class `class_name`, or for the default class.

    Raises:
        StepError: NOT_FOUND, if the class, or a default class, does not exist.
    """
    if class_name:
        return _storage_of_class(cluster, class_name)
    class_object = default_class(cluster, DEFAULT_CLASS)
    name, parameters = class_object["metadata"]["name"], class_object.get("parameters") or {}
    # Without a class Harvester uses its backing images for any default class, with Longhorn's own defaults in
    # place of a class that is not Longhorn's (pkg/image/common/mutator.go, getSC): disks would be elsewhere.
    v1 = parameters.get("dataEngine", "v1") == "v1"
    is_longhorn_v1 = class_object.get("provisioner") == LONGHORN and v1
    return ImageStorage(name, Backend.BACKING_IMAGE if is_longhorn_v1 else Backend.CDI)


def _storage_of_class(cluster: Cluster, name: str) -> ImageStorage:
    """As vm-import-controller decides (pkg/util/storageclass.go): a class must specify v1."""
    class_object = named_class(cluster, name)
    v1 = (class_object.get("parameters") or {}).get("dataEngine") == "v1"
    is_longhorn_v1 = class_object.get("provisioner") == LONGHORN and v1
    return ImageStorage(name, Backend.BACKING_IMAGE if is_longhorn_v1 else Backend.CDI)


def refuse_filesystem(cluster: Cluster, class_name: str, disk: str, taken_for: str) -> None:
    """Refuse to let CDI write a disk to a filesystem if `qemu-img` takes the disk for another format.

    There CDI looks at the disk.img that it has written, and again names no format
    (containerized-data-importer pkg/importer/data-processor.go, resize): it fails, or resizes by a size that
    the guest wrote. On a block volume it does not look. The volume mode is the first one of the class's
    StorageProfile, as Harvester names none. Without a profile that can be read CDI decides.

    Raises:
        StepError: UNSUPPORTED.
    """
    try:
        profile = cluster.get(STORAGE_PROFILE, class_name) or {}
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        log.warning(f"{error}; CDI fails if it writes {disk} to a filesystem")
        return
    modes = (profile.get("status") or {}).get("claimPropertySets") or [{}]
    if modes[0].get("volumeMode") == "Filesystem":
        raise StepError(
            Exit.UNSUPPORTED,
            f"{disk} cannot be imported to storage class {class_name}",
            f"its guest wrote the header of a {taken_for} image to it, and CDI would read the volume, "
            "which has a filesystem, as such an image",
            "use a class whose volumes are block devices",
        )

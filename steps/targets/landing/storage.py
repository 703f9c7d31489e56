"""The storage class of a disk on KubeVirt, and the modes and size of its claim.

The rules are CDI's: pkg/controller/common/util.go (default class), doc/storageprofile.md (modes),
pkg/controller/datavolume/util.go and doc/cdi-config.md (size of a claim with a filesystem),
pkg/controller/common/util.go (scratch space, and when a populator fills a claim).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.kinds import CDI_CONFIG, CSI_DRIVER, STORAGE_PROFILE, Object
from steps.model.machine import Disk
from steps.model.matching import storage_rule
from steps.model.plan import Plan, StorageRule
from steps.model.quantity import to_bytes
from steps.runtime.cluster import Cluster
from steps.targets.cluster.storage_classes import (
    DEFAULT_CLASS,
    DEFAULT_VIRT_CLASS,
    default_class,
    named_class,
)

log = structlog.get_logger()

OVERHEAD: Final = 0.06
"""CDI's default share of a filesystem's own data (CDIConfig, filesystemOverhead)."""
MINIMUM: Final = "cdi.kubevirt.io/minimumSupportedPvcSize"
"""On a StorageProfile: the smallest claim of its class."""
FALLBACK: Final = ("ReadWriteOnce", "Filesystem")
_UNIT: Final = 1 << 20
"""CDI rounds the size of a claim with a filesystem up to whole MiB."""


@dataclass(frozen=True)
class VolumeStorage:
    """How the claim of a disk is made. `overhead` and `minimum` (bytes) are those of the class."""

    storage_class: str
    access_mode: str
    volume_mode: str
    overhead: float = OVERHEAD
    minimum: int = 0
    guessed: bool = False
    """Whether no StorageProfile states the modes."""
    populated: bool = False
    """Whether CDI fills a claim of its own, of the same size, and moves that volume to the claim."""

    def claim_size(self, capacity: int) -> int:
        """The most bytes that the claim of a disk with that capacity has.

        Versions of CDI differ: v1.66 multiplies by 1 + overhead. Others divide by 1 - overhead: a bit more.
        """
        size = capacity
        if self.volume_mode == "Filesystem":
            size = math.ceil(capacity / (1 - self.overhead) / _UNIT) * _UNIT
        return max(size, self.minimum)


StorageOf = Callable[[Cluster, Plan, Disk], VolumeStorage]
"""How a target decides on the storage of a disk; see `storage_of`."""


def storage_of(cluster: Cluster, plan: Plan, disk: Disk) -> VolumeStorage:
    """The storage of a disk: the class and the modes that the request has for it, else those of the cluster.

    Raises:
        StepError: as `storage_for`.
    """
    rule = storage_rule(disk, plan.target)
    return with_wanted_modes(storage_for(cluster, rule.storage_class), rule)


def with_wanted_modes(found: VolumeStorage, rule: StorageRule) -> VolumeStorage:
    """The storage with the modes that the request has for the disk."""
    if not (rule.access_mode or rule.volume_mode):
        return found
    return replace(
        found,
        access_mode=rule.access_mode or found.access_mode,
        volume_mode=rule.volume_mode or found.volume_mode,
        guessed=found.guessed and not rule.access_mode,
    )


def storage_for(cluster: Cluster, class_name: str) -> VolumeStorage:
    """The storage of a disk for the class `class_name`, or for the default class.

    Raises:
        StepError: NOT_FOUND, if the class, or a default class, does not exist.
    """
    found = (
        named_class(cluster, class_name)
        if class_name
        else default_class(cluster, DEFAULT_VIRT_CLASS, DEFAULT_CLASS)
    )
    return storage_of_class(cluster, found)


def storage_of_class(cluster: Cluster, found: Object) -> VolumeStorage:
    """The storage of a disk for this storage class."""
    name = str(found["metadata"]["name"])
    profile = _read(cluster, name)
    modes = _modes(profile)
    access_mode, volume_mode = modes or FALLBACK
    annotations = (profile.get("metadata") or {}).get("annotations") or {}
    return VolumeStorage(
        storage_class=name,
        access_mode=access_mode,
        volume_mode=volume_mode,
        overhead=_overhead(cluster, name),
        minimum=to_bytes(annotations[MINIMUM]) if annotations.get(MINIMUM) else 0,
        guessed=modes is None,
        populated=_populated(cluster, str(found.get("provisioner") or "")),
    )


def scratch_for(cluster: Cluster, storage: VolumeStorage) -> VolumeStorage:
    """The storage of the claim to which CDI copies a disk first: of CDI's class for that, or of its own."""
    name = str(
        (_config(cluster).get("status") or {}).get("scratchSpaceStorageClass") or storage.storage_class
    )
    return VolumeStorage(name, "ReadWriteOnce", "Filesystem", overhead=_overhead(cluster, name))


def _populated(cluster: Cluster, provisioner: str) -> bool:
    """Whether CDI uses its populator for a provisioner: if a CSIDriver has that name.

    Without the right to read CSIDrivers it is assumed, as nearly all provisioners are CSI drivers.
    """
    try:
        return cluster.get(CSI_DRIVER, provisioner) is not None
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return True


def _read(cluster: Cluster, name: str) -> Object:
    """The class's StorageProfile; empty without one. Every authenticated client may read it."""
    try:
        return cluster.get(STORAGE_PROFILE, name) or {}
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        log.warning(f"{error}; the modes of the volumes are not known")
        return {}


def _modes(profile: Object) -> tuple[str, str] | None:
    """Access mode and volume mode of the profile's first set; None if it has none."""
    sets = (profile.get("status") or {}).get("claimPropertySets") or []
    if not sets or not sets[0].get("accessModes"):
        return None
    return str(sets[0]["accessModes"][0]), str(sets[0].get("volumeMode") or "Filesystem")


def _overhead(cluster: Cluster, name: str) -> float:
    """The share of a filesystem's own data for a class."""
    overheads = (_config(cluster).get("status") or {}).get("filesystemOverhead") or {}
    text = (overheads.get("storageClass") or {}).get(name) or overheads.get("global") or OVERHEAD
    return float(text)


def _config(cluster: Cluster) -> Object:
    """CDI's configuration; empty if it may not be read. Every authenticated client may read it."""
    try:
        return cluster.get(CDI_CONFIG, "config") or {}
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return {}


def refuse_filesystem(storage: VolumeStorage, disk: str, taken_for: str) -> None:
    """Refuse to let CDI write a disk to a filesystem if `qemu-img` takes the disk for another format.

    There CDI looks at the disk.img that it has written, and again names no format
    (containerized-data-importer pkg/importer/data-processor.go, resize): it fails, or resizes by a size that
    the guest wrote. On a block volume it does not look.

    Raises:
        StepError: UNSUPPORTED.
    """
    if taken_for and storage.volume_mode == "Filesystem":
        raise StepError(
            Exit.UNSUPPORTED,
            f"{disk} cannot be imported to storage class {storage.storage_class}",
            f"its guest wrote the header of a {taken_for} image to it, and CDI would read the volume, "
            "which has a filesystem, as such an image",
            "use a class whose volumes are block devices",
        )

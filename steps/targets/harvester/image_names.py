"""Names, labels and annotations of images in Harvester. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from steps.model.names import short
from steps.model.plan import ImportRef
from steps.model.volumes import with_digest

# harvester pkg/util/constants.go (v1.6.0)
IMAGE_DISPLAY_NAME: Final = "harvesterhci.io/imageDisplayName"
IMAGE_ID: Final = "harvesterhci.io/imageId"
STORAGE_CLASS_NAME: Final = "harvesterhci.io/storageClassName"

_LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MAX_LENGTH: Final = 63


def image_name(import_ref: ImportRef, disk: str, digest: str = "") -> str:
    """The name of a disk's image: unique for the import and the disk.

    It is as long as with `generateName: image-` in vm-import-controller, as Harvester before v1.8 makes
    another name of it: the class `longhorn-NAME` (pkg/util/image.go, GetImageStorageClassName). `digest` is
    given if an image with other bytes has the name already. With CDI an image is named like its volume (see
    `volume_image_name`), except in runs that an earlier version began.
    """
    parts = [import_ref.uid, import_ref.namespace, import_ref.name, disk, *([digest] if digest else [])]
    return f"image-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:12]}"


def is_image_name(name: str, import_ref: ImportRef, disk: str) -> bool:
    """Whether a volume is named like its image, as in earlier versions."""
    return name == image_name(import_ref, disk)


def volume_image_name(import_ref: ImportRef, disk: str, volume: str, digest: str = "") -> str:
    """The name of a disk's image whose content is the volume itself, as with CDI: the volume's name.

    `volume` is empty in a run that an earlier version began.
    """
    if not volume:
        return image_name(import_ref, disk, digest)
    return with_digest(volume, digest) if digest else volume


def display_name(import_ref: ImportRef, disk: str, suffix: str = "") -> str:
    """The display name of the image: vm-import-controller's `vm-import-IMPORT-DISK` if Harvester accepts it.

    It becomes a label value there, and newer versions refuse an invalid one (pkg/image/common/validator.go,
    CheckDisplayName), so a longer name is cut and gets a hash.
    """
    return short("-".join(filter(None, ["vm-import", import_ref.name, disk, suffix])), _MAX_LENGTH)


def display_label(text: str) -> str:
    """The label by which vm-import-controller finds an image with that display name.

    sigs.k8s.io/cluster-api util/labels/format, MustFormatValue: unchanged if valid, else 32-bit FNV-1a.
    """
    if _LABEL_VALUE.fullmatch(text):
        return text
    digest = 0x811C9DC5
    for byte in text.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"hash_{base64.urlsafe_b64encode(digest.to_bytes(4, 'big')).decode().rstrip('=')}_z"

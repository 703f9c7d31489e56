"""Whether what arrived at the target is what was served, as far as the target lets us see."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import BACKING_IMAGE, STORAGE_CLASS, Object
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.harvester.serving import POLL
from steps.targets.harvester.state import state
from steps.targets.harvester.storage import Backend

LONGHORN_SYSTEM: Final = "longhorn-system"
PATIENCE: Final = 60.0
"""Seconds that an image may be ready before its checksum shows: both come from Longhorn's file status, but
Harvester and we read them at different times."""


class Integrity(enum.StrEnum):
    """How far an image was compared with the bytes it was made of; shown in the import's status."""

    SHA512 = "sha512"
    """The target's own digest of what it holds is that of what was served."""
    TRANSFER_ONLY = "transfer-only"
    """The target publishes none: its size and a whole transfer are all there is to go by."""
    NOT_COMPARED = "not-compared"
    """An image that was there before and was taken by its name."""


def compare(
    cluster: Cluster,
    image: Object,
    digest: str,
    stop: Stop,
    clock: Callable[[], float] = time.monotonic,
) -> Integrity:
    """Hold what the target has against `digest`.

    Raises:
        StepError: CORRUPT, when it differs; the caller decides what becomes of the image.
    """
    held = _held(cluster, image, stop, clock)
    if held is None:
        return Integrity.TRANSFER_ONLY
    if held.lower() == digest:
        return Integrity.SHA512
    raise StepError(
        Exit.CORRUPT,
        f"image {image['metadata']['name']} differs from the disk that was served",
        f"SHA-512 there {held[:16]}…, here {digest[:16]}…",
    )


def _held(cluster: Cluster, image: Object, stop: Stop, clock: Callable[[], float]) -> str | None:
    """The SHA-512 that Longhorn publishes of an image's file.

    longhorn-manager, BackingImage status.checksum; controller/backing_image_controller.go takes it from the
    file once that is ready.
    """
    if image["spec"].get("backend") != Backend.BACKING_IMAGE:
        return None
    # The class names the BackingImage in every version of Harvester; how it is called has changed twice
    # (pkg/util/image.go, GetBackingImage).
    found = cluster.get(STORAGE_CLASS, state(image).storage_class)
    name = ((found or {}).get("parameters") or {}).get("backingImage")
    if not name:
        return None
    end = clock() + PATIENCE
    while True:
        backing = cluster.get(BACKING_IMAGE, name, LONGHORN_SYSTEM) or {}
        checksum: str = (backing.get("status") or {}).get("checksum") or ""
        if checksum or clock() > end:
            return checksum or None
        stop.sleep(POLL)

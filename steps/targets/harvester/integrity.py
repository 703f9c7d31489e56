"""Whether the target's data equals the served data, as far as the target shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import BACKING_IMAGE, STORAGE_CLASS, Object
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster.published import Integrity
from steps.targets.cluster.serving import POLL
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.storage import Backend

LONGHORN_SYSTEM: Final = "longhorn-system"
PATIENCE: Final = 60.0
"""Seconds between an image's readiness and its checksum: both come from Longhorn's file status, but
Harvester and vmferry read them at different times."""


def compare(
    cluster: Cluster,
    image: Object,
    digest: str,
    stop: Stop,
    clock: Callable[[], float] = time.monotonic,
) -> Integrity:
    """Compare the target's data with `digest`.

    Raises:
        StepError: CORRUPT, if it differs; the caller decides what to do with the image.
    """
    actual = _read_checksum(cluster, image, stop, clock)
    if actual is None:
        return Integrity.TRANSFER_ONLY
    if actual.lower() == digest:
        return Integrity.SHA512
    raise StepError(
        Exit.CORRUPT,
        f"image {image['metadata']['name']} differs from the disk that was served",
        f"SHA-512 there {actual[:16]}…, here {digest[:16]}…",
    )


def _read_checksum(cluster: Cluster, image: Object, stop: Stop, clock: Callable[[], float]) -> str | None:
    """The SHA-512 of an image's file as Longhorn publishes it.

    longhorn-manager, BackingImage status.checksum; controller/backing_image_controller.go takes it from the
    file once that is ready.
    """
    if image["spec"].get("backend") != Backend.BACKING_IMAGE:
        return None
    # The class refers to the BackingImage in every version of Harvester; its naming has changed twice
    # (pkg/util/image.go, GetBackingImage).
    storage_class = cluster.get(STORAGE_CLASS, image_state(image).storage_class)
    backing_image = ((storage_class or {}).get("parameters") or {}).get("backingImage")
    if not backing_image:
        return None
    end = clock() + PATIENCE
    while True:
        backing_image_object = cluster.get(BACKING_IMAGE, backing_image, LONGHORN_SYSTEM) or {}
        checksum: str = (backing_image_object.get("status") or {}).get("checksum") or ""
        if checksum or clock() > end:
            return checksum or None
        stop.sleep(POLL)

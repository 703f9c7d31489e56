"""Which image a disk becomes: an existing one, one begun earlier, or a new one.

    the import's own, by name ─ failed, or of another file or URL ───── deleted and made again
                              ─ being downloaded, or of these bytes ─── resumed
                              ─ imported, of other bytes ────────────── a new one next to it, with a warning
    of an earlier import      ─ stamped with this digest ────────────── taken, nothing is uploaded
      of the same name        ─ without a stamp, by reuseUnstamped ──── taken by its name
                              ─ otherwise ───────────────────────────── a new one next to it, with a warning
                              ─ several ─────────────────────────────── a person has to choose

Images of the CDI backend are never reused from an earlier import: a VM runs on the image's own volume
there, so their content may have changed since they were stamped.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMAGE, Object
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import (
    annotations_of,
    is_of_run,
    refuse_deleting,
    refuse_foreign,
)
from steps.targets.cluster.serving import POLL, ServedDisk, ServeStep
from steps.targets.harvester import image_names
from steps.targets.harvester.claim_check import refuse_taken
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.objects import names_of
from steps.targets.harvester.storage import Backend

log = structlog.get_logger()

DELETION_SECONDS: Final = 5 * 60.0
"""Seconds that the deletion of an image may take: Harvester first removes the data in Longhorn or CDI."""


@dataclass(frozen=True)
class OwnImage:
    """An image of this import; if not `exists`, it is still to be created."""

    name: str
    display_name: str
    exists: bool = False


class OwnImageAction(enum.Enum):
    """What to do with the import's own image of an earlier attempt."""

    CONTINUE = enum.auto()
    RECREATE = enum.auto()
    KEEP = enum.auto()


class ImageCandidates:
    """The candidate images of a disk."""

    def __init__(
        self,
        plan: Plan,
        disk: str,
        cluster: Cluster,
        serve: ServeStep,
        stop: Stop,
        *,
        volumes: Volumes,
        backend: Callable[[], Backend],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`backend` returns how a new image is stored; it is called when one has to be created."""
        self._plan = plan
        self._volume = volumes.names.get(disk, "")
        self._backend = backend
        self._disk = disk
        self._cluster = cluster
        self._serve = serve
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace
        self._display_name = image_names.display_name(plan.import_, disk)

    def choose(self, served_disk: ServedDisk) -> OwnImage | Object:
        """The image to create or to continue, or an equal one of another import.

        Raises:
            StepError: AMBIGUOUS or CONFLICT, when a person has to choose.
        """
        if own := self._find_own():
            match self._decide_action(own, served_disk):
                case OwnImageAction.CONTINUE:
                    return _existing(own)
                case OwnImageAction.KEEP:
                    return self._new_image_next_to(own)
                case OwnImageAction.RECREATE:
                    self._delete(own)
        others = self._find_others()
        return self._choose_among(others) if others else self._new_image()

    def _choose_among(self, others: list[Object]) -> OwnImage | Object:
        """Among images of earlier imports: one with the same bytes, one by its name, or a new one."""
        digest = self._digest()
        same_bytes = [image for image in others if _is_reusable(image) and _stamp(image) == digest]
        if same_bytes:
            return min(same_bytes, key=lambda image: str(image["metadata"]["name"]))
        same_name = [image for image in others if image["spec"]["displayName"] == self._display_name]
        if len(same_name) > 1:
            raise StepError(
                Exit.AMBIGUOUS,
                f"{len(same_name)} images in {self._namespace} are named {self._display_name}",
                names_of(same_name),
                "delete or rename all but the one you want, then retry",
            )
        return self._choose_by_name(same_name[0]) if same_name else self._new_image()

    def _choose_by_name(self, image: Object) -> OwnImage | Object:
        if self._plan.target.reuse_unstamped and _is_reusable(image) and not _stamp(image):
            log.warning(
                "the image is reused by its name; its content cannot be verified", image=names_of([image])
            )
            return image
        return self._new_image_next_to(image)

    def _new_image_next_to(self, old: Object) -> OwnImage:
        """A new image next to one with other bytes.

        It cannot have the same display name: Harvester refuses a second one in a namespace
        (pkg/image/common/validator.go, commonCheckDisplayName).
        """
        served_disk = self._serve.served_disk(digest=True)
        log.warning(
            f"image {names_of([old])} has this disk's name, but its content cannot be verified: "
            "creating a new image"
        )
        if is_of_run(old, self._plan):
            self._unmark(old)
        if own := self._find_own(served_disk.sha512):
            if self._decide_action(own, served_disk) is not OwnImageAction.RECREATE:
                return _existing(own)
            self._delete(own)
        return self._new_image(served_disk.sha512)

    def _unmark(self, old: Object) -> None:
        """Remove the mark, so that `build` does not use the image for the disk."""
        change = {"metadata": {"labels": {names.LABEL_RUN: None}, "annotations": {markers.PUBLISHED: None}}}
        self._cluster.patch(IMAGE, old["metadata"]["name"], change, self._namespace)

    def _decide_action(self, own: Object, served_disk: ServedDisk) -> OwnImageAction:
        refuse_foreign(own, self._plan)
        current, annotations = image_state(own), annotations_of(own)
        same_file = annotations.get(markers.LANDED) == served_disk.landed
        if current.failed:
            return OwnImageAction.RECREATE
        if not current.imported:  # its URL leads nowhere if the serve step has started again
            is_served = own["spec"]["url"] == self._serve.url(served_disk)
            return OwnImageAction.CONTINUE if same_file and is_served else OwnImageAction.RECREATE
        if markers.DIGEST not in annotations:
            return OwnImageAction.CONTINUE if same_file else OwnImageAction.KEEP
        return OwnImageAction.CONTINUE if _stamp(own) == self._digest() else OwnImageAction.KEEP

    def _find_own(self, digest: str = "") -> Object | None:
        """The image of an earlier attempt, for either backend; with `digest` the additional one.

        An image of CDI counts only for its own run, as a VM may have written to its volume since.
        """
        by_import = self._find_image(image_names.image_name(self._plan.import_, self._disk, digest))
        if by_import is not None and not _is_cdi(by_import):
            return by_import
        by_volume = self._find_image(self._image_name(Backend.CDI, digest)) if self._volume else by_import
        return (
            by_volume
            if by_volume is not None and _is_cdi(by_volume) and is_of_run(by_volume, self._plan)
            else None
        )

    def _new_image(self, digest: str = "") -> OwnImage:
        """An image to be created; with `digest` an additional one with another display name.

        With CDI it still gets the volume's name, if no image has it.

        Raises:
            StepError: CONFLICT, if its name is taken.
        """
        backend = self._backend()
        volume_image = self._image_name(backend, "") if backend is Backend.CDI else ""
        name = (
            volume_image
            if volume_image and self._find_image(volume_image) is None
            else self._image_name(backend, digest)
        )
        if existing := self._find_image(name):
            refuse_foreign(existing, self._plan)
            raise StepError(
                Exit.CONFLICT,
                f"image {self._namespace}/{name} already exists",
                "it belongs to an earlier run of this import",
                "delete it if nobody needs it, then retry",
            )
        if backend is Backend.CDI:
            self._await_name_free(name)
        suffix = image_names.image_name(self._plan.import_, self._disk, digest).removeprefix("image-")[:8]
        display_name = (
            image_names.display_name(self._plan.import_, self._disk, suffix) if digest else self._display_name
        )
        return OwnImage(name, display_name)

    def _image_name(self, backend: Backend, digest: str) -> str:
        volume = self._volume if backend is Backend.CDI else ""
        return image_names.volume_image_name(self._plan.import_, self._disk, volume, digest)

    def _delete(self, own: Object) -> None:
        """Delete an image of an earlier attempt, and return when it is deleted."""
        name = own["metadata"]["name"]
        if _is_cdi(own):  # Harvester deletes the volume of that name with it
            refuse_taken(self._cluster, self._namespace, name, own)
        why = self._serve.redact(image_state(own).failed) or "it was made from another file or URL"
        log.info(f"deleting image {name} of an earlier attempt and creating it again: {why}")
        self._cluster.delete(IMAGE, name, self._namespace, uid=own["metadata"]["uid"])
        self._find_image(name)

    def _await_name_free(self, name: str) -> None:
        """Return when no volume has the name; one whose image was deleted is removed soon.

        Raises:
            StepError: CONFLICT, for a foreign volume.
        """
        end = self._clock() + DELETION_SECONDS
        while True:
            try:
                return refuse_taken(self._cluster, self._namespace, name)
            except StepError as error:
                if error.code is not Exit.BUSY or self._clock() > end:
                    raise
            self._stop.sleep(POLL)

    def _find_image(self, name: str) -> Object | None:
        """The image or None. Waits for one that is being deleted."""
        end = self._clock() + DELETION_SECONDS
        while True:
            image = self._cluster.get(IMAGE, name, self._namespace)
            if image is None or "deletionTimestamp" not in image["metadata"]:
                return image
            self._await_deletion(image, end)

    def _find_others(self) -> list[Object]:
        """Images of earlier imports with this one's name, after waiting for those that are being deleted."""
        end = self._clock() + DELETION_SECONDS
        while True:
            images = self._find_by_name()
            deleting = [image for image in images if "deletionTimestamp" in image["metadata"]]
            if not deleting:
                return images
            self._await_deletion(deleting[0], end)

    def _find_by_name(self) -> list[Object]:
        run_labels = names.labels(self._plan)
        by_import = {key: run_labels[key] for key in (names.LABEL_NAME, names.LABEL_NAMESPACE)}
        selectors = (
            {image_names.IMAGE_DISPLAY_NAME: image_names.display_label(self._display_name)},
            {**by_import, names.LABEL_DISK: self._disk},
        )
        images = [
            image for labels in selectors for image in self._cluster.find(IMAGE, self._namespace, labels)
        ]
        return list({image["metadata"]["uid"]: image for image in images}.values())

    def _await_deletion(self, image: Object, end: float) -> None:
        if self._clock() > end:
            refuse_deleting(image)
        self._stop.sleep(POLL)

    def _digest(self) -> str:
        return self._serve.served_disk(digest=True).sha512


def _existing(image: Object) -> OwnImage:
    return OwnImage(image["metadata"]["name"], image["spec"]["displayName"], exists=True)


def _is_cdi(image: Object) -> bool:
    return bool(image["spec"].get("backend") == Backend.CDI)


def _stamp(image: Object) -> str:
    return annotations_of(image).get(markers.DIGEST, "")


def _is_reusable(image: Object) -> bool:
    return image_state(image).imported and image["spec"].get("backend") == Backend.BACKING_IMAGE

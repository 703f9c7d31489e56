"""A disk becomes a VirtualMachineImage: choose, create, wait, compare, and mark as done."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import IMAGE, Object
from steps.model.machine import Disk
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.completion import (
    NO_WORKFLOW,
    WorkflowRef,
    completion_annotations,
    find_completed,
)
from steps.targets.cluster.ownership import owner_references, refuse_foreign
from steps.targets.cluster.published import Integrity
from steps.targets.cluster.serving import POLL, ServedDisk, ServeStep, Serving
from steps.targets.cluster.sibling import StepNode, refuse_without_serve
from steps.targets.cluster.storage_classes import storage_class_name
from steps.targets.harvester import objects
from steps.targets.harvester.candidates import ImageCandidates, OwnImage
from steps.targets.harvester.image_state import IMAGES, ImageState, image_state
from steps.targets.harvester.integrity import compare
from steps.targets.harvester.storage import (
    Backend,
    ImageStorage,
    refuse_filesystem,
    storage_for,
)
from steps.targets.target import ProgressCallback

log = structlog.get_logger()

STALLED_SECONDS: Final = 60 * 60.0
"""Seconds without any change after which an image counts as stalled. One per cent of 10 TB takes 17
minutes at 100 MB/s, and Harvester reports whole per cents."""


class ImagePublication:
    """Publishes one disk as an image. An earlier attempt may have done any part of it."""

    def __init__(
        self,
        plan: Plan,
        disk: Disk,
        cluster: Cluster,
        serving: Serving,
        stop: Stop,
        *,
        volumes: Volumes,
        workflow: WorkflowRef = NO_WORKFLOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._workflow = workflow
        self._cluster = cluster
        self._stop = stop
        self._clock = clock
        self._namespace = plan.target.namespace
        self._known_storage: ImageStorage | None = None
        node = StepNode(cluster, "serve", disk.id, workflow)
        check = partial(refuse_without_serve, node, disk.id)
        self._serve = ServeStep(serving, disk.id, stop, check=check, clock=clock)
        self._candidates = ImageCandidates(
            plan,
            disk.id,
            cluster,
            self._serve,
            stop,
            volumes=volumes,
            backend=lambda: self._storage().backend,
            clock=clock,
        )

    def run(self, report: ProgressCallback) -> Object:
        """The image, imported and marked."""
        if (completed := self._find_completed()) is not None:
            log.info("an earlier attempt has published it", image=completed["metadata"]["name"])
            return completed
        image: Object | None = None
        while image is None:
            served_disk = self._serve.served_disk()
            choice = self._candidates.choose(served_disk)
            if not isinstance(choice, OwnImage):
                log.info("nothing is uploaded: the image exists already", image=choice["metadata"]["name"])
                # Before the mark: the mark ends serve, whose digest may be missing yet.
                self._serve.served_disk(digest=True)
                return self._mark_published(choice, {})
            if not choice.exists:
                self._create_image(choice, served_disk)
            image = self._await_imported(choice.name, served_disk, report)
        served_disk = self._serve.served_disk(digest=True)
        return self._mark_published(image, self._digest_annotations(image, served_disk))

    def _find_completed(self) -> Object | None:
        """The image if this step is done already: `serve` has then ended, and describes no disk."""
        return find_completed(self._cluster, IMAGES, self._plan, self._disk.id, self._workflow)

    def _create_image(self, own_image: OwnImage, served_disk: ServedDisk) -> None:
        storage = self._storage()
        if served_disk.taken_for and storage.backend is Backend.CDI:
            refuse_filesystem(self._cluster, storage.storage_class, self._disk.id, served_disk.taken_for)
        manifest = objects.image_manifest(
            self._plan,
            self._disk.id,
            name=own_image.name,
            display_name=own_image.display_name,
            url=self._serve.url(served_disk),
            landed=served_disk.landed,
            storage=storage,
            checksum=served_disk.sha512,
            owners=owner_references(self._cluster, self._plan),
        )
        try:
            self._cluster.create(manifest)
        except ExistsError:  # created by our request with a lost answer, or meanwhile by others
            refuse_foreign(self._get_image(own_image.name), self._plan)
        log.info("image created", image=own_image.name, display_name=own_image.display_name)

    def _storage(self) -> ImageStorage:
        """The storage of a new image, looked up once."""
        if self._known_storage is None:
            self._known_storage = storage_for(
                self._cluster, storage_class_name(self._plan.target, self._disk)
            )
        return self._known_storage

    def _await_imported(self, name: str, served_disk: ServedDisk, report: ProgressCallback) -> Object | None:
        """Return when Harvester has the image; None if it never will, as its URL leads nowhere any more.

        Raises:
            StepError: BROKEN_STREAM with its reason, if Harvester gives up; UNREACHABLE, if it stalls.
        """
        last_state, last_change = None, self._clock()
        while True:
            image = self._get_image(name)
            current = image_state(image)
            report(served_disk.size * min(current.percent, 100) // 100, served_disk.size)
            if current.imported:
                return image
            if self._serve.is_elsewhere(image["spec"]["url"]):
                log.warning("the serve step has started again with a new URL", image=name)
                return None
            if current != last_state:
                self._log_problems(name, current, last_state)
                last_state, last_change = current, self._clock()
            if self._clock() - last_change > STALLED_SECONDS:
                raise _stalled(name, current)
            self._stop.sleep(POLL)

    def _get_image(self, name: str) -> Object:
        image = self._cluster.get(IMAGE, name, self._namespace)
        if image is None or "deletionTimestamp" in image["metadata"]:
            raise StepError(Exit.UNREACHABLE, f"image {name} was deleted", remedy="vmferry creates it again")
        return image

    def _log_problems(self, name: str, current: ImageState, last_state: ImageState | None) -> None:
        """Log what went wrong with the image; raise if Harvester retries no more."""
        if current.failed:
            raise StepError(
                Exit.BROKEN_STREAM,
                f"Harvester could not import image {name}",
                self._serve.redact(current.failed),
                "the next attempt deletes it and creates it again",
            )
        if current.last_failure and (last_state is None or current.last_failure != last_state.last_failure):
            log.warning(f"Harvester retries image {name}: {self._serve.redact(current.last_failure)}")

    def _digest_annotations(self, image: Object, served_disk: ServedDisk) -> dict[str, str]:
        """The annotations that identify these bytes.

        Raises:
            StepError: BROKEN_STREAM, if they differ; the image is deleted and created again.
        """
        try:
            integrity = compare(self._cluster, image, served_disk.sha512, self._stop, self._clock)
            if integrity is Integrity.TRANSFER_ONLY and image["spec"]["url"].startswith("https:"):
                integrity = Integrity.TLS
        except StepError as error:
            if error.code is not Exit.CORRUPT:
                raise
            metadata = image["metadata"]
            self._cluster.delete(IMAGE, metadata["name"], self._namespace, uid=metadata["uid"])
            raise StepError(Exit.BROKEN_STREAM, error.what, error.why, "vmferry creates it again") from None
        return {markers.DIGEST: served_disk.sha512, markers.INTEGRITY: str(integrity)}

    def _mark_published(self, image: Object, digest_annotations: dict[str, str]) -> Object:
        """Mark the image as that of the disk, for `serve` and `build`."""
        annotations = {
            **completion_annotations(self._plan, self._disk.id, self._workflow),
            **digest_annotations,
        }
        labels = {names.LABEL_RUN: self._plan.run, names.LABEL_DISK: self._disk.id}
        change: Object = {"metadata": {"labels": labels, "annotations": annotations}}
        name = image["metadata"]["name"]
        return self._cluster.patch(IMAGE, name, change, self._namespace) or self._get_image(name)


def _stalled(name: str, current: ImageState) -> StepError:
    return StepError(
        Exit.UNREACHABLE,
        f"image {name} makes no progress",
        f"it has been at {current.percent} % for {STALLED_SECONDS / 60:g} minutes",
        f"see its events, and those of its volumes: kubectl describe vmimage {name}",
    )

"""The temporary objects of an export: snapshot, volume from it, image from that. Named after run and disk.

They are found by these names: by the attempt after a killed one, which reuses them, and by `release-source`,
which deletes them. The object of a create request with a lost answer is found by its name too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from steps.model.contract import StepError
from steps.model.machine import Disk, DiskId
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.waiting import CLOCK, POLL_SECONDS, await_status

log = structlog.get_logger()

COPY_SECONDS: Final = 7200.0
"""For a snapshot, and for a volume made from it: as long as in vm-import-controller."""
IMAGE_SECONDS: Final = 300.0
"""At least, for a volume's image without a retry count in the source (vm-import-controller: 30 x 10 s)."""
IMAGE_BYTES_PER_SECOND: Final = 10 << 20
"""Assumed speed of an upload to Glance if the source does not set how long to wait."""
DELETE_SECONDS: Final = 300.0
RUN_KEY: Final = "vmferry-run"
"""Key in the metadata of snapshots and volumes; its value is the run's name."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The temporary objects of one run."""

    cloud: Cloud
    run: str

    def name(self, disk: DiskId) -> str:
        """The name of the three objects of a disk."""
        return f"{self.prefix}{disk}"

    @property
    def prefix(self) -> str:
        return f"vmferry-{self.run}-"

    # --- create or find

    def image_of_volume(self, disk: Disk) -> Any:
        """An active image of the volume's current content, as raw bytes.

        Raises:
            StepError: NO_SPACE for a quota, UNREACHABLE if it takes too long, BUSY if a copy failed.
        """
        name = self.name(disk.id)
        image = self._oldest_usable(self.images(), name, self._delete_image)
        if image is None:
            volume = self._volume_copy(disk, name)
            image = self._upload_to_glance(volume, name)
        return self._await_active(image.id, name, disk.capacity)

    def image_of_server(self, server: Any, disk: Disk) -> Any:
        """An active image of the root disk as Nova's host stores it. Raises as `image_of_volume`."""
        name = self.name(disk.id)
        image = self._oldest_usable(self.images(), name, self._delete_image)
        if image is None:
            log.info("making an image of the server's root disk", server=server.id)
            image_id = self.cloud.change(
                f"make an image of server {server.name}",
                lambda: server.create_image(self.cloud.compute, name, {RUN_KEY: self.run}),
            )
            image = self._read_image(image_id)
        return self._await_active(image.id, name, disk.capacity)

    def _volume_copy(self, disk: Disk, name: str) -> Any:
        """An available volume from the disk's snapshot."""
        volumes = self.cloud.volumes
        volume = self._oldest_usable(self.volumes(), name, self._delete_volume)
        if volume is None:
            snapshot = self._snapshot(disk, name)
            volume = self.cloud.change(
                f"make a volume from the snapshot of {disk.id}",
                lambda: volumes.create_volume(
                    name=name, snapshot_id=snapshot.id, size=snapshot.size, metadata={RUN_KEY: self.run}
                ),
            )
        return await_status(
            self.cloud,
            f"the copy of {disk.id}",
            lambda: self.cloud.find("read a volume", lambda: volumes.get_volume(volume.id)),
            ("available", "uploading"),
            transitional=("creating", "downloading"),
            seconds=COPY_SECONDS,
        )

    def _snapshot(self, disk: Disk, name: str) -> Any:
        volumes = self.cloud.volumes
        snapshot = self._oldest_usable(self.snapshots(), name, self._delete_snapshot)
        if snapshot is None:
            log.info("taking a snapshot of the volume", disk=disk.id, volume=disk.key)
            snapshot = self.cloud.change(
                f"take a snapshot of {disk.id}",
                lambda: volumes.create_snapshot(
                    volume_id=disk.key, name=name, is_forced=True, metadata={RUN_KEY: self.run}
                ),
            )
        return await_status(
            self.cloud,
            f"the snapshot of {disk.id}",
            lambda: self.cloud.find("read a snapshot", lambda: volumes.get_snapshot(snapshot.id)),
            ("available",),
            transitional=("creating",),
            seconds=COPY_SECONDS,
        )

    def _upload_to_glance(self, volume: Any, name: str) -> Any:
        """Ask Cinder for an image of the volume (os-volume_upload_image)."""
        log.info("uploading the copy to Glance", volume=volume.id)
        response = self.cloud.change(
            "make an image from a volume",
            lambda: self.cloud.volumes.upload_volume_to_image(
                volume, name, disk_format="raw", container_format="bare"
            ),
        )
        return self._read_image(response["image_id"])

    def _await_active(self, image_id: str, name: str, size: int) -> Any:
        plan = self.cloud.plan
        estimated_seconds = max(IMAGE_SECONDS, size / IMAGE_BYTES_PER_SECOND)
        seconds = plan.image_looks * plan.image_pause if plan.image_looks else estimated_seconds
        return await_status(
            self.cloud,
            f"image {name}",
            lambda: self._read_upload(image_id, name),
            ("active",),
            transitional=("queued", "saving", "importing"),
            seconds=seconds,
            pause=min(plan.image_pause, seconds) if plan.image_looks else POLL_SECONDS,
            remedy="vmferry waits again; to wait longer, raise spec.uploadImageRetryCount of the source",
        )

    def _read_upload(self, image_id: str, name: str) -> Any:
        """The image, or None if its upload has ended: Cinder leaves it queued after a failure."""
        image = self.cloud.find("read an image", lambda: self.cloud.images.get_image(image_id))
        if image is not None and image.status in ("queued", "saving"):
            volume = self._oldest_usable(self.volumes(), name, self._delete_volume)
            if volume is not None and volume.status not in ("uploading", "maintenance"):
                # It may have become active, and the volume available, between the two reads.
                image = self.cloud.find("read an image", lambda: self.cloud.images.get_image(image_id))
                if image is not None and image.status in ("queued", "saving"):
                    self._delete_image(image)
                    return None
        return image

    def _read_image(self, image_id: str) -> Any:
        return self.cloud.read("read an image", lambda: self.cloud.images.get_image(image_id))

    def _oldest_usable(self, objects: Iterable[Any], name: str, delete: Callable[[Any], None]) -> Any:
        """The oldest usable object with that name; failed and duplicate ones are deleted."""
        named = sorted(
            (candidate for candidate in objects if candidate.name == name),
            key=lambda candidate: str(candidate.created_at),
        )
        usable = [candidate for candidate in named if candidate.status not in _FAILED]
        for candidate in named:
            if candidate not in usable[:1]:
                delete(candidate)
        return usable[0] if usable else None

    # --- find

    def has_image(self, disk: DiskId) -> bool:
        """Whether an earlier attempt created the disk's image, or began to."""
        return any(image.name == self.name(disk) and image.status not in _FAILED for image in self.images())

    def snapshots(self) -> list[Any]:
        """Snapshots of the whole run; likewise the two functions below."""
        volumes = self.cloud.volumes
        snapshots = self.cloud.read("list snapshots", lambda: list(volumes.snapshots(details=True)))
        return self._of_run(snapshots)

    def volumes(self) -> list[Any]:
        volumes = self.cloud.volumes
        return self._of_run(self.cloud.read("list volumes", lambda: list(volumes.volumes(details=True))))

    def images(self) -> list[Any]:
        """The project's own images: a shared image with that name is not ours."""
        images = self.cloud.images
        return self._of_run(self.cloud.read("list images", lambda: list(images.images(visibility="private"))))

    def _of_run(self, objects: Iterable[Any]) -> list[Any]:
        return [candidate for candidate in objects if (candidate.name or "").startswith(self.prefix)]

    # --- delete

    def release(self, disk: DiskId | None = None) -> list[str]:
        """Delete the objects of one disk or of all, each after those made from it; returns what is left."""
        name = self.name(disk) if disk else ""
        leftovers: list[str] = []
        for kind, list_objects, delete in (
            ("image", self.images, self._delete_image),
            ("volume", self.volumes, self._delete_volume),
            ("snapshot", self.snapshots, self._delete_snapshot),
        ):
            leftovers += self._delete_all(kind, partial(_with_name, list_objects, name), delete)
        return leftovers

    def _delete_all(
        self, kind: str, list_objects: Callable[[], list[Any]], delete: Callable[[Any], None]
    ) -> list[str]:
        """Delete until none is found: an object that is being created, or in use, cannot be deleted yet."""
        end, refused = CLOCK() + DELETE_SECONDS, ""
        while remaining := list_objects():
            for item in remaining:
                if item.status != "deleting":
                    try:
                        delete(item)
                    except StepError as error:
                        refused = str(error)
            if CLOCK() > end or all(item.status == "error_deleting" for item in remaining):
                return [
                    f"{kind} {item.name} ({item.id}, {item.status}) {refused}".strip() for item in remaining
                ]
            self.cloud.stop.sleep(POLL_SECONDS if len(list_objects()) else 0)
        return []

    def _delete_image(self, image: Any) -> None:
        self._delete("image", image, self.cloud.images.delete_image)

    def _delete_volume(self, volume: Any) -> None:
        self._delete("volume", volume, self.cloud.volumes.delete_volume)

    def _delete_snapshot(self, snapshot: Any) -> None:
        self._delete("snapshot", snapshot, self.cloud.volumes.delete_snapshot)

    def _delete(self, kind: str, item: Any, delete: Callable[[Any], Any]) -> None:
        log.info(f"deleting {kind} {item.name}", id=item.id)
        self.cloud.change(f"delete {kind} {item.name}", lambda: delete(item.id))


def _with_name(list_objects: Callable[[], list[Any]], name: str) -> list[Any]:
    """Those with that name, or all for an empty name."""
    return [item for item in list_objects() if name in ("", item.name)]


_FAILED: Final = ("error", "error_deleting", "killed", "deleted", "pending_delete", "deactivated", "deleting")

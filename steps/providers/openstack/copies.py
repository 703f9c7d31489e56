"""The temporary objects of an export: snapshot, volume from it, image from that. Named after run and disk.

They are found by these names: by the attempt after a killed one, which reuses them, and by
cleanup, which deletes them. The object of a create request with a lost answer is found by its name too.
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
from steps.providers.openstack.waiting import CLOCK, POLL_SECONDS, until

log = structlog.get_logger()

COPY_SECONDS: Final = 7200.0
"""For a snapshot, and for a volume made from it: as long as in vm-import-controller."""
IMAGE_SECONDS: Final = 300.0
"""At least, for a volume's image without a retry count in the source (vm-import-controller: 30 x 10 s)."""
IMAGE_BYTES_PER_SECOND: Final = 10 << 20
"""Assumed speed of an upload to Glance if the source does not set how long to wait."""
DELETE_SECONDS: Final = 300.0
MARK: Final = "vmferry-run"
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

    def of_volume(self, disk: Disk) -> Any:
        """An active image of the volume's current content, as raw bytes.

        Raises:
            StepError: NO_SPACE for a quota, UNREACHABLE if it takes too long, BUSY if a copy failed.
        """
        name = self.name(disk.id)
        image = self._one(self.images(), name, self._drop_image)
        if image is None:
            volume = self._volume(disk, name)
            image = self._upload(volume, name)
        return self._active(image.id, name, disk.capacity)

    def of_server(self, server: Any, disk: Disk) -> Any:
        """An active image of the server's root disk, as Nova's host stores it. Raises as `of_volume`."""
        name = self.name(disk.id)
        image = self._one(self.images(), name, self._drop_image)
        if image is None:
            log.info("making an image of the server's root disk", server=server.id)
            made = self.cloud.change(
                f"make an image of server {server.name}",
                lambda: server.create_image(self.cloud.compute, name, {MARK: self.run}),
            )
            image = self._image(made)
        return self._active(image.id, name, disk.capacity)

    def _volume(self, disk: Disk, name: str) -> Any:
        """An available volume from the disk's snapshot."""
        volumes = self.cloud.volumes
        volume = self._one(self.volumes(), name, self._drop_volume)
        if volume is None:
            snapshot = self._snapshot(disk, name)
            volume = self.cloud.change(
                f"make a volume from the snapshot of {disk.id}",
                lambda: volumes.create_volume(
                    name=name, snapshot_id=snapshot.id, size=snapshot.size, metadata={MARK: self.run}
                ),
            )
        return until(
            self.cloud,
            f"the copy of {disk.id}",
            lambda: self.cloud.find("read a volume", lambda: volumes.get_volume(volume.id)),
            ("available", "uploading"),
            passing=("creating", "downloading"),
            seconds=COPY_SECONDS,
        )

    def _snapshot(self, disk: Disk, name: str) -> Any:
        volumes = self.cloud.volumes
        snapshot = self._one(self.snapshots(), name, self._drop_snapshot)
        if snapshot is None:
            log.info("taking a snapshot of the volume", disk=disk.id, volume=disk.key)
            snapshot = self.cloud.change(
                f"take a snapshot of {disk.id}",
                lambda: volumes.create_snapshot(
                    volume_id=disk.key, name=name, is_forced=True, metadata={MARK: self.run}
                ),
            )
        return until(
            self.cloud,
            f"the snapshot of {disk.id}",
            lambda: self.cloud.find("read a snapshot", lambda: volumes.get_snapshot(snapshot.id)),
            ("available",),
            passing=("creating",),
            seconds=COPY_SECONDS,
        )

    def _upload(self, volume: Any, name: str) -> Any:
        """Ask Cinder for an image of the volume (os-volume_upload_image)."""
        log.info("uploading the copy to Glance", volume=volume.id)
        made = self.cloud.change(
            "make an image from a volume",
            lambda: self.cloud.volumes.upload_volume_to_image(
                volume, name, disk_format="raw", container_format="bare"
            ),
        )
        return self._image(made["image_id"])

    def _active(self, image: str, name: str, size: int) -> Any:
        plan = self.cloud.plan
        enough = max(IMAGE_SECONDS, size / IMAGE_BYTES_PER_SECOND)
        seconds = plan.image_looks * plan.image_pause if plan.image_looks else enough
        return until(
            self.cloud,
            f"image {name}",
            lambda: self._uploaded(image, name),
            ("active",),
            passing=("queued", "saving", "importing"),
            seconds=seconds,
            pause=min(plan.image_pause, seconds) if plan.image_looks else POLL_SECONDS,
            longer="vmferry waits again; to wait longer, raise spec.uploadImageRetryCount of the source",
        )

    def _uploaded(self, image: str, name: str) -> Any:
        """The image, or None if its upload has ended: Cinder leaves it queued after a failure."""
        found = self.cloud.find("read an image", lambda: self.cloud.images.get_image(image))
        if found is not None and found.status in ("queued", "saving"):
            volume = self._one(self.volumes(), name, self._drop_volume)
            if volume is not None and volume.status not in ("uploading", "maintenance"):
                # It may have become active, and the volume available, between the two reads.
                found = self.cloud.find("read an image", lambda: self.cloud.images.get_image(image))
                if found is not None and found.status in ("queued", "saving"):
                    self._drop_image(found)
                    return None
        return found

    def _image(self, image: str) -> Any:
        return self.cloud.read("read an image", lambda: self.cloud.images.get_image(image))

    def _one(self, found: Iterable[Any], name: str, drop: Callable[[Any], None]) -> Any:
        """The oldest usable object with that name; failed and duplicate ones are deleted."""
        named = sorted((one for one in found if one.name == name), key=lambda one: str(one.created_at))
        usable = [one for one in named if one.status not in _FAILED]
        for one in named:
            if one not in usable[:1]:
                drop(one)
        return usable[0] if usable else None

    # --- find

    def has_image(self, disk: DiskId) -> bool:
        """Whether an earlier attempt created the disk's image, or began to."""
        return any(one.name == self.name(disk) and one.status not in _FAILED for one in self.images())

    def snapshots(self) -> list[Any]:
        """Snapshots of the whole run; likewise the two functions below."""
        volumes = self.cloud.volumes
        found = self.cloud.read("list snapshots", lambda: list(volumes.snapshots(details=True)))
        return self._ours(found)

    def volumes(self) -> list[Any]:
        volumes = self.cloud.volumes
        return self._ours(self.cloud.read("list volumes", lambda: list(volumes.volumes(details=True))))

    def images(self) -> list[Any]:
        """The project's own images: a shared image with that name is not ours."""
        images = self.cloud.images
        return self._ours(self.cloud.read("list images", lambda: list(images.images(visibility="private"))))

    def _ours(self, found: Iterable[Any]) -> list[Any]:
        return [one for one in found if (one.name or "").startswith(self.prefix)]

    # --- delete

    def release(self, disk: DiskId | None = None) -> list[str]:
        """Delete the objects of one disk or of all, each after those made from it; returns what is left."""
        wanted = self.name(disk) if disk else ""
        left: list[str] = []
        for what, found, drop in (
            ("image", self.images, self._drop_image),
            ("volume", self.volumes, self._drop_volume),
            ("snapshot", self.snapshots, self._drop_snapshot),
        ):
            left += self._delete(what, partial(_of_name, found, wanted), drop)
        return left

    def _delete(self, what: str, found: Callable[[], list[Any]], drop: Callable[[Any], None]) -> list[str]:
        """Delete until none is found: an object that is being created, or in use, cannot be deleted yet."""
        end, refused = CLOCK() + DELETE_SECONDS, ""
        while there := found():
            for one in there:
                if one.status != "deleting":
                    try:
                        drop(one)
                    except StepError as error:
                        refused = str(error)
            if CLOCK() > end or all(one.status == "error_deleting" for one in there):
                return [f"{what} {one.name} ({one.id}, {one.status}) {refused}".strip() for one in there]
            self.cloud.stop.sleep(POLL_SECONDS if len(found()) else 0)
        return []

    def _drop_image(self, image: Any) -> None:
        self._drop("image", image, self.cloud.images.delete_image)

    def _drop_volume(self, volume: Any) -> None:
        self._drop("volume", volume, self.cloud.volumes.delete_volume)

    def _drop_snapshot(self, snapshot: Any) -> None:
        self._drop("snapshot", snapshot, self.cloud.volumes.delete_snapshot)

    def _drop(self, what: str, one: Any, delete: Callable[[Any], Any]) -> None:
        log.info(f"deleting {what} {one.name}", id=one.id)
        self.cloud.change(f"delete {what} {one.name}", lambda: delete(one.id))


def _of_name(found: Callable[[], list[Any]], name: str) -> list[Any]:
    """Those with that name, or all for an empty name."""
    return [one for one in found() if name in ("", one.name)]


_FAILED: Final = ("error", "error_deleting", "killed", "deleted", "pending_delete", "deactivated", "deleting")

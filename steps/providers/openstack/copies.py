"""The temporary objects an export makes: snapshot, volume of it, image of that. Named after run and disk.

The names are how they are found again: by the attempt after a killed one, which goes on with them, and by
cleanup, which deletes them. A create request whose answer was lost shows by its name as well.
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
"""For a snapshot, and for a volume made of it: today's controller waits as long."""
IMAGE_SECONDS: Final = 300.0
"""At least, for a volume's image where the source does not say how often to look: today's 30 times 10 s."""
IMAGE_BYTES_PER_SECOND: Final = 10 << 20
"""What an upload to Glance is trusted to do where the source does not say how long to wait."""
DELETE_SECONDS: Final = 300.0
MARK: Final = "vmferry-run"
"""Key in the metadata of snapshots and volumes; its value is the run's name."""


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The temporary objects of one run."""

    cloud: Cloud
    run: str

    def name(self, disk: DiskId) -> str:
        """What the three objects of a disk are called."""
        return f"{self.prefix}{disk}"

    @property
    def prefix(self) -> str:
        return f"vmferry-{self.run}-"

    # --- made, or found again

    def of_volume(self, disk: Disk) -> Any:
        """An image of the volume's content now, as raw bytes; active.

        Raises:
            StepError: NO_SPACE for a quota, UNREACHABLE when it takes too long, BUSY when a copy failed.
        """
        name = self.name(disk.id)
        image = self._one(self.images(), name, self._drop_image)
        if image is None:
            volume = self._volume(disk, name)
            image = self._upload(volume, name)
        return self._active(image.id, name, disk.capacity)

    def of_server(self, server: Any, disk: Disk) -> Any:
        """An image of the server's root disk, as Nova's host stores it; active. Raises as `of_volume`."""
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
        """A volume of the disk's snapshot, available."""
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
        """The image, or None when nothing is filling it any more: Cinder leaves it queued when it fails."""
        found = self.cloud.find("read an image", lambda: self.cloud.images.get_image(image))
        if found is not None and found.status in ("queued", "saving"):
            volume = self._one(self.volumes(), name, self._drop_volume)
            if volume is not None and volume.status not in ("uploading", "maintenance"):
                # It may have become active, and the volume available, between the two looks.
                found = self.cloud.find("read an image", lambda: self.cloud.images.get_image(image))
                if found is not None and found.status in ("queued", "saving"):
                    self._drop_image(found)
                    return None
        return found

    def _image(self, image: str) -> Any:
        return self.cloud.read("read an image", lambda: self.cloud.images.get_image(image))

    def _one(self, found: Iterable[Any], name: str, drop: Callable[[Any], None]) -> Any:
        """The oldest usable one of that name; what failed, or was made twice, is deleted."""
        named = sorted((one for one in found if one.name == name), key=lambda one: str(one.created_at))
        usable = [one for one in named if one.status not in _FAILED]
        for one in named:
            if one not in usable[:1]:
                drop(one)
        return usable[0] if usable else None

    # --- found

    def has_image(self, disk: DiskId) -> bool:
        """Whether an earlier attempt made the disk's image, or began to."""
        return any(one.name == self.name(disk) and one.status not in _FAILED for one in self.images())

    def snapshots(self) -> list[Any]:
        """Of the whole run, as the two below."""
        volumes = self.cloud.volumes
        found = self.cloud.read("list snapshots", lambda: list(volumes.snapshots(details=True)))
        return self._ours(found)

    def volumes(self) -> list[Any]:
        volumes = self.cloud.volumes
        return self._ours(self.cloud.read("list volumes", lambda: list(volumes.volumes(details=True))))

    def images(self) -> list[Any]:
        """The project's own: an image of that name that somebody shares with it is not ours."""
        images = self.cloud.images
        return self._ours(self.cloud.read("list images", lambda: list(images.images(visibility="private"))))

    def _ours(self, found: Iterable[Any]) -> list[Any]:
        return [one for one in found if (one.name or "").startswith(self.prefix)]

    # --- deleted

    def release(self, disk: DiskId | None = None) -> list[str]:
        """Delete what there is of one disk or of all, each after what was made of it; what could not be."""
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
        """Delete until none is found: one that is being made, or depended upon, cannot be deleted yet."""
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
    """Those of that name, or with an empty one all."""
    return [one for one in found() if name in ("", one.name)]


_FAILED: Final = ("error", "error_deleting", "killed", "deleted", "pending_delete", "deactivated", "deleting")

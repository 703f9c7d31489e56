"""Stand-in for Harvester's controller of VirtualMachineImages, both backends.

harvester v1.6.0: pkg/controller/master/image/vm_image_controller.go; pkg/image/backingimage/{backingimage,
backing_image_controller}.go; pkg/image/cdi/{cdi,common}.go. Sources: `download` alone.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from steps.model.kinds import BACKING_IMAGE, CLAIM, DATA_VOLUME, IMAGE, STORAGE_CLASS, Kind, Object
from tests.real.standins import transitions
from tests.real.standins.api import ApiError
from tests.real.standins.controller import Cluster, Controller, deleting, log, owner, seconds_since
from tests.real.standins.crds import LONGHORN_SYSTEM
from tests.real.standins.transitions import IMPORTED, INITIALIZED, LIMIT, is_true
from tests.real.standins.web import Web, WebError

FINALIZER: Final = "wrangler.cattle.io/vm-image-controller"
DISPLAY_NAME: Final = "harvesterhci.io/imageDisplayName"
IMAGE_ID: Final = "harvesterhci.io/imageId"
BIND_NOW: Final = "cdi.kubevirt.io/storage.bind.immediate.requested"
CHECK: Final = 1.0
"""checkInterval, in seconds."""
QCOW2: Final = b"QFI\xfb"
WATCHED: Final[tuple[Kind, ...]] = (IMAGE, BACKING_IMAGE, STORAGE_CLASS, DATA_VOLUME, CLAIM)


class Verdict(enum.Enum):
    """The result of a backend's Check."""

    WELL = enum.auto()
    LATER = enum.auto()
    START_OVER = enum.auto()


class InitialError(Exception):
    """An image cannot be started; `image` is its last state."""

    def __init__(self, image: Object, why: str) -> None:
        self.image = image
        super().__init__(why)


class Images(Controller):
    """`backoff`: seconds from a failure to the next try. Harvester's are 10. At least one: see `_counted`."""

    kind = IMAGE

    def __init__(self, cluster: Cluster, web: Web, backoff: float = 10.0) -> None:
        super().__init__(cluster)
        self._web = web
        self._backoff = max(1.0, backoff)

    def one(self, image: Object) -> float | None:
        if deleting(image):
            self._remove(image)
            return None
        if not self.finalize(image, FINALIZER) or is_true(image, LIMIT):
            return None
        if is_true(image, IMPORTED):
            self._label(image)
            return None
        verdict = self._check(image)
        if verdict is Verdict.START_OVER:
            return self._retry(image)
        return CHECK if verdict is Verdict.LATER else None

    def _label(self, image: Object) -> None:
        labels = image["metadata"].setdefault("labels", {})
        if labels.get(DISPLAY_NAME) != image["spec"]["displayName"]:
            labels[DISPLAY_NAME] = image["spec"]["displayName"]
            self.api.update(image)

    def _retry(self, image: Object) -> float | None:
        last = (image.get("status") or {}).get("lastFailedTime")
        left = self._backoff - seconds_since(last) if last else 0.0
        if left > 0:
            return left
        try:
            begun = self._initialize_cdi(image) if _is_cdi(image) else self._initialize(image)
            self.api.update(transitions.initialized(begun))
        except InitialError as error:
            log.info("image %s: %s", image["metadata"]["name"], error)
            self.api.update(transitions.failed(error.image, INITIALIZED, str(error), 0))
        return None

    def _check(self, image: Object) -> Verdict:
        return self._check_cdi(image) if _is_cdi(image) else self._check_backing(image)

    def _remove(self, image: Object) -> None:
        if _is_cdi(image):
            made = self.cluster[DATA_VOLUME].get(image["metadata"]["namespace"], image["metadata"]["name"])
            if made is not None:
                self.api.delete(made)
        else:
            self._drop(image)
        self.let_go(image, FINALIZER)

    # --- backing images

    def _check_backing(self, image: Object) -> Verdict:
        backing = self.cluster[BACKING_IMAGE].get(LONGHORN_SYSTEM, backing_name(image))
        if backing is None:
            return Verdict.START_OVER
        if deleting(backing):
            return Verdict.LATER
        self._follow(image, backing)
        file = _file(backing)
        return Verdict.START_OVER if file.get("state") == "failed" else Verdict.WELL

    def _follow(self, image: Object, backing: Object) -> None:
        """Write the file's progress (backing_image_controller.go, OnChanged)."""
        file = _file(backing)
        if not file or not is_true(image, INITIALIZED):
            return
        details, progress = file.get("message", ""), file.get("progress", 0)
        match file["state"]:
            case "failed":
                if not _counted(image, backing):
                    self._write(image, transitions.failed(image, IMPORTED, details, progress))
            case "ready":
                status = backing["status"]
                self._write(image, transitions.imported(image, status["size"], status["virtualSize"]))
            case _ if progress != image["status"].get("progress"):
                self._write(image, transitions.importing(image, details, progress))

    def _write(self, image: Object, new: Object) -> None:
        if new != image:
            image |= self.api.update(new)

    def _initialize(self, image: Object) -> Object:
        self._drop(image)
        image = self._look(image)
        metadata, spec = image["metadata"], image["spec"]
        parameters = spec.get("storageClassParameters") or {}
        if not parameters.get("numberOfReplicas", "").isdigit():
            words = f'strconv.Atoi: parsing "{parameters.get("numberOfReplicas", "")}": invalid syntax'
            raise InitialError(image, words)
        name = backing_name(image)
        backing = {
            "apiVersion": BACKING_IMAGE.api_version,
            "kind": BACKING_IMAGE.kind,
            "metadata": {
                "name": name,
                "namespace": LONGHORN_SYSTEM,
                "annotations": {IMAGE_ID: f"{metadata['namespace']}/{metadata['name']}"},
            },
            "spec": {
                "sourceType": spec["sourceType"],
                "sourceParameters": {"url": spec["url"]},
                "checksum": spec.get("checksum", ""),
                "minNumberOfCopies": int(parameters["numberOfReplicas"]),
            },
        }
        storage_class = {
            "apiVersion": STORAGE_CLASS.api_version,
            "kind": STORAGE_CLASS.kind,
            "metadata": {"name": transitions.class_of(image)},
            "provisioner": "driver.longhorn.io",
            "reclaimPolicy": "Delete",
            "allowVolumeExpansion": True,
            "volumeBindingMode": "Immediate",
            "parameters": {"backingImage": name, **parameters},
        }
        for thing in (backing, storage_class):
            self._make(image, thing)
        return image

    def _make(self, image: Object, thing: Object) -> None:
        try:
            self.api.create(thing)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise InitialError(image, error.message) from None

    def _look(self, image: Object) -> Object:
        """HEAD the URL (CheckURLAndUpdate); the size is kept even if the rest fails."""
        url = image["spec"]["url"]
        image["status"] = {**(image.get("status") or {}), "appliedUrl": url}
        try:
            with self._web.ask("HEAD", url) as answer:
                if not 200 <= answer.status < 400:
                    raise InitialError(image, f"got {answer.status} status code from {url}")
                size = int(answer.headers.get("Content-Length") or 0)
        except WebError as error:
            raise InitialError(image, str(error)) from None
        return self.api.update(transitions.sized(image, size))

    def _drop(self, image: Object) -> None:
        backing = self.cluster[BACKING_IMAGE].get(LONGHORN_SYSTEM, backing_name(image))
        if backing is not None:
            self.api.delete(backing, propagation="Foreground")
        storage_class = self.cluster[STORAGE_CLASS].get("", transitions.class_of(image))
        if storage_class is not None:
            self.api.delete(storage_class)

    # --- CDI

    def _check_cdi(self, image: Object) -> Verdict:
        made = self.cluster[DATA_VOLUME].get(image["metadata"]["namespace"], image["metadata"]["name"])
        if made is None:
            return Verdict.START_OVER
        status = made.get("status") or {}
        progress = status.get("progress", "")
        if progress not in ("", "N/A"):
            self._write(
                image, transitions.importing(image, "Image Importing", int(progress.partition(".")[0]))
            )
        if status.get("phase") != "Succeeded":
            return Verdict.LATER
        details = image["status"]
        self._write(image, transitions.imported(image, details["size"], details["virtualSize"]))
        return Verdict.WELL

    def _initialize_cdi(self, image: Object) -> Object:
        url, wanted = image["spec"]["url"], image["spec"].get("targetStorageClassName", "")
        virtual_size = self._virtual_size(image, url)
        size = self._size(image, url)
        status = image.get("status") or {}
        if not status.get("size") and not status.get("virtualSize"):
            image = self.api.update(transitions.sized(image, size, virtual_size or size))
        found = self.cluster[STORAGE_CLASS].get("", wanted)
        if found is None:
            why = f'storageclasses.storage.k8s.io "{wanted}" not found'
            raise InitialError(image, f"failed to get StorageClass {wanted}: {why}")
        late = found.get("volumeBindingMode") == "WaitForFirstConsumer"
        metadata = image["metadata"]
        storage = {
            "storageClassName": wanted,
            "resources": {"requests": {"storage": str(image["status"]["virtualSize"])}},
        }
        volume = {
            "apiVersion": DATA_VOLUME.api_version,
            "kind": DATA_VOLUME.kind,
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "annotations": {BIND_NOW: "true"} if late else {},
                "ownerReferences": [owner(image, controller=False)],
            },
            "spec": {"source": {"http": {"url": url}}, "storage": storage},
        }
        self._make(image, volume)
        return image

    def _virtual_size(self, image: Object, url: str) -> int:
        """The size of a qcow2 file from its header; 0 for any other."""
        try:
            with self._web.ask("GET", url, {"Range": "bytes=0-128"}) as answer:
                # The whole body from a server without ranges would work, too, and take longer.
                head = answer.read(129)
        except (WebError, OSError) as error:
            raise InitialError(image, f"failed to fetch image virtual size: {error}") from None
        if len(head) < 128:
            why = "content length is less than 128 bytes"
            raise InitialError(image, f"failed to fetch image virtual size: {why}")
        return int(struct.unpack(">Q", head[24:32])[0]) if head.startswith(QCOW2) else 0

    def _size(self, image: Object, url: str) -> int:
        try:
            with self._web.ask("HEAD", url) as answer:
                length = answer.headers.get("Content-Length", "")
        except WebError as error:
            raise InitialError(image, f"failed to fetch image size: {error}") from None
        if not length:
            why = "Content-Length is not found in the header"
            raise InitialError(image, f"failed to fetch image size: {why}")
        return int(length)


def backing_name(image: Object) -> str:
    return f"vmi-{image['metadata']['uid']}"


def _is_cdi(image: Object) -> bool:
    return bool(image["spec"].get("backend") == "cdi")


def _file(backing: Object) -> Object:
    """The state of its only file; empty while there is none, as when Longhorn keeps several."""
    files = list(((backing.get("status") or {}).get("diskFileStatusMap") or {}).values())
    return files[0] if len(files) == 1 else {}


def _counted(image: Object, backing: Object) -> bool:
    """Whether this file's failure is already counted: each attempt makes a new BackingImage.

    Harvester counts when the BackingImage changes. The stand-in checks more often, so it compares the times.
    """
    last = image["status"].get("lastFailedTime")
    return bool(last and last >= backing["metadata"]["creationTimestamp"])

"""Stand-in for Longhorn's BackingImages: one copy of each file, in the lab's folder of backing images.

longhorn-manager, controller/backing_image_controller.go (finalizer, status); backing-image-manager,
pkg/sync/{sync_file,handler}.go (HEAD, GET, SHA-512, the texts of failures). The file is kept raw, as the
lab's provisioner needs it; checksum and size are those of the download, as with Longhorn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from steps.model.kinds import BACKING_IMAGE, Object
from tests.real.standins.controller import Cluster, Controller, deleting, log, now, seconds_since
from tests.real.standins.downloads import Download, Faults, FetchError, qemu_img
from tests.real.standins.formats import FormatError, open_backing_file
from tests.real.standins.web import Web

FINALIZER: Final = "longhorn.io"
DISK: Final = "00000000-0000-4000-8000-000000000001"
"""The UUID of the only disk."""
LOOK: Final = 0.5
TAKEN_UP: Final = 2.0
"""Seconds from a BackingImage's creation to the start of its download.

Times are whole seconds: at least one. Longhorn starts a pod first. Harvester's controller reconciles a
BackingImage only when it changes, and only after it noted that the image is initialized. It never sees one
that is ready at once.
"""


class Backing(Download):
    """A download that becomes a raw file for the provisioner."""

    expected = ""
    target: Path

    def finish(self, file: Path) -> None:
        if self.expected and self.expected != self.sha512:
            text = f"the expected checksum {self.expected}"
            raise FetchError(f"{text} doesn't match the file actual checksum {self.sha512}")
        raw = self.target.with_suffix(".converting")
        try:
            read_as = open_backing_file(file)
        except FormatError as error:  # Longhorn notices it when it attaches the volume: there is no volume
            log.info("longhorn: %s: %s", self.target.name, error)
            return
        qemu_img("convert", "-f", read_as, "-O", "raw", str(file), str(raw))
        raw.rename(self.target)
        file.unlink()


class Longhorn(Controller):
    """`folder`: where the provisioner of class driver.longhorn.io looks for the files."""

    kind = BACKING_IMAGE

    def __init__(self, cluster: Cluster, web: Web, folder: Path, faults: Faults) -> None:
        super().__init__(cluster)
        self._web = web
        self._folder = folder
        self._faults = faults
        self._jobs: dict[str, Backing] = {}

    def one(self, backing: Object) -> float | None:
        uid = backing["metadata"]["uid"]
        if deleting(backing):
            self._remove(backing)
            return None
        if not self.finalize(backing, FINALIZER):
            return None
        state = self._state(backing)
        if state in ("ready", "failed"):
            return None
        left = TAKEN_UP - seconds_since(backing["metadata"]["creationTimestamp"])
        if uid not in self._jobs and left > 0:
            return left
        if uid not in self._jobs:  # a new one, or one that was in progress when an earlier stand-in ended
            self._jobs[uid] = self._begin(backing)
        return self._report(backing, self._jobs[uid])

    def end(self) -> None:
        for job in self._jobs.values():
            job.canceled.set()

    def _state(self, backing: Object) -> str:
        files = (backing.get("status") or {}).get("diskFileStatusMap") or {}
        return str(files.get(DISK, {}).get("state", ""))

    def _file(self, backing: Object) -> Path:
        return self._folder / str(backing["metadata"]["name"])

    def _begin(self, backing: Object) -> Backing:
        spec, target = backing["spec"], self._file(backing)
        log.info("longhorn: %s starts", target.name)
        url = spec["sourceParameters"]["url"]
        job = Backing(self._web, url, target.with_suffix(".download"), self._faults)
        job.expected, job.target = spec.get("checksum", ""), target
        job.start()
        return job

    def _report(self, backing: Object, job: Backing) -> float | None:
        alive = job.is_alive()  # checked first: if it has ended, its result is complete
        file = {"state": "in-progress", "progress": int(job.percent), "message": ""}
        status = {"ownerID": "lab", "uuid": backing["metadata"]["uid"][:8], "checksum": "", "size": 0}
        status |= {"virtualSize": 0, "diskFileStatusMap": {DISK: file}}
        if not alive and job.error:
            file |= {"state": "failed", "message": f"failed to process sync file: {job.error}"}
            log.info("longhorn: %s: %s", self._file(backing).name, job.error)
        elif not alive:
            file |= {"state": "ready", "progress": 100}
            status |= {"checksum": job.sha512, "size": job.done, "virtualSize": job.virtual_size}
            log.info("longhorn: %s is ready", self._file(backing).name)
        self._write(backing, status, file)
        return LOOK if alive else None

    def _write(self, backing: Object, status: Object, file: Object) -> None:
        before = ((backing.get("status") or {}).get("diskFileStatusMap") or {}).get(DISK, {})
        same = before.get("state") == file["state"]
        file["lastStateTransitionTime"] = before["lastStateTransitionTime"] if same else now()
        if backing.get("status") != status:
            self.api.update_status({**backing, "status": status})

    def _remove(self, backing: Object) -> None:
        job = self._jobs.pop(backing["metadata"]["uid"], None)
        if job is not None:
            job.cancel()
        for suffix in ("", ".download", ".converting"):
            self._file(backing).with_suffix(suffix).unlink(missing_ok=True)
        self.let_go(backing, FINALIZER)

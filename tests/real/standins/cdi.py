"""Stand-in for CDI: a DataVolume of an http source becomes a claim with those bytes.

containerized-data-importer v1.66: pkg/controller/datavolume (phases, progress, owner, labels), pkg/importer
(qemu-img, checksum), pkg/storagecapabilities (modes per provisioner), pkg/util (overhead of file systems). It
works without populators, as CDI does for provisioners without CSI drivers, such as the lab's.

The importer pod has no image here. A pod `importer-NAME` with CDI's labels mounts the claim and does nothing;
the stand-in writes the bytes from outside, by qemu-img as in the pod, to the volume of that claim.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any, Final

from steps.model.kinds import CLAIM, DATA_VOLUME, POD, STORAGE_CLASS, Kind, Object
from tests.real.standins import formats
from tests.real.standins.api import VOLUME
from tests.real.standins.controller import Cluster, Controller, Key, deleting, key, log, now, owner
from tests.real.standins.downloads import Download, Faults, qemu_img
from tests.real.standins.formats import FormatError
from tests.real.standins.lab import Lab
from tests.real.standins.pods import holder
from tests.real.standins.web import Web

PROFILE: Final = "cdi.harvesterhci.io/storageProfileVolumeModeAccessModes"
"""The annotation with a class's modes, such as {"Block": ["ReadWriteOnce"]}
(pkg/controller/master/storageclass).
"""
MODES: Final[dict[str, tuple[str, str]]] = {
    "driver.longhorn.io": ("Block", "ReadWriteMany"),
    "lab.local/disk": ("Block", "ReadWriteMany"),
}
"""Volume and access mode by provisioner; Longhorn's first, as in storagecapabilities; the lab's is ours."""
OVERHEAD: Final = 0.06
"""Overhead of a file system as a fraction of the claim; CDI's default."""
MIB: Final = 1 << 20
LABELS: Final = {"app": "containerized-data-importer", "cdi.kubevirt.io": "importer"}
QEMU: Final = 107
"""User and group of VMs; they must be able to write the file."""
SCRATCH: Final = "scratch space required and none found"
FIRST_POD: Final = (
    ("ImportInProgress", ("Running", "True", "Pod is running", "")),
    ("ImportScheduled", ("Running", "False", "Scratch space required", SCRATCH)),
)
"""What the first pod of an importer shows: since v1.60 it ends because an HTTP source needs scratch space."""
LOOK: Final = 0.5
AGAIN: Final = 5.0
"""Seconds until a failed importer is restarted; the real kubelet's back-off grows."""
WATCHED: Final[tuple[Kind, ...]] = (DATA_VOLUME, CLAIM, VOLUME, STORAGE_CLASS, POD)


class Import(Download):
    """A download into a volume."""

    target: Path
    block: bool
    capacity: int
    checksum: str = ""
    """`ALGORITHM:HEX` of the downloaded file; empty: not compared."""
    fatal: bool = False
    """Whether CDI does not try again."""

    def finish(self, file: Path) -> None:
        """Write the file as CDI's importer does (pkg/importer/data-processor.go: convert, resize).

        On a filesystem it also guesses the format of what it has written.

        Raises:
            FormatError: for other bytes than those that the DataVolume announces; then `fatal` is set.
        """
        if self.checksum and not _has_checksum(file, self.checksum):
            self.fatal = True
            raise FormatError(f"checksum mismatch: expected {self.checksum}")
        formats.unpack(file)
        formats.validate(file, self.capacity)
        there = ["-n"] if self.block else []
        qemu_img("convert", *there, "-t", "none", "-O", "raw", str(file), str(self.target))
        if not self.block:
            if formats.info(self.target)["virtual-size"] < self.capacity:
                qemu_img("resize", "-f", "raw", str(self.target), str(self.capacity))
            formats.validate(self.target, self.capacity)
            os.chown(self.target, QEMU, QEMU)
            self.target.chmod(0o660)
        file.unlink()


class DataVolumes(Controller):
    """Keeps one importer per DataVolume."""

    kind = DATA_VOLUME

    def __init__(self, cluster: Cluster, web: Web, lab: Lab, faults: Faults) -> None:
        super().__init__(cluster)
        self._web = web
        self._lab = lab
        self._faults = faults
        self._jobs: dict[Key, Import] = {}
        self._not_before: dict[Key, float] = {}
        self._passed: dict[str, int] = {}
        """How much of `FIRST_POD` each DataVolume has shown, by uid."""

    def one(self, volume: Object) -> float | None:
        status = volume.get("status") or {}
        if deleting(volume) or status.get("phase") in ("Succeeded", "Failed"):
            return None
        namespace, name = key(volume)
        claim = self.cluster[CLAIM].get(namespace, name)
        if claim is None:
            return self._claim(volume)
        pod = self.cluster[POD].get(namespace, pod_name(name))
        if pod is None and key(volume) not in self._jobs:
            self.api.create(self._pod(volume, claim))
            return None
        if claim.get("status", {}).get("phase") != "Bound" or _phase(pod) != "Running":
            self._report(volume, "ImportScheduled", "N/A")
            return None
        return self._import(volume, claim, pod)

    def gone(self, there: set[Key]) -> None:
        for which in self._jobs.keys() - there:
            self._jobs.pop(which).cancel()

    def end(self) -> None:
        for job in self._jobs.values():
            job.canceled.set()

    def _claim(self, volume: Object) -> float | None:
        """Make the claim, with the modes that the class's StorageProfile would have."""
        storage = volume["spec"]["storage"]
        found = self.cluster[STORAGE_CLASS].get("", storage["storageClassName"])
        mode = _modes(found or {}, storage)
        if found is None or mode is None:
            words = f"no accessMode specified in StorageProfile {storage['storageClassName']}"
            self._report(volume, "Pending", "N/A", ("Bound", "Unknown", "ErrClaimNotValid", words))
            return None
        wanted = int(storage["resources"]["requests"]["storage"])
        metadata = volume["metadata"]
        self.api.create(
            {
                "apiVersion": CLAIM.api_version,
                "kind": CLAIM.kind,
                "metadata": {
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "labels": {
                        **(metadata.get("labels") or {}),
                        "app": LABELS["app"],
                        "app.kubernetes.io/managed-by": "cdi-controller",
                    },
                    "annotations": {
                        "cdi.kubevirt.io/storage.contentType": "kubevirt",
                        "cdi.kubevirt.io/storage.import.endpoint": volume["spec"]["source"]["http"]["url"],
                        "cdi.kubevirt.io/storage.import.source": "http",
                    },
                    "ownerReferences": [owner(volume)],
                },
                "spec": {
                    "accessModes": [mode[1]],
                    "volumeMode": mode[0],
                    "storageClassName": storage["storageClassName"],
                    "resources": {"requests": {"storage": str(_inflated(wanted, mode[0]))}},
                },
            }
        )
        self._report(volume, "Pending", "N/A")
        return None

    def _pod(self, volume: Object, claim: Object) -> Object:
        name = claim["metadata"]["name"]
        labels = {**LABELS, "app.kubernetes.io/managed-by": "cdi-controller"}
        return holder(pod_name(name), claim["metadata"]["namespace"], labels, [claim], owner(volume), QEMU)

    def _import(self, volume: Object, claim: Object, pod: Object | None) -> float | None:
        job = self._jobs.get(key(volume)) or self._start(volume, claim)
        if not isinstance(job, Import):
            return job
        alive = job.is_alive()
        if alive:
            self._report(volume, "ImportInProgress", f"{job.percent:.2f}%")
            return LOOK
        if job.error:
            return self._failed(volume, job)
        log.info("cdi: %s is imported", volume["metadata"]["name"])
        self._report(volume, "Succeeded", "100.0%")
        self._jobs.pop(key(volume))
        if pod is not None:
            self.api.delete(pod)
        return None

    def _start(self, volume: Object, claim: Object) -> Import | float:
        """The download; or the seconds until it can begin."""
        uid = volume["metadata"]["uid"]
        shown = self._passed.get(uid, 0)
        if shown < len(FIRST_POD):
            phase, condition_ = FIRST_POD[shown]
            self._report(volume, phase, "N/A", condition_)
            self._passed[uid] = shown + 1
            return LOOK
        left = self._not_before.get(key(volume), 0.0) - time.monotonic()
        if left > 0:
            return left
        job = self._jobs[key(volume)] = self._begin(volume, claim)
        return job

    def _failed(self, volume: Object, job: Import) -> float:
        """CDI retries for ever; each failure counts as a restart of the pod."""
        words = f"Unable to process data: {job.error}"
        log.info("cdi: %s: %s", volume["metadata"]["name"], words)
        if job.fatal:
            self._report(volume, "Failed", "N/A", ("Running", "False", "ChecksumError", words))
            self._jobs.pop(key(volume))
            return AGAIN
        status = volume.get("status") or {}
        volume["status"] = {**status, "restartCount": status.get("restartCount", 0) + 1}
        self._report(volume, "ImportInProgress", "N/A", ("Running", "False", "Error", words))
        self._jobs.pop(key(volume))
        self._not_before[key(volume)] = time.monotonic() + AGAIN
        return AGAIN

    def _begin(self, volume: Object, claim: Object) -> Import:
        found = self.cluster[VOLUME].get("", claim["spec"]["volumeName"])
        if found is None:
            raise LookupError(f"claim {claim['metadata']['name']} has no volume yet")
        file = self._lab.state / f"{volume['metadata']['uid']}.import"
        job = Import(self._web, volume["spec"]["source"]["http"]["url"], file, self._faults)
        job.block = claim["spec"]["volumeMode"] == "Block"
        job.checksum = volume["spec"]["source"]["http"].get("checksum", "")
        job.capacity = int(volume["spec"]["storage"]["resources"]["requests"]["storage"])
        path = self._lab.path(found)
        job.target = path if job.block else path / "disk.img"
        job.start()
        return job

    def _report(
        self, volume: Object, phase: str, progress: str, condition_: tuple[str, str, str, str] | None = None
    ) -> None:
        before = volume.get("status") or {}
        status: dict[str, Any] = {**before, "phase": phase, "progress": progress}
        status["claimName"] = volume["metadata"]["name"]
        if condition_:
            kind, value, reason, message = condition_
            one = {"type": kind, "status": value, "reason": reason, "message": message}
            others = [other for other in before.get("conditions") or [] if other["type"] != kind]
            status["conditions"] = [*others, {**one, "lastTransitionTime": now()}]
        elif phase == "Succeeded":
            status["conditions"] = [
                {"type": "Running", "status": "False", "reason": "Completed", "lastTransitionTime": now()},
                {"type": "Ready", "status": "True", "lastTransitionTime": now()},
            ]
        if status != before:
            self.api.update_status({**volume, "status": status})


def _has_checksum(file: Path, checksum: str) -> bool:
    algorithm, _, expected = checksum.partition(":")
    with file.open("rb") as source:
        return hashlib.file_digest(source, algorithm).hexdigest() == expected.lower()


def pod_name(name: str) -> str:
    return f"importer-{name}"


def _phase(pod: Object | None) -> str:
    return str(((pod or {}).get("status") or {}).get("phase", ""))


def _modes(storage_class: Object, storage: Object) -> tuple[str, str] | None:
    """Volume mode and access mode: those of the DataVolume, else those of the class."""
    noted = ((storage_class.get("metadata") or {}).get("annotations") or {}).get(PROFILE)
    found = MODES.get(storage_class.get("provisioner", ""))
    with contextlib.suppress(ValueError, AttributeError, StopIteration, IndexError):
        mode, access = next(iter(json.loads(noted or "").items()))
        found = (mode, access[0])
    if storage.get("accessModes"):
        found = (storage.get("volumeMode", "Filesystem"), storage["accessModes"][0])
    return found


def _inflated(size: int, mode: str) -> int:
    return size if mode == "Block" else math.ceil(size / (1 - OVERHEAD) / MIB) * MIB

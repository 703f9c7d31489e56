"""Stand-ins for everything that works on the objects: Harvester, Longhorn, CDI, KubeVirt, `serve`, and time.

They follow the sources that they are named after, one step at every read of the cluster.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from steps.model.contract import Exit
from steps.model.kinds import BACKING_IMAGE, CLAIM, DATA_VOLUME, IMAGE, MACHINE, STORAGE_CLASS, Kind, Object
from steps.model.plan import DiskFormat
from steps.runtime.stop import Stop
from steps.targets.cluster.serving import ServedDisk
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, refused

TOKEN = "a-token-nobody-can-guess"  # noqa: S105
BYTES = b"the bytes of a disk"
DIGEST = hashlib.sha512(BYTES).hexdigest()
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


class FakeTime(Stop):
    """Sleeping takes no time, but the clock advances."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.check()
        self.now += seconds

    def clock(self) -> float:
        return self.now


@dataclass
class FakeServing:
    """The `serve` step of each disk: silent `silent` times, then without a digest `pending` times."""

    data: dict[str, bytes] = field(default_factory=dict)
    silent: int = 0
    pending: int = 0
    format: DiskFormat = DiskFormat.RAW
    landed: str = "1"
    origin: str = "http://serve"
    token: str = TOKEN
    """Another one is what a serve step that has started again makes."""
    taken_for: str = ""

    def served_disk(self, disk: str) -> ServedDisk | None:
        if self.silent:
            self.silent -= 1
            return None
        data = self.data.get(disk, BYTES)
        digest = "" if self.pending else hashlib.sha512(data).hexdigest()
        self.pending = max(0, self.pending - 1)
        size = len(data)
        return ServedDisk(
            format=self.format,
            size=size,
            virtual_size=1 << 30,
            landed=self.landed,
            token=self.token,
            taken_for=self.taken_for,
            sha512=digest,
        )

    def url(self, disk: str, served_disk: ServedDisk) -> str:
        return self.origin + served_disk.path(disk)

    def redact(self, text: str) -> str:
        return text.replace(self.token, "…")


@dataclass
class Harvester:
    """Harvester's webhooks and image controllers with Longhorn or CDI (v1.6.0, pkg/image)."""

    cluster: FakeCluster
    serving: FakeServing
    steps: tuple[int, ...] = (0, 37, 99)
    fail: list[str] = field(default_factory=list)
    """Reasons: each makes one image fail permanently, in turn."""
    trouble: str = ""
    corrupt: int = 0
    """The number of downloads that land other bytes."""
    held_at: int | None = None
    """The step at which the download stops."""
    hidden: int = 0
    """The number of reads of a BackingImage that show no checksum yet."""

    def __post_init__(self) -> None:
        self._at: dict[str, int] = {}
        self.made: list[str] = []
        self.cluster.admission.append(self._admit)
        self.cluster.reconcilers.append(lambda _: self._reconcile())

    def _admit(self, verb: str, thing: Object) -> None:
        if thing["kind"] != IMAGE.kind:
            return
        {"create": self._created, "update": lambda _: None, "delete": self._deleted}[verb](thing)

    def _created(self, image: Object) -> None:
        namespace, name = image["metadata"]["namespace"], image["spec"]["displayName"]
        if any(one["spec"]["displayName"] == name for one in self.cluster.all(IMAGE, namespace)):
            raise refused("A resource with the same name exists", Exit.CONFLICT)
        if len(name) > 63:
            raise refused("displayName is not a valid Kubernetes label value")
        annotation = image["metadata"]["annotations"]["harvesterhci.io/storageClassName"]
        if annotation != image["spec"]["targetStorageClassName"]:
            raise refused("storageClassName should keep the consistency")
        if not self.cluster.dry_run:
            self.made.append(image["metadata"]["name"])

    def _deleted(self, image: Object) -> None:
        wanted = (image.get("status") or {}).get("storageClassName")
        for claim in self.cluster.all(CLAIM, image["metadata"]["namespace"]):
            if (
                wanted
                and image["spec"]["backend"] == "backingimage"
                and claim["spec"]["storageClassName"] == wanted
            ):
                raise refused(f"Cannot delete image: being used by volume {claim['metadata']['name']}")

    def _reconcile(self) -> None:
        for namespace in sorted(self.cluster.namespaces):
            for image in self.cluster.all(IMAGE, namespace):
                if not _is_settled(image) and "deletionTimestamp" not in image["metadata"]:
                    self._advance(image)
        if self.hidden:
            self.hidden -= 1
        for backing in self.cluster.all(BACKING_IMAGE, "longhorn-system"):
            backing["status"] = {"checksum": "" if self.hidden else backing["spec"]["stand-in"]}

    def _advance(self, image: Object) -> None:
        uid, status = image["metadata"]["uid"], image.setdefault("status", {})
        if self.held_at is not None and self._at.get(uid) == self.held_at:
            return
        at = self._at[uid] = self._at.get(uid, -1) + 1
        if self.fail and at == 1:
            words = f"retry attempted 3/3 failed due to error: {self.fail.pop(0)}"
            _condition(status, "RetryLimitExceeded", "True", words)
            _condition(status, "Initialized", "False", words)
            status["failed"] = 4
        elif at < len(self.steps):
            status["progress"] = self.steps[at]
            _condition(status, "Imported", "Unknown", "")
            if self.trouble:
                status["failed"] = 1
                _condition(status, "RetryLimitExceeded", "False", f"failed due to error: {self.trouble}")
        else:
            self._import(image, status)

    def _import(self, image: Object, status: dict[str, Any]) -> None:
        data = self._downloaded(image)
        name, namespace = image["metadata"]["name"], image["metadata"]["namespace"]
        cdi = image["spec"]["backend"] == "cdi"
        of = image["spec"]["targetStorageClassName"] if cdi else f"lh-{image['metadata']['uid']}"
        status |= {"progress": 100, "size": len(data), "virtualSize": 1 << 30, "storageClassName": of}
        _condition(status, "Imported", "True", "")
        status["failed"] = 0
        _condition(status, "RetryLimitExceeded", "False", "")
        (self._golden if cdi else self._backing)(name, namespace, of, data, image["metadata"]["uid"])

    def _downloaded(self, image: Object) -> bytes:
        """The bytes that are served now, under the name in the URL."""
        disk = image["spec"]["url"].rsplit("/", 1)[1].partition(".")[0]
        data = self.serving.data.get(disk, BYTES)
        if self.corrupt:
            self.corrupt -= 1
            data = data[:-1] + b"?"
        return data

    def _backing(self, name: str, _namespace: str, of: str, data: bytes, uid: str) -> None:
        self.cluster.put(a_class(of, parameters={"backingImage": f"vmi-{uid}"}))
        self.cluster.put(
            {
                "apiVersion": BACKING_IMAGE.api_version,
                "kind": BACKING_IMAGE.kind,
                "metadata": {"name": f"vmi-{uid}", "namespace": "longhorn-system"},
                "spec": {"stand-in": hashlib.sha512(data).hexdigest(), "of": name},
            }
        )

    def _golden(self, name: str, namespace: str, of: str, _data: bytes, uid: str) -> None:
        """CDI's claim, owned by the DataVolume that Harvester made, owned by the image (pkg/image/cdi)."""
        volume = {
            "apiVersion": DATA_VOLUME.api_version,
            "kind": DATA_VOLUME.kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "ownerReferences": [owner_reference(IMAGE, name, uid)],
            },
        }
        there = self.cluster.peek(DATA_VOLUME, name, namespace) or self.cluster.put(volume)
        if self.cluster.peek(CLAIM, name, namespace):
            return  # CDI does not touch a claim that it did not make
        metadata = {
            "name": name,
            "namespace": namespace,
            "annotations": {"harvesterhci.io/goldenImage": "true"},
            "ownerReferences": [owner_reference(DATA_VOLUME, name, there["metadata"]["uid"])],
        }
        spec = {
            "accessModes": ["ReadWriteMany"],
            "volumeMode": "Block",
            "storageClassName": of,
            "resources": {"requests": {"storage": str(1 << 30)}},
        }
        self.cluster.put(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        )


@dataclass
class KubeVirt:
    """VMs that are not Halted are started, and ready after `looks` reads."""

    cluster: FakeCluster
    looks: int = 3
    starts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen: dict[str, int] = {}
        self.cluster.reconcilers.append(lambda _: self._reconcile())

    def _reconcile(self) -> None:
        for namespace in sorted(self.cluster.namespaces):
            for machine in self.cluster.all(MACHINE, namespace):
                self._advance(machine)

    def _advance(self, machine: Object) -> None:
        name, runs = machine["metadata"]["name"], machine["spec"]["runStrategy"] != "Halted"
        if not runs:
            machine["status"] = {"printableStatus": "Stopped"}
            return
        if name not in self._seen:
            self.starts.append(name)
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        ready = seen > self.looks
        message = "0/3 nodes are available: 3 Insufficient memory."
        waiting = [{"type": "PodScheduled", "status": "False", "message": message}]
        machine["status"] = {
            "ready": ready,
            "printableStatus": "Running" if ready else "ErrorUnschedulable",
            "conditions": [] if ready else waiting,
        }


def class_by_uid(text: str) -> str:
    """The text without the uid in the classes of images: it differs between two clusters."""
    return re.sub(r"\blh-uid-[0-9]+", "lh-UID", text)


def owner_reference(kind: Kind, name: str, uid: str) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "name": name, "uid": uid}


def a_class(name: str, provisioner: str = "driver.longhorn.io", **more: Any) -> Object:
    annotations = DEFAULT if more.pop("default", False) else {}
    return {
        "apiVersion": STORAGE_CLASS.api_version,
        "kind": STORAGE_CLASS.kind,
        "metadata": {"name": name, "annotations": dict(annotations)},
        "provisioner": provisioner,
        "parameters": more.pop("parameters", {}),
    }


def _condition(status: dict[str, Any], kind: str, value: str, message: str) -> None:
    others = [one for one in status.get("conditions", []) if one["type"] != kind]
    status["conditions"] = [*others, {"type": kind, "status": value, "message": message}]


def _is_settled(image: Object) -> bool:
    conditions = {one["type"]: one["status"] for one in (image.get("status") or {}).get("conditions", [])}
    return conditions.get("Imported") == "True" or conditions.get("RetryLimitExceeded") == "True"

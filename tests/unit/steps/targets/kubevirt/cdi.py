"""A stand-in for CDI: its webhook and its controller for DataVolumes with an HTTP source (v1.66).

One step at every read of the cluster. The importer's pod runs twice, as the source does it: the first ends
because it needs scratch space, so the phase goes back before anything is copied.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from steps.model.kinds import CLAIM, DATA_VOLUME, Object
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, refused
from tests.unit.steps.targets.harvester.stand_ins import BYTES, FakeServing, owner_reference

SCRATCH: Final = "scratch space required and none found"
MISMATCH: Final = (
    "Unable to process data: Unable to transfer source data to scratch space: checksum validation failed: "
    "checksum mismatch"
)
STEPS: Final = (
    ("Pending", "", "Pending", ""),
    ("ImportScheduled", "N/A", "ContainerCreating", ""),
    ("ImportInProgress", "N/A", "Pod is running", ""),
    ("ImportScheduled", "N/A", "Scratch space required", SCRATCH),
    ("ImportInProgress", "N/A", "Pod is running", ""),
    ("ImportInProgress", "23.54%", "Pod is running", ""),
    ("ImportInProgress", "99.9%", "Pod is running", ""),
)
"""Phase, progress, and the reason and message of the condition Running."""


@dataclass
class Cdi:
    """See above."""

    cluster: FakeCluster
    serving: FakeServing
    checks_digests: bool = True
    """Whether the API knows `checksum`: from v1.65."""
    fail: list[str] = field(default_factory=list)
    """Each makes one importer fail once, with these words."""
    fatal: list[str] = field(default_factory=list)
    """Each makes one DataVolume fail for good."""
    corrupt: int = 0
    """The number of downloads that land other bytes."""
    blocked: tuple[str, str] | None = None
    """Reason and message of the condition Bound while there is no claim, or no volume."""
    blocked_phase: str = "Pending"
    held_at: int | None = None
    """The step at which the download stops."""
    labels_claims: bool = True

    def __post_init__(self) -> None:
        self._at: dict[str, int] = {}
        self._restarting: set[str] = set()
        self.made: list[str] = []
        self.cluster.admission.append(self._admit)
        self.cluster.reconcilers.append(lambda _: self._reconcile())

    def _admit(self, verb: str, thing: Object) -> None:
        if thing["kind"] != DATA_VOLUME.kind or verb != "create":
            return
        metadata, http = thing["metadata"], thing["spec"]["source"]["http"]
        if not self.checks_digests:
            http.pop("checksum", None)  # the API server drops a field that the schema lacks
        if self.cluster.peek(CLAIM, metadata["name"], metadata["namespace"]):  # datavolume-validate.go
            raise refused(f"Destination PVC {metadata['namespace']}/{metadata['name']} already exists")
        if not self.cluster.dry_run:
            self.made.append(metadata["name"])

    def _reconcile(self) -> None:
        for namespace in sorted(self.cluster.namespaces):
            for data_volume in self.cluster.all(DATA_VOLUME, namespace):
                phase = (data_volume.get("status") or {}).get("phase")
                if phase not in ("Succeeded", "Failed") and "http" in data_volume["spec"].get("source", {}):
                    self._advance(data_volume)

    def _advance(self, data_volume: Object) -> None:
        uid, status = data_volume["metadata"]["uid"], data_volume.setdefault("status", {})
        if self.blocked is not None:
            reason, message = self.blocked
            status["phase"] = self.blocked_phase
            _condition(status, "Bound", "False", reason, message)
            return
        if self.held_at is not None and self._at.get(uid) == self.held_at:
            return
        if uid in self._restarting:
            self._restarting.discard(uid)
            status["restartCount"] = status.get("restartCount", 0) + 1
        at = self._at[uid] = self._at.get(uid, -1) + 1
        if at == 0:
            self._make_claim(data_volume)
        if at == len(STEPS) and self.fail:
            self._restart(uid, status, self.fail.pop(0))
        elif at == len(STEPS) and self.fatal:
            self._end(status, "Failed", self.fatal.pop(0))
        elif at >= len(STEPS):
            self._land(data_volume, status)
        else:
            phase, progress, reason, message = STEPS[at]
            status |= {"phase": phase, "progress": progress}
            status.setdefault("restartCount", 0)
            running = "True" if reason == "Pod is running" else "False"
            _condition(status, "Bound", "True", "Bound", "")
            _condition(status, "Running", running, reason, message)

    def _restart(self, uid: str, status: dict[str, Any], words: str) -> None:
        """CDI starts the importer again, at the first byte, for ever. It counts when the next one runs."""
        self._at[uid] = 3
        self._restarting.add(uid)
        _condition(status, "Running", "False", "Error", words)

    def _end(self, status: dict[str, Any], phase: str, words: str, reason: str = "Error") -> None:
        status["phase"] = phase
        _condition(status, "Running", "False", reason, words)

    def _land(self, data_volume: Object, status: dict[str, Any]) -> None:
        http = data_volume["spec"]["source"]["http"]
        disk = http["url"].rsplit("/", 1)[1].partition(".")[0]
        data = self.serving.data.get(disk, BYTES)
        if self.corrupt:
            self.corrupt -= 1
            data = data[:-1] + b"?"
        wanted = http.get("checksum", "")
        actual = f"sha512:{hashlib.sha512(data).hexdigest()}"
        if wanted and wanted != actual:
            self._end(status, "Failed", f"{MISMATCH}: expected {wanted}", "ChecksumError")
            return
        status |= {"phase": "Succeeded", "progress": "100.0%"}
        _condition(status, "Running", "False", "Completed", "Import Complete")

    def _make_claim(self, data_volume: Object) -> None:
        metadata, storage = data_volume["metadata"], data_volume["spec"]["storage"]
        name, namespace = metadata["name"], metadata["namespace"]
        if self.cluster.peek(CLAIM, name, namespace):
            return
        labels = dict(metadata["labels"]) if self.labels_claims else {}
        owner = owner_reference(DATA_VOLUME, name, metadata["uid"])
        self.cluster.put(
            {
                "apiVersion": CLAIM.api_version,
                "kind": CLAIM.kind,
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {**labels, "app": "containerized-data-importer"},
                    "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
                },
                "spec": dict(storage),
            }
        )


def _condition(status: dict[str, Any], kind: str, value: str, reason: str, message: str) -> None:
    others = [one for one in status.get("conditions", []) if one["type"] != kind]
    made = {"type": kind, "status": value, "reason": reason, "message": message}
    status["conditions"] = [*others, made]

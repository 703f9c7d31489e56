"""A stand-in for Kubernetes' PersistentVolume controller and a provisioner, one step at every read.

It follows pkg/controller/volume/persistentvolume/pv_controller.go: a claim that names a volume waits until
the volume names the claim; a bound claim whose volume names another one is Lost; a volume whose claim is gone
is deleted with its content, as the reclaim policy Delete says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from steps.model.kinds import CLAIM, PERSISTENT_VOLUME, POD, STORAGE_CLASS, Object
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster


@dataclass
class Volumes:
    """See above. `content` is by the name of a volume: what a test wrote to it."""

    cluster: FakeCluster
    provides: bool = True
    """Whether the provisioner works."""
    content: dict[str, str] = field(default_factory=dict)
    reclaimed: list[str] = field(default_factory=list)
    """Volumes that were deleted because their claim was gone."""
    moves: bool = True
    """Whether the controller runs."""
    _number: int = 0

    def __post_init__(self) -> None:
        self.cluster.reconcilers.append(lambda _: self.reconcile())

    def volumes(self) -> list[Object]:
        return self.cluster.all(PERSISTENT_VOLUME)

    def of(self, claim: Object) -> Object:
        found = self.cluster.peek(PERSISTENT_VOLUME, claim["spec"]["volumeName"])
        assert found is not None
        return found

    def reconcile(self) -> None:
        if not self.moves:
            return
        for claim in self.cluster.all(CLAIM):
            self._claim(claim)
        for volume in list(self.volumes()):
            bound_to = volume["spec"]["claimRef"]
            owner = self.cluster.peek(CLAIM, bound_to["name"], bound_to["namespace"])
            if owner is None or owner["metadata"]["uid"] != bound_to["uid"]:
                self.reclaimed.append(volume["metadata"]["name"])
                self.content.pop(volume["metadata"]["name"], None)
                self.cluster.drop(PERSISTENT_VOLUME, volume["metadata"]["name"])

    def _claim(self, claim: Object) -> None:
        status = claim.setdefault("status", {})
        name = claim["spec"].get("volumeName")
        if not name:
            if self.provides and not self._waits(claim):
                self._provide(claim)
            return
        volume = self.cluster.peek(PERSISTENT_VOLUME, name)
        if volume is not None and volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]:
            status["phase"] = "Bound"
        elif status.get("phase") in ("Bound", "Lost"):
            status["phase"] = "Lost"
        else:
            status["phase"] = "Pending"

    def _waits(self, claim: Object) -> bool:
        """Whether its class waits for a pod, and there is none."""
        one = self.cluster.peek(STORAGE_CLASS, str(claim["spec"].get("storageClassName") or ""))
        if one is None or one.get("volumeBindingMode") != "WaitForFirstConsumer":
            return False
        names = {
            volume["persistentVolumeClaim"]["claimName"]
            for pod in self.cluster.all(POD, claim["metadata"]["namespace"])
            for volume in pod["spec"].get("volumes") or []
        }
        return claim["metadata"]["name"] not in names

    def _provide(self, claim: Object) -> None:
        self._number += 1
        name, metadata, spec = f"pv-{self._number}", claim["metadata"], claim["spec"]
        self.cluster.put(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": spec["resources"]["requests"],
                    "accessModes": spec["accessModes"],
                    "persistentVolumeReclaimPolicy": "Delete",
                    "storageClassName": spec.get("storageClassName") or "",
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": metadata["namespace"],
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "resourceVersion": metadata["resourceVersion"],
                    },
                },
            }
        )
        claim["spec"]["volumeName"] = name
        claim["status"]["phase"] = "Bound"

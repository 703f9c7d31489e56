"""Stand-in for Harvester's own work on VirtualMachines: the claims that a VM brings and takes with it.

harvester v1.6.0: pkg/controller/master/virtualmachine/vm_controller.go (createPVCsFromAnnotation,
cleanupPVCAndSnapshot), pkg/api/vm/store.go (the UI's delete button). Left out: quotas, snapshots, new
DataVolumes of CDI images, growing a claim.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind, Object
from tests.real.standins.api import Api
from tests.real.standins.controller import Controller, deleting, log
from tests.real.standins.images import IMAGE_ID
from tests.real.standins.machine_rules import GOLDEN

FINALIZER: Final = "wrangler.cattle.io/VMController.CleanupPVCAndSnapshot"
TEMPLATES: Final = "harvesterhci.io/volumeClaimTemplates"
REMOVED: Final = "harvesterhci.io/removedPersistentVolumeClaims"
WATCHED: Final[tuple[Kind, ...]] = (MACHINE, CLAIM, IMAGE)


class HarvesterMachines(Controller):
    """Harvester's VMController."""

    kind = MACHINE

    def one(self, machine: Object) -> float | None:
        if deleting(machine):
            if FINALIZER in machine["metadata"].get("finalizers", []):
                self._drop(machine)
                self.let_go(machine, FINALIZER)
        elif self.finalize(machine, FINALIZER):
            self._provide(machine)
        return None

    def _drop(self, machine: Object) -> None:
        namespace = machine["metadata"]["namespace"]
        for name in filter(None, _annotation(machine, REMOVED).split(",")):
            if claim := self.cluster[CLAIM].get(namespace, name.strip()):
                log.info("harvester: claim %s/%s is deleted with its VM", namespace, name)
                self.api.delete(claim)

    def _provide(self, machine: Object) -> None:
        """Make the claims of the annotation that do not exist."""
        namespace = machine["metadata"]["namespace"]
        for template in json.loads(_annotation(machine, TEMPLATES) or "[]"):
            metadata = template["metadata"]
            if self.cluster[CLAIM].get(namespace, metadata["name"]) is not None:
                continue
            if of := (metadata.get("annotations") or {}).get(IMAGE_ID):
                image = self.cluster[IMAGE].get(*of.split("/"))
                if image is None:
                    continue
                if image["spec"].get("backend") == "cdi":
                    raise NotImplementedError(f"a DataVolume of image {of} has no stand-in")
            named = {"apiVersion": CLAIM.api_version, "kind": CLAIM.kind}
            self.api.create({**named, **template, "metadata": {**metadata, "namespace": namespace}})


def remove(api: Api, namespace: str, name: str, disks: Sequence[str] = ()) -> None:
    """Delete a VM as the UI does, with the volumes in `disks` ticked."""
    machine = api.get(MACHINE, namespace, name)
    if machine is None:
        raise LookupError(f"VirtualMachine {namespace}/{name} not found")
    volumes = machine["spec"]["template"]["spec"].get("volumes") or []
    ticked = [
        one["persistentVolumeClaim"]["claimName"]
        for one in volumes
        if "persistentVolumeClaim" in one and one["name"] in disks
    ]
    removed = [claim for claim in ticked if not _is_golden(api, namespace, claim)]
    machine["metadata"].setdefault("annotations", {})[REMOVED] = ",".join(removed)
    api.delete(api.update(machine))


def _is_golden(api: Api, namespace: str, name: str) -> bool:
    """Raises LookupError: the UI's delete fails if a volume's claim is missing."""
    claim = api.get(CLAIM, namespace, name)
    if claim is None:
        raise LookupError(f"error looking up pvc {namespace}/{name}")
    return _annotation(claim, GOLDEN) == "true"


def _annotation(thing: Object, name: str) -> str:
    return str((thing["metadata"].get("annotations") or {}).get(name, ""))

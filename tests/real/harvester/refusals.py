"""Requests of an import that Harvester's webhook refuses; its stand-in must refuse the same."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE
from steps.runtime import kubeapi
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.harvester.image_names import STORAGE_CLASS_NAME
from tests.real.cluster.lab import CommandError, Lab
from tests.real.harvester.install import namespace, network

Object = dict[str, Any]
QUOTA: Final = "field.cattle.io/resourceQuota"
TEMPLATES: Final = "harvesterhci.io/volumeClaimTemplates"
MAC: Final = "00:50:56:90:0a:01"
GIB: Final = 1 << 30
PATIENCE: Final = 3.0
"""Seconds for repeated requests: a refusal must not use them."""


@dataclass(frozen=True)
class World:
    """A test's namespace, and the cluster as a step sees it."""

    lab: Lab
    cluster: Cluster
    space: str

    def stored(self, manifest: Object) -> Object:
        return self.cluster.create(manifest)

    def machine(self, name: str = "web", **more: Any) -> Object:
        """A VirtualMachine as `build` makes it, with one disk and one NIC."""
        given = {"claim": f"{name}-disk", "mac": "", "networks": "vlan1", "memory": "64Mi", "templates": None}
        wanted = {**given, **more}
        nic = {"name": "nic-0", "model": "virtio", "bridge": {}}
        notes = {} if wanted["templates"] is None else {TEMPLATES: json.dumps(wanted["templates"])}
        domain = {
            "cpu": {"sockets": 1, "cores": 2, "threads": 1},
            "memory": {"guest": wanted["memory"]},
            "resources": {"limits": {"cpu": "2", "memory": wanted["memory"]}},
            "devices": {
                "disks": [{"name": "disk-0", "disk": {"bus": "virtio"}}],
                "interfaces": [{**nic, **({"macAddress": wanted["mac"]} if wanted["mac"] else {})}],
            },
        }
        joined = {"name": "nic-0", "multus": {"networkName": f"{self.space}/{wanted['networks']}"}}
        volume = {"name": "disk-0", "persistentVolumeClaim": {"claimName": wanted["claim"]}}
        labels = {"migration.harvesterhci.io/imported": "true"} if wanted.get("imported", True) else {}
        template = {"spec": {"domain": domain, "networks": [joined], "volumes": [volume]}}
        return {
            "apiVersion": MACHINE.api_version,
            "kind": MACHINE.kind,
            "metadata": {"name": name, "namespace": self.space, "labels": labels, "annotations": notes},
            "spec": {"runStrategy": "Halted", "template": template},
        }

    def claim(self, name: str = "web-disk", storage_class: str = "harvester-longhorn", **more: Any) -> Object:
        annotations = more.get("annotations", {"harvesterhci.io/imageId": f"{self.space}/{name}"})
        return {
            "apiVersion": CLAIM.api_version,
            "kind": CLAIM.kind,
            "metadata": {
                "name": name,
                "namespace": self.space,
                **({"annotations": annotations} if annotations else {}),
            },
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "volumeMode": "Block",
                "storageClassName": storage_class,
                "resources": {"requests": {"storage": str(GIB)}},
            },
        }

    def image(self, name: str = "web", **spec: Any) -> Object:
        display = spec.get("displayName", name)
        wanted = {"targetStorageClassName": "harvester-longhorn", **spec}
        return {
            "apiVersion": IMAGE.api_version,
            "kind": IMAGE.kind,
            "metadata": {
                "name": name,
                "namespace": self.space,
                "labels": {"harvesterhci.io/imageDisplayName": display},
                "annotations": {STORAGE_CLASS_NAME: wanted["targetStorageClassName"]},
            },
            "spec": {
                "displayName": display,
                "sourceType": "download",
                "url": "http://serve/token/disk-0.raw",
                "backend": "backingimage",
                **wanted,
            },
        }

    def template(self, claim: str, size: int, storage_class: str = "harvester-longhorn") -> Object:
        """An entry of the annotation."""
        return {
            "metadata": {"name": claim},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "volumeMode": "Block",
                "storageClassName": storage_class,
                "resources": {"requests": {"storage": str(size)}},
            },
        }

    def limit(self, hard: dict[str, str], **rancher: str) -> None:
        """A quota as Rancher sets it: an annotation of the namespace, and the resulting ResourceQuota."""
        noted = {QUOTA: json.dumps({"limit": rancher})}
        self.lab.apply({**namespace(self.space), "metadata": {"name": self.space, "annotations": noted}})
        label = {"resourcequota.management.cattle.io/default-resource-quota": "true"}
        self.lab.apply(
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": "default", "namespace": self.space, "labels": label},
                "spec": {"hard": hard},
            }
        )
        where = ("--namespace", self.space)
        self.lab.kubectl(*where, "wait", "quota/default", "--for=jsonpath={.status.hard}", "--timeout=60s")


@contextlib.contextmanager
def world(lab: Lab) -> Iterator[World]:
    """A namespace for one test; it is deleted afterwards."""
    space = f"refused-{secrets.token_hex(3)}"
    lab.apply(namespace(space), network(space, "vlan1"))
    cluster = kubeapi.connect(Stop(), patience=PATIENCE, kubeconfig=str(lab.place.kubeconfig))
    yield World(lab, cluster, space)
    emptied(lab, space)


def emptied(lab: Lab, space: str) -> None:
    """Delete a namespace in the order that Harvester's webhook allows.

    A backing image is deleted after the claims of its class, a golden claim after or with its image.
    """
    for kind in (MACHINE, CLAIM, IMAGE, CLAIM):
        with contextlib.suppress(CommandError):
            lab.kubectl("--namespace", space, "delete", kind.resource, "--all", "--timeout=60s")
    lab.kubectl("delete", "namespace", space, "--timeout=90s")


def twice_the_mac(world: World) -> None:
    world.stored(world.machine("first", mac=MAC))
    world.stored(world.machine("second", mac=MAC))


def no_network(world: World) -> None:
    world.stored(world.machine(networks="vlan404"))


def storage_quota(world: World) -> None:
    world.limit({"requests.storage": "1Gi"}, requestsStorage="1Gi")
    world.stored(world.machine(templates=[world.template("web-disk", 2 * GIB)]))


def cpu_quota_at_start(world: World) -> None:
    world.limit({"limits.cpu": "1", "limits.memory": "1Gi"}, limitsCpu="1", limitsMemory="1Gi")
    world.stored(world.machine())
    # KubeVirt's status; Harvester does not check a VM without a status.
    world.cluster.patch_status(MACHINE, "web", {"printableStatus": "Stopped"}, world.space)
    world.cluster.patch(MACHINE, "web", {"spec": {"runStrategy": "RerunOnFailure"}}, world.space)


def too_little_memory(world: World) -> None:
    world.stored(world.machine(memory="8Mi"))


def no_class_of_an_image(world: World) -> None:
    world.stored(world.image(targetStorageClassName="nowhere"))


def a_nameless_template(world: World) -> None:
    world.stored(world.machine(templates=[{"spec": {}}]))


def a_claim_in_use(world: World) -> None:
    world.stored(world.claim())
    world.stored(world.machine("first", claim="web-disk"))
    world.stored(world.machine("second", claim="web-disk"))


def a_golden_claim_of_a_foreign_vm(world: World) -> None:
    world.stored(world.claim(annotations={"harvesterhci.io/goldenImage": "true"}))
    world.stored(world.machine(imported=False))


def the_mark_removed(world: World) -> None:
    world.stored(world.claim(annotations={"harvesterhci.io/goldenImage": "true"}))
    world.stored(world.machine())
    gone = {"metadata": {"labels": {"migration.harvesterhci.io/imported": None}}}
    world.cluster.patch(MACHINE, "web", gone, world.space)


def a_smaller_template(world: World) -> None:
    world.stored(world.machine(templates=[world.template("web-disk", 2 * GIB)]))
    smaller = json.dumps([world.template("web-disk", GIB)])
    world.cluster.patch(MACHINE, "web", {"metadata": {"annotations": {TEMPLATES: smaller}}}, world.space)


def another_class_in_a_template(world: World) -> None:
    world.stored(world.machine(templates=[world.template("web-disk", GIB)]))
    other = json.dumps([world.template("web-disk", GIB, "disk")])
    world.cluster.patch(MACHINE, "web", {"metadata": {"annotations": {TEMPLATES: other}}}, world.space)


def a_display_name_twice(world: World) -> None:
    world.stored(world.image("one", displayName="same"))
    world.stored(world.image("two", displayName="same"))


def another_url(world: World) -> None:
    world.stored(world.image())
    world.cluster.patch(IMAGE, "web", {"spec": {"url": "http://serve/other/disk-0.raw"}}, world.space)


def an_image_in_use(world: World) -> None:
    world.stored(world.image())
    world.cluster.patch(IMAGE, "web", {"status": {"storageClassName": "lh-web"}}, world.space)
    world.stored(world.claim(storage_class="lh-web"))
    world.cluster.delete(IMAGE, "web", world.space)


def a_claim_of_a_vm(world: World) -> None:
    world.stored(world.claim())
    world.stored(world.machine())
    world.cluster.delete(CLAIM, "web-disk", world.space)


def a_golden_claim(world: World) -> None:
    world.stored(world.image("web-disk", backend="cdi", targetStorageClassName="disk"))
    world.stored(world.claim(annotations={"harvesterhci.io/goldenImage": "true"}))
    world.cluster.delete(CLAIM, "web-disk", world.space)


def a_reserved_class(world: World) -> None:
    world.stored(world.claim(storage_class="vmstate-persistence"))


Act = Callable[[World], None]
REFUSED: Final[list[tuple[Act, Exit, str]]] = [
    (twice_the_mac, Exit.CONFLICT, "duplicate mac address present for vm second for cluster network mgmt"),
    (no_network, Exit.NOT_FOUND, '"vlan404" not found'),
    (storage_quota, Exit.NO_SPACE, "insufficient resources due to resource quota"),
    (cpu_quota_at_start, Exit.NO_SPACE, "insufficient resources due to resource quota"),
    (too_little_memory, Exit.INVALID, "guest memory is under the minimum requirement"),
    (no_class_of_an_image, Exit.NOT_FOUND, '"nowhere" not found'),
    (a_nameless_template, Exit.INVALID, "PVC name is required"),
    (a_claim_in_use, Exit.INVALID, "web-disk is already used by other VM"),
    (a_golden_claim_of_a_foreign_vm, Exit.INVALID, "is a golden image, it can't be used as a volume in VM"),
    (the_mark_removed, Exit.INVALID, "is a golden image, it can't be used as a volume in VM"),
    (a_smaller_template, Exit.INVALID, "web-disk PVC requests storage can't be less than previous value"),
    (another_class_in_a_template, Exit.INVALID, "storage class names for the volumes in the"),
    (a_display_name_twice, Exit.CONFLICT, "A resource with the same name exists"),
    (another_url, Exit.INVALID, "url cannot be modified"),
    (an_image_in_use, Exit.INVALID, "being used by volume"),
    (a_claim_of_a_vm, Exit.CONFLICT, "can not delete the volume web-disk which is currently attached to VM"),
    (a_golden_claim, Exit.INVALID, "can not delete golden image PVC"),
    (a_reserved_class, Exit.INVALID, "can not create volume with the reserved storage class"),
]


def let_in(world: World) -> None:
    """The class of a CDI image is looked up later; a golden claim is allowed if the VM has the mark."""
    world.stored(world.image("late", backend="cdi", targetStorageClassName="nowhere"))
    world.stored(world.claim(annotations={"harvesterhci.io/goldenImage": "true"}))
    made = world.stored(world.machine())
    assert made["spec"]["template"]["spec"]["domain"]["cpu"]["maxSockets"] == 1


def assert_refused(world: World, act: Act, code: Exit, words: str) -> None:
    """The refusal is immediate and final, and the user reads the reason."""
    with pytest.raises(StepError) as caught:
        act(world)
    assert words in str(caught.value)
    assert caught.value.code is code, str(caught.value)

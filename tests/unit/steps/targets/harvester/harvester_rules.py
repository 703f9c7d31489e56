"""A stand-in for Harvester's webhooks for VMs and claims, as in v1.8.2.

It follows pkg/webhook/resources/virtualmachine/{mutator,validator}.go as far as our objects need it, and
answers with the same statuses: a plain Go error there is a 500 here.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

from steps.model.contract import StepError
from steps.model.kinds import CLAIM, MACHINE, NAD, Kind, Object, kind_of
from steps.runtime.cluster import failure
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

MEMORY_TAKEN: Final = 100 << 20
"""mutator.go, memory100M: what the guest loses if additional-guest-memory-overhead-ratio is empty."""
CLUSTER_NETWORK: Final = "network.harvesterhci.io/clusternetwork"
TEMPLATES: Final = "harvesterhci.io/volumeClaimTemplates"
GOLDEN: Final = "harvesterhci.io/goldenImage"
IMPORTED: Final = "migration.harvesterhci.io/imported"
RESERVED: Final = ("longhorn-static", "vmstate-persistence")
"""Storage classes of Harvester and KubeVirt themselves."""
RUN_STRATEGY: Final = "harvesterhci.io/vmRunStrategy"
HOTPLUG: Final = "harvesterhci.io/enableCPUAndMemoryHotplug"


class HarvesterRules:
    """The webhooks of one cluster; `overhead_ratio` is the setting of that name.

    Without `mutates` the objects stay as they were sent, so that a test can check them.
    """

    def __init__(self, cluster: FakeCluster, *, overhead_ratio: str = "1.5") -> None:
        self.cluster = cluster
        self.overhead_ratio = overhead_ratio
        self.mutates = True
        self.storage_limit: int | None = None
        """Bytes that Rancher's quota of a namespace allows for its volumes."""
        cluster.admission.append(self.judge)

    def judge(self, verb: str, thing: Object) -> None:
        """Change or refuse an object, as the mutating and validating webhooks do."""
        kind = kind_of(thing)
        if kind is MACHINE and verb != "delete" and "template" in thing["spec"]:
            self._replace_run_strategy(verb, thing)
            if self.mutates:
                self._mutate(verb, thing)
            self._validate(verb, thing)
        if kind is CLAIM and verb == "create":
            self._claim_created(verb, thing)
        if kind is CLAIM and verb == "delete":
            self._claim_deleted(thing)

    def another_vm(self, namespace: str, name: str, *, mac: str, network: str = "") -> Object:
        """A VM of another owner with that MAC, on the pod network or on `network`."""
        where = {"multus": {"networkName": network}} if network else {"pod": {}}
        spec = {
            "domain": {"devices": {"interfaces": [{"name": "default", "macAddress": mac}]}},
            "networks": [{"name": "default", **where}],
        }
        return self.cluster.put(
            {
                "apiVersion": MACHINE.api_version,
                "kind": MACHINE.kind,
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"runStrategy": "Halted", "template": {"spec": spec}},
            }
        )

    # --- mutator.go

    def _replace_run_strategy(self, verb: str, vm: Object) -> None:
        """patchRunStrategy: a VM that is started gets the strategy of its annotation, or RerunOnFailure."""
        before = self.cluster.peek(MACHINE, vm["metadata"]["name"], vm["metadata"]["namespace"])
        if verb != "update" or before is None:
            return
        if before["spec"].get("runStrategy") == "Halted" != vm["spec"].get("runStrategy"):
            annotations = vm["metadata"].get("annotations") or {}
            vm["spec"]["runStrategy"] = annotations.get(RUN_STRATEGY) or "RerunOnFailure"

    def _mutate(self, verb: str, vm: Object) -> None:
        domain = vm["spec"]["template"]["spec"]["domain"]
        annotations = vm["metadata"].get("annotations") or {}
        limits = (domain.get("resources") or {}).get("limits")
        if not limits:
            return  # mutator.go, patchResourceOvercommit: no limit to derive from
        if annotations.get(HOTPLUG) != "true":
            domain["cpu"]["maxSockets"] = 1
        memory = int(parse_quantity(limits["memory"]))  # type: ignore[no-untyped-call]
        taken = 0 if self.overhead_ratio else MEMORY_TAKEN
        if memory - taken < 10 << 20:
            words = f"guest memory is under the minimum requirement (10 Mi), original: {memory}"
            raise self._refused(500, verb, vm, words)
        domain["memory"]["guest"] = str(memory - taken)
        cores = float(parse_quantity(limits["cpu"]))  # type: ignore[no-untyped-call]
        mebibytes = memory * 100 // 150 // (1 << 20)
        domain["resources"]["requests"] = {"cpu": f"{int(cores * 100)}m", "memory": f"{mebibytes}Mi"}
        for network in _networks(vm):
            if network.get("multus"):
                self._nad(verb, vm, network["multus"]["networkName"])
        for interface in domain["devices"]["interfaces"]:
            if not interface.get("macAddress"):
                interface["macAddress"] = "52:54:00:" + ":".join(
                    f"{random.randrange(256):02x}" for _ in range(3)
                )

    def _nad(self, verb: str, vm: Object, named: str) -> Object:
        namespace, _, name = named.rpartition("/")
        found = self.cluster.peek(NAD, name, namespace or vm["metadata"]["namespace"])
        if found is None:
            words = f'network-attachment-definitions.k8s.cni.cncf.io "{name}" not found'
            raise self._refused(500, verb, vm, words)
        return found

    # --- validator.go

    def _validate(self, verb: str, vm: Object) -> None:
        cpu = vm["spec"]["template"]["spec"]["domain"].get("cpu") or {}
        if cpu.get("sockets", 1) > cpu.get("maxSockets", 1 << 30):  # KubeVirt's webhook
            words = (
                "spec.template.spec.domain.cpu.sockets: Number of sockets in CPU topology is greater than "
                "the maximum sockets allowed"
            )
            raise self._refused(422, verb, vm, words)
        self._macs(verb, vm)
        self._templates(verb, vm)
        self._volumes(verb, vm)
        self._quota(verb, vm)

    def _macs(self, verb: str, vm: Object) -> None:
        mine = self._addresses(verb, vm)
        for other in self.cluster.all(MACHINE):
            if "template" not in other["spec"]:
                continue
            same = [other["metadata"][key] == vm["metadata"][key] for key in ("namespace", "name")]
            if not all(same) and mine & self._addresses(verb, other):
                network = next(iter(mine & self._addresses(verb, other)))[0]
                name = vm["metadata"]["name"]
                words = f"duplicate mac address present for vm {name} for cluster network {network}"
                raise self._refused(500, verb, vm, words)

    def _addresses(self, verb: str, vm: Object) -> set[tuple[str, str]]:
        """(cluster network, MAC) of each interface; the pod network counts as one."""
        of = {}
        for network in _networks(vm):
            named = (network.get("multus") or {}).get("networkName", "")
            nad = self._nad(verb, vm, named) if named else {"metadata": {}}
            of[network["name"]] = (nad["metadata"].get("labels") or {}).get(CLUSTER_NETWORK, "")
        interfaces = vm["spec"]["template"]["spec"]["domain"].get("devices", {}).get("interfaces") or []
        return {(of.get(one["name"], ""), one["macAddress"]) for one in interfaces if one.get("macAddress")}

    def _templates(self, verb: str, vm: Object) -> None:
        text = (vm["metadata"].get("annotations") or {}).get(TEMPLATES, "")
        if text and any(not one["metadata"].get("name") for one in json.loads(text)):
            raise self._refused(422, verb, vm, "PVC name is required")

    def _volumes(self, verb: str, vm: Object) -> None:
        namespace = vm["metadata"]["namespace"]
        for name in _claims(vm):
            claim = self.cluster.peek(CLAIM, name, namespace)
            if claim is None:
                continue
            users = [other for other in self.cluster.all(MACHINE, namespace) if name in _claims(other)]
            if any(other["metadata"]["name"] != vm["metadata"]["name"] for other in users):
                words = f"the volume {namespace}/{name} is already used by VM {users[0]['metadata']['name']}"
                raise self._refused(422, verb, vm, words)
            golden = (claim["metadata"].get("annotations") or {}).get(GOLDEN) == "true"
            if golden and (vm["metadata"].get("labels") or {}).get(IMPORTED) != "true":
                words = f"PVC {namespace}/{name} is a golden image, it can't be used as a volume in VM"
                raise self._refused(422, verb, vm, words)

    def _quota(self, verb: str, vm: Object) -> None:
        """pkg/util/resourcequota/calculator.go, CheckStorageResourceQuota.

        The volumes in the annotation count in addition to the usage of the namespace's claims.
        """
        if self.storage_limit is None:
            return
        before = self.cluster.peek(MACHINE, vm["metadata"]["name"], vm["metadata"]["namespace"])
        more = _listed(vm) - (_listed(before) if before else 0)
        claims = self.cluster.all(CLAIM, vm["metadata"]["namespace"])
        used = sum(_bytes(one["spec"]["resources"]["requests"]["storage"]) for one in claims)
        if more > 0 and used + more > self.storage_limit:
            words = "insufficient resources due to resource quota: storage"
            raise self._refused(500, verb, vm, words)

    # --- persistentvolumeclaim/validator.go

    def _claim_created(self, verb: str, claim: Object) -> None:
        """persistentvolumeclaim/validator.go, validateInternalUsage."""
        name = claim["spec"].get("storageClassName")
        if name in RESERVED:
            raise self._refused(
                422, verb, claim, f"can not create volume with the reserved storage class {name}"
            )

    def _claim_deleted(self, claim: Object) -> None:
        metadata = claim["metadata"]
        for vm in self.cluster.all(MACHINE, metadata["namespace"]):
            if metadata["name"] in _claims(vm):
                words = (
                    f"can not delete the volume {metadata['name']} which is currently attached to VM "
                    f"{vm['metadata']['name']}"
                )
                raise self._refused(409, "delete", claim, words)

    def _refused(self, status: int, verb: str, thing: Object, words: str) -> StepError:
        kind: Kind = kind_of(thing)
        where = f"{thing['metadata']['namespace']}/{thing['metadata']['name']}"
        message = f'admission webhook "validator.harvesterhci.io" denied the request: {words}'
        return failure(verb, kind, where, status, json.dumps({"message": message}))


def _networks(vm: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = vm["spec"]["template"]["spec"].get("networks") or []
    return found


def _listed(vm: Object) -> int:
    """Bytes of the volumes in a VM's annotation."""
    text = (vm["metadata"].get("annotations") or {}).get(TEMPLATES) or "[]"
    return sum(_bytes(one["spec"]["resources"]["requests"]["storage"]) for one in json.loads(text))


def _bytes(quantity: str) -> int:
    return int(parse_quantity(quantity))  # type: ignore[no-untyped-call]


def _claims(vm: Object) -> set[str]:
    volumes = vm["spec"].get("template", {}).get("spec", {}).get("volumes") or []
    return {one["persistentVolumeClaim"]["claimName"] for one in volumes if one.get("persistentVolumeClaim")}


def a_network(name: str, namespace: str = "default", cluster_network: str = "mgmt") -> Object:
    """A NetworkAttachmentDefinition as Harvester's network controller labels it."""
    labels = {CLUSTER_NETWORK: cluster_network}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": NAD.api_version, "kind": NAD.kind, "metadata": metadata, "spec": {"config": "{}"}}

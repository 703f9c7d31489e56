"""Stand-in for the rules of Harvester's webhook on VirtualMachines and on claims, and KubeVirt's on CPUs.

harvester v1.8.2: pkg/webhook/resources/virtualmachine/{mutator,validator}.go, persistentvolumeclaim/
{mutator,validator}.go, pkg/util/resourcequota/calculator.go, pkg/util/virtualmachine/virtualmachine.go;
kubevirt v1.7.0: pkg/virt-api/webhooks/validating-webhook/admitters/vms-admitter.go. Left out: quotas of CPU
and memory, CPU and memory hotplug, CPU pinning, cd-roms, maintenance labels, running backups, volumes that
grow or move, claims that an image is exported from.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

from steps.model.kinds import CLAIM, IMAGE, MACHINE, NAD, STORAGE_CLASS, Kind, Object
from tests.real.standins.api import NAMESPACE, Api
from tests.real.standins.refusal import Refused, internal

GOLDEN: Final = "harvesterhci.io/goldenImage"
TEMPLATES: Final = "harvesterhci.io/volumeClaimTemplates"
STRATEGY: Final = "harvesterhci.io/vmRunStrategy"
HOTPLUG: Final = "harvesterhci.io/enableCPUAndMemoryHotplug"
IMPORTED: Final = "migration.harvesterhci.io/imported"
CLUSTER_NETWORK: Final = "network.harvesterhci.io/clusternetwork"
QUOTA: Final = "field.cattle.io/resourceQuota"
DEFAULT_QUOTA: Final = "resourcequota.management.cattle.io/default-resource-quota"
RESOURCE_QUOTA: Final = Kind("v1", "ResourceQuota", "resourcequotas")
LEAST_MEMORY: Final = 10 << 20
MIB: Final = 1 << 20
CPU_OVERCOMMIT: Final = 10
MEMORY_OVERCOMMIT: Final = 1.5
"""The default of the setting overcommit-config."""
RESERVED: Final = ("vmstate-persistence", "longhorn-static")
GARBAGE: Final = "system:serviceaccount:kube-system:generic-garbage-collector"
"""The account of the garbage collector, which may delete any claim."""
Patch = list[Object]


class MachineRules:
    """The changes and the refusals of VirtualMachines."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def mutate(self, machine: Object, old: Object) -> Patch:
        """The JSON patch of a VirtualMachine that is created, or that replaces `old`. Raises Refused."""
        if "deletionTimestamp" in machine["metadata"]:
            return []
        spec = machine["spec"]["template"]["spec"]
        limits = _limits(spec)
        changed = not old or limits != _limits(old["spec"]["template"]["spec"])
        return [
            *(self._overcommit(machine, limits) if changed else []),
            *_strategy(machine, old),
            *self._affinity(machine),
            *_defaults(spec),
        ]

    def validate(self, machine: Object, old: Object) -> None:
        """Raises Refused."""
        templates = _templates(machine)
        if any(not one.get("metadata", {}).get("name") for one in templates):
            raise Refused("the volumeClaimTemplates annotaion is invalid: PVC name is required")
        self._golden(machine)
        self._occupied(machine)
        self._storage_quota(machine, templates, old)
        if old:
            _compare(_templates(old), templates)
        if not old or _interfaces(old) != _interfaces(machine):
            self._addresses(machine)
        _sockets(machine)

    # --- changes

    def _overcommit(self, machine: Object, limits: Object) -> Patch:
        domain = machine["spec"]["template"]["spec"]["domain"]
        hotplug = _annotations(machine).get(HOTPLUG) == "true"
        requests: dict[str, str] = {}
        patch: Patch = []
        if cpu := limits.get("cpu"):
            requests["cpu"] = f"{_number(cpu, 1000) // CPU_OVERCOMMIT}m"
        if memory := limits.get("memory"):
            size = _number(memory)
            if size < LEAST_MEMORY:
                words = f"original: {size}, final: {size}"
                raise internal(f"guest memory is under the minimum requirement (10 Mi), {words}")
            requests["memory"] = f"{int(size / MEMORY_OVERCOMMIT) // MIB}Mi"
            if not hotplug:
                guest = {**(domain.get("memory") or {}), "guest": memory}
                patch += [_set("/spec/template/spec/domain/memory", guest)]
                cpus = {"cores": 1, "sockets": 1, "threads": 1} | (domain.get("cpu") or {})
                patch += [_set("/spec/template/spec/domain/cpu", cpus | {"maxSockets": 1})]
        if requests:
            resources = {**(domain.get("resources") or {}), "requests": requests}
            patch.append(_set("/spec/template/spec/domain/resources", resources))
        return patch

    def _affinity(self, machine: Object) -> Patch:
        """Nodes that have the cluster networks. Raises Refused for a network that does not exist."""
        found = {self._cluster_network(machine, name) for name in _networks(machine).values()} - {""}
        wanted = [
            {"key": f"network.harvesterhci.io/{name}", "operator": "In", "values": ["true"]}
            for name in sorted(found)
        ]
        terms = {"nodeSelectorTerms": [{"matchExpressions": wanted}]}
        node = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}} if wanted else {}
        others = machine["spec"]["template"]["spec"].get("affinity") or {}
        kept = {key: value for key, value in others.items() if key != "nodeAffinity"}
        return [_set("/spec/template/spec/affinity", {**kept, **node})]

    def _cluster_network(self, machine: Object, name: str) -> str:
        """The cluster network of a network; empty if it names none."""
        namespace, _, own = name.rpartition("/")
        found = self._api.get(NAD, namespace or machine["metadata"]["namespace"], own)
        if found is None:
            raise internal(f'{NAD.resource} "{own}" not found')
        return str((found["metadata"].get("labels") or {}).get(CLUSTER_NETWORK, ""))

    # --- refusals

    def _golden(self, machine: Object) -> None:
        if (machine["metadata"].get("labels") or {}).get(IMPORTED) == "true":
            return
        for name in _claims(machine):
            claim = self._claim(machine, name)
            if claim is not None and _annotations(claim).get(GOLDEN) == "true":
                where = f"{machine['metadata']['namespace']}/{name}"
                raise Refused(f"PVC {where} is a golden image, it can't be used as a volume in VM")

    def _occupied(self, machine: Object) -> None:
        """A claim belongs to one VM, unless its class is not Longhorn's and many may write to it."""
        for name in _claims(machine):
            claim = self._claim(machine, name)
            if claim is None or self._shareable(claim):
                continue
            if any(one["metadata"]["name"] != machine["metadata"]["name"] for one in users(self._api, claim)):
                where = f"{machine['metadata']['namespace']}/{name}"
                raise Refused(f"PVC {where} is already used by other VM, please use a shareable RWX volume.")

    def _shareable(self, claim: Object) -> bool:
        found = self._api.get(STORAGE_CLASS, "", claim["spec"].get("storageClassName") or "-") or {}
        longhorn = found.get("provisioner") == "driver.longhorn.io"
        return not longhorn and "ReadWriteMany" in claim["spec"].get("accessModes", [])

    def _claim(self, machine: Object, name: str) -> Object | None:
        return self._api.get(CLAIM, machine["metadata"]["namespace"], name)

    def _storage_quota(self, machine: Object, templates: list[Object], old: Object) -> None:
        """Rancher's quota, which counts the templates in addition to the usage of the namespace's claims."""
        namespace = machine["metadata"]["namespace"]
        noted = _annotations(self._api.get(NAMESPACE, "", namespace) or {"metadata": {}}).get(QUOTA)
        limit = json.loads(noted).get("limit", {}).get("requestsStorage") if noted else None
        more = _size(templates) - (_size(_templates(old)) if old else 0)
        if not limit or more <= 0:
            return
        for quota in self._api.list(RESOURCE_QUOTA)[0]:
            labels = quota["metadata"].get("labels") or {}
            if quota["metadata"]["namespace"] == namespace and labels.get(DEFAULT_QUOTA) == "true":
                used = ((quota.get("status") or {}).get("used") or {}).get("requests.storage", "0")
                if _number(limit) - _number(used) < more:
                    raise internal("storage insufficient resources due to resource quota")

    def _addresses(self, machine: Object) -> None:
        """A MAC is unique in a cluster network, over all namespaces; the spelling counts."""
        mine = set(self._places(machine))
        own = (machine["metadata"]["namespace"], machine["metadata"]["name"])
        for other in self._api.list(MACHINE)[0]:
            if (other["metadata"]["namespace"], other["metadata"]["name"]) == own:
                continue
            for network, mac in mine & set(self._places(other, unknown="?")):
                del mac
                words = f"duplicate mac address present for vm {own[1]} for cluster network {network}"
                raise internal(words)

    def _places(self, machine: Object, unknown: str | None = None) -> Iterator[tuple[str, str]]:
        """(cluster network, MAC) of each interface that has a MAC."""
        networks = _networks(machine)
        for one in _interfaces(machine):
            if mac := one.get("macAddress"):
                name = networks.get(one["name"])
                yield (self._known(machine, name, unknown) if name else ""), mac

    def _known(self, machine: Object, name: str, unknown: str | None) -> str:
        try:
            return self._cluster_network(machine, name)
        except Refused:
            if unknown is None:
                raise
            return unknown


class ClaimRules:
    """The refusals of claims."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def validate(self, operation: str, claim: Object, user: str) -> None:
        """`claim` is the one that is created or deleted. Raises Refused."""
        match operation:
            case "CREATE":
                self._create(claim)
            case "DELETE" if user != GARBAGE:
                self._delete(claim)

    def _create(self, claim: Object) -> None:
        name = claim["spec"].get("storageClassName") or ""
        if name in RESERVED:
            raise Refused(f"can not create volume with the reserved storage class {name}")

    def _delete(self, claim: Object) -> None:
        metadata = claim["metadata"]
        image = self._api.get(IMAGE, metadata["namespace"], metadata["name"])
        if _annotations(claim).get(GOLDEN) == "true" and image is not None:
            raise Refused("can not delete golden image PVC")
        for machine in users(self._api, claim):
            if "deletionTimestamp" not in machine["metadata"]:
                where = f"{machine['metadata']['namespace']}/{machine['metadata']['name']}"
                words = (
                    f"can not delete the volume {metadata['name']} which is currently attached to VM: {where}"
                )
                raise Refused(words, 409, "Conflict")


def users(api: Api, claim: Object) -> list[Object]:
    """The VirtualMachines that have it as a volume or in their templates (VMByPVC)."""
    namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
    return [
        one
        for one in api.list(MACHINE)[0]
        if one["metadata"]["namespace"] == namespace
        and name in {*_claims(one), *(entry["metadata"]["name"] for entry in _templates(one))}
    ]


def _set(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


def _annotations(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


def _limits(spec: Object) -> Object:
    return (spec["domain"].get("resources") or {}).get("limits") or {}


def _interfaces(machine: Object) -> list[Object]:
    return machine["spec"]["template"]["spec"]["domain"]["devices"].get("interfaces") or []


def _networks(machine: Object) -> dict[str, str]:
    """The network's full name by the name of its interface; the pod network has none."""
    found = machine["spec"]["template"]["spec"].get("networks") or []
    return {one["name"]: one["multus"]["networkName"] for one in found if one.get("multus")}


def _claims(machine: Object) -> list[str]:
    volumes = machine["spec"]["template"]["spec"].get("volumes") or []
    return [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]


def _templates(machine: Object) -> list[Object]:
    """Raises Refused for text that is not JSON."""
    try:
        found: list[Object] = json.loads(_annotations(machine).get(TEMPLATES) or "[]")
    except ValueError as error:
        raise Refused(f"the volumeClaimTemplates annotaion is invalid: {error}") from None
    return found


def _number(quantity: str, times: int = 1) -> int:
    return int(parse_quantity(quantity) * times)  # type: ignore[no-untyped-call]


def _requested(template: Object) -> int:
    return _number(template["spec"].get("resources", {}).get("requests", {}).get("storage", "0"))


def _size(templates: list[Object]) -> int:
    return sum(map(_requested, templates))


def _strategy(machine: Object, old: Object) -> Patch:
    """A stopped VM that is started gets the strategy with which it ran last, whatever is requested."""
    if (
        not old
        or old["spec"].get("runStrategy") != "Halted"
        or machine["spec"].get("runStrategy") == "Halted"
    ):
        return []
    return [_set("/spec/runStrategy", _annotations(machine).get(STRATEGY) or "RerunOnFailure")]


def _defaults(spec: Object) -> Patch:
    patch: Patch = []
    if "terminationGracePeriodSeconds" not in spec:
        patch.append(_set("/spec/template/spec/terminationGracePeriodSeconds", 120))
    for index, one in enumerate(spec["domain"]["devices"].get("interfaces") or []):
        if not one.get("macAddress"):
            mac = bytes([0x02, *secrets.token_bytes(5)]).hex(":")
            patch.append(_set(f"/spec/template/spec/domain/devices/interfaces/{index}/macAddress", mac))
    return patch


def _compare(before: list[Object], after: list[Object]) -> None:
    """A template that stays may only grow in size, and never changes its class."""
    known = {one["metadata"]["name"]: one for one in before}
    for new in after:
        name = new["metadata"]["name"]
        old = known.get(name)
        if old is None:
            continue
        if _requested(new) < _requested(old):
            raise Refused(f"{name} PVC requests storage can't be less than previous value")
        was, wanted = (one["spec"].get("storageClassName") for one in (old, new))
        if was and wanted and was != wanted:
            words = f"storage class names for the volumes in the {TEMPLATES} annotation cannot be changed;"
            raise internal(f"{words} new name {wanted} in volume {name};")


def _sockets(machine: Object) -> None:
    """KubeVirt's rule, with the roll-out strategy LiveUpdate that Harvester sets."""
    cpu = machine["spec"]["template"]["spec"]["domain"].get("cpu") or {}
    if cpu.get("maxSockets") and cpu.get("sockets", 1) > cpu["maxSockets"]:
        words = "Number of sockets in CPU topology is greater than the maximum sockets allowed"
        raise Refused(f"spec.template.spec.domain.cpu.sockets: {words}")

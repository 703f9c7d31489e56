"""The rules by which an import is judged before its VM is shut down. Pure.

A rule yields a Finding for what passed, what a person should know, and what could not be checked. It yields a
StepError, with what is wrong, why, and how to correct it, for what refuses the import.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from steps.model.admission import Finding, not_checked, passed, warned
from steps.model.contract import Exit, StepError
from steps.model.kinds import V2V_API_VERSION, Object
from steps.model.networks import Interface
from steps.model.plan import TargetKind
from steps.model.quantity import shown
from steps.model.refusals import DuplicateMacError, MissingNetworkError
from steps.targets.checks import longhorn
from steps.targets.checks.facts import (
    Addresses,
    ClaimNeed,
    LonghornPool,
    Modes,
    Needs,
    Network,
    Node,
    Segment,
    StorageClass,
    Taint,
    TargetFacts,
    Unknown,
    UsedAddress,
)
from steps.targets.cluster.quota import amount

Result = Finding | StepError

MAC: Final = "MAC addresses"
NODE: Final = "node"
ALLOCATION_RATIO: Final = 10
"""KubeVirt requests this part of a CPU for each vCPU (spec.configuration.developerConfiguration)."""
GLOBAL_NAMESPACE: Final = "default"
"""Multus with `namespaceIsolation` still lets every namespace use the networks of this one."""


def judge(facts: TargetFacts, needs: Needs) -> Iterator[Result]:
    """Apply every rule."""
    yield from mac_addresses(facts.addresses, needs)
    for destination, network in facts.networks.items():
        yield from network_usable(destination, network, needs)
    for name, claims in by_class(needs.claims).items():
        found = facts.classes.get(name, Unknown("it was not read"))
        yield from class_capable(name, found, claims)
        yield from _estimates(f"capacity of {name}", class_room(name, found, claims), needs)
    yield from _estimates(NODE, node_fits(facts.nodes, needs), needs)


def _estimates(check: str, results: Iterable[Result], needs: Needs) -> Iterator[Result]:
    """Results that rest on numbers which others report, and which a person may know better.

    `skipPreflightChecks` makes a warning of each refusal.
    """
    for result in results:
        skipped = needs.plan.skip_preflight_checks and isinstance(result, StepError)
        yield warned(check, str(result)) if skipped else result


def by_class(claims: Iterable[ClaimNeed]) -> Mapping[str, list[ClaimNeed]]:
    """The claims by their storage class."""
    found: defaultdict[str, list[ClaimNeed]] = defaultdict(list)
    for claim in claims:
        found[claim.storage_class].append(claim)
    return found


# --- MAC addresses


def mac_addresses(addresses: Addresses | Unknown, needs: Needs) -> Iterator[Result]:
    """Two VMs with one MAC address in one network lose their connections. KubeVirt does not compare them."""
    mine = [interface for interface in needs.shape.interfaces if interface.mac]
    if not mine:
        return
    if isinstance(addresses, Unknown):
        yield not_checked(MAC, addresses.why)
        return
    pairs = [(one, used) for one in mine for used in addresses.used if used.mac == str(one.mac).lower()]
    found = [result for one, used in pairs for result in _same_mac(one, used, needs.plan.target.namespace)]
    yield from found
    if addresses.unread:
        yield not_checked(MAC, f"only VMs of namespace {needs.plan.target.namespace}: {addresses.unread}")
    elif not found:
        yield passed(MAC)


def _same_mac(one: Interface, used: UsedAddress, namespace: str) -> Iterator[Result]:
    if not one.network or used.is_behind_nat:
        return  # the network of the pods: nobody else sees the address
    is_own = used.vm_namespace == namespace
    other = f"VirtualMachine {used.vm_namespace}/{used.vm_name}" if is_own else "a VM of another namespace"
    remedy = "change the MAC address of the other VM, or set mac: new in the NIC's row of spec.networkMapping"
    if used.network == one.network:
        what = f"the MAC address {one.mac} of {one.nic} is in use on network {one.network}"
        yield DuplicateMacError(Exit.CONFLICT, what, f"{other} has it", f"{remedy}, then retry")
    else:
        message = f"{other} has the MAC address {one.mac} of {one.nic}, in another network"
        yield warned(MAC, f"{message}; if both networks are connected, {remedy}")


# --- networks


def network_usable(destination: str, network: Network | Unknown | None, needs: Needs) -> Iterator[Result]:
    """KubeVirt accepts a VM whose network does not exist, and its pod then never starts."""
    check = f"network {destination}"
    if isinstance(network, Unknown):
        yield not_checked(check, network.why)
        return
    if network is None:
        yield _missing_network(destination, needs)
        return
    problem = _problem_of(network)
    if problem:
        what = f"destination network {destination} cannot be used"
        remedy = "correct it, or map the NIC to another one in spec.networkMapping, then retry"
        yield StepError(Exit.INVALID, what, problem, remedy)
        return
    namespace = destination.partition("/")[0]
    if needs.plan.target.kind is TargetKind.KUBEVIRT and namespace not in (
        needs.plan.target.namespace,
        GLOBAL_NAMESPACE,
    ):
        why = (
            f"it exists; whether Multus lets namespace {needs.plan.target.namespace} use it depends on its "
            "setting namespaceIsolation, which vmferry does not read"
        )
        yield not_checked(check, why)
        return
    if not network.is_ready:
        message = f"Harvester reports that network {destination} is not ready; look at its cluster network"
        yield warned(check, message)
        return
    yield passed(check)


def _missing_network(destination: str, needs: Needs) -> StepError:
    what = f"destination network {destination} does not exist"
    remedy = "create it, or correct spec.networkMapping, then retry"
    if needs.plan.import_.api_version == V2V_API_VERSION:  # clients compare the words, with the error
        what = f"Network Attachment Defintion {destination} has not been found. Error"
        remedy = "create it, or correct the network mapping"
    why = "there is no NetworkAttachmentDefinition of that name, or Multus is not installed"
    return MissingNetworkError(Exit.NOT_FOUND, what, why, remedy)


def _problem_of(network: Network) -> str:
    """Why no pod can use the network; empty if one can."""
    if network.is_deleted:
        return "it is being deleted"
    if not network.config:
        return ""  # a configuration of that name is on the nodes
    try:
        config = json.loads(network.config)
    except ValueError:
        return "its spec.config is not JSON"
    return "" if isinstance(config, dict) else "its spec.config is not a JSON object"


# --- storage


def class_capable(name: str, found: StorageClass | Unknown, claims: Sequence[ClaimNeed]) -> Iterator[Result]:
    """Whether the class provides the modes that the request names."""
    check = f"storage class {name}"
    if isinstance(found, Unknown):
        yield not_checked(check, found.why)
        return
    named = [claim for claim in claims if claim.wanted_access_mode or claim.wanted_volume_mode]
    if named and isinstance(found.modes, Unknown):
        yield not_checked(check, f"whether it provides the requested modes: {found.modes.why}")
        return
    refused = [claim for claim in named if not _provides(found.modes, claim)]
    for wanted in dict.fromkeys(_wanted_modes(claim) for claim in refused):
        what = f"storage class {name} does not provide volumes with {wanted}"
        remedy = (
            "request a mode that it provides, or another class; if it provides this one, add it to "
            f"spec.claimPropertySets of StorageProfile {name}"
        )
        yield StepError(Exit.INVALID, what, _listed(found.modes), remedy)
    if not refused:
        expansion = "" if found.is_expandable else "its volumes cannot be enlarged later"
        yield passed(check).model_copy(update={"message": expansion})


def _provides(modes: tuple[Modes, ...] | Unknown, claim: ClaimNeed) -> bool:
    return isinstance(modes, Unknown) or any(
        claim.wanted_access_mode in ("", one.access_mode)
        and claim.wanted_volume_mode in ("", one.volume_mode)
        for one in modes
    )


def _wanted_modes(claim: ClaimNeed) -> str:
    parts = (claim.wanted_access_mode, claim.wanted_volume_mode and f"volume mode {claim.wanted_volume_mode}")
    return " and ".join(part for part in parts if part)


def _listed(modes: tuple[Modes, ...] | Unknown) -> str:
    if isinstance(modes, Unknown):
        return modes.why
    listed = ", ".join(dict.fromkeys(f"{one.access_mode} {one.volume_mode}" for one in modes))
    return f"its StorageProfile lists {listed}"


def class_room(name: str, found: StorageClass | Unknown, claims: Sequence[ClaimNeed]) -> Iterator[Result]:
    """Whether the storage has room for the volumes of the class."""
    check = f"capacity of {name}"
    if isinstance(found, Unknown):
        yield not_checked(check, found.why)
    elif isinstance(found.room, Unknown):
        yield not_checked(check, found.room.why)
    elif isinstance(found.room, LonghornPool):
        yield from _longhorn_room(name, found.room, found.parameters, claims)
    else:
        yield from _segment_room(name, found.room, claims)


def _longhorn_room(
    name: str, pool: LonghornPool, parameters: Mapping[str, str], claims: Sequence[ClaimNeed]
) -> Iterator[Result]:
    check = f"capacity of {name}"
    placed = longhorn.place(pool, parameters, claims)
    if placed.homeless:
        why = (
            f"{_sizes(placed.homeless)} must be scheduled, and the largest volume for which a disk of "
            f"Longhorn has room has {shown(placed.largest)}"
        )
        yield _no_room(name, why)
    elif placed.least < placed.wanted:
        message = (
            f"Longhorn has room for {placed.least} of the {placed.wanted} replicas of each volume of class "
            f"{name}: the volumes will be degraded until there is more room"
        )
        yield warned(check, message)
    elif large := [claim for claim in claims if claim.content > placed.free]:
        used = ", ".join(f"{shown(claim.content)} for {claim.title}" for claim in large)
        message = (
            f"the source uses {used}, and no disk of Longhorn has more than {shown(placed.free)} free: the "
            "copy fits only if much of that is zeros"
        )
        yield warned(check, message)
    else:
        yield passed(check)


def _segment_room(name: str, segments: Sequence[Segment], claims: Sequence[ClaimNeed]) -> Iterator[Result]:
    """Every node sees one segment of a class, and the pod of a VM runs on one node."""
    check = f"capacity of {name}"
    free = max((segment.free for segment in segments), default=0)
    too_large = [
        claim for claim in claims if all(claim.size > _largest_volume(segment) for segment in segments)
    ]
    total = sum(claim.size for claim in claims)
    if too_large:
        largest = max((_largest_volume(segment) for segment in segments), default=0)
        why = f"{_sizes(too_large)} are needed, and the largest volume that the storage can provide has"
        yield _no_room(name, f"{why} {shown(largest)}")
    elif total > free:
        message = (
            f"the volumes of class {name} need {shown(total)} together, and {shown(free)} are free where one "
            "node can use all of them; they fit only if the storage does not reserve their whole size"
        )
        yield warned(check, message)
    else:
        yield passed(check)


def _largest_volume(segment: Segment) -> int:
    return segment.free if segment.largest is None else min(segment.free, segment.largest)


def _no_room(name: str, why: str) -> StepError:
    what = f"storage class {name} has no room for the disks"
    remedy = (
        "free room, add storage, or name another class in spec.storageClass or spec.diskMapping, then retry"
    )
    return StepError(Exit.NO_SPACE, what, why, remedy)


def _sizes(claims: Iterable[ClaimNeed]) -> str:
    return ", ".join(f"{shown(claim.size)} for {claim.title}" for claim in claims)


# --- nodes


def node_fits(nodes: tuple[Node, ...] | Unknown, needs: Needs) -> Iterator[Result]:
    """Whether a node could run the VM if it were empty. What runs there now is not counted."""
    if isinstance(nodes, Unknown):
        yield not_checked(NODE, nodes.why)
        return
    if needs.vm is None:
        yield not_checked(NODE, "what the VM requests is not known, as no dry run of it was made or accepted")
        return
    cpu, memory = requests(needs.vm)
    usable = [node for node in nodes if _may_run(node, needs.pod)]
    fitting = [node for node in usable if node.cpus >= cpu and node.memory >= memory]
    if fitting:
        most = max(node.cpus for node in fitting)
        yield _few_cpus(needs, most) if needs.shape.vcpus > most else passed(NODE)
        return
    what = "no node can run the VM"
    largest = _largest_nodes(usable) if usable else "and no node accepts its pods"
    why = f"it requests {_cpus(cpu)} and {shown(int(memory))} of memory, {largest}"
    remedy = "lower spec.cpus or spec.memory, or add a node"
    if needs.shape.start:
        yield StepError(Exit.NO_SPACE, what, why, f"{remedy}, then retry")
    else:
        yield warned(NODE, f"{what}: {why}; it can be created, as the import leaves it off; {remedy}")


def _few_cpus(needs: Needs, most: Decimal) -> Finding:
    message = (
        f"the VM has {needs.shape.vcpus} vCPUs, and no node that can run it has more than {_cpus(most)}: "
        "its vCPUs wait for each other; set spec.cpus"
    )
    return warned(NODE, message)


def _largest_nodes(nodes: Sequence[Node]) -> str:
    cpus, memory = max(node.cpus for node in nodes), max(node.memory for node in nodes)
    return f"and no node has both (at most {_cpus(cpus)}, at most {shown(memory)})"


def _cpus(number: Decimal) -> str:
    return f"{number.normalize():f} {'CPU' if number == 1 else 'CPUs'}"


def requests(vm: Object) -> tuple[Decimal, Decimal]:
    """CPUs and bytes that the pod of the VM requests at least: KubeVirt adds what its launcher needs."""
    domain = vm["spec"]["template"]["spec"]["domain"]
    named = (domain.get("resources") or {}).get("requests") or {}
    cpu = domain.get("cpu") or {}
    vcpus = Decimal(cpu.get("sockets", 1) * cpu.get("cores", 1) * cpu.get("threads", 1))
    memory = named.get("memory") or (domain.get("memory") or {}).get("guest") or 0
    return (
        amount(named["cpu"]) if named.get("cpu") else vcpus / ALLOCATION_RATIO,
        amount(memory),
    )


def _may_run(node: Node, pod: Mapping[str, Any]) -> bool:
    selector = pod.get("nodeSelector") or {}
    tolerations = pod.get("tolerations") or []
    return selector.items() <= dict(node.labels).items() and all(
        any(_tolerates(toleration, taint) for toleration in tolerations) for taint in node.taints
    )


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """As k8s.io/api core/v1 Toleration.ToleratesTaint."""
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.key)
    return toleration.get("key") == taint.key and (toleration.get("value") or "") == taint.value

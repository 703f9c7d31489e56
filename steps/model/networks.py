"""NICs and their networks: from the source's to KubeVirt's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from pydantic import Field

from steps.model import unique
from steps.model.concerns import block, log, usable_mac, warn
from steps.model.contract import StepError
from steps.model.document import Document
from steps.model.guest import Guest
from steps.model.guest_choice import model_by_evidence, nic_model
from steps.model.machine import Concern, MacAddress, Nic, NicModel, Severity
from steps.model.matching import network_rules, rule_of_nic
from steps.model.naming import shown
from steps.model.plan import (
    Attachment,
    InterfaceModel,
    MacPolicy,
    NetworkPolicy,
    NetworkRule,
    TargetPlan,
    Unmapped,
    Unplugged,
)

POD_NETWORK: Final = "pod-network"
MOST_NAMES: Final = 10
"""Names of networks that one message lists."""
UNMAPPED: Final = "VM has one or more unmapped networks"
SEVERAL_PODS: Final = "Network mapping contains more than one source network that targets a pod network"
"""Beginnings of messages, in the words of vm-import-operator: clients compare them."""

MODELS: Final[dict[NicModel, InterfaceModel]] = {
    NicModel.VMXNET: InterfaceModel.VIRTIO,
    NicModel.VMXNET2: InterfaceModel.VIRTIO,
    NicModel.VMXNET3: InterfaceModel.VIRTIO,
    NicModel.E1000: InterfaceModel.E1000,
    NicModel.E1000E: InterfaceModel.E1000E,
    NicModel.PCNET32: InterfaceModel.PCNET,
    NicModel.RTL8139: InterfaceModel.RTL8139,
    NicModel.NE2K_PCI: InterfaceModel.NE2K_PCI,
    NicModel.VIRTIO: InterfaceModel.VIRTIO,
}


class Interface(Document):
    """A network interface as KubeVirt sees it; without `network` it is on the pod network."""

    name: str
    nic: str
    """Id of the source's NIC, and in `source` its network, for comparison."""
    source: str
    model: InterfaceModel
    mac: MacAddress | None = None
    connected: bool = True
    network: str = ""
    boot_order: Annotated[int, Field(ge=1)] | None = None


def map_interfaces(
    nics: Iterable[Nic], target: TargetPlan, guest: Guest | None = None
) -> tuple[tuple[Interface, ...], list[Concern]]:
    """All NICs that KubeVirt allows: mapped ones by bridge, and one unmapped one on the pod network.

    KubeVirt allows one pod network per VM. A NIC with a row for it has precedence over unmapped ones; further
    NICs are left out with a warning.
    """
    found: list[Interface] = []
    concerns: list[Concern] = []
    nics, found_model = tuple(nics), nic_model(guest)
    is_reserved = any(_wants_pod_network(nic, target) for nic in nics)
    for index, nic in enumerate(nics):
        if reason := _reason_to_leave_out(nic, target):
            concerns.append(reason)
            continue
        rule = rule_of_nic(nic, target)
        to_pod = rule is None or rule.attachment is Attachment.POD
        is_taken = any(not interface.network for interface in found) or (rule is None and is_reserved)
        if to_pod and is_taken:
            concerns.append(_left_out(nic, target))
        elif rule is not None:
            by_hardware = MODELS.get(nic.model)
            model = rule.model or model_by_evidence(found_model, by_hardware, target.default_model)
            found.append(_mapped(index, nic, rule, model))
        else:
            model = model_by_evidence(found_model, None, target.default_model)
            found.append(_on_pod_network(nic, model))
            concerns.append(_unmapped(nic, target))
    return tuple(found), concerns


def _wants_pod_network(nic: Nic, target: TargetPlan) -> bool:
    """Whether a row attaches this NIC to the pod network."""
    rule = rule_of_nic(nic, target)
    is_for_it = rule is not None and rule.attachment is Attachment.POD
    return is_for_it and _reason_to_leave_out(nic, target) is None


def _reason_to_leave_out(nic: Nic, target: TargetPlan) -> Concern | None:
    """Why the VM does not get a NIC; None if it gets it."""
    if not nic.plugged and target.unplugged is Unplugged.LEFT_OUT:
        return warn("nic-unplugged", f"{_title(nic)} is unplugged at the source", "it is left out")
    if target.unmapped is Unmapped.BLOCK and not (nic.network or nic.network_id):
        return warn("nic-without-network", f"{_title(nic)} has no network at the source", "it is left out")
    rule = rule_of_nic(nic, target)
    if rule is not None and rule.attachment is Attachment.IGNORED:
        where = target.mapping.title if rule.shared and target.mapping else "the network mapping"
        return log("nic-ignored", f"{_title(nic)} is left out, as {where} says")
    return None


def check_cards(target: TargetPlan, nics: Iterable[Nic]) -> Iterator[Concern]:
    """NICs that two rows of the mapping match equally well, so that their destination is ambiguous."""
    if target.first_match:
        return
    rows = ((nic.id, rule) for nic in nics for rule in network_rules(nic, target.networks))
    found = unique.index(rows, lambda row: row[0], what="rows for", where=_rows_of(target))
    try:
        found.check()
    except StepError as error:
        message = f"{error.what}: {error.why}"
        yield block("network-ambiguous", message, "use the ids of the networks at the source")


def check_mapped(target: TargetPlan, nics: Iterable[Nic]) -> Iterator[Concern]:
    """NICs without a row where each must have one, and several NICs with rows for the pod network."""
    rules = [(nic, rule_of_nic(nic, target)) for nic in nics if _reason_to_leave_out(nic, target) is None]
    missing = [nic for nic, rule in rules if rule is None]
    if missing and target.unmapped is Unmapped.BLOCK:
        what = ", ".join(f"{nic.network or nic.label} ({nic.network_id})" for nic in missing)
        yield block("network.mapping", f"{UNMAPPED}: {what}")
    pod = [nic for nic, rule in rules if rule is not None and rule.attachment is Attachment.POD]
    if len(pod) > 1:
        # The whole text is that of vm-import-operator in its dialect.
        remedy = "" if target.first_match else "keep one of them, and map the others or ignore them"
        names = ", ".join(nic.network for nic in pod)
        yield block("network.pod.multiple", f"{SEVERAL_PODS}: {names}", remedy)


def _title(nic: Nic) -> str:
    return f"{nic.id} ({nic.mac or 'no MAC'}, network {nic.network!r})"


def _mapped(index: int, nic: Nic, rule: NetworkRule, model: InterfaceModel) -> Interface:
    return Interface(
        name=f"migrated-{index}",
        nic=nic.id,
        source=nic.network,
        model=model,
        mac=None if rule.mac is MacPolicy.NEW else _address(nic),
        connected=nic.connected,
        network=rule.destination,
        boot_order=nic.boot_order,
    )


def _on_pod_network(nic: Nic, model: InterfaceModel) -> Interface:
    return Interface(
        name=POD_NETWORK,
        nic=nic.id,
        source=nic.network,
        model=model,
        mac=_address(nic),
        connected=nic.connected,
        boot_order=nic.boot_order,
    )


def _address(nic: Nic) -> MacAddress | None:
    return nic.mac if nic.mac and usable_mac(nic.mac) else None


def _rows_of(target: TargetPlan) -> str:
    """Where the rows for networks are, for messages."""
    return f"networkMapping or {target.mapping.title}" if target.mapping else "networkMapping"


def _unmapped(nic: Nic, target: TargetPlan) -> Concern:
    return warn(
        "network-unmapped",
        f"{nic.id} ({nic.mac or 'no MAC'}, network {nic.network!r}) is not in {_rows_of(target)}",
        "it is connected to the pod network",
    )


def _left_out(nic: Nic, target: TargetPlan) -> Concern:
    return warn(
        "network-left-out",
        f"{nic.id} ({nic.mac or 'no MAC'}, network {nic.network!r}) is left out, "
        "because a VM can have only one pod network",
        f"map its network in {_rows_of(target)} to keep it",
    )


def check_networks(target: TargetPlan, nics: Iterable[Nic], networks: frozenset[str]) -> list[Concern]:
    """Rows whose source network does not exist: a warning, or a blocking concern if strict.

    A row can also name a network of the VM by its id, or a NIC of the VM by its label. Of a mapping that
    imports share only names are judged: its IDs, VLANs and MAC addresses may be those of other VMs.
    """
    known = networks | {name for nic in nics for name in (nic.network_id, nic.label) if name}
    severity = Severity.BLOCK if target.network_policy is NetworkPolicy.STRICT else Severity.WARN
    remedy = f"the source has: {', '.join(sorted(networks)) or 'none'}"
    unknown = [rule for rule in target.networks if not _names_of(rule) & known]
    concerns = [
        Concern(
            severity=severity,
            code="network-unknown",
            message=f"source network {rule.source or rule.source_id!r} not found",
            remedy=remedy,
        )
        for rule in unknown
        if not rule.shared
    ]
    names = [rule.source for rule in unknown if rule.shared and rule.source]
    if names and target.mapping is not None:
        listed = ", ".join(map(shown, names[:MOST_NAMES]))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        message = f"{target.mapping.title} names networks that the source does not have: {listed}{more}"
        concerns.append(warn("network-unknown", message, remedy))
    return concerns


def _names_of(rule: NetworkRule) -> set[str]:
    return {rule.source, rule.source.rsplit("/", 1)[-1], rule.source_id}

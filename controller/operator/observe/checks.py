"""Checks what the cluster must have for an import, and collects every reason why it cannot run here."""

from __future__ import annotations

from collections.abc import Iterator

from controller.operator.options import Format, Options
from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.grants import EVERY_NAMESPACE
from steps.model.kinds import MACHINE, NAD, STORAGE_CLASS, WORKFLOW_TEMPLATE
from steps.model.names import LABEL_UID
from steps.model.naming import DNS_LABEL, normalise
from steps.model.plan import DiskFormat, NamePolicy, Plan, TargetKind
from steps.runtime.cluster import Cluster
from steps.targets.harvester.storage import Backend, storage_for
from workflows import argo_names
from workflows.api.resources import VirtualMachineImport


def with_disk_format(cluster: Cluster, plan: Plan, options: Options) -> Plan:
    """The plan with the disk format that suits the storage of its disks.

    Raises:
        StepError: NOT_FOUND, if the cluster has no default class and the import has none.
    """
    if plan.target.kind is TargetKind.KUBEVIRT:
        return plan
    wanted = DiskFormat.QCOW2 if options.format is Format.AUTO else DiskFormat(options.format)
    if options.format is Format.AUTO:
        storage = storage_for(cluster, plan.target.storage_class)
        wanted = DiskFormat.RAW if storage.backend is Backend.BACKING_IMAGE else wanted
    return plan.model_copy(update={"target": plan.target.model_copy(update={"format": wanted})})


def cluster_reasons(
    cluster: Cluster, import_: VirtualMachineImport, plan: Plan, options: Options
) -> Iterator[str]:
    """Reasons, as sentences for the import's condition."""
    yield from _classes(cluster, plan)
    yield from _networks(cluster, plan, options)
    yield from name_reasons(cluster, import_, plan)
    yield from template_reasons(cluster, plan, options)


def template_reasons(cluster: Cluster, plan: Plan, options: Options) -> Iterator[str]:
    """Whether the chart has installed the Workflow of the plan's source."""
    template = argo_names.template_name(plan.source.kind, plan.target.way, guest=bool(plan.guest.stages))
    found = cluster.get(WORKFLOW_TEMPLATE, template, options.namespace)
    if found is None:
        yield f"WorkflowTemplate {options.namespace}/{template} does not exist; install or upgrade the chart"
        return
    entrypoint = argo_names.entrypoint(boot_check=plan.boot_check is not None)
    parts = (found.get("spec") or {}).get("templates") or []
    if entrypoint and entrypoint not in {part.get("name") for part in parts}:
        yield (
            f"WorkflowTemplate {options.namespace}/{template} has no boot check; upgrade the chart with "
            "bootCheck.allowed=true, or remove spec.bootCheck"
        )


def _classes(cluster: Cluster, plan: Plan) -> Iterator[str]:
    wanted = {
        "spec.storageClass": plan.target.storage_class,
        "the setting scratch.storageClass": plan.scratch.storage_class,
    }
    wanted |= {
        f"spec.diskMapping of {rule.disk}": rule.storage_class
        for rule in plan.target.disks
        if not rule.shared
    }
    named = {where: name for where, name in wanted.items() if name}
    if not named:
        return
    # One request, not one for each row of a mapping.
    existing = {found["metadata"]["name"] for found in cluster.find(STORAGE_CLASS)}
    for where, name in named.items():
        if name not in existing:
            yield f"storage class {name!r} of {where} does not exist; see: kubectl get storageclass"


def unchecked_networks(plan: Plan, options: Options) -> str:
    """A sentence about the networks in namespaces that the controller does not read; empty without any."""
    others = [name for name in _destinations(plan) if not _is_shared(name, plan, options)]
    if not others:
        return ""
    return (
        f"{', '.join(others)}: networks in another namespace than the import are not checked; the VM starts "
        "only if they exist and its namespace may use them"
    )


def _destinations(plan: Plan) -> list[str]:
    """The NetworkAttachmentDefinitions of the import's own rows, as NAMESPACE/NAME.

    A mapping that imports share has rows for networks of other VMs, too. `admit` checks those that this VM
    needs, when it is known.
    """
    own = (rule.destination for rule in plan.target.networks if not rule.shared)
    return [name for name in dict.fromkeys(own) if name]


def _is_shared(destination: str, plan: Plan, options: Options) -> bool:
    """Whether people of the import's namespace may know which networks there are."""
    namespace = destination.partition("/")[0]
    shared = options.shared_network_namespaces
    return namespace == plan.target.namespace or namespace in shared or EVERY_NAMESPACE in shared


def _networks(cluster: Cluster, plan: Plan, options: Options) -> Iterator[str]:
    """A network of a namespace that is not shared is not read: the answer would show whether it exists."""
    for destination in _destinations(plan):
        if not _is_shared(destination, plan, options):
            continue
        namespace, _, name = destination.partition("/")
        try:
            network = cluster.get(NAD, name, namespace)
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            yield f"destination network {destination} cannot be read: {error}"
            continue
        if network is None:
            yield (
                f"destination network {destination} does not exist; create that "
                "NetworkAttachmentDefinition, or correct spec.networkMapping"
            )


def name_reasons(cluster: Cluster, import_: VirtualMachineImport, plan: Plan) -> Iterator[str]:
    """Whether the VM's name is taken.

    It is known before preflight: that of the request, changed to a valid name.
    """
    wanted = plan.target.vm_name or plan.vm
    name = wanted if DNS_LABEL.fullmatch(wanted) else normalise(wanted, plan.target.spelling)
    if name != wanted and plan.target.name_policy is NamePolicy.STRICT:
        return  # preflight refuses it, with the message of the QA plan
    vm = cluster.get(MACHINE, name, plan.target.namespace)
    if vm is None:
        return
    if (vm["metadata"].get("labels") or {}).get(LABEL_UID) != names.label_value(import_.metadata.uid):
        yield (
            f"VirtualMachine {plan.target.namespace}/{name} already exists and does not belong to this "
            "import; rename or delete it, or set spec.targetVirtualMachineName"
        )

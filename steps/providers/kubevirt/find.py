"""The VM, its instance and its claims, as the API has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from steps.model import wildcards
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.naming import is_namespace, is_object_name
from steps.providers.kubevirt import api
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.api import Api, path_of

log = structlog.get_logger()

POD_NETWORK: Final = "pod"
"""How an import calls the network of the pods."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A VM with what belongs to it."""

    vm: Answer
    instance: Answer | None = None
    """The VirtualMachineInstance: it exists while the VM runs, and sometimes after that."""
    claims: Mapping[str, Answer] = field(default_factory=dict)
    """By name; those that exist and that the account may read."""


def vm(source: Api, name: str, namespace: str) -> Found:
    """The VM of that name, expanded if it has an instance type, with its instance and its claims.

    Raises:
        StepError: NOT_FOUND.
    """
    found = read(source, namespace, name) if is_object_name(name) and is_namespace(namespace) else None
    if found is None:
        raise StepError(
            Exit.NOT_FOUND,
            f"there is no VM {name!r} in the namespace {namespace!r}",
            remedy=wildcards.remedy(
                name,
                "check its name and its namespace (spec.namespace of the source, or spec.folder of the "
                "import), and that the account may see it (see vmferry inventory)",
            ),
        )
    expanded = _expanded(source, namespace, name, found)
    names = dict.fromkeys(claim_names(expanded))
    claims = {claim: answer for claim in names if (answer := claim_of(source, namespace, claim)) is not None}
    return Found(vm=expanded, instance=instance_of(source, namespace, name), claims=claims)


def read(source: Api, namespace: str, name: str) -> Answer | None:
    """A VirtualMachine; None if there is none."""
    return source.find(f"read the VM {namespace}/{name}", path_of(api.VMS, namespace, name))


def current(source: Api, machine: Machine) -> Answer:
    """The VirtualMachine of an import as it is now. Raises StepError: NOT_FOUND, if it was deleted."""
    namespace, name = place_of(machine)
    found = read(source, namespace, name)
    if found is None or found.uid != machine.source_id:
        why = (
            f"there is none with the uid {machine.source_id}" if found is None else "another one has its name"
        )
        raise StepError(Exit.NOT_FOUND, f"the VM {machine.path} no longer exists", why, "start a new import")
    return found


def instance_of(source: Api, namespace: str, name: str) -> Answer | None:
    """The VirtualMachineInstance of a VM; None if there is none."""
    return source.find(
        f"read the instance of the VM {namespace}/{name}", path_of(api.INSTANCES, namespace, name)
    )


def claim_of(source: Api, namespace: str, name: str) -> Answer | None:
    """A claim; None if there is none."""
    return source.find(f"read the claim {namespace}/{name}", path_of(api.CLAIMS, namespace, name))


def place_of(machine: Machine) -> tuple[str, str]:
    """Namespace and name of a VM that was described."""
    namespace, _, name = machine.path.partition("/")
    return namespace, name


def all_vms(source: Api) -> Iterator[Found]:
    """All VMs of the namespace, as they are written: instance types are not expanded."""
    namespace = source.namespace
    instances = {one.name: one for one in _listed(source, api.INSTANCES, namespace)}
    claims = {one.name: one for one in _listed(source, api.CLAIMS, namespace)}
    for found in source.pages("list the VMs", path_of(api.VMS, namespace)):
        names = claim_names(found)
        yield Found(
            vm=found,
            instance=instances.get(found.name),
            claims={name: claims[name] for name in names if name in claims},
        )


def networks(source: Api, namespace: str) -> tuple[str, ...]:
    """NAMESPACE/NAME of the NetworkAttachmentDefinitions that the account sees, and the pod network."""
    found = sorted(f"{namespace}/{one.name}" for one in _listed(source, api.NETWORKS, namespace))
    return (*found, POD_NETWORK)


def _listed(source: Api, resource: api.Resource, namespace: str) -> list[Answer]:
    """The objects, or none if the account may not list them or the cluster does not have that kind."""
    try:
        return list(source.pages(f"list the {resource[1]}", path_of(resource, namespace)))
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        log.info(f"cannot list the {resource[1]}", why=error.why)
        return []


def _expanded(source: Api, namespace: str, name: str, found: Answer) -> Answer:
    """The VM with the sizes and devices of its instance type and preference."""
    if not found.has("spec", "instancetype") and not found.has("spec", "preference"):
        return found
    path = path_of(api.SUBRESOURCES, namespace, name, "expand-spec")
    return source.read(f"expand the instance type of the VM {namespace}/{name}", path)


def template(found: Answer) -> Answer:
    """spec.template.spec of a VM."""
    return found.child("spec", "template", "spec")


def claim_names(found: Answer) -> list[str]:
    """The claims that the volumes of a VM name. A DataVolume's claim has its name."""
    names = (claim_name(volume) for volume in template(found).elements("volumes"))
    return [name for name in names if is_object_name(name)]


def claim_name(volume: Answer) -> str:
    """The claim of a volume; "" if it has none."""
    return volume.text("persistentVolumeClaim", "claimName") or volume.text("dataVolume", "name")

"""The manifests of VMs and their source, with remarks to read before applying them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from controller.generate.mappingfile import Places, network_names
from controller.generate.naming import Choice
from controller.units import size
from steps.model.contract import Exit, StepError
from steps.model.kinds import API_VERSION
from steps.model.machine import Machine, Nic, Severity
from steps.model.mapping import shape
from steps.model.naming import normalise
from steps.preflight import refusal_reasons
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import Source
from workflows.plan import Invalid, plan
from workflows.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The manifest of one VM, its remarks, and the reasons why the VM cannot be imported."""

    choice: Choice
    manifest: dict[str, Any]
    remarks: tuple[str, ...]
    refusals: tuple[str, ...]


def entries(chosen: Sequence[Choice], places: Places) -> Iterator[Entry]:
    """A manifest for each choice, checked as in preflight; fixable problems are not refusals."""
    called = network_names(choice.machine for choice in chosen)
    for choice in chosen:
        names = {nic.id: _row_name(nic, places, called(nic)) for nic in choice.machine.nics}
        document = manifest(choice, places, names)
        try:
            warnings, blocks = _check(choice, document)
        except Invalid as error:
            warnings, blocks = [], [(Exit.UNSUPPORTED, reason) for reason in error.reasons]
        checks = [*(f"warn: {text}" for text in warnings), *(f"block: {text}" for _, text in blocks)]
        refusals = tuple(text for code, text in blocks if code is Exit.UNSUPPORTED)
        remarks = (_outline(choice.machine), *checks, *_by_mac(choice.machine, places))
        yield Entry(choice=choice, manifest=document, remarks=remarks, refusals=refusals)


def _row_name(nic: Nic, places: Places, called: str) -> str:
    """The source's id if the mapping uses it or several networks have the name; else the name."""
    row = places.network(nic)
    by_id = row is not None and row.source.id is not None and row.source.id == nic.network_id
    return nic.network_id if by_id else called


def _check(choice: Choice, document: dict[str, Any]) -> tuple[list[str], list[tuple[Exit, str]]]:
    """(warnings, reasons to refuse) of an import with this manifest."""
    import_ = VirtualMachineImport.model_validate(document, by_alias=True, by_name=False)
    request = plan(import_, choice.source, Settings(local_files=True))
    concerns = shape(request, choice.machine).concerns
    warnings = [str(concern) for concern in concerns if concern.severity is Severity.WARN]
    return warnings, list(refusal_reasons(request, choice.machine))


def _outline(machine: Machine) -> str:
    disks = ", ".join(f"{disk.id} {size(disk.capacity)}" for disk in machine.disks) or "no disk"
    where = machine.path or machine.name
    return f"{where} ({machine.source_id}): {machine.vcpus} vCPU, {size(machine.memory_mib << 20)}, {disks}"


def manifest(choice: Choice, places: Places, names: Mapping[str, str]) -> dict[str, Any]:
    """The VirtualMachineImport; `names`: names of the networks by the ids of their NICs."""
    of = choice.source.metadata
    spec: dict[str, Any] = {"virtualMachineName": choice.vm}
    if choice.folder is not None:
        spec["folder"] = choice.folder
    if normalise(choice.vm) != choice.name:
        spec["targetVirtualMachineName"] = choice.name
    spec["networkMapping"] = _network_rows(choice.machine, places, names)
    spec |= _storage(choice.machine, places)
    kind = choice.source.kind
    spec["sourceCluster"] = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": of.name,
        "namespace": of.namespace,
    }
    metadata = {"name": choice.name, "namespace": of.namespace}
    return {"apiVersion": API_VERSION, "kind": "VirtualMachineImport", "metadata": metadata, "spec": spec}


def _network_rows(machine: Machine, places: Places, names: Mapping[str, str]) -> list[dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for nic in machine.nics:
        row = places.network(nic) if nic.network else None
        if row is None or row.source.mac is not None:
            continue
        name = names[nic.id]
        rest = row.model_dump(by_alias=True, mode="json", exclude={"source"}, exclude_none=True)
        rows[name] = {"sourceNetwork": name, **rest}
    return list(rows.values())


def _by_mac(machine: Machine, places: Places) -> Iterator[str]:
    """Remarks about NICs that are mapped by their MAC address, which a row of an import cannot be."""
    for nic in machine.nics:
        row = places.network(nic) if nic.network else None
        if row is not None and row.source.mac is not None:
            yield (
                f"warn: the mapping has a row for the MAC address of {nic.id}, which networkMapping cannot "
                "have; apply the ImportMapping, and name it in spec.importMapping"
            )


def _storage(machine: Machine, places: Places) -> dict[str, Any]:
    """One storage class for all disks, or one row per disk with a class or a bus."""
    classes = {disk.id: places.storage_class(disk) for disk in machine.disks}
    buses = {disk.id: places.bus(disk) for disk in machine.disks}
    common = next(iter(classes.values()), "") if len(set(classes.values())) == 1 else ""
    rows = []
    for disk in machine.disks:
        row = {"sourceDisk": disk.id}
        if classes[disk.id] and not common:
            row["storageClass"] = classes[disk.id]
        if (bus := buses[disk.id]) is not None:
            row["busType"] = str(bus)
        if len(row) > 1:
            rows.append(row)
    return {**({"storageClass": common} if common else {}), **({"diskMapping": rows} if rows else {})}


def source_manifest(source: Source) -> dict[str, Any]:
    """The source as a manifest, without credentials.

    Raises:
        StepError: INVALID, if its address contains credentials.
    """
    if urlsplit(source.spec.address).username is not None:
        raise StepError(
            Exit.INVALID,
            f"cannot write {source.kind} {source.metadata.name} to a file",
            "its address contains a user name and possibly a password",
            "put them into a Secret, and name the Secret in spec.credentials",
        )
    return {
        "apiVersion": API_VERSION,
        "kind": source.kind,
        "metadata": {"name": source.metadata.name, "namespace": source.metadata.namespace},
        "spec": source.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }


def source_remarks(source: Source) -> tuple[str, ...]:
    """Remarks on where the credentials of a source are, as they are not written."""
    keys, reference = source.spec.CREDENTIAL_KEYS, source.spec.credentials
    if reference is not None and reference.name:
        namespace = reference.namespace or source.metadata.namespace
        return (
            f"Its Secret {namespace}/{reference.name} is not written here. Give it to vmferry with a second",
            f"-f, or to a cluster with kubectl. Its keys are {keys}.",
        )
    if not source.spec.NEEDS_SECRET:
        return ()
    return (
        "It names no Secret: vmferry reads the credentials from the environment.",
        f"In a cluster spec.credentials must name a Secret with the keys {keys}.",
    )

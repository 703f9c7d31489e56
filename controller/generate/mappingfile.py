"""The file that maps networks and datastores for all VMs of a source."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from controller.manifests import read
from controller.manifests.read import InvalidManifestsError
from controller.manifests.yamledit import dump
from steps.model.kinds import API_VERSION
from steps.model.machine import Disk, Machine, Nic
from workflows.api.resources import Metadata, VirtualMachineImport
from workflows.api.spec import Model, NetworkMapping, Text, VirtualMachineImportSpec, none_to_list
from workflows.plan import import_reasons

NAME: Final = "mapping.vmferry"
"""Its name in a folder of manifests: YAML, with a suffix that `kubectl apply -f FOLDER` ignores."""

HEAD: Final = """\
Edit this file, then run `vmferry inventory --all --manifest` again.
networkMapping: destinationNetwork is NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition. Manifests leave
  out networks with "". networkInterfaceModel is optional: it sets the model of the NICs.
storageMapping: storageClass is the class of the disks in that datastore; "" is the cluster's default.
vim: set filetype=yaml:  -*- mode: yaml -*-
"""


class StorageMapping(Model):
    """The storage class for the disks of one datastore."""

    source_storage: Text = Field(default="", description="name of the datastore")
    storage_class: Text = Field(default="", description="storage class of its disks")


class Places(Model):
    """The content of the file."""

    network_mapping: Annotated[tuple[NetworkMapping, ...], BeforeValidator(none_to_list)] = ()
    storage_mapping: Annotated[tuple[StorageMapping, ...], BeforeValidator(none_to_list)] = ()

    def network(self, nic: Nic) -> NetworkMapping | None:
        """The row with a destination for this NIC's network: by id first, as names may be ambiguous."""
        rows = {row.source_network: row for row in self.network_mapping if row.destination_network}
        return (rows.get(nic.network_id) if nic.network_id else None) or rows.get(nic.network)

    def storage_class(self, disk: Disk) -> str:
        """The storage class for this disk; empty for the cluster's default."""
        rows = {row.source_storage: row.storage_class for row in self.storage_mapping}
        return rows.get(storage(disk), "")


def all_to(destination: str, machines: Iterable[Machine]) -> Places:
    """Map every network of the VMs to one destination."""
    machines = tuple(machines)
    name_of = network_names(machines)
    names = dict.fromkeys(name_of(nic) for machine in machines for nic in machine.nics if nic.network)
    rows = (NetworkMapping(source_network=name, destination_network=destination) for name in names)
    return Places(network_mapping=tuple(rows))


def network_names(machines: Iterable[Machine]) -> Callable[[Nic], str]:
    """Names a NIC's network: its name, or the source's id if several networks have that name."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for machine in machines:
        for nic in machine.nics:
            ids[nic.network].add(nic.network_id)
    return lambda nic: nic.network_id if len(ids[nic.network]) > 1 and nic.network_id else nic.network


def storage(disk: Disk) -> str:
    """The datastore of a disk, as vSphere writes it before a file: `[NAME] PATH`; or empty."""
    match = re.match(r"\[(.+?)\] ", disk.backing)
    return match[1] if match else ""


def load(path: Path) -> tuple[CommentedMap, Places]:
    """The file with its comments, and its content; a missing file is empty.

    Raises:
        InvalidManifestsError: with every fault, as `FILE:LINE: FIELD: WHAT`.
    """
    if not path.is_file():
        return _empty(), Places()
    (where, text), *_ = read.texts(str(path))
    documents, faults = read.parse(where, text)
    if not documents and not faults:
        return _empty(), Places()
    if faults or len(documents) != 1 or not isinstance(documents[0], CommentedMap):
        raise InvalidManifestsError(faults or [f"{where}: expected networkMapping and storageMapping"])
    return documents[0], _places(where, documents[0])


def _places(where: str, document: CommentedMap) -> Places:
    try:
        places = Places.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise InvalidManifestsError([read.fault_line(where, document, fault) for fault in faults]) from None
    if reasons := list(_reasons(places)):
        raise InvalidManifestsError([f"{where}: {reason}" for reason in reasons])
    return places


def _reasons(places: Places) -> Iterable[str]:
    """Reasons to refuse an import with all its rows."""
    rows = tuple(row for row in places.network_mapping if row.destination_network)
    spec = VirtualMachineImportSpec(virtual_machine_name=NAME, network_mapping=rows)
    whole = VirtualMachineImport(
        api_version=API_VERSION, kind="VirtualMachineImport", metadata=Metadata(name=NAME), spec=spec
    )
    yield from import_reasons(whole)
    for name, count in Counter(row.source_storage for row in places.storage_mapping).items():
        if count > 1:
            yield f"storage {name!r} appears {count} times in storageMapping; keep one row"


def _empty() -> CommentedMap:
    document = CommentedMap(networkMapping=CommentedSeq(), storageMapping=CommentedSeq())
    document.yaml_set_start_comment(HEAD)
    return document


def extend(document: CommentedMap, machines: Sequence[Machine], destination: str) -> bool:
    """Add a row for each network and datastore of these VMs without one; returns whether any was added.

    Existing rows and comments stay unchanged.
    """
    name_of = network_names(machines)
    networks = _usage_remarks(
        {name_of(nic): nic.network for nic in machine.nics if nic.network} for machine in machines
    )
    stores = _usage_remarks(
        {name: "" for name in map(storage, machine.disks) if name} for machine in machines
    )
    has_networks = _add(document, "networkMapping", "sourceNetwork", networks, destinationNetwork=destination)
    has_stores = _add(document, "storageMapping", "sourceStorage", stores, storageClass="")
    return has_networks or has_stores


def _usage_remarks(names: Iterable[dict[str, str]]) -> dict[str, str]:
    """Remarks by name: how many VMs use it, and its other name."""
    counts: Counter[str] = Counter()
    also: dict[str, str] = {}
    for names_of_vm in names:
        counts.update(names_of_vm.keys())
        also |= names_of_vm
    return {
        name: f"{counts[name]} VM{'s' if counts[name] > 1 else ''}"
        + (f", called {_line(also[name])}" if also[name] not in ("", name) else "")
        for name in sorted(counts)
    }


def _line(text: str) -> str:
    """Text that cannot end a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _add(document: CommentedMap, field: str, key: str, remarks: dict[str, str], **rest: str) -> bool:
    rows: Any = document.get(field)
    if not rows:
        rows = document[field] = CommentedSeq()  # the existing one may be written as []
    known = {row.get(key) for row in rows}
    new = [name for name in remarks if name not in known]
    for name in new:
        row = CommentedMap({key: DoubleQuotedScalarString(name)})
        row |= {field: DoubleQuotedScalarString(value) for field, value in rest.items()}
        rows.append(row)
        rows.yaml_set_comment_before_after_key(len(rows) - 1, before=remarks[name])
    return bool(new)


def text(document: CommentedMap) -> str:
    """The file's text."""
    return dump([document])

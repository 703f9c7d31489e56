"""The file that maps networks and datastores for all VMs of a source: an ImportMapping, with rows to edit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from controller.manifests import read
from controller.manifests.read import InvalidManifestsError
from controller.manifests.yamledit import dump
from steps.model.kinds import API_VERSION, IMPORT_MAPPING
from steps.model.machine import Disk, Machine, Nic
from steps.model.matching import bus_of_row, rule_of_nic, storage_choice
from steps.model.plan import Bus, TargetKind, TargetPlan
from steps.model.printable import printable
from workflows import import_mapping
from workflows.api.mapping import (
    ImportMapping,
    NetworkMatch,
    SharedNetwork,
)
from workflows.api.resources import Metadata

NAME: Final = "mapping.vmferry"
"""Its name in a folder of manifests: YAML, with a suffix that `kubectl apply -f FOLDER` ignores."""
OLD_FIELDS: Final = ("networkMapping", "storageMapping")
"""Fields of the file before it was a resource."""

HEAD: Final = """\
Edit this file, then run `vmferry inventory --all --manifest` again.
networks: destinationNetwork is NAME or NAMESPACE/NAME of a NetworkAttachmentDefinition. Write `type: pod` or
  `type: ignored` instead of it for the network of the pods, or to leave NICs out. Manifests leave out
  networks with "".
storage: storageClass is the class of the disks in that datastore; "" is the cluster's default.
docs/how-to/map-networks-and-storage.md explains all fields.
vim: set filetype=yaml:  -*- mode: yaml -*-
"""


@dataclass(frozen=True)
class Places:
    """What the rows say about a NIC or a disk."""

    mapping: ImportMapping = field(
        default_factory=lambda: ImportMapping(
            api_version=API_VERSION, kind="ImportMapping", metadata=Metadata(name="mapping")
        )
    )

    @cached_property
    def target(self) -> TargetPlan:
        """The rules of all rows, in their order. Its namespace and its kind have no meaning."""
        return import_mapping.extended(TargetPlan(kind=TargetKind.DIRECTORY), self.mapping)

    def network(self, nic: Nic) -> SharedNetwork | None:
        """The row for this NIC."""
        target = self.target
        rule = rule_of_nic(nic, target)
        return self.mapping.spec.networks[target.networks.index(rule)] if rule is not None else None

    def storage_class(self, disk: Disk) -> str:
        """The storage class for this disk; empty for the cluster's default."""
        return storage_choice(disk, self.target).rule.storage_class

    def bus(self, disk: Disk) -> Bus | None:
        """The bus for this disk; None for that of the source."""
        return bus_of_row(disk, self.target.disks)


def all_to(destination: str, machines: Iterable[Machine]) -> Places:
    """Map every network of the VMs to one destination."""
    machines = tuple(machines)
    name_of = network_names(machines)
    nics = {name_of(nic): nic for machine in machines for nic in machine.nics if nic.network}
    rows = (
        SharedNetwork(source=_match(name, nic.network), destination_network=destination)
        for name, nic in nics.items()
    )
    return Places(_with_networks(Places().mapping, tuple(rows)))


def _match(written: str, name: str) -> NetworkMatch:
    """The source of a row for a network: by its name, or by its ID if that is written."""
    return NetworkMatch(name=name) if written == name else NetworkMatch(id=written)


def _with_networks(mapping: ImportMapping, rows: tuple[SharedNetwork, ...]) -> ImportMapping:
    return mapping.model_copy(update={"spec": mapping.spec.model_copy(update={"networks": rows})})


def network_names(machines: Iterable[Machine]) -> Callable[[Nic], str]:
    """Names a NIC's network: its name, or the source's id if several networks have that name."""
    ids: defaultdict[str, set[str]] = defaultdict(set)
    for machine in machines:
        for nic in machine.nics:
            ids[nic.network].add(nic.network_id)
    return lambda nic: nic.network_id if len(ids[nic.network]) > 1 and nic.network_id else nic.network


def load(path: Path) -> tuple[CommentedMap, Places]:
    """The file with its comments, and its content without the networks that have no destination yet.

    A missing file is empty.

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
        raise InvalidManifestsError(faults or [f"{where}: expected one ImportMapping"])
    document = documents[0]
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, IMPORT_MAPPING.kind):
        raise InvalidManifestsError([f"{where}: {_not_a_mapping(document)}"])
    return document, Places(_mapping(where, document))


def _not_a_mapping(document: CommentedMap) -> str:
    wanted = f"apiVersion: {API_VERSION}, kind: {IMPORT_MAPPING.kind}"
    if any(name in document for name in OLD_FIELDS):
        return (
            f"this is the file of an earlier vmferry: it is now a resource ({wanted}); move it away, run the "
            "command again, and copy your destinations into the new file"
        )
    return f"expected {wanted}"


def _mapping(where: str, document: CommentedMap) -> ImportMapping:
    given = {**document, "spec": document.get("spec") or {}}
    try:
        mapping = ImportMapping.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise InvalidManifestsError([read.fault_line(where, document, fault) for fault in faults]) from None
    rows = tuple(row for row in mapping.spec.networks if row.destination_network != "")
    if reasons := list(import_mapping.reasons(_with_networks(mapping, rows))):
        raise InvalidManifestsError([f"{where}: {reason}" for reason in reasons])
    return _with_networks(mapping, rows)


def _empty() -> CommentedMap:
    document = CommentedMap(
        apiVersion=API_VERSION,
        kind=IMPORT_MAPPING.kind,
        metadata=CommentedMap(name="mapping"),
        spec=CommentedMap(networks=CommentedSeq(), storage=CommentedSeq()),
    )
    document.yaml_set_start_comment(HEAD)
    return document


def extend(document: CommentedMap, machines: Sequence[Machine], destination: str) -> bool:
    """Add a row for each network and storage of these VMs without one; returns whether any was added.

    Existing rows and comments stay unchanged.
    """
    name_of = network_names(machines)
    networks = _usage_remarks(
        {name_of(nic): nic.network for nic in machine.nics if nic.network} for machine in machines
    )
    stores = _usage_remarks(
        {disk.storage: "" for disk in machine.disks if disk.storage} for machine in machines
    )
    ids = {name_of(nic) for machine in machines for nic in machine.nics if name_of(nic) != nic.network}
    if not document.get("spec"):
        document["spec"] = CommentedMap()
    rows = {name: ("id" if name in ids else "name", remark) for name, remark in networks.items()}
    has_networks = _add(document["spec"], "networks", rows, destinationNetwork=destination)
    rows = {name: ("name", remark) for name, remark in stores.items()}
    has_stores = _add(document["spec"], "storage", rows, storageClass="")
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
    return printable(text, "?")


def _add(spec: CommentedMap, name_of_list: str, wanted: dict[str, tuple[str, str]], **rest: str) -> bool:
    """Add rows; `wanted` has the field of the source and the remark, by name or ID."""
    rows: Any = spec.get(name_of_list)
    if not rows:
        rows = spec[name_of_list] = CommentedSeq()  # the existing one may be written as []
    known = {name for row in rows for name in (row.get("source") or {}).values()}
    new = {name: of for name, of in wanted.items() if name not in known}
    for name, (by, remark) in new.items():
        row = CommentedMap(source=CommentedMap({by: DoubleQuotedScalarString(name)}))
        row |= {key: DoubleQuotedScalarString(value) for key, value in rest.items()}
        rows.append(row)
        rows.yaml_set_comment_before_after_key(len(rows) - 1, before=remark, indent=2)
    return bool(new)


def text(document: CommentedMap) -> str:
    """The file's text."""
    return dump([document])

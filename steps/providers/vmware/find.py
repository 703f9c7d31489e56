"""Datacenters and VMs by the user's names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyVmomi import vim

from steps.model import inventory_path, wildcards
from steps.model.contract import Exit, StepError
from steps.providers.vmware import collector
from steps.providers.vmware.collector import Row
from steps.providers.vmware.paths import Segments, Tree, join_path, split_path, unescape
from steps.providers.vmware.session import Session

SIMILAR_SHOWN: Final = 3
"""How many similar names an error lists."""
MATCHES_SHOWN: Final = 20
"""How many matches an error lists."""

VM_PROPERTIES: Final = (
    "name",
    "parent",
    "parentVApp",
    "config.uuid",
    "config.instanceUuid",
    "config.template",
)
_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Datacenter:
    """A datacenter and the folders of its VMs and networks."""

    path: Segments
    vm_folder: Any
    network_folder: Any


@dataclass(frozen=True)
class InventoryVm:
    """A VM and its place."""

    row: Row
    path: Segments

    @property
    def name(self) -> str:
        return self.path[-1]

    def __str__(self) -> str:
        return join_path(self.path)


def datacenters(session: Session, name: str) -> list[Datacenter]:
    """The datacenters named `name`; all of them if it is empty.

    A stand-alone host has one, called `ha-datacenter`, which any name matches.

    Raises:
        StepError: NOT_FOUND, listing the existing ones; AMBIGUOUS if a name matches several.
    """
    root = session.content.rootFolder
    properties = ("name", "parent")
    rows = collector.read_below(
        session, root, {vim.Datacenter: (*properties, "vmFolder", "networkFolder"), vim.Folder: properties}
    )
    tree = Tree(rows, root)
    all_datacenters = sorted(
        (
            Datacenter(tree.path(row.ref), row.get("vmFolder"), row.get("networkFolder"))
            for row in rows
            if isinstance(row.ref, vim.Datacenter)
        ),
        key=lambda datacenter: datacenter.path,
    )
    return (
        all_datacenters
        if session.is_host or not name.strip("/ ")
        else [_find_datacenter(all_datacenters, split_path(name), session)]
    )


def datacenter(session: Session, name: str) -> Datacenter:
    """The datacenter of the import; an empty name means the only one.

    Raises:
        StepError: NOT_FOUND; AMBIGUOUS if the name is empty and there are several.
    """
    candidates = datacenters(session, name)
    if not candidates:
        raise StepError(
            Exit.NOT_FOUND, f"{session.endpoint} shows no datacenter", "", "grant the account System.View"
        )
    if len(candidates) > 1:
        raise _ambiguous(
            f"{session.endpoint} has several datacenters",
            _paths(candidates),
            "set one of them in the source's spec.dc",
        )
    return candidates[0]


def datacenter_of(session: Session, vm: str, folder: str | None) -> Datacenter:
    """The only datacenter in which `vm` identifies a VM, as for `machine`.

    Raises:
        StepError: NOT_FOUND, also if there is no datacenter; AMBIGUOUS, if several have such a VM.
    """
    candidates = datacenters(session, "")
    if len(candidates) <= 1:
        return datacenter(session, "")
    found = [
        (candidate, match)
        for candidate in candidates
        for match in _matches(machines(session, candidate)[0], candidate, vm, folder)
    ]
    places = {candidate.path: candidate for candidate, _ in found}
    if not found:
        where = _listing(_paths(candidates))
        why = f"searched datacenters: {where}"
        remedy = wildcards.remedy(vm, "correct its name or id")
        raise StepError(Exit.NOT_FOUND, f"there is no VM {vm!r}", why, remedy)
    if len(places) > 1:
        raise _ambiguous(
            f"{vm!r} fits {len(found)} machines", [str(match) for _, match in found], "name it by its UUID"
        )
    return next(iter(places.values()))


def _matches(vms: Sequence[InventoryVm], dc: Datacenter, vm: str, folder: str | None) -> list[InventoryVm]:
    return _by_name(vms, vm, _folders(dc, folder)) or _by_id(vms, vm)


def _find_datacenter(candidates: Sequence[Datacenter], wanted_path: Segments, session: Session) -> Datacenter:
    exact = [candidate for candidate in candidates if candidate.path == wanted_path]
    matches = exact or [candidate for candidate in candidates if (candidate.path[-1],) == wanted_path]
    name = "/".join(wanted_path)
    if len(matches) > 1:
        raise _ambiguous(
            f"several datacenters are called {name}", _paths(matches), "set its path in the source's spec.dc"
        )
    if not matches:
        raise StepError(
            Exit.NOT_FOUND,
            f"{session.endpoint} has no datacenter {name}",
            f"there are: {_listing(_paths(candidates)) or 'none that the account may see'}",
            "correct the source's spec.dc",
        )
    return matches[0]


def _paths(datacenters: Sequence[Datacenter]) -> list[str]:
    return [join_path(datacenter.path) for datacenter in datacenters]


def machines(
    session: Session, dc: Datacenter, extra: Sequence[str] = ()
) -> tuple[list[InventoryVm], list[Segments]]:
    """All VMs of a datacenter by path, with the `extra` properties; and its folders' paths."""
    path_properties = ("name", "parent")
    rows = collector.read_below(
        session,
        dc.vm_folder,
        {
            vim.VirtualMachine: (*VM_PROPERTIES, *extra),
            vim.Folder: path_properties,
            vim.VirtualApp: ("name", "parentFolder", "parentVApp"),
        },
    )
    tree = Tree(rows, dc.vm_folder, (*dc.path, "vm"))
    vms = [InventoryVm(row, tree.path(row.ref)) for row in rows if isinstance(row.ref, vim.VirtualMachine)]
    folders = [tree.path(row.ref) for row in rows if isinstance(row.ref, vim.Folder)]
    return sorted((vm for vm in vms if vm.path), key=lambda vm: vm.path), sorted(folders)


def machine(session: Session, dc: Datacenter, vm: str, folder: str | None) -> InventoryVm:
    """The VM that `vm` identifies: by its name, else its object id, instance UUID or BIOS UUID.

    Names are compared exactly, case included. `folder` narrows names down (empty: the top folder; None:
    anywhere); an id needs none. `workflows.plan` has split an inventory path into both.

    Raises:
        StepError: NOT_FOUND with similar names; AMBIGUOUS with all matching paths; UNSUPPORTED: a template.
    """
    vms, _ = machines(session, dc)
    matches = _matches(vms, dc, vm, folder)
    if not matches:
        raise _not_found(vms, dc, vm, folder)
    if len(matches) > 1:
        raise _ambiguous(
            f"{vm!r} fits {len(matches)} machines",
            [str(match) for match in matches],
            "set spec.folder, or name it by its UUID",
        )
    if matches[0].row.get("config.template", False):
        raise StepError(
            Exit.UNSUPPORTED,
            f"{matches[0]} cannot be imported",
            "it is a template",
            "deploy a VM from it first",
        )
    return matches[0]


def _folders(dc: Datacenter, folder: str | None) -> set[Segments] | None:
    """The possible meanings of a folder: below the datacenter's `vm`, or a full inventory path."""
    if folder is None:
        return None
    names, top = split_path(folder), (*dc.path, "vm")
    return {(*top, *names), names} if names[: len(top)] == top else {(*top, *names)}


def _by_name(vms: Sequence[InventoryVm], vm: str, folders: set[Segments] | None) -> list[InventoryVm]:
    in_folder = [candidate for candidate in vms if folders is None or candidate.path[:-1] in folders]
    exact = [candidate for candidate in in_folder if candidate.name == vm]
    return exact or [
        candidate
        for candidate in in_folder
        if candidate.row.get("name") == vm or candidate.name == unescape(vm)
    ]


def _by_id(vms: Sequence[InventoryVm], vm: str) -> list[InventoryVm]:
    """By object id, else instance UUID (unique in a vCenter), else BIOS UUID (which clones may share)."""
    tests: list[Callable[[InventoryVm], bool]] = [lambda candidate: candidate.row.id == vm]
    if _UUID.fullmatch(vm.strip()):
        uuid = vm.strip().lower()
        tests += [
            lambda candidate: str(candidate.row.get("config.instanceUuid", "")).lower() == uuid,
            lambda candidate: str(candidate.row.get("config.uuid", "")).lower() == uuid,
        ]
    return next(
        (matches for test in tests if (matches := [candidate for candidate in vms if test(candidate)])), []
    )


def _not_found(vms: Sequence[InventoryVm], dc: Datacenter, vm: str, folder: str | None) -> StepError:
    where = _shown_folder(dc, folder)
    elsewhere = [str(match) for match in _by_name(vms, vm, None)]
    similar = difflib.get_close_matches(vm, {match.name for match in vms}, n=SIMILAR_SHOWN)
    if elsewhere:
        why = f"there is {_listing(elsewhere)}"
    elif similar:
        why = f"there are VMs called {', '.join(similar)}"
    else:
        why = f"none of its {len(vms)} VMs has a similar name"
    return StepError(
        Exit.NOT_FOUND,
        f"there is no VM {vm!r} in {where}",
        why,
        wildcards.remedy(vm, "correct the name, or spec.folder"),
    )


def _shown_folder(dc: Datacenter, folder: str | None) -> str:
    """The folder that was searched, for an error."""
    names, top = split_path(folder or ""), (*dc.path, "vm")
    if names[: len(top)] != top and inventory_path.is_full(folder or ""):
        return f"the folder {join_path(names)}, because the datacenter of the source is {join_path(dc.path)}"
    return join_path(names if names[: len(top)] == top else (*top, *names))


def _ambiguous(what: str, names: Sequence[str], remedy: str) -> StepError:
    return StepError(Exit.AMBIGUOUS, what, _listing(names), remedy)


def _listing(names: Sequence[str]) -> str:
    rest = f" and {len(names) - MATCHES_SHOWN} more" if len(names) > MATCHES_SHOWN else ""
    return ", ".join(names[:MATCHES_SHOWN]) + rest

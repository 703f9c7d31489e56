"""Datacenters and VMs by the user's names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.providers.vmware import collector
from steps.providers.vmware.collector import Row
from steps.providers.vmware.paths import Segments, Tree, joined, plain, segments
from steps.providers.vmware.session import Session

NEAR: Final = 3
"""How many similar names an error lists."""
SHOWN: Final = 20
"""How many matches an error lists."""

_VM_FACTS: Final = ("name", "parent", "parentVApp", "config.uuid", "config.instanceUuid", "config.template")
_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Datacenter:
    """A datacenter and the folders of its VMs and networks."""

    path: Segments
    vm_folder: Any
    network_folder: Any


@dataclass(frozen=True)
class Place:
    """A VM and its place."""

    row: Row
    path: Segments

    @property
    def name(self) -> str:
        return self.path[-1]

    def __str__(self) -> str:
        return joined(self.path)


def datacenters(session: Session, wanted: str) -> list[Datacenter]:
    """The datacenters named `wanted`; all of them if it is empty.

    A stand-alone host has one, called `ha-datacenter`, which any name matches.

    Raises:
        StepError: NOT_FOUND, listing the existing ones; AMBIGUOUS if a name matches several.
    """
    root = session.content.rootFolder
    facts = ("name", "parent")
    rows = collector.below(
        session, root, {vim.Datacenter: (*facts, "vmFolder", "networkFolder"), vim.Folder: facts}
    )
    tree = Tree(rows, root)
    there = sorted(
        (
            Datacenter(tree.path(row.ref), row.get("vmFolder"), row.get("networkFolder"))
            for row in rows
            if isinstance(row.ref, vim.Datacenter)
        ),
        key=lambda each: each.path,
    )
    return there if session.is_host or not wanted.strip("/ ") else [_named(there, segments(wanted), session)]


def datacenter(session: Session, wanted: str) -> Datacenter:
    """The datacenter of the import; an empty name means the only one.

    Raises:
        StepError: NOT_FOUND; AMBIGUOUS if the name is empty and there are several.
    """
    there = datacenters(session, wanted)
    if not there:
        raise StepError(
            Exit.NOT_FOUND, f"{session.endpoint} shows no datacenter", "", "grant the account System.View"
        )
    if len(there) > 1:
        raise _several(
            f"{session.endpoint} has several datacenters",
            _paths(there),
            "set one of them in the source's spec.dc",
        )
    return there[0]


def _named(there: Sequence[Datacenter], wanted: Segments, session: Session) -> Datacenter:
    exact = [each for each in there if each.path == wanted]
    fits = exact or [each for each in there if (each.path[-1],) == wanted]
    name = "/".join(wanted)
    if len(fits) > 1:
        raise _several(
            f"several datacenters are called {name}", _paths(fits), "set its path in the source's spec.dc"
        )
    if not fits:
        raise StepError(
            Exit.NOT_FOUND,
            f"{session.endpoint} has no datacenter {name}",
            f"there are: {_shown(_paths(there)) or 'none that the account may see'}",
            "correct the source's spec.dc",
        )
    return fits[0]


def _paths(found: Sequence[Datacenter]) -> list[str]:
    return [joined(each.path) for each in found]


def machines(
    session: Session, at: Datacenter, more: Sequence[str] = ()
) -> tuple[list[Place], list[Segments]]:
    """All VMs of a datacenter in the order of their paths, with `more` facts; and its folders' paths."""
    place = ("name", "parent")
    rows = collector.below(
        session,
        at.vm_folder,
        {
            vim.VirtualMachine: (*_VM_FACTS, *more),
            vim.Folder: place,
            vim.VirtualApp: ("name", "parentFolder", "parentVApp"),
        },
    )
    tree = Tree(rows, at.vm_folder, (*at.path, "vm"))
    found = [Place(row, tree.path(row.ref)) for row in rows if isinstance(row.ref, vim.VirtualMachine)]
    folders = [tree.path(row.ref) for row in rows if isinstance(row.ref, vim.Folder)]
    return sorted((each for each in found if each.path), key=lambda each: each.path), sorted(folders)


def machine(session: Session, at: Datacenter, vm: str, folder: str | None) -> Place:
    """The VM that `vm` identifies: by its name, else its object id, instance UUID or BIOS UUID.

    Names are compared exactly, case included. `folder` narrows names down (empty: the top folder; None:
    anywhere); an id needs none.

    Raises:
        StepError: NOT_FOUND with similar names; AMBIGUOUS with all matching paths; UNSUPPORTED: a template.
    """
    places, _ = machines(session, at)
    fits = _by_name(places, vm, _folders(at, folder)) or _by_id(places, vm)
    if not fits:
        raise _not_found(places, at, vm, folder)
    if len(fits) > 1:
        raise _several(
            f"{vm!r} fits {len(fits)} machines",
            [str(each) for each in fits],
            "set spec.folder, or name it by its UUID",
        )
    if fits[0].row.get("config.template", False):
        raise StepError(
            Exit.UNSUPPORTED,
            f"{fits[0]} cannot be imported",
            "it is a template",
            "deploy a VM from it first",
        )
    return fits[0]


def _folders(at: Datacenter, folder: str | None) -> set[Segments] | None:
    """The possible meanings of a folder: below the datacenter's `vm`, or a full inventory path."""
    if folder is None:
        return None
    given, top = segments(folder), (*at.path, "vm")
    return {(*top, *given), given} if given[: len(top)] == top else {(*top, *given)}


def _by_name(places: Sequence[Place], vm: str, folders: set[Segments] | None) -> list[Place]:
    within = [each for each in places if folders is None or each.path[:-1] in folders]
    seen = [each for each in within if each.name == vm]
    return seen or [each for each in within if each.row.get("name") == vm or each.name == plain(vm)]


def _by_id(places: Sequence[Place], vm: str) -> list[Place]:
    """By object id, else instance UUID (unique in a vCenter), else BIOS UUID (which clones may share)."""
    tests: list[Callable[[Place], bool]] = [lambda each: each.row.id == vm]
    if _UUID.fullmatch(vm.strip()):
        uuid = vm.strip().lower()
        tests += [
            lambda each: str(each.row.get("config.instanceUuid", "")).lower() == uuid,
            lambda each: str(each.row.get("config.uuid", "")).lower() == uuid,
        ]
    return next((fits for test in tests if (fits := [each for each in places if test(each)])), [])


def _not_found(places: Sequence[Place], at: Datacenter, vm: str, folder: str | None) -> StepError:
    where = f"{joined((*at.path, 'vm'))}{'/' + folder.strip('/') if folder and folder.strip('/') else ''}"
    elsewhere = [str(each) for each in _by_name(places, vm, None)]
    near = difflib.get_close_matches(vm, {each.name for each in places}, n=NEAR)
    if elsewhere:
        why = f"there is {_shown(elsewhere)}"
    elif near:
        why = f"there are VMs called {', '.join(near)}"
    else:
        why = f"none of its {len(places)} VMs has a similar name"
    return StepError(
        Exit.NOT_FOUND, f"there is no VM {vm!r} in {where}", why, "correct the name, or spec.folder"
    )


def _several(what: str, names: Sequence[str], remedy: str) -> StepError:
    return StepError(Exit.AMBIGUOUS, what, _shown(names), remedy)


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

"""Chooses unique names for imports and unique references to their VMs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from steps.model.machine import Machine
from steps.model.naming import normalise
from workflows.api.sources import Source, VmwareSource

_SUFFIX: Final = 12
"""Longest identifier that is appended whole to a taken name: `vm-1234` is, a UUID is cut."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A VM and its import: `name` of the import, and its spec.virtualMachineName and spec.folder."""

    machine: Machine
    source: Source
    name: str
    vm: str
    folder: str | None = None


def chosen(machine: Machine, source: Source, name: str) -> Choice:
    """The choice for a VM that was found by `name`."""
    vm = machine.name if source.spec.HAS_FOLDERS else name
    folder = folder_of(machine, source)
    return Choice(machine=machine, source=source, name=normalise(machine.name), vm=vm, folder=folder)


def folder_of(machine: Machine, source: Source) -> str | None:
    """The value of spec.folder; None if the source has no folders."""
    if not source.spec.HAS_FOLDERS:
        return None
    above = machine.path.rpartition("/")[0] + "/"
    if above.count("/vm/") > 1:
        return above.rstrip("/")  # another folder is named vm too: write the whole path
    return above.partition("/vm/")[2].rstrip("/") or "/"


def identity(machine: Machine, source: Source) -> str:
    """Identity of a VM among all sources."""
    return f"{source_key(source)} {machine.source_id}"


def source_key(source: Source) -> str:
    """Key of a source: KIND/NAMESPACE/NAME."""
    return f"{source.kind}/{source.metadata.namespace}/{source.metadata.name}"


def choices(
    machines: Sequence[Machine], source: Source, before: Mapping[str, str], taken: Iterable[str]
) -> list[Choice]:
    """Choose a name for each VM of a source: unique, and none of `taken`.

    `before`: names of earlier runs by identity; they stay.
    """
    sources = split(source, machines)
    same = Counter(_words(machine, source) for machine in machines)
    called = _names(machines, source, before, taken)
    selection = []
    for machine, name in zip(machines, called, strict=True):
        vm = machine.name if same[_words(machine, source)] == 1 else machine.source_id
        if source.spec.LONE_VM_NEEDS_NO_NAME and len(machines) == 1:
            vm = name
        own, folder = sources.get(datacenter(machine), source), folder_of(machine, source)
        selection.append(Choice(machine=machine, source=own, name=name, vm=vm, folder=folder))
    return selection


def _names(
    machines: Sequence[Machine], source: Source, before: Mapping[str, str], taken: Iterable[str]
) -> list[str]:
    """Names of the imports: first earlier names, then unique VM names, then the others.

    The result does not depend on the order of the VMs.
    """
    fitting = Counter(normalise(machine.name) for machine in machines)
    used, names = {*taken, *before.values()}, {}
    for machine in sorted(machines, key=lambda vm: (fitting[normalise(vm.name)], vm.source_id)):
        key = identity(machine, source)
        alone = fitting[normalise(machine.name)] == 1
        names[key] = before.get(key) or _free(machine, used, alone=alone)
        used.add(names[key])
    return [names[identity(machine, source)] for machine in machines]


def _words(machine: Machine, source: Source) -> tuple[str, ...]:
    """Datacenter, folder and name of a VM: what a manifest can say to find it."""
    return datacenter(machine), folder_of(machine, source) or "", machine.name


def _free(machine: Machine, used: set[str], *, alone: bool) -> str:
    """The normalised name of the VM; if it is taken, with the identifier or a hash appended."""
    name = normalise(machine.name)
    if alone and name not in used:
        return name
    tried = (f"{name[: 62 - len(suffix)].rstrip('-')}-{suffix}" for suffix in _suffixes(machine))
    return next(candidate for candidate in tried if candidate not in used)


def _suffixes(machine: Machine) -> Iterator[str]:
    """The identifier if it is short, else its first part; then longer and longer parts of a 256-bit hash."""
    short = normalise(machine.source_id)
    yield short if len(short) <= _SUFFIX else short[:8].strip("-")
    digest = _digest(f"{machine.source_id} {machine.path}")
    yield from (digest[:length] for length in range(8, 50))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def datacenter(machine: Machine) -> str:
    """The inventory path of a VM's datacenter; empty if unknown."""
    path, separator, _ = machine.path.partition("/vm/")
    return path.strip("/") if separator else ""


def split(source: Source, machines: Iterable[Machine]) -> dict[str, Source]:
    """Sources by datacenter if `source` names none and there are several; an import needs one."""
    if not isinstance(source, VmwareSource) or source.spec.dc:
        return {}
    names = sorted({datacenter(machine) for machine in machines})
    return {name: _within(source, name, names) for name in names} if len(names) > 1 else {}


def _within(source: VmwareSource, name: str, names: Sequence[str]) -> VmwareSource:
    called = normalise(f"{source.metadata.name}-{name}")
    if sum(normalise(f"{source.metadata.name}-{other}") == called for other in names) > 1:
        called = f"{called[:54].rstrip('-')}-{_digest(name)[:8]}"
    metadata = source.metadata.model_copy(update={"name": called})
    spec = source.spec.model_copy(update={"dc": name})
    return source.model_copy(update={"metadata": metadata, "spec": spec})

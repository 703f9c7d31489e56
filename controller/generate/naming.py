"""How imports are called and how they name their machines, so that no two of them mean the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from steps.model.machine import Machine
from steps.model.naming import normalise
from workflows.api.resources import OvaSource, Source, VmwareSource

_SUFFIX: Final = 12
"""How long an identifier may be to stand whole behind a name that is taken: `vm-1234` does, no UUID."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A machine and its import: what that is called, and what it says as virtualMachineName and folder."""

    machine: Machine
    source: Source
    name: str
    vm: str
    folder: str | None = None


def chosen(machine: Machine, source: Source, name: str) -> Choice:
    """The machine that a person found by `name`."""
    vm = machine.name if isinstance(source, VmwareSource) else name
    folder = folder_of(machine, source)
    return Choice(machine=machine, source=source, name=normalise(machine.name), vm=vm, folder=folder)


def folder_of(machine: Machine, source: Source) -> str | None:
    """What to write as spec.folder; None where there are no folders."""
    if not isinstance(source, VmwareSource):
        return None
    above = machine.path.rpartition("/")[0] + "/"
    if above.count("/vm/") > 1:
        return above.rstrip("/")  # some folder is called vm as well: the whole path cannot be misread
    return above.partition("/vm/")[2].rstrip("/") or "/"


def identity(machine: Machine, source: Source) -> str:
    """A machine among those of all sources."""
    return f"{source_key(source)} {machine.source_id}"


def source_key(source: Source) -> str:
    """A source among all."""
    return f"{source.kind}/{source.metadata.namespace}/{source.metadata.name}"


def choices(
    machines: Sequence[Machine], source: Source, before: Mapping[str, str], taken: Iterable[str]
) -> list[Choice]:
    """How each of all the machines of a source is called: no name twice, and none of `taken`.

    `before`: names by identity, from when machines were chosen before; they stay.
    """
    sources = split(source, machines)
    same = Counter(_words(machine, source) for machine in machines)
    called = _names(machines, source, before, taken)
    made = []
    for machine, name in zip(machines, called, strict=True):
        vm = machine.name if same[_words(machine, source)] == 1 else machine.source_id
        if isinstance(source, OvaSource) and len(machines) == 1:
            vm = name  # an archive of one machine asks for no name: it is that of the machine to be
        own, folder = sources.get(datacenter(machine), source), folder_of(machine, source)
        made.append(Choice(machine=machine, source=own, name=name, vm=vm, folder=folder))
    return made


def _names(
    machines: Sequence[Machine], source: Source, before: Mapping[str, str], taken: Iterable[str]
) -> list[str]:
    """Names of the imports: those of before, then of machines whose names are their own, then of the others.

    Listed in another order, the machines are called the same.
    """
    fitting = Counter(normalise(machine.name) for machine in machines)
    used, found = {*taken, *before.values()}, {}
    for machine in sorted(machines, key=lambda one: (fitting[normalise(one.name)], one.source_id)):
        key = identity(machine, source)
        alone = fitting[normalise(machine.name)] == 1
        found[key] = before.get(key) or _free(machine, used, alone=alone)
        used.add(found[key])
    return [found[identity(machine, source)] for machine in machines]


def _words(machine: Machine, source: Source) -> tuple[str, ...]:
    """What names a machine to its source, as far as a person's words can."""
    return datacenter(machine), folder_of(machine, source) or "", machine.name


def _free(machine: Machine, used: set[str], *, alone: bool) -> str:
    """The machine's name made to fit; where several have it, with the identifier or a hash behind."""
    name = normalise(machine.name)
    if alone and name not in used:
        return name
    tried = (f"{name[: 62 - len(suffix)].rstrip('-')}-{suffix}" for suffix in _suffixes(machine))
    return next(found for found in tried if found not in used)


def _suffixes(machine: Machine) -> Iterator[str]:
    """The identifier, if it is short, or its first part; then more and more of a hash of 256 bits."""
    short = normalise(machine.source_id)
    yield short if len(short) <= _SUFFIX else short[:8].strip("-")
    digest = _digest(f"{machine.source_id} {machine.path}")
    yield from (digest[:length] for length in range(8, 50))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def datacenter(machine: Machine) -> str:
    """The inventory path of a machine's datacenter; empty where none is known."""
    path, found, _ = machine.path.partition("/vm/")
    return path.strip("/") if found else ""


def split(source: Source, machines: Iterable[Machine]) -> dict[str, Source]:
    """Sources by datacenter where the one given names none of several: an import needs it named."""
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
